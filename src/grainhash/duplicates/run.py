"""Copies by codes alone: groups, pictures inside others, and what two galleries share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from grainhash.duplicates.groups import OTHERS, by_code, check_some, contents, groups_of
from grainhash.duplicates.pairs import Pairs, Part, pairs_between, pairs_within, too_many
from grainhash.duplicates.result import Duplicates, Inside, Leak, Leaks
from grainhash.errors import InputError
from grainhash.store import PictureRow
from grainhash.types import Box, Codes, Progress, silent

NEAR = 0.14
"""The radius by default, as a share of the bits: tuned on altered photographs of our own."""

MOST_TOLD = 1_000_000
"""Pairs of pictures that are listed."""


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
    keys = codes if radius else contents(pictures)
    unique, of_picture = np.unique(keys, axis=0, return_inverse=True)
    pairs = pairs_within(unique, radius, n_threads=n_threads, progress=progress) if radius else Pairs.of([])
    groups = list(groups_of(pictures, of_picture.ravel(), len(unique), pairs))
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
    check_some(others, OTHERS)
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
    rows, starts = by_code(of_rows, n_codes)
    counts = starts[pairs.second + 1] - starts[pairs.second]
    n = int(counts.sum())
    if n > MOST_TOLD:
        raise too_many(MOST_TOLD, radius)
    which = np.repeat(np.arange(len(pairs)), counts)
    within = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)
    return pairs.first[which], rows[starts[pairs.second[which]] + within], pairs.distances[which]


def _checked(pictures: Sequence[PictureRow], codes: Codes, radius: int | None) -> int:
    check_some(pictures)
    n_bits = 8 * codes.shape[1]
    if radius is None:
        return default_radius(n_bits)
    if not 0 <= radius <= n_bits // 2:
        raise InputError(f"{radius} bits: choose a radius from 0 to {n_bits // 2}, half of the bits")
    return radius
