"""The gallery: a folder of codes that answers which pictures, and where in them, look like this one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from grainhash.codecache import CodeCache
from grainhash.encoder.encoder import Encoder
from grainhash.errors import EncoderMismatch, GalleryFormatError, GalleryWriteError, InputError
from grainhash.folder import absolute, below, is_text
from grainhash.images import Source
from grainhash.indexing import Indexing, IndexReport
from grainhash.metadata import MetadataTable, check_metadata
from grainhash.refit import refit
from grainhash.search import WHOLE_PICTURE, Ranking, rank
from grainhash.store import Store, encoder_folder
from grainhash.types import WHOLE, Box, Codes, Granularity, Hit, Progress, silent
from grainhash.where import compile_where

MAX_K = 1_000_000


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
                new.save(encoder_folder(path, new.fingerprint))
            except OSError as error:
                raise GalleryWriteError(
                    f"{path}: cannot create a gallery there ({error.strerror}); make room, or choose a "
                    "folder you may write to"
                ) from None
            Store.create(file, encoder=new.fingerprint, n_bits=new.n_bits)
        store = Store(file)
        own = Encoder.load(encoder_folder(path, store.info("encoder")), runtime=runtime)
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
        progress: Callable[[Progress], None] = silent,
        n_workers: int | None = None,
    ) -> IndexReport:
        """Bring the gallery in line with a folder: new, changed and vanished pictures.

        Interrupted at any moment, by an exception or by the end of the process, it leaves whole
        batches; running it again does what is left and nothing twice.

        Args:
            folder: searched with all folders below it; links to folders are not followed.
            metadata: values by path, beside folder names and EXIF.
            progress: called after every picture.
            n_workers: cores to encode on; all of this process by default.

        Raises:
            InputError: there is no such folder.
            GalleryError: the folder is empty and the gallery has pictures from it.
            GalleryWriteError: disk full or read-only; all earlier batches are safe.
        """
        self._follow_encoder()
        run = Indexing(self._store, self._encoder, progress=progress, n_workers=n_workers)
        report = run.folder(folder, skip=self.path, metadata=metadata)
        self.refresh()
        return report

    def add(
        self,
        paths: Iterable[Path | str],
        *,
        meta: Mapping[str, Any] | None = None,
        progress: Callable[[Progress], None] = silent,
    ) -> IndexReport:
        """Add single picture files, each in place of what the gallery has of that path.

        Args:
            paths: files of any name.
            meta: metadata for all of them.
            progress: called after every picture.
        """
        self._follow_encoder()
        values = check_metadata(meta or {}, "meta")
        return Indexing(self._store, self._encoder, progress=progress).files(paths, values)

    def remove(self, what: Iterable[Path | str | int]) -> int:
        """Remove pictures by path, by id, or all below a folder; returns how many there were.

        Raises:
            InputError: one of them names nothing in the gallery. Nothing was removed.
        """
        what = list(what)
        ids: set[int] = set()
        for item in what:
            found = self._find(item)
            if not found:
                raise InputError(f"{item}: not in the gallery; nothing was removed")
            ids |= found
        removed = self._store.remove(sorted(ids))
        for item in what:
            if not isinstance(item, int):
                self._store.forget_skipped(below(absolute(item)))
        return removed

    def _find(self, item: Path | str | int) -> set[int]:
        if isinstance(item, int):
            return {row.id for row in self._store.pictures([item])} if 0 < item < 2**63 else set()
        uri = str(absolute(item))
        if not is_text(uri):
            return set()
        found = set(self._store.ids_of_uris([uri]).values())
        return found or set(self._store.ids_below(below(Path(uri))))

    # A hash function of the gallery's own

    def refit(
        self,
        *,
        progress: Callable[[Progress], None] = silent,
        n_workers: int | None = None,
    ) -> None:
        """Fit the hash function anew on the gallery's own pictures and give all pictures new codes.

        The new codes are made beside the present ones, which serve until all are there and then
        make way at once. Interrupted, a further call goes on where it was.

        Raises:
            InputError: too few pictures to fit on.
            GalleryError: some pictures can no longer be read; the present codes stay.
        """
        self._follow_encoder()
        refit(self._store, self._encoder, progress=progress, n_workers=n_workers)
        self.refresh()

    # Asking

    def refresh(self) -> None:
        """Take in what other processes have changed; `search` does so by itself."""
        self._follow_encoder()
        self._codes.refresh()

    def _follow_encoder(self) -> None:
        """Load the gallery's encoder anew if some process has refitted it."""
        if self._store.info("encoder") != self._encoder.fingerprint:
            self._encoder = Encoder.load(
                encoder_folder(self.path, self._store.info("encoder")),
                runtime=self._encoder.runtime,
                limits=self._encoder.limits,
            )

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
        self._follow_encoder()
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
