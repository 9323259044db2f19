"""Exact Hamming search: an append-only sequence of items, each one code or a ragged run of codes.

A picture as a whole is an item of one code; a picture as the sum of its regions is an item of a
run of codes, and its distance to a query is that of its best region. Every answer is what comparing
with every item that is allowed, not removed and has a code would give: ordered by distance, ties by
ascending id, the same at any thread count and by any plan.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from math import ceil

import numpy as np
from numpy.typing import ArrayLike, NDArray

from grainhash.codes import check_codes, check_n_bits, hamming
from grainhash.errors import CodesError
from grainhash.index import checks, files
from grainhash.index.answers import Neighbours, Ranges, all_of, nearest_of
from grainhash.index.asymmetric import AsymmetricQueries, Nearest, Reals, check_projections, reordered
from grainhash.index.checks import Ids
from grainhash.index.reference import best_of_groups
from grainhash.index.segment import Query, Segment
from grainhash.types import Codes

GROWN = 2**16
"""Codes that are appended to a built index get a plan of their own once there are so many in a segment."""


class Index:
    """Items with ascending ids, searched by the Hamming distance of their codes.

    Any number of threads may search while another adds, removes or builds: a search sees the
    index as it was at one moment.

    Args:
        n_bits: length of a code, a multiple of 8 from 8 to 1024.

    Raises:
        CodesError: an unsupported length.
    """

    def __init__(self, n_bits: int) -> None:
        self.n_bits = check_n_bits(n_bits)
        self._segments: tuple[Segment, ...] = ()  # replaced as a whole, so whoever has it may go on with it
        self._last_id: int | None = None
        self._sample: tuple[tuple[Segment, ...], int, Codes] = (), 0, np.empty((0, n_bits // 8), np.uint8)
        self._writing = threading.Lock()

    @classmethod
    def from_codes(
        cls,
        codes: Codes | os.PathLike[str] | str,
        *,
        ids: Ids | None = None,
        offsets: NDArray[np.int64] | None = None,
    ) -> Index:
        """Make an index of an array of codes, or of a `.npy` file that anyone wrote.

        A file is memory-mapped and used in place, so it opens at once and may exceed memory; it must
        not change afterwards. For the rest see `add`.

        Raises:
            CodesError: as `add`.
            IndexFileError: the file is missing, truncated, or no `.npy` file.
        """
        if isinstance(codes, (str, os.PathLike)):
            codes = files.open_codes(codes)
        index = cls(checks.contiguous_codes(codes).shape[1] * 8)
        index.add(codes, ids, offsets)
        return index

    @classmethod
    def load(cls, folder: os.PathLike[str] | str) -> Index:
        """Open what `save` wrote. The arrays are memory-mapped, and no codes are read.

        Raises:
            IndexFileError: there is no index, or it is damaged, incomplete or of another format version.
        """
        n_bits, last_id, segments = files.load(folder)
        index = cls(n_bits)
        index._last_id, index._segments = last_id, segments
        return index

    def save(self, folder: os.PathLike[str] | str) -> None:
        """Write the index, or what of it is new, into a folder of its own.

        Killed at any moment, this leaves the index as it was saved before, or as it is now.

        Raises:
            IndexFileError: the folder cannot be written, or holds something else.
        """
        with self._writing:
            last_id, segments = self._last_id, self._segments
        files.save(folder, self.n_bits, last_id, segments)

    def __len__(self) -> int:
        """How many items there are, without the removed ones."""
        return sum(segment.n_live for segment in self._segments)

    @property
    def ids(self) -> Ids:
        """Ids of the items that are not removed, ascending."""
        return np.concatenate([np.empty(0, np.int64), *(segment.live_ids for segment in self._segments)])

    @property
    def n_codes(self) -> int:
        """How many codes the items have together, without those of the removed ones."""
        return sum(segment.n_live_codes for segment in self._segments)

    def sample(self, n: int) -> Codes:
        """About `n` of the codes, `(n, n_bytes)`, or all, spread evenly: the same until items come or go."""
        segments = self._segments
        known, asked, codes = self._sample
        if known is not segments or asked != n:
            live = [segment.n_live_codes for segment in segments]
            total = max(sum(live), 1)
            some = [
                segment.sample(ceil(n * own / total)) for segment, own in zip(segments, live, strict=True)
            ]
            codes = np.concatenate([np.empty((0, self.n_bits // 8), np.uint8), *some])
            self._sample = segments, n, codes
        return codes

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays and tables, in memory or mapped from files."""
        return sum(segment.nbytes for segment in self._segments)

    def add(self, codes: Codes, ids: Ids | None = None, offsets: NDArray[np.int64] | None = None) -> None:
        """Append items.

        A read-only or memory-mapped array is used in place and never copied, so its contents must not
        change afterwards; any other is copied. Nothing that was built is built again: what is appended
        is scanned, until there is enough of it for tables of its own.

        Args:
            codes: `(n_codes, n_bytes)`, C-contiguous.
            ids: `(n_items,)` int64, strictly ascending and above every id ever added. `None` to go on
                after the highest, from 0.
            offsets: `(n_items + 1,)` int64; item `i` has `codes[offsets[i]:offsets[i + 1]]`. An item
                without codes is kept but never found. `None` where each item has one code.

        Raises:
            CodesError: wrong dtype, width, shape or layout, ids out of order or taken, offsets that do
                not fit the codes. Nothing was added then.
        """
        joinable = not checks.is_fixed(codes)
        checked = checks.contiguous_codes(codes, self.n_bits)
        given = None if ids is None else checks.ascending(checks.id_array(ids))
        n_items = None if given is None else len(given)
        if offsets is not None:
            checked_offsets = checks.offset_array(offsets, n_items, len(checked))
            n_items = len(checked_offsets) - 1
            offsets = checks.fixed(checked_offsets, offsets)
        elif n_items is not None and len(checked) != n_items:
            raise CodesError(
                f"{len(checked)} codes for {n_items} ids; without offsets each item has one code"
            )
        if given is not None and ids is not None:
            given = checks.fixed(given, ids)
        checked = checks.fixed(checked, codes)
        with self._writing:
            first_id = self._first_of(len(checked) if n_items is None else n_items, given)
            segment = Segment.of(checked, first_id, given, offsets, joinable)
            if segment.n_items:
                self._append(segment)
                self._last_id = segment.last_id

    def remove_ids(self, ids: ArrayLike) -> int:
        """Take items out of all answers and return how many there were; other ids are ignored.

        Their ids are never free again, and their codes keep their memory.

        Raises:
            CodesError: ids are not one dimension of int64.
        """
        ids = checks.id_array(ids)
        with self._writing:
            before = len(self)
            self._segments = tuple(segment.without(ids) for segment in self._segments)
            return before - len(self)

    def search(
        self,
        queries: Codes,
        k: int,
        *,
        allow: ArrayLike | None = None,
        prefix_bits: int | None = None,
        projections: Reals | None = None,
        depth: int | None = None,
        n_threads: int | None = None,
        plan: str | None = None,
    ) -> Neighbours:
        """Find the `k` nearest items of each query, exactly.

        Args:
            queries: `(n_queries, n_bytes)`, C-contiguous.
            k: how many, at least 0; clamped to the number of items that can be found.
            allow: the only items that may be found: int64 ids in any order, of which unknown ones are
                ignored; or a bitmap, booleans indexed by id, past whose end nothing is allowed.
            prefix_bits: compare only so many first bits, of nested codes. The queries then have the
                width of the codes or of the prefix.
            projections: `(n_queries, n_bits)` float32 or float64, the real numbers whose signs are the
                bits of the queries. The nearest are then ordered anew; see `grainhash.index.asymmetric`.
            depth: how many of the nearest are ordered anew; by default `10 * k`, at least 100.
            n_threads: at most so many threads; `None` for as many as this process may use.
            plan: `None` for what is estimated to be cheaper, `"scan"`, or `"multi-index"` to use the
                tables wherever there are some.

        Raises:
            CodesError: wrong dtype, width, shape or layout; `k`, `depth` or `n_threads` is no such number;
                projections that are not finite or not those of the queries; no tables were built.
        """
        k = checks.count("k", k, at_least=0)
        segments = self._segments
        query = self._query(segments, queries, allow, prefix_bits, n_threads, plan)
        if projections is None:
            if depth is not None:
                raise CodesError("depth says how many are ordered by projections; pass projections as well")
            return self._nearest(segments, query, k)
        if prefix_bits is not None:
            raise CodesError("projections are those of whole codes; leave out prefix_bits")
        reals = check_projections(projections, query.codes)
        depth = max(10 * k, 100) if depth is None else checks.count("depth", depth, at_least=k)
        found = self._nearest(segments, query, depth)
        return reordered(found, segments, query.codes, reals, k)

    def range_search(
        self,
        queries: Codes,
        radius: int,
        *,
        allow: ArrayLike | None = None,
        prefix_bits: int | None = None,
        n_threads: int | None = None,
        plan: str | None = None,
    ) -> Ranges:
        """Find every item at most `radius` bits from each query. The other arguments are those of `search`.

        Raises:
            CodesError: as `search`.
        """
        radius = min(checks.count("radius", radius, at_least=0), self.n_bits)
        segments = self._segments
        query = self._query(segments, queries, allow, prefix_bits, n_threads, plan)
        return all_of([segment.range_search(query, radius) for segment in segments], len(query.codes))

    def distances_to(
        self, query: NDArray[np.uint8], ids: ArrayLike, *, prefix_bits: int | None = None
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Exact distances from one query `(n_bytes,)` to given items, in the order of `ids`.

        `prefix_bits` is that of `search`.

        Returns:
            Distances and members, `(n,)` each, as in `Neighbours`. An item without codes has distance
            `n_bits + 1` and member -1.

        Raises:
            CodesError: wrong dtype, width or shape, or an id that is unknown or removed.
        """
        queries, ids = checks.one_query(query, self.n_bits, prefix_bits), checks.id_array(ids)
        distances = np.empty(len(ids), np.int32)
        members = np.empty(len(ids), np.int64)
        missing = np.ones(len(ids), np.bool_)
        for segment in self._segments:
            positions = segment.find(ids)
            here = positions >= 0
            if here.any():
                codes, offsets = segment.gather(positions[here])
                best, members[here] = best_of_groups(
                    hamming(queries, codes[:, : queries.shape[1]])[0], offsets
                )
                distances[here] = np.minimum(best, self.n_bits + 1)
                missing &= ~here
        if missing.any():
            raise CodesError(f"no item has the id {ids[missing][0]}, or it was removed")
        return distances, members

    def asymmetric_distances_to(self, queries: AsymmetricQueries, ids: ArrayLike) -> Nearest:
        """Asymmetric distances from queries to given items, in the order of `ids`; see `search`.

        Args:
            queries: of the codes' length, or of fewer bits.
            ids: `(n,)` for every query, or `(n_queries, n)` for each its own.

        Raises:
            CodesError: queries longer than the codes, or an id that is unknown or removed.
        """
        if check_codes(queries.codes).shape[1] * 8 > self.n_bits:
            raise CodesError(f"queries have {queries.codes.shape[1] * 8} bits, the codes {self.n_bits}")
        rows = checks.id_rows(ids, len(queries.codes))
        nearest, known = queries.to_given(self._segments, rows)
        if not known.all():
            raise CodesError(f"no item has the id {rows[~known][0]}, or it was removed")
        return nearest

    def member_codes(self, ids: ArrayLike, members: ArrayLike) -> Codes:
        """One code of each of given items, `(n, n_bytes)`: that of its member, as `Neighbours` numbers them.

        Raises:
            CodesError: an id that is unknown or removed, or a member that the item does not have.
        """
        ids, wanted = checks.id_array(ids), np.asarray(members, np.int64)
        codes = np.empty((len(ids), self.n_bits // 8), np.uint8)
        missing = np.ones(len(ids), np.bool_)
        for segment in self._segments:
            positions = segment.find(ids)
            here = np.flatnonzero(positions >= 0)
            firsts, ends = segment.rows_between(positions[here])
            rows = firsts + wanted[here]
            there = (wanted[here] >= 0) & (rows < ends)
            codes[here[there]] = segment.codes[rows[there]]
            missing[here[there]] = False
        if missing.any():
            raise CodesError(f"no item has the id {ids[missing][0]} and a code {wanted[missing][0]}")
        return codes

    def codes_of(self, id: int) -> Codes:
        """The codes `(n, n_bytes)` of one item.

        Raises:
            CodesError: the id is unknown or removed.
        """
        ids = checks.id_array([id])
        for segment in self._segments:
            position = segment.find(ids)
            if position[0] >= 0:
                return segment.gather(position)[0]
        raise CodesError(f"no item has the id {id}, or it was removed")

    def build(self, plan: str = "auto", *, n_tables: int | None = None, n_threads: int | None = None) -> None:
        """Prepare for many searches: look at the codes, and make tables where they are expected to pay.

        Args:
            plan: `"auto"`; `"multi-index"` for tables in any case; `"scan"` to drop them.
            n_tables: how many, each over a substring of the codes; by default what is expected to be fastest.
            n_threads: at most so many threads; `None` for as many as this process may use.

        Raises:
            CodesError: another plan, or a number of tables that these codes cannot have.
        """
        checks.one_of("plan", plan, ("auto", "scan", "multi-index"))
        threads = checks.thread_count(n_threads)
        if n_tables is not None:
            n_tables = checks.count("n_tables", n_tables, at_least=1)
        with self._writing:
            self._segments = tuple(segment.planned(plan, n_tables, threads) for segment in self._segments)

    def explain_plan(self, k: int = 10, n_queries: int = 1, n_threads: int | None = None) -> str:
        """Which way `search` goes without a `plan`, segment by segment, and why, in numbers.

        Raises:
            CodesError: `k`, `n_queries` or `n_threads` is no such number.
        """
        k, n_queries = checks.count("k", k, at_least=1), checks.count("n_queries", n_queries, at_least=1)
        threads, segments = checks.thread_count(n_threads), self._segments
        lines = [f"{len(self)} items in {len(segments)} segment(s), {self.n_bits} bits, k = {k}"]
        for segment in segments:
            lines.append(f"ids {segment.first_id} to {segment.last_id}, {len(segment.codes)} codes:")
            lines.append(segment.explain(k, n_queries, threads))
        return "\n".join(lines)

    def _query(
        self,
        segments: Sequence[Segment],
        queries: Codes,
        allow: ArrayLike | None,
        prefix_bits: int | None,
        n_threads: int | None,
        plan: str | None,
    ) -> Query:
        if checks.one_of("plan", plan, (None, "scan", "multi-index")) == "multi-index":
            if prefix_bits is not None:
                raise CodesError("the tables are those of whole codes; leave out prefix_bits or plan")
            if segments and all(segment.tables is None for segment in segments):
                raise CodesError("no tables were built; call build('multi-index') first")
        ids, bitmap = checks.allowed(allow)
        return Query(
            codes=checks.query_codes(queries, self.n_bits, prefix_bits),
            allow=ids,
            bitmap=bitmap,
            n_threads=checks.thread_count(n_threads),
            plan=plan,
        )

    def _nearest(self, segments: Sequence[Segment], query: Query, k: int) -> Neighbours:
        return nearest_of([segment.search(query, k) for segment in segments], len(query.codes), k)

    def _first_of(self, n: int, given: Ids | None) -> int:
        """The first id of `n` new items: of those given, or the next one."""
        if given is None:
            first = 0 if self._last_id is None else self._last_id + 1
            if first + n > 2**63:
                raise CodesError(f"there are no {n} ids left above {self._last_id}; pass ids")
            return first
        if len(given) and self._last_id is not None and given[0] <= self._last_id:
            raise CodesError(f"id {given[0]} is not above {self._last_id}, the highest id added before")
        return int(given[0]) if len(given) else 0

    def _append(self, segment: Segment) -> None:
        """Join copied segments like the digits of a binary counter.

        Adding n items one by one so makes about log2(n) segments and copies each code as many times.
        """
        segments = list(self._segments)
        while segments and segments[-1].joins(segment):
            segment = segments.pop().joined(segment)
        if len(segment.codes) >= GROWN and any(built.plan is not None for built in self._segments):
            segment = segment.planned("auto", None, checks.thread_count(None))
        self._segments = (*segments, segment)
