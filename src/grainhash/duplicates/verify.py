"""Copies that were looked at: codes say which pictures may be copies, the pictures themselves which are.

Codes of heavily altered copies are no nearer than those of unrelated photographs, so no radius tells them.
But they are among the nearest: each picture is compared with those whose wholes and regions its own code is
nearest to, and with what these in turn turn out to be copies of.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryFile, gettempdir

import numpy as np
from numpy.typing import NDArray

from grainhash.duplicates.looks import LOOK, Agreement, agreement, look_at
from grainhash.encoder.pipeline import in_order
from grainhash.errors import GalleryWriteError, PictureError
from grainhash.features.sift import import_cv2
from grainhash.images import Limits
from grainhash.index import Index
from grainhash.store import PictureRow
from grainhash.types import Codes, Progress, silent

NEAREST = 20
"""Pictures that each is compared with for their wholes, and as many for their regions."""

BATCH = 256
"""Codes that are searched for at once."""

CHUNK = 64
"""Pairs that a thread compares before it says so."""

EXPANDED = 32
"""Copies of one picture that are compared with each other because they are copies of it."""

Pair = tuple[int, int]


def nearest(
    codes: Codes,
    ids: NDArray[np.int64],
    wholes: Index,
    regions: Index,
    *,
    progress: Callable[[Progress], None] = silent,
) -> NDArray[np.int64]:
    """Pictures that may be copies of some: those whose wholes, and whose regions, are nearest to their codes.

    Args:
        codes: `(n, n_bytes)`, of wholes.
        ids: of the pictures that may be found, ascending.
        wholes: of a gallery, by id.
        regions: the same.
        progress: called as codes are compared.

    Returns:
        `(m, 2)`: rows of `codes` and places in `ids`. Where a gallery's own codes ask it, each is also near
        to itself.
    """
    found = [np.empty((0, 2), np.int64)]
    for start in range(0, len(codes), BATCH):
        some = np.ascontiguousarray(codes[start : start + BATCH])
        for index in (wholes, regions):
            near = index.search(some, NEAREST + 1, allow=ids).ids
            rows = np.repeat(np.arange(start, start + len(some)), near.shape[1])
            found.append(np.stack([rows, np.searchsorted(ids, near.ravel())], axis=1))
        progress(Progress("compare", start + len(some), len(codes), 0))
    return np.concatenate(found)


@dataclass(frozen=True, slots=True)
class Seen:
    """What looking at pictures gave."""

    pairs: dict[Pair, Agreement]
    """By rows, the lesser first."""
    unread: dict[int, str]
    """Rows that could not be looked at, with why."""


def look(
    pictures: Sequence[PictureRow],
    candidates: NDArray[np.int64],
    limits: Limits,
    *,
    may_match: Callable[[int, int], bool] = lambda first, second: True,
    n_threads: int | None = None,
    progress: Callable[[Progress], None] = silent,
) -> Seen:
    """Look at pictures, and say which show the same.

    Looks are kept in a file without a name, 23 KB each, so that memory does not grow with the pictures.

    Args:
        pictures: by row, at least one.
        candidates: `(m, 2)`, rows of pictures that may be copies.
        limits: how much a picture may cost.
        may_match: rows that are compared if both show what a third does.
        n_threads: as many as there are cores by default; the answer is the same for any.
        progress: called after every picture that was looked at (`look`), and as they are compared (`verify`).

    Raises:
        GalleryWriteError: no room for the looks.
        MissingExtra: OpenCV is not installed.
    """
    import_cv2()
    n = len(pictures)
    left = _numbers(candidates, n)
    tried = np.empty(0, np.int64)
    seen: dict[Pair, Agreement] = {}
    with _kept(n) as looks:
        wanted = np.unique(np.concatenate(np.divmod(left, n))).tolist()
        unread = _look(pictures, wanted, looks, limits, n_threads, progress)
        while len(left := _of_readable(np.setdiff1d(left, tried, assume_unique=True), unread, n)):
            new = _compared(looks, left, n_threads, len(tried), progress)
            tried = np.union1d(tried, left)
            seen |= new
            further = [pair for pair in _two_steps(seen, new) if may_match(*pair)]
            left = _numbers(np.array(further, np.int64).reshape(-1, 2), n)
    return Seen(dict(sorted(seen.items())), unread)


def _numbers(pairs: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Pairs of rows as one number each, `first * n + second` with `first < second`: ascending, none twice."""
    first, second = pairs.min(axis=1), pairs.max(axis=1)
    return np.unique((first * n + second)[first < second])


def _of_readable(numbers: NDArray[np.int64], unread: dict[int, str], n: int) -> NDArray[np.int64]:
    bad = np.array(sorted(unread), np.int64)
    first, second = np.divmod(numbers, n)
    return numbers[~np.isin(first, bad) & ~np.isin(second, bad)]


@contextmanager
def _kept(n: int) -> Iterator[NDArray[np.void]]:
    with TemporaryFile() as file:
        size = n * LOOK.itemsize
        try:
            file.truncate(size)
            if hasattr(os, "posix_fallocate"):  # room now, or an error now: not a killed process later
                os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise GalleryWriteError(
                f"{gettempdir()}: no room for {size / 1e6:,.0f} MB of what is looked at ({error.strerror}); "
                "set TMPDIR to a folder with more"
            ) from error
        yield np.memmap(file, LOOK, mode="r+", shape=(n,))


def _look(
    pictures: Sequence[PictureRow],
    rows: list[int],
    looks: NDArray[np.void],
    limits: Limits,
    n_threads: int | None,
    progress: Callable[[Progress], None],
) -> dict[int, str]:
    def one(some: list[int]) -> str | None:
        (row,) = some
        try:
            looks[row] = look_at(Path(pictures[row].uri), pictures[row].sha256, limits)
        except PictureError as error:
            return error.reason
        return None

    unread = {}
    with closing(in_order(one, rows, 1, n_threads)) as whys:
        for done, (row, why) in enumerate(zip(rows, whys, strict=True), 1):
            if why is not None:
                unread[row] = why
            progress(Progress("look", done, len(rows), len(unread)))
    return unread


def _compared(
    looks: NDArray[np.void],
    numbers: NDArray[np.int64],
    n_threads: int | None,
    n_before: int,
    progress: Callable[[Progress], None],
) -> dict[Pair, Agreement]:
    def some(chunk: list[NDArray[np.int64]]) -> list[tuple[Pair, Agreement]]:
        pairs = zip(*(rows.tolist() for rows in np.divmod(chunk[0], len(looks))), strict=True)
        found = ((pair, agreement(looks[pair[0]], looks[pair[1]])) for pair in pairs)
        return [(pair, agrees) for pair, agrees in found if agrees is not None]

    seen: dict[Pair, Agreement] = {}
    pieces = (numbers[start : start + CHUNK] for start in range(0, len(numbers), CHUNK))
    with closing(in_order(some, pieces, 1, n_threads)) as chunks:
        for number, chunk in enumerate(chunks, 1):
            seen.update(chunk)
            done = n_before + min(number * CHUNK, len(numbers))
            progress(Progress("verify", done, n_before + len(numbers), 0))
    return seen


def _two_steps(seen: Collection[Pair], new: Collection[Pair]) -> set[Pair]:
    """Pairs of pictures that show what the same third one does, of what is new."""
    near: defaultdict[int, list[int]] = defaultdict(list)
    for first, second in sorted(seen):
        near[first].append(second)
        near[second].append(first)
    changed = {row for pair in new for row in pair}
    return {pair for row in changed for pair in combinations(sorted(near[row][:EXPANDED]), 2)}
