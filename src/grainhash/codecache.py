"""The gallery's codes in memory: a memory-mapped copy of the store, brought up to date by reading little.

`cache/` of a gallery holds at most a few folders, each a copy of all codes at one state of the
store. Opening one takes no reading; what has changed since is read from the store. Deleting the
cache loses nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from grainhash.errors import CodesError
from grainhash.index import Index
from grainhash.store import Store

FORMAT_VERSION = 1

_T = TypeVar("_T", bound=np.generic)

WORTH_WRITING = 20_000
"""Fewer changed pictures than this are read from the store in a blink."""


DRAFT_SECONDS = 3600
"""A copy is written in seconds: a draft older than this was abandoned."""


@dataclass(frozen=True, slots=True)
class State:
    """Where in the store's history some codes stand; see `Store.state`."""

    encoder: str
    last_id: int
    last_removed: int


class CodeCache:
    """Two indexes, of wholes and of regions, that follow a store.

    Args:
        store: whose codes.
        folder: where copies are kept; it need not exist, and nothing fails if it cannot be written.
    """

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._folder = folder
        self._lock = threading.RLock()
        self._unread = threading.Condition(self._lock)
        self._readers = 0
        self._state: State | None = None
        self._copied: State | None = None
        self._whole = Index(8)
        self._regions = Index(8)

    def refresh(self) -> None:
        """Take in whatever any process has changed in the store.

        Much is first copied from the store to the folder, in bounded memory, and then mapped.
        """
        with self._lock:
            if State(*self._store.state()) == self._state:
                return
            self._unread.wait_for(lambda: not self._readers)
            now = State(*self._store.state())
            if now == self._state:  # another thread was first
                return
            self._copy_if_much_changed(now)
            with self._store.reading():
                self._follow(State(*self._store.state()))

    def _follow(self, now: State) -> None:
        known, self._state = self._state, None  # until all is read: an interruption starts over
        if known is None or known.encoder != now.encoder:
            known = self._start_over(now)
        for batch in self._store.codes_after(known.last_id):
            self._whole.add(batch.whole, batch.ids)
            self._regions.add(batch.regions, batch.ids, batch.offsets)
        removed = self._store.removed_after(known.last_removed)
        self._whole.remove_ids(removed)
        self._regions.remove_ids(removed)
        self._state = now

    @contextlib.contextmanager
    def current(self) -> Iterator[tuple[Index, Index]]:
        """The indexes of wholes and regions, up to date and unchanged for as long as this lasts.

        Many threads may read at once; a change waits for all of them, and those that come later for it.
        """
        with self._lock:
            self.refresh()
            self._readers += 1
            indexes = self._whole, self._regions
        try:
            yield indexes
        finally:
            with self._lock:
                self._readers -= 1
                self._unread.notify_all()

    def _copy_if_much_changed(self, now: State) -> None:
        """Write a copy, for this process and the next, if reading what changed would take long."""
        if self._copied is None:
            self._copied = next((copy.state for copy in self._copies(now)), None)
        since = self._copied
        if since is None or since.encoder != now.encoder:
            changes, held = now.last_id, 0
        else:
            changes, held = now.last_id - since.last_id + now.last_removed - since.last_removed, since.last_id
        if changes <= max(WORTH_WRITING, held // 10):
            return
        self._copied = now  # also where it fails: not to be tried at every search
        with contextlib.suppress(OSError):
            self._write()
            self._state = None

    def _copies(self, now: State) -> Iterator[_Copy]:
        """The copies on disk that lead to this state."""
        gallery_id, n_bits = self._store.info("gallery_id"), int(self._store.info("n_bits"))
        for folder in sorted(self._folder.glob("codes-*")):
            copy = _Copy.open(folder, gallery_id=gallery_id, n_bits=n_bits)
            if copy is not None and _leads_to(copy.state, now):
                yield copy

    def _start_over(self, now: State) -> State:
        """Begin with the copy on disk, if there is a good one; returns how far that leads."""
        n_bits = int(self._store.info("n_bits"))
        for copy in self._copies(now):
            self._whole, self._regions = Index(n_bits), Index(n_bits)
            with contextlib.suppress(CodesError):  # damaged: the store has it all
                self._whole.add(copy.whole, copy.ids)
                self._regions.add(copy.regions, copy.ids, copy.offsets)
                return copy.state
        self._whole, self._regions = Index(n_bits), Index(n_bits)
        return State(now.encoder, 0, now.last_removed)

    def _write(self) -> None:
        self._folder.mkdir(exist_ok=True)
        for left in self._folder.glob(".draft-*"):  # by a process that was killed
            if time.time() - left.stat().st_mtime > DRAFT_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
        draft = self._folder / f".draft-{uuid.uuid4().hex}"
        try:
            draft.mkdir()
            with self._store.reading():
                state = State(*self._store.state())
                _write_copy(self._store, draft, state)
            target = self._folder / f"codes-{uuid.uuid4().hex}"
            old = list(self._folder.glob("codes-*"))
            draft.rename(target)
            for folder in old:
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _leads_to(copied: State, now: State) -> bool:
    return (
        copied.encoder == now.encoder
        and copied.last_id <= now.last_id
        and copied.last_removed <= now.last_removed
    )


@dataclass(frozen=True, slots=True)
class _Copy:
    state: State
    ids: NDArray[np.int64]
    whole: NDArray[np.uint8]
    regions: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    @classmethod
    def open(cls, folder: Path, *, gallery_id: str, n_bits: int) -> _Copy | None:
        """A copy of this gallery's codes, memory-mapped; `None` if it is another's or incomplete."""
        try:
            manifest = json.loads((folder / "manifest.json").read_text())
            if (manifest["format_version"], manifest["gallery_id"]) != (FORMAT_VERSION, gallery_id):
                return None
            n, n_regions, n_bytes = manifest["n"], manifest["n_regions"], n_bits // 8
            return cls(
                State(**manifest["state"]),
                _map(folder / "ids.bin", np.int64, (n,)),
                _map(folder / "whole.bin", np.uint8, (n, n_bytes)),
                _map(folder / "regions.bin", np.uint8, (n_regions, n_bytes)),
                _map(folder / "offsets.bin", np.int64, (n + 1,)),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _map(path: Path, dtype: type[_T], shape: tuple[int, ...]) -> NDArray[_T]:
    expected = np.dtype(dtype).itemsize * int(np.prod(shape))
    if path.stat().st_size != expected:
        raise ValueError(f"{path} is not {expected} bytes")
    return np.memmap(path, dtype, "r", shape=shape) if expected else np.empty(shape, dtype)


def _write_copy(store: Store, folder: Path, state: State) -> None:
    """Write the arrays as raw bytes batch by batch, and the manifest when all are safe on disk."""
    n = n_regions = 0
    names = ("ids", "whole", "regions", "offsets")
    with contextlib.ExitStack() as stack:
        files = {name: stack.enter_context((folder / f"{name}.bin").open("wb")) for name in names}
        files["offsets"].write(np.zeros(1, np.int64).tobytes())
        for batch in store.codes_after(0):
            files["ids"].write(batch.ids.tobytes())
            files["whole"].write(batch.whole.tobytes())
            files["regions"].write(batch.regions.tobytes())
            files["offsets"].write((batch.offsets[1:] + n_regions).tobytes())
            n += len(batch.ids)
            n_regions += len(batch.regions)
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
    manifest = {
        "format_version": FORMAT_VERSION,
        "gallery_id": store.info("gallery_id"),
        "state": {field: getattr(state, field) for field in ("encoder", "last_id", "last_removed")},
        "n": n,
        "n_regions": n_regions,
    }
    with (folder / "manifest.json").open("w") as text:
        json.dump(manifest, text)
        text.flush()
        os.fsync(text.fileno())
