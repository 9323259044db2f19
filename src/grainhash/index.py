"""Exact Hamming search: an append-only sequence of items, each one code or a ragged run of codes.

A picture as a whole is an item of one code; a picture as the sum of its regions is an item of a
run of codes, and its distance to a query is that of its best region. Every item that is allowed,
not removed and has a code is compared with every query, so an answer is the same at any thread
count: ordered by distance, ties by ascending id. The scan runs in the compiled module
`grainhash._native`; where that is missing, `grainhash._reference` gives the same answers slowly.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from grainhash import _reference
from grainhash.codes import check_codes, check_n_bits, hamming
from grainhash.errors import CodesError
from grainhash.types import Codes

try:
    from grainhash import _native
except ImportError:
    _native = None  # type: ignore[assignment]

_knn = _reference.knn if _native is None else _native.knn

Ids = NDArray[np.int64]


def has_native() -> bool:
    """Whether the compiled kernels are installed."""
    return _native is not None


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The nearest items of each query, `(n_queries, k)`, in rows ordered by (distance, id)."""

    distances: NDArray[np.int32]
    """In bits."""
    ids: Ids
    members: NDArray[np.int64]
    """Position of the nearest code among those of its item, the lowest of equals; 0 where it has one code."""


class Index:
    """Items with ascending ids, searched by the Hamming distance of their codes.

    Any number of threads may search at once; none may while `add` or `remove` runs.

    Args:
        n_bits: length of a code, a multiple of 8 from 8 to 1024.

    Raises:
        CodesError: an unsupported length.
    """

    def __init__(self, n_bits: int) -> None:
        self.n_bits = check_n_bits(n_bits)
        self._segments: list[_Segment] = []
        self._last_id: int | None = None

    def __len__(self) -> int:
        """How many items there are, without the removed ones."""
        return sum(segment.n_live for segment in self._segments)

    @property
    def ids(self) -> Ids:
        """Ids of the items that are not removed, ascending."""
        return np.concatenate([np.empty(0, np.int64), *(segment.live_ids for segment in self._segments)])

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, in memory or mapped from files."""
        return sum(segment.nbytes for segment in self._segments)

    def add(self, codes: Codes, ids: Ids, offsets: NDArray[np.int64] | None = None) -> None:
        """Append items.

        A read-only or memory-mapped array is used in place and never copied, so its contents must not
        change afterwards; any other is copied.

        Args:
            codes: `(n_codes, n_bytes)`, C-contiguous if they are to be used in place.
            ids: `(n_items,)` int64, strictly ascending and above every id ever added.
            offsets: `(n_items + 1,)` int64; item `i` has `codes[offsets[i]:offsets[i + 1]]`. An item
                without codes is kept but never found. `None` where each item has one code.

        Raises:
            CodesError: wrong dtype, width or shape, ids out of order or taken, offsets that do not
                fit the codes. Nothing was added then.
        """
        copied = not _is_fixed(codes)
        codes, ids = check_codes(_fixed(codes), self.n_bits), _check_ids(_fixed(ids))
        if offsets is not None:
            offsets = _check_offsets(_fixed(offsets), len(ids), len(codes))
        elif len(codes) != len(ids):
            raise CodesError(f"{len(codes)} codes for {len(ids)} ids; without offsets each item has one code")
        self._check_order(ids)
        if len(ids):
            self._append(_Segment(codes, ids, offsets, copied))
            self._last_id = int(ids[-1])

    def remove(self, ids: ArrayLike) -> int:
        """Take items out of all answers and return how many there were; other ids are ignored.

        Their ids are never free again, and their codes keep their memory.

        Raises:
            CodesError: ids are not one dimension of int64.
        """
        ids = _check_ids(ids)
        return sum(segment.remove(ids) for segment in self._segments)

    def search(
        self, queries: Codes, k: int, *, allow: ArrayLike | None = None, n_threads: int | None = None
    ) -> Neighbours:
        """Find the `k` nearest items of each query, exactly.

        Args:
            queries: `(n_queries, n_bytes)`.
            k: how many, at least 0; clamped to the number of items that can be found.
            allow: int64 ids of the only items that may be found, in any order; unknown ones are ignored.
            n_threads: at most so many threads; `None` for as many as this process may use.

        Raises:
            CodesError: wrong dtype, width or shape, or `k` or `n_threads` is no such number.
        """
        queries = check_codes(queries, self.n_bits)
        k = _check_count("k", k, at_least=0)
        threads = _n_cores() if n_threads is None else _check_count("n_threads", n_threads, at_least=1)
        allowed = None if allow is None else _check_ids(allow)
        return _merge(
            [segment.search(queries, k, allowed, threads) for segment in self._segments], len(queries), k
        )

    def distances_to(
        self, query: NDArray[np.uint8], ids: ArrayLike
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Exact distances from one query `(n_bytes,)` to given items, in the order of `ids`.

        Returns:
            Distances and members, `(n,)` each, as in `Neighbours`. An item without codes has distance
            `n_bits + 1` and member -1.

        Raises:
            CodesError: wrong dtype, width or shape, or an id that is unknown or removed.
        """
        query = np.asarray(query)
        if query.ndim != 1:
            raise CodesError(
                f"the query has {query.ndim} dimensions; distances_to takes one code, (n_bytes,)"
            )
        queries, ids = check_codes(query[np.newaxis], self.n_bits), _check_ids(ids)
        distances = np.empty(len(ids), np.int32)
        members = np.empty(len(ids), np.int64)
        missing = np.ones(len(ids), np.bool_)
        for segment in self._segments:
            positions = segment.find(ids)
            here = positions >= 0
            if here.any():
                codes, offsets = segment.gather(positions[here])
                best, members[here] = _reference.best_of_groups(hamming(queries, codes)[0], offsets)
                distances[here] = np.minimum(best, self.n_bits + 1)
                missing &= ~here
        if missing.any():
            raise CodesError(f"no item has the id {ids[missing][0]}, or it was removed")
        return distances, members

    def codes_of(self, id: int) -> Codes:
        """The codes `(n, n_bytes)` of one item.

        Raises:
            CodesError: the id is unknown or removed.
        """
        ids = _check_ids([id])
        for segment in self._segments:
            position = segment.find(ids)
            if position[0] >= 0:
                return segment.gather(position)[0]
        raise CodesError(f"no item has the id {id}, or it was removed")

    def _check_order(self, ids: Ids) -> None:
        wrong = np.flatnonzero(ids[1:] <= ids[:-1])
        if len(wrong):
            before, after = ids[wrong[0] : wrong[0] + 2]
            raise CodesError(f"id {after} comes after {before}; ids must be strictly ascending")
        if len(ids) and self._last_id is not None and ids[0] <= self._last_id:
            raise CodesError(f"id {ids[0]} is not above {self._last_id}, the highest id added before")

    def _append(self, segment: _Segment) -> None:
        """Join copied segments like the digits of a binary counter.

        Adding n items one by one so makes about log2(n) segments and copies each code as many times.
        """
        while self._segments and self._segments[-1].joins(segment):
            segment = self._segments.pop().joined(segment)
        self._segments.append(segment)


@dataclass(slots=True)
class _Segment:
    """At least one item, added at once or joined from such."""

    codes: Codes
    ids: Ids
    offsets: NDArray[np.int64] | None
    copied: bool
    """Whether the codes belong to the index, which may then copy them again."""
    live: NDArray[np.bool_] | None = None
    """Which items are not removed; `None` for all."""

    @property
    def n_live(self) -> int:
        return len(self.ids) if self.live is None else int(np.count_nonzero(self.live))

    @property
    def live_ids(self) -> Ids:
        return self.ids if self.live is None else self.ids[self.live]

    @property
    def nbytes(self) -> int:
        return sum(a.nbytes for a in (self.codes, self.ids, self.offsets, self.live) if a is not None)

    def find(self, ids: Ids) -> NDArray[np.int64]:
        """Positions of the items with these ids; -1 where there is none or it was removed."""
        positions = np.searchsorted(self.ids, ids)
        positions[positions == len(self.ids)] = 0
        found = self.ids[positions] == ids
        if self.live is not None:
            found &= self.live[positions]
        return np.where(found, positions, -1)

    def remove(self, ids: Ids) -> int:
        positions = self.find(ids)
        positions = np.unique(positions[positions >= 0])
        if len(positions):
            if self.live is None:
                self.live = np.ones(len(self.ids), np.bool_)
            self.live[positions] = False
        return len(positions)

    def search(self, queries: Codes, k: int, allowed: Ids | None, n_threads: int) -> Neighbours:
        mask = self.live
        if allowed is not None:
            positions = self.find(allowed)
            mask = np.zeros(len(self.ids), np.bool_)
            mask[positions[positions >= 0]] = True
        k = min(k, len(self.ids))
        distances, positions, members = _knn(self.codes, self.offsets, queries, k, mask, n_threads)
        return Neighbours(distances, self.ids[positions], members)

    def gather(self, positions: NDArray[np.int64]) -> tuple[Codes, NDArray[np.int64]]:
        """Copies of the codes of some items, one after the other, and the offsets of those items."""
        if self.offsets is None:
            return self.codes[positions], np.arange(len(positions) + 1)
        starts = self.offsets[positions]
        lengths = self.offsets[positions + 1] - starts
        gathered = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        rows = np.repeat(starts - gathered[:-1], lengths) + np.arange(gathered[-1])
        return self.codes[rows], gathered

    def joins(self, later: _Segment) -> bool:
        return self.copied and later.copied and len(self.codes) <= len(later.codes)

    def joined(self, later: _Segment) -> _Segment:
        """This segment and a later one as one copy."""
        offsets = live = None
        if self.offsets is not None or later.offsets is not None:
            offsets = np.concatenate([self._all_offsets(), later._all_offsets()[1:] + len(self.codes)])
        if self.live is not None or later.live is not None:
            live = np.concatenate([self._all_live(), later._all_live()])
        codes, ids = np.concatenate([self.codes, later.codes]), np.concatenate([self.ids, later.ids])
        return _Segment(codes, ids, offsets, True, live)

    def _all_offsets(self) -> NDArray[np.int64]:
        return np.arange(len(self.ids) + 1, dtype=np.int64) if self.offsets is None else self.offsets

    def _all_live(self) -> NDArray[np.bool_]:
        return np.ones(len(self.ids), np.bool_) if self.live is None else self.live


def _merge(parts: Sequence[Neighbours], n_queries: int, k: int) -> Neighbours:
    """The `k` nearest of several answers whose ids ascend from one to the next."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        empty = np.empty((n_queries, 0), np.int64)
        return Neighbours(empty.astype(np.int32), empty, empty)
    distances = np.concatenate([part.distances for part in parts], axis=1)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return Neighbours(
        np.take_along_axis(distances, nearest, axis=1),
        np.take_along_axis(np.concatenate([part.ids for part in parts], axis=1), nearest, axis=1),
        np.take_along_axis(np.concatenate([part.members for part in parts], axis=1), nearest, axis=1),
    )


def _check_ids(ids: ArrayLike) -> Ids:
    array = np.asarray(ids)
    if array.shape == (0,):
        return np.empty(0, np.int64)
    if array.dtype != np.int64 or array.ndim != 1:
        raise CodesError(f"ids are {array.dtype} with {array.ndim} dimension(s); they are int64 (n,)")
    return np.ascontiguousarray(array)


def _check_offsets(offsets: NDArray[np.int64], n_items: int, n_codes: int) -> NDArray[np.int64]:
    array = np.asarray(offsets)
    if array.dtype != np.int64 or array.shape != (n_items + 1,):
        raise CodesError(
            f"offsets are {array.dtype} {array.shape}; for {n_items} ids they are int64 ({n_items + 1},)"
        )
    if array[0] != 0 or array[-1] != n_codes or (array[1:] < array[:-1]).any():
        raise CodesError(f"offsets must ascend from 0 to the number of codes, {n_codes}")
    return np.ascontiguousarray(array)


def _check_count(name: str, value: int, at_least: int) -> int:
    try:
        count = operator.index(value)
    except TypeError:
        raise CodesError(f"{name} is {value!r}; it is a whole number of at least {at_least}") from None
    if isinstance(value, bool) or count < at_least:
        raise CodesError(f"{name} is {value!r}; it is a whole number of at least {at_least}")
    return count


def _is_fixed(array: ArrayLike) -> bool:
    """Whether no one changes the array by mistake: it is read-only, or maps a file."""
    return isinstance(array, np.memmap) or (isinstance(array, np.ndarray) and not array.flags.writeable)


def _fixed(array: ArrayLike) -> NDArray[Any]:
    """The array itself where it is fixed, else a copy."""
    return np.asarray(array) if _is_fixed(array) else np.array(array)


def _n_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
