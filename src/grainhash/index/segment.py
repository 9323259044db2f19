"""One segment of an index: arrays that never change, and the search of them.

A segment is what was added at once, or joined from such. Removing items, or making tables, gives
another segment that shares the arrays; whoever searches the former one is not disturbed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from grainhash.index import kernels
from grainhash.index.answers import Neighbours, Ranges, all_of
from grainhash.index.checks import Ids, Mask
from grainhash.index.multi_index import MultiIndex
from grainhash.index.plan import Choice, Plan
from grainhash.index.reference import rows_of
from grainhash.types import Codes

Positions = NDArray[np.int64]

FEW = 64
"""Where fewer than one in so many items may be found, their codes are copied out and searched alone."""


def new_key() -> str:
    """A name for arrays that no others have: 32 hexadecimal digits."""
    return uuid4().hex


@dataclass(frozen=True, slots=True)
class Query:
    """One search as all segments see it, checked."""

    codes: Codes
    """`(n_queries, n_bytes)`; of fewer bytes than the codes, to compare a prefix of those."""
    allow: Ids | None
    """The only items that may be found, ascending; `None` for all."""
    bitmap: Mask | None
    """The same as one entry an id from 0 on; `None` for all."""
    n_threads: int
    plan: str | None
    """`"scan"`, `"multi-index"`, or `None` for what is estimated to be cheaper."""


@dataclass(frozen=True, slots=True)
class Segment:
    """At least one item, with ids above those of the segment before."""

    codes: Codes
    first_id: int
    given_ids: Ids | None
    """`None` where ids have no gaps: then they follow from the first."""
    offsets: NDArray[np.int64] | None
    joinable: bool
    """Whether the codes may be copied, to join them with those of the next segment."""
    live: Mask | None = None
    """Which items are not removed; `None` for all."""
    n_removed: int = 0
    tables: MultiIndex | None = None
    plan: Plan | None = None
    key: str = field(default_factory=new_key)
    """Names the codes, ids and offsets in files."""
    live_key: str = field(default_factory=new_key)
    tables_key: str = field(default_factory=new_key)

    @classmethod
    def of(
        cls, codes: Codes, first_id: int, ids: Ids | None, offsets: NDArray[np.int64] | None, joinable: bool
    ) -> Segment:
        """A new segment; ids without gaps are not kept."""
        if ids is not None and (not len(ids) or int(ids[-1]) - first_id == len(ids) - 1):
            ids = None
        return cls(codes, first_id, ids, offsets, joinable)

    @property
    def n_items(self) -> int:
        return len(self.codes) if self.offsets is None else len(self.offsets) - 1

    @property
    def n_live(self) -> int:
        return self.n_items - self.n_removed

    @property
    def n_live_codes(self) -> int:
        """Codes of items that are not removed."""
        if self.offsets is None:
            return self.n_live
        return len(self.codes) if self.live is None else int(np.diff(self.offsets)[self.live].sum())

    @property
    def last_id(self) -> int:
        return self.first_id + self.n_items - 1 if self.given_ids is None else int(self.given_ids[-1])

    @property
    def ids(self) -> Ids:
        """Of all items, also the removed ones."""
        if self.given_ids is None:
            return np.arange(self.first_id, self.first_id + self.n_items, dtype=np.int64)
        return self.given_ids

    @property
    def live_ids(self) -> Ids:
        return self.ids if self.live is None else self.ids[self.live]

    @property
    def nbytes(self) -> int:
        arrays = (self.codes, self.given_ids, self.offsets, self.live, self.tables)
        return sum(array.nbytes for array in arrays if array is not None)

    def ids_at(self, positions: Positions) -> Ids:
        """The ids of items."""
        return positions + self.first_id if self.given_ids is None else self.given_ids[positions]

    def find(self, ids: Ids) -> Positions:
        """Positions of the items with these ids; -1 where there is none or it was removed."""
        if self.given_ids is None:
            positions = np.where((ids >= self.first_id) & (ids <= self.last_id), ids - self.first_id, -1)
        else:
            positions = kernels.find(self.given_ids, ids)
        if self.live is not None:
            positions = np.where(self.live[positions], positions, -1)
        return positions

    def without(self, ids: Ids) -> Segment:
        """This segment with items removed."""
        positions = self.find(ids)
        positions = positions[positions >= 0]
        if not len(positions):
            return self
        live = np.ones(self.n_items, np.bool_) if self.live is None else self.live.copy()
        live[positions] = False
        return self.with_live(live)

    def with_live(self, live: Mask) -> Segment:
        """This segment with other items removed."""
        n_removed = self.n_items - int(np.count_nonzero(live))
        return replace(self, live=live, n_removed=n_removed, live_key=new_key())

    def planned(self, plan: str, n_tables: int | None, n_threads: int) -> Segment:
        """This segment with a plan, and with tables where they are asked for or expected to pay."""
        if plan == "scan" or not len(self.codes):
            return replace(self, plan=None, tables=None)
        estimate = Plan.estimate(self.codes, self.offsets, n_tables=n_tables, n_threads=n_threads)
        tables = None
        if plan == "multi-index" or estimate.wants_tables:
            tables = MultiIndex.build(self.codes, n_tables=estimate.n_tables, n_threads=n_threads)
        return replace(self, plan=estimate, tables=tables, tables_key=new_key())

    def take(self, positions: Positions) -> Segment:
        """Some items, ascending, as a segment of their own with copies of their codes."""
        codes, offsets = self.gather(positions)
        ids = self.ids_at(positions)
        return Segment(codes, 0, ids, None if self.offsets is None else offsets, joinable=True)

    def rows_between(self, positions: Positions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The first row of codes of each item, and the row after its last."""
        if self.offsets is None:
            return positions, positions + 1
        return self.offsets[positions], self.offsets[positions + 1]

    def gather(self, positions: Positions) -> tuple[Codes, NDArray[np.int64]]:
        """Copies of the codes of some items, one after the other, and the offsets of those items."""
        if self.offsets is None:
            return self.codes[positions], np.arange(len(positions) + 1)
        rows, offsets = rows_of(self.offsets, positions)
        return self.codes[rows], offsets

    def sample(self, n: int) -> Codes:
        """As many as `n` codes, spread evenly over those of items that are not removed: a copy."""
        total = self.n_live_codes
        rows = np.linspace(0, total - 1, min(n, total)).round().astype(np.int64)
        if self.live is not None:
            firsts, ends = self.rows_between(np.flatnonzero(self.live))
            until = np.cumsum(ends - firsts)
            item = np.searchsorted(until, rows, side="right")
            rows += ends[item] - until[item]
        codes: Codes = self.codes[rows]
        return codes

    def joins(self, later: Segment) -> bool:
        return self.joinable and later.joinable and len(self.codes) <= len(later.codes)

    def joined(self, later: Segment) -> Segment:
        """This segment and a later one as one copy, without tables."""
        offsets = None
        if self.offsets is not None or later.offsets is not None:
            offsets = np.concatenate([self._all_offsets(), later._all_offsets()[1:] + len(self.codes)])
        codes = np.concatenate([self.codes, later.codes])
        ids = np.concatenate([self.ids, later.ids])
        joined = Segment.of(codes, self.first_id, ids, offsets, joinable=True)
        if self.live is None and later.live is None:
            return joined
        return joined.with_live(np.concatenate([self._all_live(), later._all_live()]))

    def search(self, query: Query, k: int) -> Neighbours:
        """The `k` nearest items that may be found."""
        mask, few, n = self._eligible(query)
        if few is not None:
            return self.take(few).search(replace(query, allow=None, bitmap=None, plan="scan"), k)
        k = min(k, n)
        scan = partial(kernels.knn, self.codes, query.codes.shape[1], self.offsets)
        ask = self._asks_tables(query, n, k=k)
        if ask is None:
            distances, positions, members = scan(query.codes, k, mask, query.n_threads)
            return Neighbours(distances, self.ids_at(positions), members)

        tables, choice = ask
        distances, positions, members, finished = tables.search(
            self.codes, self.offsets, query.codes, k, mask, query.n_threads, choice
        )
        left = ~finished
        if left.any():
            rest = scan(query.codes[left], k, mask, query.n_threads)
            distances[left], positions[left], members[left] = rest
        return Neighbours(distances, self.ids_at(positions), members)

    def range_search(self, query: Query, radius: int) -> Ranges:
        """All items at most `radius` bits away that may be found."""
        mask, few, n = self._eligible(query)
        if few is not None:
            return self.take(few).range_search(replace(query, allow=None, bitmap=None, plan="scan"), radius)
        scan = partial(kernels.range_search, self.codes, query.codes.shape[1], self.offsets)
        ask = self._asks_tables(query, n, radius=radius)
        if ask is None:
            return self._ranges(*scan(query.codes, radius, mask, query.n_threads))

        tables, choice = ask
        answer = tables.range_search(
            self.codes, self.offsets, query.codes, radius, mask, query.n_threads, choice
        )
        found, left = self._ranges(*answer[:4]), ~answer[4]
        if not left.any():
            return found
        rest = scan(query.codes[left], radius, mask, query.n_threads)
        lengths = np.zeros(len(left), np.int64)
        lengths[left] = np.diff(rest[0])
        limits = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        return all_of([found, self._ranges(limits, *rest[1:])], len(left))

    def explain(self, k: int, n_queries: int, n_threads: int) -> str:
        """Which way a search of this segment goes, and why."""
        if self.plan is None:
            return "scan: there is no plan for it; `build` makes one"
        return self.plan.explain(
            k=k,
            n_queries=n_queries,
            n_threads=n_threads,
            allowed=self.n_live / self.n_items,
            has_tables=self.tables is not None,
        )

    def _eligible(self, query: Query) -> tuple[Mask | None, Positions | None, int]:
        """What may be found: a mask (`None` for all items), or positions where they are few; and how many."""
        if query.allow is not None:
            positions = self._of_list(query.allow)
            if len(positions) * FEW < self.n_items:
                return None, positions, len(positions)
            mask = np.zeros(self.n_items, np.bool_)
            mask[positions] = True
            return mask, None, len(positions)
        if query.bitmap is not None:
            mask = self._of_bitmap(query.bitmap)
            n = int(np.count_nonzero(mask))
        elif self.live is not None:
            mask, n = self.live, self.n_live
        else:
            return None, None, self.n_items
        return (None, np.flatnonzero(mask), n) if n * FEW < self.n_items else (mask, None, n)

    def _of_list(self, allow: Ids) -> Positions:
        """Positions of the items on an allow-list that are not removed, ascending."""
        first, last = np.searchsorted(allow, self.first_id), np.searchsorted(allow, self.last_id, "right")
        positions = self.find(allow[first:last])
        return positions[positions >= 0]

    def _of_bitmap(self, bitmap: Mask) -> Mask:
        """The items whose ids are set in a bitmap and that are not removed."""
        if self.given_ids is None and self.first_id >= 0 and self.last_id < len(bitmap):
            mask = bitmap[self.first_id : self.last_id + 1]
        else:
            ids = self.ids
            first, last = np.searchsorted(ids, [0, len(bitmap)])
            mask = np.zeros(self.n_items, np.bool_)
            mask[first:last] = bitmap[ids[first:last]]
        return mask if self.live is None else mask & self.live

    def _asks_tables(
        self, query: Query, n_eligible: int, *, k: int | None = None, radius: int | None = None
    ) -> tuple[MultiIndex, Choice | None] | None:
        """The tables to ask, and within which budget; `None` to scan."""
        cut = query.codes.shape[1] != self.codes.shape[1]
        nothing = not len(query.codes) or not n_eligible or k == 0
        if self.tables is None or query.plan == "scan" or cut or nothing:
            return None
        if query.plan == "multi-index" or self.plan is None:
            return self.tables, None
        choice = self.plan.choose(
            k=k,
            radius=radius,
            n_queries=len(query.codes),
            n_threads=query.n_threads,
            allowed=n_eligible / self.n_items,
        )
        return (self.tables, choice) if choice.way == "multi-index" else None

    def _ranges(
        self,
        limits: NDArray[np.int64],
        distances: NDArray[np.int32],
        positions: Positions,
        members: NDArray[np.int64],
    ) -> Ranges:
        return Ranges(limits, distances, self.ids_at(positions), members)

    def _all_offsets(self) -> NDArray[np.int64]:
        return np.arange(self.n_items + 1, dtype=np.int64) if self.offsets is None else self.offsets

    def _all_live(self) -> Mask:
        return np.ones(self.n_items, np.bool_) if self.live is None else self.live
