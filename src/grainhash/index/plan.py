"""Scan or multi-index: which one is cheaper, estimated from the codes themselves.

How much a multi-index has to read follows from how far away the neighbours are and how full the
buckets near a query are, neither of which the number of codes says. So a plan takes some of the
codes as queries, finds their true neighbours once, counts a sample of the codes in the buckets
around them, and keeps these small tables of numbers. From them it says for any number of
neighbours or radius what a search would cost each way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from grainhash.codes import check_n_bits
from grainhash.errors import CodesError
from grainhash.index import kernels
from grainhash.index.multi_index import default_n_tables, even_bounds
from grainhash.types import Codes

N_QUERIES = 64
"""Codes that serve as queries."""
N_SAMPLE = 2**15
"""Codes that are counted in the buckets around each of them."""
N_NEIGHBOURS = 1000
"""Neighbours found by a scan; the distances of farther ones are estimated from the sample."""
MIN_CODES = 20_000
"""A segment of fewer codes is scanned within microseconds and never has tables."""

CLEARLY_CHEAPER = 0.6
"""A multi-index is chosen below this share of the cost of a scan."""
BUDGET = 0.04
"""The share of a scan that queries may waste, on average, before they are given up and scanned."""
PATIENCE = 10
"""`kPatience` of `multi_index.h`: a query may cost as many budgets where it is likely to end well."""
TAG_TELLS = 16
"""`kTagTells` of `multi_index.h`: tags turn few codes away while so many differing bits may still matter."""

MAX_CHOICES = 256
"""Remembered by one plan."""


class ScanRate(NamedTuple):
    """Bits of codes that one thread compares with one query in a nanosecond."""

    one: float
    """One query at a time: bound by memory, about 14.5 GB/s, where the kernel is fast enough."""
    few: float
    """At most so many for up to 15 queries at once."""
    many: float
    """From 16 queries on."""


SCAN_RATES: Mapping[str, ScanRate] = {
    "amx": ScanRate(116, 400, 2000),
    "avx512": ScanRate(116, 400, 1550),
    "avx2": ScanRate(80, 150, 600),
    "neon": ScanRate(80, 150, 600),
    "portable": ScanRate(20, 45, 170),
}
"""Of one x86-64 server, rounded up, `amx` from about 1700. Those of `neon` are assumed, not measured, as is
that any other kernel is as fast as the fastest: to overrate the scan only means that tables are used less."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which way a search should go, with the estimates behind it."""

    way: Literal["scan", "multi-index"]
    scan_ns: float
    """Nanoseconds a query by scan, with the threads and queries at once that were asked about."""
    multi_index_ns: float
    """The same by multi-index, scans of the queries it gives up included; infinite where it is not known."""
    budget_ns: float
    """For `MultiIndex.search`: the nanoseconds of one thread that a query may waste on average."""
    distance: float = math.inf
    """The median distance of the k-th neighbour over the sampled queries, or the radius."""
    lookups: float = math.inf
    """Buckets that the median query looks up."""
    candidates: float = math.inf
    """Codes in them, on average over the queries, since a sample of one query's few is coarse."""
    query_ns: float = math.inf
    """Nanoseconds of one thread that the median query takes, budget or not."""
    finished: float = 0.0
    """The share of the sampled queries that would end within the budget."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What a sample of a segment's codes says about the cost of searching it."""

    n_codes: int
    n_items: int
    n_bits: int
    n_tables: int
    ranks: NDArray[np.int64]
    """`(n_ranks,)` ascending: 1 for the nearest neighbour. Empty where nothing was sampled."""
    distances: NDArray[np.int32]
    """`(n_queries, n_ranks)`: how far the items of these ranks are from each sampled query."""
    candidates: NDArray[np.int64]
    """`(n_queries, n_radii)`: codes in the buckets up to radius 0, 1, ... in all tables together."""
    _choices: dict[tuple[object, ...], Choice] = field(default_factory=dict, repr=False)
    """Made before, since to choose takes longer than to search."""

    @classmethod
    def estimate(
        cls,
        codes: Codes,
        offsets: NDArray[np.int64] | None,
        *,
        n_tables: int | None = None,
        n_threads: int = 1,
    ) -> Plan:
        """Sample codes `(n_codes, n_bytes)`; the same codes give the same plan.

        It takes about as long as to scan for 64 queries. Fewer than 20,000 codes, or any number
        without the native kernels, are not sampled, and always scanned.

        Raises:
            CodesError: the bits cannot be cut into `n_tables`.
        """
        n_codes, n_bits = len(codes), codes.shape[1] * 8
        n_items = n_codes if offsets is None else len(offsets) - 1
        bounds = even_bounds(n_bits, default_n_tables(n_codes, n_bits) if n_tables is None else n_tables)
        sizes = n_codes, n_items, n_bits, len(bounds) - 1
        if n_codes < MIN_CODES or n_items < 2 or not _has_fast_tables():
            return cls(*sizes, np.empty(0, np.int64), np.empty((0, 0), np.int32), np.empty((0, 0), np.int64))

        rng = np.random.default_rng(0)
        queries = codes[np.sort(rng.integers(0, n_codes, N_QUERIES))]
        sample = codes[np.sort(rng.integers(0, n_codes, min(N_SAMPLE, n_codes)))]
        ranks, distances = _neighbours(codes, offsets, n_items, queries, sample, n_threads)
        n_radii = _n_radii(np.diff(bounds), n_codes)
        candidates = _candidates(queries, sample, bounds, n_radii) * n_codes // len(sample)
        return cls(*sizes, ranks, distances, candidates)

    @property
    def wants_tables(self) -> bool:
        """Whether tables would pay: for the 10 nearest neighbours, of one query at a time or of many."""
        return any(self.choose(k=10, n_queries=n).way == "multi-index" for n in (1, 256))

    @property
    def table_bytes(self) -> int:
        """Memory of the tables, were they built."""
        return 8 * self.n_tables * self.n_codes + 4 * int(np.sum(2**self._key_bits + 1))

    def choose(
        self,
        *,
        k: int | None = None,
        radius: int | None = None,
        n_queries: int = 1,
        n_threads: int = 1,
        allowed: float = 1.0,
    ) -> Choice:
        """Choose the way of a search for the `k` nearest items, or for all within `radius`.

        Args:
            k: how many neighbours; give this or `radius`.
            radius: the largest distance.
            n_queries: how many at once; from 16 on to the power of two below.
            n_threads: how many the search may use.
            allowed: the share of the items that may be found; to the nearest quarter of a power of two.
        """
        if (k is None) == (radius is None):
            raise CodesError("a plan is for k neighbours or for a radius: give one of them")
        n_queries = 1 << (n_queries.bit_length() - 1) if n_queries > 16 else max(n_queries, 1)
        allowed = 2.0 ** (round(4 * math.log2(max(allowed, 1e-9))) / 4)
        key = (k, radius, n_queries, n_threads, allowed, kernels.kernel())
        choice = self._choices.get(key)
        if choice is None:
            choice = self._choose(k, radius, n_queries, n_threads, allowed)
            if len(self._choices) >= MAX_CHOICES:
                self._choices.clear()
            self._choices[key] = choice
        return choice

    def explain(
        self,
        *,
        k: int | None = None,
        radius: int | None = None,
        n_queries: int = 1,
        n_threads: int = 1,
        allowed: float = 1.0,
        has_tables: bool = True,
    ) -> str:
        """Say in a few lines which way such a search goes, and why; arguments as for `choose`."""
        choice = self.choose(k=k, radius=radius, n_queries=n_queries, n_threads=n_threads, allowed=allowed)
        wanted = f"the {k} nearest" if radius is None else f"all within {radius} bits"
        lines = [
            f"{wanted} of {self.n_items:,} items with {self.n_codes:,} codes of {self.n_bits} bits, "
            f"{_counted(n_queries, 'query', 'queries')} at once, {_counted(n_threads, 'thread', 'threads')}",
            f"scan: {self.n_codes * self.n_bits // 8 / 1e6:,.1f} MB of codes, "
            f"about {_duration(choice.scan_ns)} a query",
        ]
        return "\n".join(lines + self._reasons(choice, radius is None, has_tables))

    def as_json(self) -> dict[str, Any]:
        """The plan as what JSON can hold, for `from_json`."""
        return {
            "n_codes": self.n_codes,
            "n_items": self.n_items,
            "n_bits": self.n_bits,
            "n_tables": self.n_tables,
            "ranks": self.ranks.tolist(),
            "distances": self.distances.tolist(),
            "candidates": self.candidates.tolist(),
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Plan:
        """The plan that `as_json` described.

        Raises:
            CodesError: it is not such a description.
        """
        try:
            sizes = [int(state[name]) for name in ("n_codes", "n_items", "n_bits", "n_tables")]
            ranks = np.array(state["ranks"], np.int64).reshape(-1)
            n_queries = len(state["distances"])
            distances = np.array(state["distances"], np.int32).reshape(n_queries, -1 if n_queries else 0)
            candidates = np.array(state["candidates"], np.int64).reshape(n_queries, -1 if n_queries else 0)
            even_bounds(check_n_bits(sizes[2]), sizes[3])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise CodesError(f"this is not a plan: {error}") from error
        if min(sizes) < 0 or distances.shape[1] != len(ranks) or bool(n_queries) != bool(len(ranks)):
            raise CodesError("this is not a plan: its numbers do not fit together")
        n_codes, n_items, n_bits, n_tables = sizes
        return cls(n_codes, n_items, n_bits, n_tables, ranks, distances, candidates)

    @property
    def _key_bits(self) -> NDArray[np.int64]:
        return np.diff(even_bounds(self.n_bits, self.n_tables))

    def _choose(
        self, k: int | None, radius: int | None, n_queries: int, n_threads: int, allowed: float
    ) -> Choice:
        scan_ns = _scan_ns(self.n_codes * self.n_bits, n_queries, n_threads)
        at_once = min(n_threads, n_queries)
        budget = BUDGET * scan_ns * at_once
        if not len(self.ranks) or not _has_fast_tables():
            return Choice("scan", scan_ns, math.inf, budget)

        radii = self._radii(k, allowed) if radius is None else np.full(len(self.distances), float(radius))
        lookups, candidates = self._work(radii)
        costs = self._costs(radii)
        ends = self._ends(radii, costs, budget, n_queries)
        wasted = np.where(ends, costs, np.minimum(costs, budget))
        given_up = 1.0 - float(np.mean(ends))
        n_left = max(round(given_up * n_queries), 1)
        left_ns = _scan_ns(self.n_codes * self.n_bits, n_left, n_threads)
        multi_index_ns = float(np.mean(wasted)) / at_once + given_up * left_ns
        return Choice(
            "multi-index" if multi_index_ns < CLEARLY_CHEAPER * scan_ns else "scan",
            scan_ns,
            multi_index_ns,
            budget,
            float(np.median(radii)),
            float(np.median(lookups)),
            float(np.mean(candidates)),
            float(np.median(costs)),
            1.0 - given_up,
        )

    def _radii(self, k: int | None, allowed: float) -> NDArray[np.float64]:
        """How far each sampled query has to look: to its k-th neighbour of those that are allowed."""
        rank = math.ceil((k or 1) / allowed)
        column = int(np.searchsorted(self.ranks, rank))
        if column == len(self.ranks):
            return np.full(len(self.distances), math.inf)
        return self.distances[:, column].astype(np.float64)

    def _work(self, radii: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Look-ups and candidates of each sampled query for all codes within its radius.

        With m tables, distance m * r + a takes radius r in a + 1 of them and r - 1 in the others; between
        the radii of all tables both numbers grow about evenly.
        """
        rounds = (radii + 1) / self.n_tables
        steps = np.arange(self.candidates.shape[1] + 1)
        per_radius = _lookups(self._key_bits, len(steps) - 1)
        lookups = np.interp(rounds, steps, np.concatenate([[0.0], per_radius]), right=math.inf)
        candidates = [
            np.interp(r, steps, np.concatenate([[0.0], row]), right=math.inf)
            for r, row in zip(rounds, self.candidates, strict=True)
        ]
        return lookups, np.array(candidates)

    def _costs(self, radii: NDArray[np.float64]) -> NDArray[np.float64]:
        """Nanoseconds of one thread of each sampled query for all codes within its radius.

        Candidates of the first bucket are read, since no neighbour is known yet; so are those of all
        radii from which the neighbours are still far enough for tags not to tell.
        """
        far = np.maximum(radii - TAG_TELLS + 1, 0) * self.n_tables - 1
        _, reads = self._work(np.minimum(radii, far))
        reads = np.maximum(reads, self.candidates[:, 0] / self.n_tables)
        return _cost(*self._work(radii), reads)

    def _ends(
        self, radii: NDArray[np.float64], costs: NDArray[np.float64], budget: float, n_queries: int
    ) -> NDArray[np.bool_]:
        """Which of the sampled queries would not be given up."""
        # Those that end well let others waste as much as one may cost, so at first that is for one query
        # what all may waste together, and later there is enough unless most of them are given up.
        ends = costs <= min(n_queries, PATIENCE) * budget
        if np.mean(ends) < 0.5:
            ends = costs <= budget
        # The radius that is known while a query runs is a bit larger than that which it will take, and
        # is known only once there are enough candidates, which the buckets of radius 0 should have.
        begun = self._costs(np.full(len(radii), self.n_tables - 1.0)) <= budget
        return ends | (begun & (self._costs(radii + 1) <= PATIENCE * budget))

    def _reasons(self, choice: Choice, is_nearest: bool, has_tables: bool) -> list[str]:
        if not len(self.ranks):
            return [
                f"decision: scan; fewer than {MIN_CODES:,} codes, or codes without the native kernels, "
                "were not sampled"
            ]
        lines = [
            f"multi-index: {self.n_tables} tables of {_range(self._key_bits)} bits, "
            f"{self.table_bytes / 1e6:,.1f} MB" + ("" if has_tables else ", which were not built")
        ]
        if math.isfinite(choice.distance):
            what = "the last of these neighbours is" if is_nearest else "the radius is"
            lines.append(
                f"for the median of {len(self.distances)} sampled queries {what} {choice.distance:g} bits"
            )
            if math.isfinite(choice.lookups):
                lines[-1] += (
                    f": {choice.lookups:,.0f} look-ups, {choice.candidates:,.0f} candidates, "
                    f"about {_duration(choice.query_ns)}"
                )
            lines.append(
                f"{choice.finished:.0%} of them would end within the budget, the others be scanned as well: "
                f"about {_duration(choice.multi_index_ns)} a query"
            )
        if choice.way == "multi-index" and has_tables:
            times = choice.scan_ns / choice.multi_index_ns
            return [*lines, f"decision: multi-index, about {times:,.1f} times as fast as the scan"]
        if choice.way == "multi-index":
            return [*lines, "decision: scan, as there are no tables; with them a multi-index would be chosen"]
        return [*lines, "decision: scan, as the multi-index would not be clearly cheaper"]


def _neighbours(
    codes: Codes,
    offsets: NDArray[np.int64] | None,
    n_items: int,
    queries: Codes,
    sample: Codes,
    n_threads: int,
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Ranks `(n_ranks,)` and how far from each query the items of these ranks are `(n_queries, n_ranks)`.

    A query is a code of some item, which is its first hit and does not count.
    """
    found = kernels.knn(codes, codes.shape[1], offsets, queries, N_NEIGHBOURS + 1, None, n_threads)
    near = found[0][:, 1:]
    ranks = [m * 10**e for e in range(10) for m in (1, 2, 5)]
    columns = [near[:, rank - 1] for rank in ranks if rank <= near.shape[1]]

    # Farther items: where the sample's share of the codes reaches the rank's share of the items.
    far = np.sort(_distances(queries, sample), axis=1)
    for rank in ranks[len(columns) :]:
        column = math.ceil(rank * len(sample) / n_items) - 1
        if column >= len(sample) or rank >= n_items:
            break
        columns.append(np.maximum(far[:, column], columns[-1]))
    return np.array(ranks[: len(columns)], np.int64), np.stack(columns, axis=1).astype(np.int32)


def _distances(queries: Codes, sample: Codes) -> NDArray[np.int32]:
    distances = np.empty((len(queries), len(sample)), np.int32)
    for row, query in zip(distances, queries, strict=True):
        row[:] = np.bitwise_count(sample ^ query).sum(axis=1, dtype=np.int32)
    return distances


def _candidates(queries: Codes, sample: Codes, bounds: NDArray[np.int64], n_radii: int) -> NDArray[np.int64]:
    """How many of the sample are within radius 0, 1, ... of each query in some table, `(n_queries, n_radii)`.

    A code near in several tables is in a bucket of each, and counts as often.
    """
    query_bits, sample_bits = np.unpackbits(queries, axis=1), np.unpackbits(sample, axis=1)
    counts = np.zeros((len(queries), n_radii), np.int64)
    for first, last in pairwise(bounds):
        powers = 1 << np.arange(last - first, dtype=np.uint32)
        keys = (sample_bits[:, first:last] @ powers).astype(np.uint32)
        for row, key in zip(counts, query_bits[:, first:last] @ powers, strict=True):
            radii = np.bitwise_count(keys ^ np.uint32(key))
            row += np.bincount(radii, minlength=n_radii)[:n_radii]
    return np.cumsum(counts, axis=1)


def _n_radii(key_bits: NDArray[np.int64], n_codes: int) -> int:
    """Radii worth knowing about: those with at least two codes a look-up. At least one."""
    n_radii = 1
    while n_radii <= key_bits.min() and _lookups(key_bits, n_radii + 1)[-1] <= n_codes / 2:
        n_radii += 1
    return n_radii


def _lookups(key_bits: NDArray[np.int64], n_radii: int) -> NDArray[np.float64]:
    """Buckets up to radius 0, 1, ... in all tables together."""
    per_radius = [sum(math.comb(int(bits), r) for bits in key_bits) for r in range(n_radii)]
    return np.cumsum(np.array(per_radius, np.float64))


def _has_fast_tables() -> bool:
    """The NumPy reference has tables only in name: it compares with all codes."""
    return bool(kernels.kernel() != "numpy")


def _cost(
    lookups: NDArray[np.float64], candidates: NDArray[np.float64], reads: NDArray[np.float64]
) -> NDArray[np.float64]:
    """`kernels.multi_index_cost`, which is linear, of arrays; in nanoseconds of one thread."""
    cost = kernels.multi_index_cost
    fixed = cost(0, 0)
    a_lookup, a_candidate, a_read = cost(1, 0) - fixed, cost(0, 1) - fixed, cost(0, 0, 1) - fixed
    return fixed + a_lookup * lookups + a_candidate * candidates + a_read * reads


def _scan_ns(n_bits: int, n_queries: int, n_threads: int) -> float:
    """Nanoseconds a query that comparing `n_bits` bits of codes takes, of so many queries at once."""
    rate = SCAN_RATES.get(kernels.kernel(), SCAN_RATES["amx"])
    bits_a_ns = rate.many if n_queries >= 16 else min(n_queries * rate.one, rate.few)
    return n_bits / bits_a_ns / n_threads


def _duration(ns: float) -> str:
    for unit, size in (("s", 1e9), ("ms", 1e6)):
        if ns >= size:
            return f"{ns / size:,.1f} {unit}"
    return f"{ns / 1e3:,.1f} us"


def _counted(n: int, one: str, many: str) -> str:
    return f"{n:,} {one if n == 1 else many}"


def _range(values: NDArray[np.integer[Any]]) -> str:
    least, most = int(values.min()), int(values.max())
    return str(least) if least == most else f"{least} to {most}"
