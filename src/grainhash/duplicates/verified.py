"""Copies that were looked at: groups, pictures inside others, and what two galleries share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from grainhash.duplicates.groups import OTHERS, check_some, contents, groups_of
from grainhash.duplicates.looks import Agreement
from grainhash.duplicates.pairs import Pairs
from grainhash.duplicates.result import MOST, Duplicates, Inside, Leak, Leaks, Likeness, Unread
from grainhash.duplicates.verify import Pair, Seen, look
from grainhash.images import Limits
from grainhash.store import PictureRow
from grainhash.types import Codes, Progress, silent


def originals(pictures: Sequence[PictureRow]) -> NDArray[np.int64]:
    """The rows of pictures that stand for all with the same bytes, ascending: `(n,)`.

    Raises:
        InputError: no pictures.
    """
    check_some(pictures)
    return np.sort(_by_content(pictures)[0])


def verified_copies(
    pictures: Sequence[PictureRow],
    codes: Codes,
    candidates: NDArray[np.int64],
    limits: Limits,
    *,
    where: str | None = None,
    n_threads: int | None = None,
    progress: Callable[[Progress], None] = silent,
) -> Duplicates:
    """Groups of pictures that were looked at and are copies of one another, and pictures inside others.

    Args:
        pictures: in ascending order of id, at least one.
        codes: of their wholes, `(n, n_bytes)`.
        candidates: `(m, 2)`, rows of pictures that may be copies, of `originals` alone.
        limits: how much a picture may cost.
        where: the filter that chose the pictures.
        n_threads: the answer is the same for any.
        progress: see `grainhash.duplicates.verify.look`.

    Raises:
        GalleryWriteError: no room for what is looked at.
        MissingExtra: OpenCV is not installed.
    """
    started = perf_counter()
    firsts, of_picture = _by_content(pictures)
    seen = look(pictures, candidates, limits, n_threads=n_threads, progress=progress)
    copies = [pair for pair, agrees in seen.pairs.items() if min(agrees.of_first, agrees.of_second) >= MOST]
    groups = list(groups_of(pictures, of_picture, len(firsts), _pairs(copies, codes, of_picture)))
    removed = {copy.id for group in groups for copy in group.copies}
    distances = _distances(codes, *_rows(seen.pairs)).tolist()
    likenesses = [
        _likeness(pictures, pair, agrees, distance)
        for (pair, agrees), distance in zip(seen.pairs.items(), distances, strict=True)
    ]
    return Duplicates(
        len(pictures),
        8 * codes.shape[1],
        None,
        groups,
        [each for likeness in likenesses for each in _inside(likeness, removed)],
        where=where,
        seconds=perf_counter() - started,
        likenesses=likenesses,
        unread=_unread(pictures, seen),
    )


def verified_leaks(
    pictures: Sequence[PictureRow],
    codes: Codes,
    others: Sequence[PictureRow],
    other_codes: Codes,
    candidates: NDArray[np.int64],
    limits: Limits,
    *,
    n_threads: int | None = None,
    progress: Callable[[Progress], None] = silent,
) -> Leaks:
    """Pictures of two galleries that were looked at and show the same, wholly or in part.

    Args:
        pictures: of one gallery, in ascending order of id.
        codes: of their wholes, `(n, n_bytes)`.
        others: of the other.
        other_codes: of these.
        candidates: `(m, 2)`, a row of `pictures` and one of `others` each.
        limits: how much a picture may cost.
        n_threads: the answer is the same for any.
        progress: see `grainhash.duplicates.verify.look`.

    Raises:
        InputError: no pictures, here or there.
        GalleryWriteError: no room for what is looked at.
        MissingExtra: OpenCV is not installed.
    """
    started = perf_counter()
    check_some(pictures)
    check_some(others, OTHERS)
    n, n_others = len(pictures), len(others)
    same_files = _same_files(pictures, others)
    pictures, codes = [*pictures, *others], np.concatenate([codes, other_codes])
    seen = look(
        pictures,
        np.add(candidates, (0, n)),
        limits,
        may_match=lambda first, second: first < n <= second,
        n_threads=n_threads,
        progress=progress,
    )
    found = {pair: agrees.of_first for pair, agrees in seen.pairs.items()}
    found |= dict.fromkeys(same_files, 1.0)
    distances = _distances(codes, *_rows(found)).tolist()
    leaks = []
    for ((first, second), share), distance in zip(found.items(), distances, strict=True):
        a, b = pictures[first], pictures[second]
        leaks.append(Leak(a.id, a.uri, b.id, b.uri, distance, a.sha256 == b.sha256, share))
    leaks.sort(key=lambda leak: (not leak.is_exact, leak.distance, leak.id, leak.other_id))
    return Leaks(
        n,
        n_others,
        8 * codes.shape[1],
        None,
        leaks,
        perf_counter() - started,
        _unread(pictures, seen),
    )


def _by_content(pictures: Sequence[PictureRow]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first row of each content, and the number of each row's content."""
    _, firsts, of_picture = np.unique(contents(pictures), axis=0, return_index=True, return_inverse=True)
    return firsts, of_picture.ravel()


def _same_files(pictures: Sequence[PictureRow], others: Sequence[PictureRow]) -> list[Pair]:
    """Rows of files that are the same, those of `others` after those of `pictures`."""
    rows: dict[str, list[int]] = {}
    for row, picture in enumerate(others, len(pictures)):
        rows.setdefault(picture.sha256, []).append(row)
    return [(row, same) for row, picture in enumerate(pictures) for same in rows.get(picture.sha256, [])]


def _rows(pairs: Collection[Pair]) -> NDArray[np.int64]:
    """First and second rows, `(2, n)`."""
    return np.array(list(pairs), np.int64).reshape(-1, 2).T


def _pairs(rows: list[Pair], codes: Codes, of_picture: NDArray[np.int64]) -> Pairs:
    """Of contents."""
    first, second = _rows(rows)
    distances = _distances(codes, first, second)
    numbers = np.sort(np.stack([of_picture[first], of_picture[second]]), axis=0)
    return Pairs.of([(numbers[0], numbers[1], distances)])


def _distances(codes: Codes, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int32]:
    distances: NDArray[np.int32] = np.bitwise_count(codes[first] ^ codes[second]).sum(axis=1, dtype=np.int32)
    return distances


def _likeness(pictures: Sequence[PictureRow], pair: Pair, agrees: Agreement, distance: int) -> Likeness:
    first, second = (pictures[row] for row in pair)
    return Likeness(
        first.id,
        first.uri,
        second.id,
        second.uri,
        agrees.of_first,
        agrees.of_second,
        agrees.box_in_first,
        agrees.box_in_second,
        agrees.alike,
        distance,
    )


def _inside(seen: Likeness, removed: set[int]) -> list[Inside]:
    """The one of two pictures that is inside the other, if neither is a copy that may go."""
    if {seen.id, seen.other_id} & removed or (seen.share >= MOST) == (seen.other_share >= MOST):
        return []
    if seen.share >= MOST:
        return [Inside(seen.id, seen.uri, seen.other_id, seen.other_uri, seen.other_box, seen.distance)]
    return [Inside(seen.other_id, seen.other_uri, seen.id, seen.uri, seen.box, seen.distance)]


def _unread(pictures: Sequence[PictureRow], seen: Seen) -> list[Unread]:
    return [Unread(pictures[row].id, pictures[row].uri, why) for row, why in sorted(seen.unread.items())]
