"""All pairs of codes within a radius, exactly: by blocks that must agree, or where that is dearer by a scan.

Two codes that differ in at most `radius` bits agree in one of `radius + 1` blocks of bits at least, by the
pigeonhole principle (Norouzi, Punjani, Fleet, "Fast Search in Hamming Space with Multi-Index Hashing", CVPR
2012; Manku, Jain, Das Sarma, "Detecting Near-Duplicates for Web Crawling", WWW 2007). So each block sorts the
codes, and only codes that agree in it are compared. A pair counts in the first block that it agrees in.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

from grainhash.codes import check_codes
from grainhash.cores import default_threads
from grainhash.errors import CodesError, InputError
from grainhash.index import Index
from grainhash.types import Codes, Progress, silent

CHUNK = 2**20
"""Candidates that a thread compares at once: some tens of megabytes."""

MOST = 20_000_000
"""Pairs: more are no answer, but a radius that is too large. They take about a gigabyte."""

SCANNED = 150
"""Distances that a scan finds in the time that blocks take for one candidate: 30 ns, on 128 bits."""

SCAN = 2**25
"""Distances of a scan at once: all of them may be within the radius."""

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
    def of(cls, parts: list[Part]) -> Self:
        """All pairs of some parts, of which none holds a pair of another."""
        first, second, distances = (
            np.concatenate([np.empty(0, dtype), *(part[at] for part in parts)])
            for at, dtype in enumerate((np.int64, np.int64, np.int32))
        )
        order = np.lexsort((second, first))
        return cls(first[order], second[order], distances[order])


def pairs_within(
    codes: Codes,
    radius: int,
    *,
    n_threads: int | None = None,
    progress: Callable[[Progress], None] = silent,
) -> Pairs:
    """All pairs `first < second` of different codes that differ in at most `radius` bits.

    Args:
        codes: `(n, n_bytes)`, no two the same (`numpy.unique`): of n equal ones there were n² / 2 pairs.
        radius: in bits, at least 1.
        n_threads: as many as there are cores by default; the answer is the same for any.
        progress: called as a scan goes on; blocks take seconds.

    Raises:
        CodesError: not codes.
        InputError: more than `MOST` pairs, or a radius that is none.
    """
    return _joined(codes, codes, radius, n_threads, progress, itself=True)


def pairs_between(
    codes: Codes,
    others: Codes,
    radius: int,
    *,
    n_threads: int | None = None,
    progress: Callable[[Progress], None] = silent,
) -> Pairs:
    """All pairs of one of some codes and one of others that differ in at most `radius` bits.

    The arguments and errors are those of `pairs_within`; codes that are the same in both make a pair.
    """
    return _joined(codes, others, radius, n_threads, progress, itself=False)


def too_many(most: int, radius: int) -> InputError:
    """More pairs than can be told."""
    return InputError(f"more than {most:,} pairs within {radius} bits: choose a smaller radius")


def _joined(
    codes: Codes,
    others: Codes,
    radius: int,
    n_threads: int | None,
    progress: Callable[[Progress], None],
    *,
    itself: bool,
) -> Pairs:
    codes, others = check_codes(codes), check_codes(others)
    if codes.shape[1] != others.shape[1]:
        raise CodesError(f"codes of {8 * codes.shape[1]} and of {8 * others.shape[1]} bits are in no pair")
    n_bits = 8 * codes.shape[1]
    if radius < 0 or radius > n_bits:
        raise InputError(f"{radius} bits: a radius is from 0 to the {n_bits} bits of the codes")
    left = _words(codes)
    join = _Join(left, left if itself else _words(others), radius, itself, _blocks(n_bits, radius))
    threads = n_threads or default_threads()
    with ThreadPoolExecutor(threads) as pool:
        numbers = range(len(join.blocks))
        n_candidates = sum(pool.map(lambda number: join.buckets(number).n_candidates, numbers))
        if join.blocks and SCANNED * n_candidates < len(left) * len(join.right):
            return Pairs.of(list(chain.from_iterable(pool.map(join.agreeing, numbers))))
    return Pairs.of(list(_scanned(codes, others, threads, join, progress)))


def _blocks(n_bits: int, radius: int) -> list[tuple[int, int]]:
    """One block more than the radius, each of 64 bits at most; none where there are not so many bits."""
    if radius >= n_bits:
        return []
    edges = np.linspace(0, n_bits, radius + 2).astype(int).tolist()
    return [(start, min(end, start + 64)) for start, end in pairwise(edges)]


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
    blocks: list[tuple[int, int]]
    n_found: int = 0
    counting: threading.Lock = field(default_factory=threading.Lock)

    def buckets(self, number: int) -> _Buckets:
        start, end = self.blocks[number]
        keys = _bits(self.right, start, end)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        if self.itself:  # each with those behind it in its bucket
            stops = np.searchsorted(keys, keys, side="right")
            return _Buckets(order, np.arange(1, len(order) + 1), stops, order)
        own = _bits(self.left, start, end)
        starts, stops = (np.searchsorted(keys, own, side=side) for side in ("left", "right"))
        return _Buckets(np.arange(len(own)), starts, stops, order)

    def agreeing(self, number: int) -> list[Part]:
        """The pairs within the radius whose first block that agrees is this one."""
        buckets = self.buckets(number)
        return [
            self.kept(rows, buckets.order[places], self.blocks[:number])
            for rows, places in _expanded(buckets.rows, buckets.starts, buckets.stops)
        ]

    def kept(
        self, rows: NDArray[np.int64], others: NDArray[np.int64], earlier: list[tuple[int, int]]
    ) -> Part:
        """The pairs that are near enough and agree in no earlier block, in ascending order within each."""
        distances = np.zeros(len(rows), np.int32)
        for left, right in zip(self.left.T, self.right.T, strict=True):
            distances += np.bitwise_count(left[rows] ^ right[others])
        wanted = np.flatnonzero(distances <= self.radius)
        for start, end in earlier:
            own, other = (
                _bits(words[at[wanted]], start, end)
                for words, at in ((self.left, rows), (self.right, others))
            )
            wanted = wanted[own != other]
        rows, others, distances = rows[wanted], others[wanted], distances[wanted]
        self.count(len(rows))
        if self.itself:
            rows, others = np.minimum(rows, others), np.maximum(rows, others)
        return rows, others, distances

    def count(self, n: int) -> None:
        with self.counting:
            self.n_found += n
            if self.n_found > MOST:
                raise too_many(MOST, self.radius)


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


def _scanned(
    codes: Codes, others: Codes, n_threads: int, join: _Join, progress: Callable[[Progress], None]
) -> Iterator[Part]:
    """The pairs by all distances."""
    index = Index(8 * others.shape[1])
    index.add(np.ascontiguousarray(others))
    step = max(1, SCAN // max(len(others), 1))
    for start in range(0, len(codes), step):
        some = np.ascontiguousarray(codes[start : start + step])
        found = index.range_search(some, join.radius, n_threads=n_threads)
        rows = start + np.repeat(np.arange(len(some)), np.diff(found.limits))
        wanted = rows < found.ids if join.itself else np.ones(len(rows), np.bool_)
        join.count(int(wanted.sum()))
        progress(Progress("compare", min(start + step, len(codes)), len(codes), 0))
        yield rows[wanted], found.ids[wanted], found.distances[wanted]
