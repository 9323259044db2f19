"""All pairs of codes within a radius, exactly: by blocks that must agree, or where that is dearer by a scan.

Two codes that differ in at most `radius` bits agree in one of `radius + 1` blocks of bits at least, by the
pigeonhole principle (Norouzi, Punjani, Fleet, "Fast Search in Hamming Space with Multi-Index Hashing", CVPR
2012; Manku, Jain, Das Sarma, "Detecting Near-Duplicates for Web Crawling", WWW 2007). So each block sorts the
codes, and only codes that agree in it are compared. Codes that are the same are compared once for all.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

from grainhash.codes import check_codes
from grainhash.encoder.network import usable_cores
from grainhash.errors import CodesError, InputError
from grainhash.index import Index
from grainhash.types import Codes

CHUNK = 2**20
"""Candidates that a thread compares at once: some tens of megabytes."""

MOST = 50_000_000
"""Pairs of different codes: more are no answer, but a radius that is too large."""

SCANNED = 60
"""Distances that a scan finds in the time that blocks take for one candidate, measured."""

QUERIES = 1024
"""Queries of a scan at once."""

Words = NDArray[np.uint64]

Part = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]
"""First rows, second rows and distances of some pairs."""


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs of rows, in ascending order of `(first, second)`."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    distances: NDArray[np.int32]
    """In bits."""

    def __len__(self) -> int:
        return len(self.first)

    @classmethod
    def sorted(cls, parts: list[Part]) -> Self:
        """Each pair once, of parts that may repeat some."""
        first, second, distances = (
            np.concatenate([np.empty(0, dtype), *(part[at] for part in parts)])
            for at, dtype in enumerate((np.int64, np.int64, np.int32))
        )
        order = np.lexsort((second, first))
        first, second, distances = first[order], second[order], distances[order]
        new = np.ones(len(first), np.bool_)
        new[1:] = (np.diff(first) != 0) | (np.diff(second) != 0)
        return cls(first[new], second[new], distances[new])


def pairs_within(codes: Codes, radius: int, *, n_threads: int | None = None) -> Pairs:
    """All pairs `first < second` of different codes that differ in at most `radius` bits.

    Args:
        codes: `(n, n_bytes)`, no two the same (`numpy.unique`): of n equal ones there were n² / 2 pairs.
        radius: in bits, at least 1.
        n_threads: as many as there are cores by default; the answer is the same for any.

    Raises:
        CodesError: not codes.
        InputError: more than `MOST` pairs, or a radius that is none.
    """
    return _joined(codes, codes, radius, n_threads, itself=True)


def pairs_between(codes: Codes, others: Codes, radius: int, *, n_threads: int | None = None) -> Pairs:
    """All pairs of one of some codes and one of others that differ in at most `radius` bits.

    The arguments and errors are those of `pairs_within`; codes that are the same in both make a pair.
    """
    return _joined(codes, others, radius, n_threads, itself=False)


def _joined(codes: Codes, others: Codes, radius: int, n_threads: int | None, *, itself: bool) -> Pairs:
    codes, others = check_codes(codes), check_codes(others)
    if codes.shape[1] != others.shape[1]:
        raise CodesError(f"codes of {8 * codes.shape[1]} and of {8 * others.shape[1]} bits are in no pair")
    n_bits = 8 * codes.shape[1]
    if radius < 0 or radius > n_bits:
        raise InputError(f"{radius} bits: a radius is from 0 to the {n_bits} bits of the codes")
    left = _words(codes)
    join = _Join(left, left if itself else _words(others), radius, itself)
    threads = n_threads or usable_cores()
    edges = np.linspace(0, n_bits, radius + 2).astype(int)
    blocks = list(pairwise(edges.tolist()))
    if min(end - start for start, end in blocks) > 0:
        with ThreadPoolExecutor(threads) as pool:
            # The blocks share their keys' memory one after the other; a thread each has the same bound.
            n_candidates = sum(pool.map(lambda block: join.buckets(*block).n_candidates, blocks))
            n_distances = len(left) * len(join.right)
            if SCANNED * n_candidates < n_distances:
                return Pairs.sorted(
                    [part for parts in pool.map(lambda b: join.block(*b), blocks) for part in parts]
                )
    return Pairs.sorted(list(_scanned(codes, others, radius, threads, join)))


def _words(codes: Codes) -> Words:
    """`(n, n_words)`, bit 0 the highest of word 0; what is past the end is 0."""
    padded = np.pad(codes, ((0, 0), (0, -codes.shape[1] % 8)))
    return np.ascontiguousarray(padded).view(">u8").astype(np.uint64)


def _bits(words: Words, start: int, end: int) -> Words:
    """The bits of each row from `start` to `end`, at most 64 of them, as a number."""
    word, offset = divmod(start, 64)
    found = words[:, word] << np.uint64(offset)
    if offset and word + 1 < words.shape[1]:
        found |= words[:, word + 1] >> np.uint64(64 - offset)
    return found >> np.uint64(64 - (end - start))


@dataclass(frozen=True, slots=True, eq=False)
class _Buckets:
    """For each row on the left, the rows on the right that agree in a block: `order[starts:stops]`."""

    rows: NDArray[np.int64]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    order: NDArray[np.int64]

    @property
    def n_candidates(self) -> int:
        return int((self.stops - self.starts).sum())


@dataclass(slots=True, eq=False)
class _Join:
    left: Words
    right: Words
    radius: int
    itself: bool
    n_found: int = 0

    def buckets(self, start: int, end: int) -> _Buckets:
        end = min(end, start + 64)  # a part of a wider block does as well
        keys = _bits(self.right, start, end)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        if self.itself:  # each with those behind it in its bucket
            stops = np.searchsorted(keys, keys, side="right")
            return _Buckets(order, np.arange(1, len(order) + 1), stops, order)
        own = _bits(self.left, start, end)
        starts, stops = (np.searchsorted(keys, own, side=side) for side in ("left", "right"))
        return _Buckets(np.arange(len(own)), starts, stops, order)

    def block(self, start: int, end: int) -> list[Part]:
        """The pairs that agree in a block."""
        buckets = self.buckets(start, end)
        return [
            self.kept(rows, buckets.order[places])
            for rows, places in _expanded(buckets.rows, buckets.starts, buckets.stops)
        ]

    def kept(self, rows: NDArray[np.int64], others: NDArray[np.int64]) -> Part:
        """The pairs that are near enough, in ascending order within each."""
        distances = np.zeros(len(rows), np.int32)
        for left, right in zip(self.left.T, self.right.T, strict=True):
            distances += np.bitwise_count(left[rows] ^ right[others])
        near = distances <= self.radius
        rows, others, distances = rows[near], others[near], distances[near]
        self.check(len(rows))
        if self.itself:
            rows, others = np.minimum(rows, others), np.maximum(rows, others)
        return rows, others, distances

    def check(self, n: int) -> None:
        self.n_found += n
        if self.n_found > MOST * (self.radius + 1):
            raise InputError(f"more than {MOST:,} pairs within {self.radius} bits: choose a smaller radius")


def _expanded(
    rows: NDArray[np.int64], starts: NDArray[np.int64], stops: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Each row with every place from its start to its stop, about `CHUNK` at a time."""
    counts = stops - starts
    there = counts > 0
    rows, starts, counts = rows[there], starts[there], counts[there]
    sums = np.cumsum(counts)
    first = 0
    while first < len(rows):
        before = int(sums[first] - counts[first])
        last = max(int(np.searchsorted(sums, before + CHUNK, side="right")), first + 1)
        some, n = counts[first:last], int(sums[last - 1]) - before
        within = np.arange(n) - np.repeat(sums[first:last] - some - before, some)
        yield np.repeat(rows[first:last], some), np.repeat(starts[first:last], some) + within
        first = last


def _scanned(codes: Codes, others: Codes, radius: int, n_threads: int, join: _Join) -> Iterator[Part]:
    index = Index(8 * others.shape[1])
    index.add(np.ascontiguousarray(others))
    for start in range(0, len(codes), QUERIES):
        some = np.ascontiguousarray(codes[start : start + QUERIES])
        found = index.range_search(some, radius, n_threads=n_threads)
        rows = start + np.repeat(np.arange(len(some)), np.diff(found.limits))
        wanted = rows < found.ids if join.itself else np.ones(len(rows), np.bool_)
        join.check(int(wanted.sum()) * (radius + 1))
        yield rows[wanted], found.ids[wanted], found.distances[wanted]
