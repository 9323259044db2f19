"""The gallery: a folder of codes that answers which pictures, and where in them, look like this one."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Self, get_args

import numpy as np

from grainhash.codecache import CodeCache
from grainhash.encoder.encoder import Encoder
from grainhash.encoder.pipeline import Failed, encode_files, features_of_files
from grainhash.errors import (
    EncoderMismatch,
    GalleryError,
    GalleryFormatError,
    GalleryWriteError,
    InputError,
    PictureError,
    PictureUnreadable,
)
from grainhash.folder import absolute, look_at, walk
from grainhash.hashing.itq import fit_itq
from grainhash.images import Source
from grainhash.metadata import MetadataTable, folder_labels
from grainhash.search import WHOLE_PICTURE, Ranking, rank
from grainhash.store import FolderDifference, Record, Store
from grainhash.types import WHOLE, Box, Codes, File, Granularity, Hit
from grainhash.where import compile_where

BATCH = 256
"""Pictures a transaction, at most."""

BATCH_SECONDS = 1.0
"""A batch is committed at the latest after this time, full or not."""

FIT_GRANULES = 12_000
"""Granules that a hash function is refitted on, about: what fits into memory beside everything else."""

WHITENING = 0.5
"""Of a refitted hash function, like the shipped one's."""

MAX_K = 1_000_000


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long run is; passed to the `progress` callable a few times a second."""

    stage: str
    done: int
    total: int
    skipped: int


@dataclass(slots=True)
class IndexReport:
    """What a run of `index` or `add` did."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    relabelled: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    """Reason by path of every file that could not be indexed."""
    unmatched: list[str] = field(default_factory=list)
    """Paths of a metadata table that no picture matched."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class GalleryInfo:
    """What a gallery holds."""

    path: str
    pictures: int
    copies: int
    """Pictures whose content another picture has too."""
    regions: int
    n_bits: int
    encoder: str
    encoder_name: str
    hash_method: str
    bytes_on_disk: int
    skipped: list[tuple[str, str]]
    meta_keys: list[tuple[str, int]]


def _silent(progress: Progress) -> None:
    pass


class Gallery:
    """A folder of codes: `gallery.sqlite` (the truth), `encoder/` and `cache/`.

    Open or create one with `Gallery.open`. Every method may be called from any thread, and other
    processes may read and write the same gallery meanwhile.
    """

    def __init__(self, path: Path, store: Store, encoder: Encoder) -> None:
        self.path = path
        self._store = store
        self._encoder = encoder
        self._codes = CodeCache(store, path / "cache")

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        create: bool = False,
        encoder: Encoder | None = None,
        runtime: str = "auto",
    ) -> Gallery:
        """Open the gallery at a path, or with `create` make one there if there is none.

        Args:
            path: the gallery's folder.
            create: make an empty gallery where there is none.
            encoder: for a new gallery; the shipped one by default. An existing gallery keeps its own.
            runtime: of the network; see `grainhash.encoder.network`.

        Raises:
            GalleryNotFound: no gallery there, and `create` is false.
            GalleryFormatError: the folder holds something else, or another format version.
            EncoderMismatch: an `encoder` other than the gallery's own was passed.
            GalleryWriteError: a new gallery cannot be written there.
        """
        path = absolute(path)
        file = path / "gallery.sqlite"
        if create and not file.exists():
            if path.exists() and (not path.is_dir() or _has_strangers(path)):
                raise GalleryFormatError(f"{path}: exists and is no gallery; choose a new or empty folder")
            new = encoder or Encoder.load(runtime=runtime)
            try:
                new.save(_encoder_folder(path, new.fingerprint))
            except OSError as error:
                raise GalleryWriteError(
                    f"{path}: cannot create a gallery there ({error.strerror}); make room, or choose a "
                    "folder you may write to"
                ) from None
            Store.create(file, encoder=new.fingerprint, n_bits=new.n_bits)
        store = Store(file)
        own = Encoder.load(_encoder_folder(path, store.info("encoder")), runtime=runtime)
        if own.fingerprint != store.info("encoder"):
            raise GalleryFormatError(
                f"{own.folder}: not the encoder that the gallery's codes were made by, or one that this "
                "version runs in another way; index the pictures into a new gallery"
            )
        if encoder is not None:
            store.check_encoder(encoder.fingerprint)
        return cls(path, store, own)

    def close(self) -> None:
        """Let go of the gallery's files."""
        self._store.close()

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._store)

    @property
    def encoder(self) -> Encoder:
        """The one encoder of this gallery."""
        return self._encoder

    # Filling

    def index(
        self,
        folder: Path | str,
        *,
        metadata: MetadataTable | None = None,
        progress: Callable[[Progress], None] = _silent,
        n_workers: int | None = None,
    ) -> IndexReport:
        """Bring the gallery in line with a folder: new, changed and vanished pictures.

        Interrupted at any moment, by an exception or by the end of the process, it leaves whole
        batches; running it again does what is left and nothing twice.

        Args:
            folder: searched with all folders below it; links to folders are not followed.
            metadata: values by path, beside folder names and EXIF.
            progress: called a few times a second.
            n_workers: cores to encode on; all of this process by default.

        Raises:
            InputError: there is no such folder.
            GalleryError: the folder is empty and the gallery has pictures from it.
            GalleryWriteError: disk full or read-only; all earlier batches are safe.
        """
        root = absolute(folder)
        if not root.is_dir():
            raise InputError(f"{root}: no such folder; nothing was changed")
        if not _is_text(str(root)):
            raise InputError(f"{root}: its name is not valid UTF-8; rename the folder")
        started = time.monotonic()
        report = IndexReport()
        difference = self._store.compare_folder(
            _prefix(root), walk(root, skip=self.path, report=report.skipped.__setitem__)
        )
        if difference.n_seen == 0 and difference.n_known > 0:
            raise GalleryError(
                f"{root}: no pictures there, but the gallery has {difference.n_known} from it; if its disk "
                f"is not mounted, mount it; if they are gone for good: grainhash remove '{root}'"
            )
        self._store.forget_skipped(_prefix(root))
        self._store.note_skipped(report.skipped)
        report.unchanged = difference.n_seen - difference.n_todo
        labels = _Labels(root, metadata)
        if metadata is not None:
            report.relabelled = self._relabel(difference, labels)
        self._encode(difference.todo(), difference.n_todo, labels, report, progress, n_workers)
        report.removed = self._remove_vanished(difference, report)
        if metadata is not None:
            report.unmatched = metadata.unmatched()
        self.refresh()
        self._codes.save()
        report.seconds = time.monotonic() - started
        return report

    def add(
        self,
        paths: Iterable[Path | str],
        *,
        meta: Mapping[str, Any] | None = None,
        progress: Callable[[Progress], None] = _silent,
    ) -> IndexReport:
        """Add single picture files, each in place of what the gallery has of that path.

        Args:
            paths: files of any name.
            meta: metadata for all of them.
            progress: called a few times a second.
        """
        started = time.monotonic()
        report = IndexReport()
        files = []
        for path in paths:
            try:
                files.append(look_at(absolute(path)))
            except PictureUnreadable as error:
                report.skipped[error.name] = error.reason
        self._encode(files, len(files), lambda path: dict(meta or {}), report, progress)
        report.seconds = time.monotonic() - started
        return report

    def remove(self, what: Iterable[Path | str | int]) -> int:
        """Remove pictures by path, by id, or all below a folder; returns how many there were.

        Raises:
            InputError: one of them names nothing in the gallery. Nothing was removed.
        """
        ids: set[int] = set()
        for item in what:
            found = self._find(item)
            if not found:
                raise InputError(f"{item}: not in the gallery; nothing was removed")
            ids |= found
        return self._store.remove(sorted(ids))

    def _find(self, item: Path | str | int) -> set[int]:
        if isinstance(item, int):
            return {row.id for row in self._store.pictures([item])} if 0 < item < 2**63 else set()
        uri = str(absolute(item))
        if not _is_text(uri):
            return set()
        found = set(self._store.ids_of_uris([uri]).values())
        return found or set(self._store.ids_below(_prefix(Path(uri))))

    def _encode(
        self,
        files: Iterable[File],
        total: int,
        labels: Callable[[Path], dict[str, Any]],
        report: IndexReport,
        progress: Callable[[Progress], None],
        n_workers: int | None = None,
    ) -> None:
        """Encode files and commit them batch by batch; what is done when interrupted is kept."""
        if total == 0:
            return
        waiting: deque[File] = deque()

        def paths() -> Iterator[Path]:
            for file in files:
                waiting.append(file)
                yield file.path

        done = skipped = 0
        progress(Progress("encoding", done, total, skipped))
        results = encode_files(self._encoder, paths(), is_known=self._store.has_content, n_workers=n_workers)
        with closing(results), _Batch(partial(self._commit, report=report)) as batch:
            for result in results:
                file = waiting.popleft()
                done += 1
                if isinstance(result, Failed):
                    skipped += 1
                    batch.skip(file.uri, result.error.reason)
                else:
                    meta = {**labels(result.path), **result.meta}
                    batch.add(Record(file, result.sha256, result.codes, meta))
                if batch.is_due() or done == total:
                    batch.commit()
                    progress(Progress("encoding", done, total, skipped))

    def _relabel(self, difference: FolderDifference, labels: _Labels) -> int:
        """Give pictures that are in the gallery already what a metadata table says of them now."""
        changed = {}
        for id, uri, meta in difference.known():
            new = meta | labels(Path(uri))
            if new != meta:
                changed[id] = new
        self._store.set_meta(changed)
        return len(changed)

    def _remove_vanished(self, difference: FolderDifference, report: IndexReport) -> int:
        """Remove what the walk did not find and what really is no longer there."""
        unreadable = tuple(f"{path}/" for path in report.skipped)
        gone = [
            id
            for id, uri in difference.vanished()
            if uri not in report.skipped and not uri.startswith(unreadable) and not Path(uri).exists()
        ]
        return self._store.remove(gone) if gone else 0

    def _commit(self, records: list[Record], skipped: dict[str, str], *, report: IndexReport) -> None:
        """Add records to the store, and encode those whose original has vanished from it meanwhile."""
        if skipped:
            self._store.note_skipped(skipped)
            report.skipped |= skipped
        if not records:
            return
        outcomes = self._store.add(records, encoder=self._encoder.fingerprint)
        report.added += outcomes.count("added")
        report.updated += outcomes.count("updated")
        report.unchanged += outcomes.count("unchanged")
        orphans = [record for record, outcome in zip(records, outcomes, strict=True) if outcome == "orphan"]
        self._commit(*self._encode_again(orphans), report=report)

    def _encode_again(self, orphans: list[Record]) -> tuple[list[Record], dict[str, str]]:
        """The same records with codes, and the reason by path of those that cannot be read by now."""
        encoded, skipped = [], {}
        for orphan in orphans:
            try:
                encoded.append(replace(orphan, codes=self._encoder.encode(orphan.file.path)))
            except PictureError as error:
                skipped[orphan.file.uri] = error.reason
        return encoded, skipped

    # A hash function of the gallery's own

    def refit(
        self,
        *,
        progress: Callable[[Progress], None] = _silent,
        n_workers: int | None = None,
    ) -> None:
        """Fit the hash function anew on the gallery's own pictures and give all pictures new codes.

        The new codes are made beside the present ones, which serve until all are there and then
        make way at once. Interrupted, a further call goes on where it was.

        Raises:
            InputError: too few pictures to fit on.
            GalleryError: some pictures can no longer be read; the present codes stay.
        """
        encoder = self._unfinished_encoder() or self._fit(progress, n_workers)
        encoder.save(_encoder_folder(self.path, encoder.fingerprint))
        self._store.start_recoding(encoder.fingerprint)
        while not self._store.finish_recoding(n_bits=encoder.n_bits):
            self._recode(encoder, progress, n_workers)
        self._encoder = Encoder.load(
            _encoder_folder(self.path, encoder.fingerprint), runtime=encoder.runtime, limits=encoder.limits
        )
        self.refresh()
        self._codes.save()

    def _unfinished_encoder(self) -> Encoder | None:
        fingerprint = self._store.next_encoder()
        if fingerprint is None or not (folder := _encoder_folder(self.path, fingerprint)).exists():
            return None
        return Encoder.load(folder, runtime=self._encoder.runtime, limits=self._encoder.limits)

    def _fit(self, progress: Callable[[Progress], None], n_workers: int | None) -> Encoder:
        paths = self._store.sample(FIT_GRANULES // self._encoder.granules.n_usual)
        features = []
        for done, rows in enumerate(features_of_files(self._encoder, map(Path, paths), n_workers=n_workers)):
            features.append(rows)
            progress(Progress("fitting", done + 1, len(paths), 0))
        n_bits, n_granules = self._encoder.n_bits, sum(map(len, features))
        if n_granules <= n_bits:
            raise InputError(
                f"{self.path}: {len(features)} pictures are too few to fit {n_bits} bits on: they have "
                f"{n_granules} granules, and more than {n_bits} are needed; the present codes stay"
            )
        hash_function = fit_itq(np.concatenate(features), n_bits, whitening=WHITENING)
        return self._encoder.with_hash_function(
            hash_function,
            {"method": "itq", "whitening": WHITENING, "pictures": len(paths), "of": "the gallery"},
        )

    def _recode(self, encoder: Encoder, progress: Callable[[Progress], None], n_workers: int | None) -> None:
        total, done, last, failed = self._store.n_to_recode(), 0, 0, []
        while chunk := self._store.to_recode(limit=BATCH, after=last):
            results = encode_files(encoder, [Path(uri) for _, uri in chunk], n_workers=n_workers)
            codes = {}
            for (id, _), result in zip(chunk, results, strict=True):
                if isinstance(result, Failed):
                    failed.append(result.error)
                elif result.codes is not None:
                    codes[id] = result.codes
            self._store.add_next_codes(codes)
            last, done = chunk[-1][0], done + len(chunk)
            progress(Progress("recoding", done, total, len(failed)))
        if failed:
            raise GalleryError(
                f"{self.path}: {len(failed)} pictures cannot be read any more, so the old codes stay "
                f"(first: {failed[0]}); restore them or remove them with grainhash remove, then refit again"
            )

    # Asking

    def refresh(self) -> None:
        """Take in what other processes have changed; `search` does so by itself."""
        if self._store.info("encoder") != self._encoder.fingerprint:
            self._encoder = Encoder.load(
                _encoder_folder(self.path, self._store.info("encoder")),
                runtime=self._encoder.runtime,
                limits=self._encoder.limits,
            )
        self._codes.refresh()

    def search(
        self,
        source: Source,
        *,
        region: Box = WHOLE,
        k: int = 10,
        granularity: Granularity = "both",
        where: str | None = None,
        name: str | None = None,
    ) -> list[Hit]:
        """Find the pictures that look most like a picture, or like a part of it.

        Args:
            source: path, bytes, `uint8 (h, w, 3)` array or PIL image.
            region: the part of it to look for.
            k: how many pictures, at most.
            granularity: compare with `"whole"` pictures, with the best `"part"` of each, or with
                `"both"`, whichever is nearer.
            where: a filter on metadata; see `docs/where.md`.
            name: how errors call the picture.

        Returns:
            Hits in ascending order of distance, equal ones by ascending id.

        Raises:
            PictureError: the picture cannot be used.
            WhereError: the filter does not parse.
            InputError: `k` or `granularity` makes no sense here.
        """
        self._check_question(k, granularity)
        while True:
            self.refresh()
            encoder = self._encoder
            code = encoder.encode_query(source, region=region, name=name)
            try:
                return self.search_code(
                    code, k=k, granularity=granularity, where=where, encoder=encoder.fingerprint
                )
            except EncoderMismatch:  # a refit ended since: the query needs a code of the new encoder
                continue

    def search_code(
        self,
        code: Codes,
        *,
        k: int = 10,
        granularity: Granularity = "both",
        where: str | None = None,
        encoder: str | None = None,
    ) -> list[Hit]:
        """Find the pictures nearest to a code `(n_bytes,)` of this gallery's encoder; see `search`.

        Args:
            code: made by `Encoder.encode_query`.
            k: see `search`, like `granularity` and `where`.
            granularity: whole, part or both.
            where: a filter on metadata.
            encoder: fingerprint of the encoder that made the code.

        Raises:
            EncoderMismatch: by now the gallery has codes of another encoder than `encoder`.
        """
        self._check_question(k, granularity)
        allow = None if where is None else self._store.ids_where(compile_where(where))
        with self._codes.current() as (wholes, regions):
            if encoder is not None:
                self._store.check_encoder(encoder)
            return self._hits(rank(wholes, regions, code, k, granularity, allow=allow))

    def _check_question(self, k: int, granularity: str) -> None:
        if not 0 <= k <= MAX_K:
            raise InputError(f"k = {k}: ask for 0 to {MAX_K} pictures")
        if granularity not in get_args(Granularity):
            raise InputError(f"granularity {granularity!r}: choose whole, part or both")
        if granularity == "part" and not self._encoder.granules.grids:
            raise InputError(
                f"{self.path}: this gallery has codes of whole pictures only, no parts to search"
            )

    def _hits(self, ranking: Ranking) -> list[Hit]:
        with self._store.reading():
            return self._hits_of_one_state(ranking)

    def _hits_of_one_state(self, ranking: Ranking) -> list[Hit]:
        rows = {row.id: row for row in self._store.pictures(ranking.ids.tolist())}
        hits = []
        for id, distance, whole, part, region in zip(
            *(
                column.tolist()
                for column in (
                    ranking.ids,
                    ranking.distances,
                    ranking.whole,
                    ranking.part,
                    ranking.regions,
                )
            ),
            strict=True,
        ):
            if id not in rows:  # removed by another process since the codes were read
                continue
            row = rows[id]
            hits.append(
                Hit(
                    id=id,
                    uri=row.uri,
                    distance=distance,
                    whole_distance=whole,
                    part_distance=part if part <= self._encoder.n_bits else None,
                    box=WHOLE if region == WHOLE_PICTURE else self._store.box(id, region),
                    width=row.width,
                    height=row.height,
                    meta=row.meta,
                )
            )
        return hits

    def info(self) -> GalleryInfo:
        """What the gallery holds."""
        return GalleryInfo(
            path=str(self.path),
            pictures=len(self),
            copies=self._store.n_copies(),
            regions=self._store.n_regions(),
            n_bits=self._encoder.n_bits,
            encoder=self._encoder.fingerprint,
            encoder_name=self._encoder.config.name,
            hash_method=self._encoder.hash_function.method,
            bytes_on_disk=_bytes_below(self.path),
            skipped=self._store.skipped(),
            meta_keys=self._store.meta_keys(),
        )


class _Labels:
    """Metadata of a picture from where it is: its folders, and a table if there is one."""

    def __init__(self, root: Path, table: MetadataTable | None) -> None:
        self._root = root
        self._table = table

    def __call__(self, path: Path) -> dict[str, Any]:
        relative = PurePosixPath(path.relative_to(self._root).as_posix())
        row = self._table.match(self._root, relative) if self._table is not None else {}
        return {**folder_labels(relative), **row}


class _Batch:
    """Records on their way into the store, committed together; what waits is kept on Ctrl-C too."""

    def __init__(self, commit: Callable[[list[Record], dict[str, str]], None]) -> None:
        self._commit = commit
        self._records: list[Record] = []
        self._skipped: dict[str, str] = {}
        self._since = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or issubclass(kind, KeyboardInterrupt):
            self.commit()

    def add(self, record: Record) -> None:
        self._records.append(record)

    def skip(self, uri: str, reason: str) -> None:
        self._skipped[uri] = reason

    def is_due(self) -> bool:
        return len(self._records) >= BATCH or time.monotonic() - self._since >= BATCH_SECONDS

    def commit(self) -> None:
        records, self._records = self._records, []
        skipped, self._skipped = self._skipped, {}
        self._commit(records, skipped)
        self._since = time.monotonic()


def _prefix(folder: Path) -> str:
    return str(folder).rstrip("/") + "/"


def _encoder_folder(gallery: Path, fingerprint: str) -> Path:
    return gallery / "encoder" / fingerprint[:16]


def _is_text(uri: str) -> bool:
    """Whether a path can be kept in the gallery; names of files may hold bytes that are no UTF-8."""
    return not any("\ud800" <= letter <= "\udfff" for letter in uri)


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # another process tidies up
            total += path.lstat().st_size if path.is_file() else 0
    return total


def _has_strangers(path: Path) -> bool:
    """Whether a folder holds anything but what an interrupted creation of a gallery leaves."""
    return any(
        item.name != "encoder" and not item.name.startswith(".gallery.sqlite") for item in path.iterdir()
    )
