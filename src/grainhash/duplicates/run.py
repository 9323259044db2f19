"""Copies among pictures by the codes of their wholes: groups, and which of each to keep.

Linked pictures need not be copies: A may be near to B and B to C, but A far from C. So a group is not all
that is linked. The best picture of those linked is kept with all that are within the radius of *it*; of the
others again the best, and so on. What is suggested to be removed is always near to the very picture that
stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from grainhash.duplicates.pairs import Pairs, Part, pairs_between, pairs_within, too_many
from grainhash.duplicates.result import Copy, CopyGroup, Duplicates, Inside, Leak, Leaks
from grainhash.errors import InputError
from grainhash.store import PictureRow
from grainhash.types import Box, Codes, Progress, silent

NEAR = 0.14
"""The radius by default, as a share of the bits: tuned on altered photographs of our own."""

MOST_TOLD = 1_000_000
"""Pairs of pictures that are listed."""

TAKEN = "taken"
"""The metadata key of when a picture was taken, as indexing reads it from EXIF."""


def default_radius(n_bits: int) -> int:
    """Bits within which pictures count as copies."""
    return int(NEAR * n_bits)


def find_copies(
    pictures: Sequence[PictureRow],
    codes: Codes,
    radius: int | None = None,
    *,
    where: str | None = None,
    n_threads: int | None = None,
    progress: Callable[[Progress], None] = silent,
) -> Duplicates:
    """Groups of pictures that are copies of one another.

    Args:
        pictures: in ascending order of id.
        codes: of their wholes, `(n, n_bytes)`.
        radius: in bits; `default_radius` by default. With 0 only files with the same bytes are copies.
        where: the filter that chose the pictures.
        n_threads: the answer is the same for any.
        progress: called as codes are compared, where that takes long.

    Raises:
        InputError: no pictures, or a radius that is none or far too large.
    """
    started = perf_counter()
    radius = _checked(pictures, codes, radius)
    keys = codes if radius else _contents(pictures)
    unique, of_picture = np.unique(keys, axis=0, return_inverse=True)
    pairs = pairs_within(unique, radius, n_threads=n_threads, progress=progress) if radius else Pairs.of([])
    groups = list(_groups(pictures, of_picture.ravel(), len(unique), pairs))
    n_bits = 8 * codes.shape[1]
    return Duplicates(len(pictures), n_bits, radius, groups, where=where, seconds=perf_counter() - started)


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """Regions of pictures."""

    codes: Codes
    """`(n_regions, n_bytes)`."""
    owners: NDArray[np.int64]
    """`(n_regions,)`: the place of each one's picture among those that are looked at."""
    numbers: NDArray[np.int64]
    """`(n_regions,)`: its number among the regions of its picture."""


def find_inside(
    pictures: Sequence[PictureRow],
    codes: Codes,
    regions: Regions,
    radius: int,
    *,
    box_of: Callable[[int, int], Box],
    n_threads: int | None = None,
    progress: Callable[[Progress], None] = silent,
) -> list[Inside]:
    """Pictures that are found in a part of another: whole codes near to codes of regions.

    Args:
        pictures: no two of which are copies.
        codes: of their wholes, `(n, n_bytes)`.
        regions: theirs.
        radius: in bits.
        box_of: the box of a region, by the id of its picture and its number.
        n_threads: the answer is the same for any.
        progress: see `find_copies`.

    Raises:
        InputError: more than `MOST_TOLD` regions are near to wholes.
    """
    unique, of_region = np.unique(regions.codes, axis=0, return_inverse=True)
    pairs = pairs_between(codes, unique, radius, n_threads=n_threads, progress=progress)
    places, rows, distances = _with_all(pairs, of_region.ravel(), len(unique), radius)
    owners = regions.owners[rows]
    order = np.lexsort((rows, distances, owners, places))
    order = order[owners[order] != places[order]]
    best = np.ones(len(order), np.bool_)  # the first of each pair of pictures
    best[1:] = (np.diff(places[order]) != 0) | (np.diff(owners[order]) != 0)
    order = order[best]
    found = [
        Inside(inner.id, inner.uri, outer.id, outer.uri, box_of(outer.id, number), distance)
        for inner, outer, number, distance in zip(
            (pictures[place] for place in places[order].tolist()),
            (pictures[place] for place in owners[order].tolist()),
            regions.numbers[rows[order]].tolist(),
            distances[order].tolist(),
            strict=True,
        )
    ]
    return sorted(found, key=lambda each: (each.distance, each.id, each.of_id))


def find_leaks(
    pictures: Sequence[PictureRow],
    codes: Codes,
    others: Sequence[PictureRow],
    other_codes: Codes,
    radius: int | None = None,
    *,
    n_threads: int | None = None,
    progress: Callable[[Progress], None] = silent,
) -> Leaks:
    """Pictures that are in two sets, such as one to train on and one to test on.

    The arguments and errors are those of `find_copies`.
    """
    started = perf_counter()
    radius = _checked(pictures, codes, radius)
    if not others:
        raise InputError("the other gallery has no pictures")
    unique, of_other = np.unique(other_codes, axis=0, return_inverse=True)
    pairs = pairs_between(codes, unique, radius, n_threads=n_threads, progress=progress)
    found = _with_all(pairs, of_other.ravel(), len(unique), radius)
    leaks = []
    for place, number, distance in zip(*(each.tolist() for each in found), strict=True):
        own, other = pictures[place], others[number]
        is_exact = own.sha256 == other.sha256
        if radius or is_exact:
            leaks.append(Leak(own.id, own.uri, other.id, other.uri, distance, is_exact))
    leaks.sort(key=lambda leak: (not leak.is_exact, leak.distance, leak.id, leak.other_id))
    n_bits = 8 * codes.shape[1]
    return Leaks(len(pictures), len(others), n_bits, radius, leaks, perf_counter() - started)


def _with_all(pairs: Pairs, of_rows: NDArray[np.int64], n_codes: int, radius: int) -> Part:
    """The same pairs of every row that has a pair's second code; `of_rows` is the code of each."""
    by_code, starts = _by_code(of_rows, n_codes)
    counts = starts[pairs.second + 1] - starts[pairs.second]
    n = int(counts.sum())
    if n > MOST_TOLD:
        raise too_many(MOST_TOLD, radius)
    which = np.repeat(np.arange(len(pairs)), counts)
    within = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)
    return pairs.first[which], by_code[starts[pairs.second[which]] + within], pairs.distances[which]


def _by_code(of_rows: NDArray[np.int64], n_codes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows by their code; those of code `i` begin at `starts[i]`."""
    order = np.argsort(of_rows, kind="stable")
    return order, np.searchsorted(of_rows[order], np.arange(n_codes + 1))


def _checked(pictures: Sequence[PictureRow], codes: Codes, radius: int | None) -> int:
    if not pictures:
        raise InputError("there are no pictures here to compare")
    n_bits = 8 * codes.shape[1]
    if radius is None:
        return default_radius(n_bits)
    if not 0 <= radius <= n_bits // 2:
        raise InputError(f"{radius} bits: choose a radius from 0 to {n_bits // 2}, half of the bits")
    return radius


def _contents(pictures: Sequence[PictureRow]) -> Codes:
    """The SHA-256 of each file, `(n, 32)`."""
    return np.frombuffer(b"".join(bytes.fromhex(row.sha256) for row in pictures), np.uint8).reshape(-1, 32)


def _groups(
    pictures: Sequence[PictureRow], of_picture: NDArray[np.int64], n_codes: int, pairs: Pairs
) -> Iterator[CopyGroup]:
    neighbours, starts = _adjacent(pairs, n_codes)
    by_code, firsts = _by_code(of_picture, n_codes)
    linked = (np.diff(firsts) > 1) | (np.diff(starts) > 0)
    chains = _components(pairs, n_codes)
    facts = {place: _facts(pictures[place]) for place in np.flatnonzero(linked[of_picture]).tolist()}

    def worth(place: int) -> tuple[int, int, str, int]:
        """Ascending: the largest picture, the largest file, the oldest, the first."""
        row, (size, date) = pictures[place], facts[place]
        return -row.width * row.height, -(size or 0), date, row.id

    left, found = set(facts), []
    for place in sorted(facts, key=worth):
        if place not in left:
            continue
        left.discard(place)
        code, keep = int(of_picture[place]), pictures[place]
        near = slice(starts[code], starts[code + 1])
        within = [(code, 0), *zip(neighbours[0][near].tolist(), neighbours[1][near].tolist(), strict=True)]
        copies = []
        for other, distance in within:
            for copy in by_code[firsts[other] : firsts[other + 1]].tolist():
                if copy in left:
                    left.discard(copy)
                    copies.append(_copy(pictures[copy], facts[copy], distance, keep))
        if copies:
            copies.sort(key=lambda copy: (not copy.is_exact, copy.distance, copy.id))
            found.append((int(chains[code]), _copy(keep, facts[place], 0, keep), copies))
    order = sorted(found, key=lambda group: (group[0], group[1].id))
    numbers = {chain: number for number, chain in enumerate(dict.fromkeys(chain for chain, _, _ in order), 1)}
    for number, (chain, keep_copy, copies) in enumerate(order, 1):
        yield CopyGroup(number, numbers[chain], keep_copy, copies)


def _adjacent(pairs: Pairs, n: int) -> tuple[tuple[NDArray[np.int64], NDArray[np.int32]], NDArray[np.int64]]:
    """The neighbours of each code and their distances, nearest first; those of `i` begin at `starts[i]`."""
    own = np.concatenate([pairs.first, pairs.second])
    others = np.concatenate([pairs.second, pairs.first])
    distances = np.concatenate([pairs.distances, pairs.distances])
    order = np.lexsort((others, distances, own))
    return (others[order], distances[order]), np.searchsorted(own[order], np.arange(n + 1))


def _components(pairs: Pairs, n: int) -> NDArray[np.int64]:
    """The least code that each is linked to, by whatever chain of pairs."""
    roots = np.arange(n)
    while True:
        before = roots.copy()
        least = np.minimum(roots[pairs.first], roots[pairs.second])
        np.minimum.at(roots, pairs.first, least)
        np.minimum.at(roots, pairs.second, least)
        roots = np.minimum(roots, roots[roots])
        if np.array_equal(roots, before):
            return roots


def _facts(row: PictureRow) -> tuple[int | None, str]:
    """The size of a picture's file, and when it was taken or else added."""
    taken = row.meta.get(TAKEN)
    try:
        size: int | None = Path(row.uri).stat().st_size
    except OSError:
        size = None
    return size, taken if isinstance(taken, str) else row.added_at


def _copy(row: PictureRow, facts: tuple[int | None, str], distance: int, keep: PictureRow) -> Copy:
    size, date = facts
    same = row.sha256 == keep.sha256
    return Copy(row.id, row.uri, row.width, row.height, size, date, distance, same)
