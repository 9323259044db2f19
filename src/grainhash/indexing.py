"""Filling a gallery: what a folder holds against what the store has, encoded and committed in batches.

Interrupted at any moment, by an exception or by the end of the process, it leaves whole batches;
the next run finds by name, size and time of change what is left, and does nothing twice.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Self

from grainhash.encoder.encoder import Encoder, Granules
from grainhash.encoder.pipeline import Failed, encode_files
from grainhash.errors import GalleryError, InputError, PictureUnreadable
from grainhash.folder import absolute, below, is_text, look_at, walk
from grainhash.metadata import MetadataTable, folder_labels
from grainhash.store import FolderDifference, Record, Store
from grainhash.types import Box, File, Progress, silent

BATCH = 256
"""Pictures a transaction, at most."""

BATCH_SECONDS = 1.0
"""A batch is committed at the latest after this time, full or not."""

RELABEL_BATCH = 10_000
"""Pictures whose metadata are replaced in one transaction, at most."""


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


class Indexing:
    """One run that takes pictures into a store.

    Args:
        store: where to.
        encoder: the one whose codes the store holds.
        boxes_of: regions of a picture that somebody else found, best first, by its path.
        progress: called after every picture.
        n_workers: cores to encode on; all of this process by default.
    """

    def __init__(
        self,
        store: Store,
        encoder: Encoder,
        *,
        boxes_of: Callable[[Path], Sequence[Box]] = lambda path: (),
        progress: Callable[[Progress], None] = silent,
        n_workers: int | None = None,
    ) -> None:
        self._store = store
        self._encoder = encoder
        self._boxes_of = boxes_of
        self._progress = progress
        self._n_workers = n_workers
        self._report = IndexReport()
        self._started = time.monotonic()

    def folder(self, folder: Path | str, *, skip: Path, metadata: MetadataTable | None = None) -> IndexReport:
        """Bring the store in line with a folder; see `Gallery.index`. `skip` is a folder not to enter."""
        root = absolute(folder)
        if not root.is_dir():
            raise InputError(f"{root}: no such folder; nothing was changed")
        if not is_text(str(root)):
            raise InputError(f"{root}: its name is not valid UTF-8; rename the folder")
        unreadable: dict[str, str] = {}
        difference = self._store.compare_folder(
            below(root), walk(root, skip=skip, report=unreadable.__setitem__)
        )
        if difference.n_seen == 0 and difference.n_known > 0:
            raise GalleryError(
                f"{root}: no pictures there, but the gallery has {difference.n_known} from it; if its disk "
                f"is not mounted, mount it; if they are gone for good: grainhash remove '{root}'"
            )
        self._store.forget_skipped(below(root))
        self._skip(unreadable)
        self._report.unchanged = difference.n_seen - difference.n_todo
        labels = _Labels(root, metadata)
        if metadata is not None:
            self._relabel(difference, labels)
        self._encode(difference.todo(), difference.n_todo, labels)
        self._remove_vanished(difference)
        if metadata is not None:
            self._report.unmatched = metadata.unmatched()
        return self._ended()

    def files(self, paths: Iterable[Path | str], meta: Mapping[str, Any]) -> IndexReport:
        """Take in single files; see `Gallery.add`."""
        files = []
        for path in paths:
            try:
                files.append(look_at(absolute(path)))
            except PictureUnreadable as error:
                self._report.skipped[error.name] = error.reason
        self._encode(files, len(files), lambda path, own: {**own, **meta})
        return self._ended()

    def _ended(self) -> IndexReport:
        self._report.seconds = time.monotonic() - self._started
        return self._report

    def _encode(self, files: Iterable[File], total: int, labels: _Labelling) -> None:
        """Encode files and commit them batch by batch; what is done when interrupted is kept."""
        if total == 0:
            return
        waiting: deque[File] = deque()

        def paths() -> Iterator[Path]:
            for file in files:
                waiting.append(file)
                yield file.path

        results = encode_files(
            self._encoder,
            paths(),
            is_known=self._store.has_content,
            cut=self._cut,
            n_workers=self._n_workers,
        )
        skipped = 0
        with closing(results), _Batch(self._commit) as batch:
            for done, result in enumerate(results, 1):
                file = waiting.popleft()
                if isinstance(result, Failed):
                    skipped += 1
                    batch.skip(file.uri, result.error.reason)
                else:
                    meta = labels(result.path, result.meta)
                    batch.add(Record(file, result.sha256, result.codes, meta))
                if batch.is_due() or done == total:
                    batch.commit()
                self._progress(Progress("encoding", done, total, skipped))

    def _cut(self, path: Path, data: bytes) -> Granules:
        boxes = self._boxes_of(path)
        if not isinstance(boxes, Sequence) or not all(isinstance(box, Box) for box in boxes):
            raise InputError(f"{path}: boxes_of gave {boxes!r:.80}; it is to give a list of Box")
        return self._encoder.cut(data, name=str(path), boxes=boxes)

    def _commit(self, records: list[Record], skipped: dict[str, str]) -> None:
        """Add records to the store, and encode those whose original has vanished from it meanwhile."""
        self._skip(skipped)
        if not records:
            return
        outcomes = self._store.add(records, encoder=self._encoder.fingerprint)
        self._report.added += outcomes.count("added")
        self._report.updated += outcomes.count("updated")
        self._report.unchanged += outcomes.count("unchanged")
        orphans = [record for record, outcome in zip(records, outcomes, strict=True) if outcome == "orphan"]
        if orphans:
            self._commit(*self._encode_again(orphans))

    def _encode_again(self, orphans: list[Record]) -> tuple[list[Record], dict[str, str]]:
        """The same records with codes, and the reason by path of those that cannot be read by now."""
        encoded, skipped = [], {}
        paths = [orphan.file.path for orphan in orphans]
        results = encode_files(self._encoder, paths, cut=self._cut, n_workers=1)
        for orphan, result in zip(orphans, results, strict=True):
            if isinstance(result, Failed):
                skipped[orphan.file.uri] = result.error.reason
            else:
                encoded.append(replace(orphan, sha256=result.sha256, codes=result.codes))
        return encoded, skipped

    def _skip(self, reasons: Mapping[str, str]) -> None:
        if reasons:
            self._store.note_skipped(reasons)
            self._report.skipped |= reasons

    def _relabel(self, difference: FolderDifference, labels: _Labels) -> None:
        """Give pictures that are in the gallery already what a metadata table says of them now."""
        changed: dict[int, dict[str, Any]] = {}

        def commit() -> None:
            self._store.set_meta(changed)
            self._report.relabelled += len(changed)
            changed.clear()

        for id, uri, meta in difference.known():
            new = labels(Path(uri), meta)
            if new != meta:
                changed[id] = new
            if len(changed) >= RELABEL_BATCH:
                commit()
        commit()

    def _remove_vanished(self, difference: FolderDifference) -> None:
        """Remove what the walk did not find and what really is no longer there."""
        skipped = self._report.skipped
        below_unreadable = tuple(below(Path(path)) for path in skipped)
        gone = [
            id
            for id, uri in difference.vanished()
            if uri not in skipped and not uri.startswith(below_unreadable) and _is_gone(Path(uri))
        ]
        if gone:
            self._report.removed = self._store.remove(gone)


_Labelling = Callable[[Path, Mapping[str, Any]], dict[str, Any]]
"""From a picture's path and what is known of it already to its metadata."""


def _is_gone(path: Path) -> bool:
    try:
        return not path.exists()
    except OSError:  # nobody can tell: a folder that may not be entered, a disk that fails
        return False


class _Labels:
    """Metadata of a picture from where it is: its folders, and a table if there is one."""

    def __init__(self, root: Path, table: MetadataTable | None) -> None:
        self._root = root
        self._table = table

    def __call__(self, path: Path, own: Mapping[str, Any]) -> dict[str, Any]:
        """`own` is what is known of the picture already; the table has the last word."""
        relative = PurePosixPath(path.relative_to(self._root).as_posix())
        row = self._table.match(self._root, relative) if self._table is not None else {}
        return {**own, **folder_labels(relative), **row}


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
