"""One collection, every exact way to search it: one query and batches, k of 10 and 100, one and two threads.

For each size and width, a result says in

- `seconds`: of one call, by group and way. A group such as `one_k10_t2` is one query at a time, k of 10, two
  threads; `batch256_k10_t1` is 256 queries a call. The median of the rounds, each a mean over its calls.
- `times_scan`: how many times faster than grainhash's scan a way was, the median over rounds of one run.
- `two_threads`: how many times faster two threads were than one, likewise.
- `percentiles`: of the calls of one query, in seconds: the median and the 95th of 100.
- `exact`: the ways whose answers were held to the NumPy reference.
- `indexes`: seconds to build and bytes a code, the code itself included, of each way that builds something.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from grainhash.index import Index
from hamming_parts.bandwidth import readers
from hamming_parts.data import Data
from hamming_parts.exactness import must_agree, reference_answer
from hamming_parts.timing import Call, Timed, ratio, rounded, take_turns
from hamming_parts.ways import Way, faiss_flat, numpy_scan, ours, usearch_exact

BATCH, LARGE_BATCH = 256, 1024
N_CHECKED = 2
"""Queries of each collection whose answers are held to the NumPy reference."""

AGAIN_BELOW = 0.95
"""Where `auto` had less than this of the scan's speed, the two are timed again by themselves in more rounds,
and that is what counts: of several hundred ratios on a shared machine some are off by chance."""

HOPELESS = 10.0
"""A multi-index that takes so many times the scan for its first query is not timed in batches."""


@dataclass(frozen=True)
class Effort:
    """How many rounds there are."""

    one: int = 7
    batches: int = 5
    batches_k100: int = 3
    again: int = 9


@dataclass
class Collected:
    """The result for one collection while it grows."""

    data: Data
    seconds: dict[str, dict[str, float]] = field(default_factory=dict)
    times_scan: dict[str, dict[str, float]] = field(default_factory=dict)
    two_threads: dict[str, dict[str, float]] = field(default_factory=dict)
    percentiles: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    indexes: dict[str, dict[str, Any]] = field(default_factory=dict)
    exact: list[str] = field(default_factory=list)

    def take(self, group: str, took: dict[str, dict[int, Timed]]) -> None:
        """Add what one group of contenders took, by way and number of threads."""
        for threads in sorted({threads for by_threads in took.values() for threads in by_threads}):
            key = f"{group}_t{threads}"
            here = {way: by_threads[threads] for way, by_threads in took.items() if threads in by_threads}
            self.seconds[key] = {way: rounded(found.seconds) for way, found in here.items()}
            self.times_scan[key] = {
                way: rounded(ratio(here["scan"].rounds, found.rounds))
                for way, found in here.items()
                if way != "scan"
            }
            if group.startswith("one"):
                self.percentiles[key] = {
                    way: [rounded(float(p)) for p in np.percentile(found.calls, [50, 95])]
                    for way, found in here.items()
                }
        both = {way: by_threads for way, by_threads in took.items() if {1, 2} <= set(by_threads)}
        if both:
            self.two_threads[group] = {
                way: rounded(ratio(by_threads[1].rounds, by_threads[2].rounds))
                for way, by_threads in both.items()
            }

    def as_json(self) -> dict[str, Any]:
        """What goes into the results."""
        return {
            "n": self.data.n,
            "n_bits": self.data.n_bits,
            "seconds": self.seconds,
            "times_scan": self.times_scan,
            "two_threads": self.two_threads,
            "percentiles": self.percentiles,
            "indexes": self.indexes,
            "exact": self.exact,
        }


@dataclass(frozen=True)
class Which:
    """Ways that take part beside grainhash's scan and `auto`."""

    faiss: bool = True
    slow_peers: bool = False
    """usearch's exact search and NumPy, one query at a time."""
    tables: bool = True
    """The multi-index, even where `auto` would build none."""


def side_by_side(data: Data, effort: Effort, which: Which) -> dict[str, Any]:
    """Time all ways on one collection, and hold each to the reference."""
    result = Collected(data)
    ways = build_ways(data, result, which)
    hopeful = check_ways(data, ways)
    slow = {"usearch-exact": usearch_exact(data.codes), "numpy": numpy_scan(data.codes)}
    peers = slow if which.slow_peers else {}
    if peers:
        check_distances(data, peers)
    result.exact = [*ways, *peers]

    one_at_a_time(result, ways, hopeful, peers, effort)
    batches(result, hopeful, BATCH, k=10, threads=(1, 2), n_rounds=effort.batches)
    batches(result, hopeful, BATCH, k=100, threads=(1,), n_rounds=effort.batches_k100)
    without_flat = {name: way for name, way in hopeful.items() if name != "faiss-flat"}
    batches(result, without_flat, LARGE_BATCH, k=10, threads=(1, 2), n_rounds=effort.batches)
    auto_again(result, ways, effort)
    return result.as_json()


def build_ways(data: Data, result: Collected, which: Which) -> dict[str, Way]:
    """grainhash by each plan, and FAISS' flat index; how long each took to build, and how large it is."""
    plain = _built(result, "scan", lambda: Index.from_codes(data.codes))
    auto = _built(result, "auto", lambda: _with_tables(data, "auto"))
    ways = {"scan": ours(plain, "scan"), "auto": ours(auto, None)}
    result.indexes["auto"]["plan"] = auto.explain_plan(k=10, n_queries=1, n_threads=1)
    if auto.nbytes > plain.nbytes:
        result.indexes["multi-index"] = {**result.indexes["auto"]}
        del result.indexes["multi-index"]["plan"]
        ways["multi-index"] = ours(auto, "multi-index")
    elif which.tables:
        forced = _built(result, "multi-index", lambda: _with_tables(data, "multi-index"))
        ways["multi-index"] = ours(forced, "multi-index")
    if which.faiss:
        started = perf_counter()
        ways["faiss-flat"] = faiss_flat(data.codes)
        seconds = rounded(perf_counter() - started)
        result.indexes["faiss-flat"] = {"build_seconds": seconds, "bytes_a_code": data.n_bits / 8}
    return ways


def _with_tables(data: Data, plan: str) -> Index:
    index = Index.from_codes(data.codes)
    index.build(plan)
    return index


def _built(result: Collected, name: str, build: Callable[[], Index]) -> Index:
    started = perf_counter()
    index = build()
    result.indexes[name] = {
        "build_seconds": rounded(perf_counter() - started),
        "bytes_a_code": rounded(index.nbytes / len(index)),
    }
    return index


def check_ways(data: Data, ways: dict[str, Way]) -> dict[str, Way]:
    """Hold every way to the reference on a few queries, and to one another on a batch; the ways worth timing.

    FAISS orders ties as it finds them, so there it is the distances that must agree.
    """
    sample, batch = data.queries[:N_CHECKED], data.queries[:BATCH]
    where = f"{data.name}, {data.n} codes of {data.n_bits} bits"
    expected = reference_answer([data.codes], sample, 100)
    hopeful = dict(ways)
    scanned = ways["scan"](batch, 10, 2)
    for name, way in ways.items():
        ids = name != "faiss-flat"
        must_agree(f"{name} and the reference; {where}", way(sample, 100, 1), expected, ids=ids)
        if name == "multi-index" and _takes(way, sample) > HOPELESS * _takes(ways["scan"], sample):
            del hopeful[name]
        else:
            must_agree(f"{name} and the scan; {where}", way(batch, 10, 2), scanned, ids=ids)
    return hopeful


def check_distances(data: Data, peers: dict[str, Way]) -> None:
    """Hold peers that order ties as they find them to the distances of the reference."""
    sample = data.queries[:N_CHECKED]
    expected = reference_answer([data.codes], sample, 10)
    for name, way in peers.items():
        must_agree(f"{name} and the reference; {data.name}", way(sample, 10, 1), expected, ids=False)


def _takes(way: Way, queries: Any) -> float:
    started = perf_counter()
    for query in queries:
        way(query[np.newaxis], 10, 1)
    return perf_counter() - started


def one_at_a_time(
    result: Collected, ways: dict[str, Way], hopeful: dict[str, Way], peers: dict[str, Way], effort: Effort
) -> None:
    """One query a call, beside a plain read of the same bytes in the same rounds."""
    calls = contenders(result.data, {**ways, **peers}, 1, 10, (1, 2))
    codes = result.data.codes
    for name, read in readers().items():
        for threads in (1, 2):
            calls[f"read: {name}", threads] = lambda _, read=read, threads=threads: read(codes, threads)
    calls.pop(("numpy", 2), None)
    result.take("one_k10", _with_fastest_read(timed(calls, effort.one)))
    result.take("one_k100", timed(contenders(result.data, hopeful, 1, 100, (1,)), effort.one))


def _with_fastest_read(took: dict[str, dict[int, Timed]]) -> dict[str, dict[int, Timed]]:
    """Of the ways to read memory the fastest for each number of threads, as `read`."""
    reads = [by_threads for way, by_threads in took.items() if way.startswith("read")]
    fastest = {
        threads: min((by_threads[threads] for by_threads in reads), key=lambda found: found.seconds)
        for threads in reads[0]
    }
    return {way: found for way, found in took.items() if not way.startswith("read")} | {"read": fastest}


def batches(
    result: Collected, ways: dict[str, Way], size: int, *, k: int, threads: Iterable[int], n_rounds: int
) -> None:
    """`size` queries a call."""
    calls = contenders(result.data, ways, size, k, threads)
    result.take(f"batch{size}_k{k}", timed(calls, n_rounds))


def auto_again(result: Collected, ways: dict[str, Way], effort: Effort) -> None:
    """A second look where `auto` seems slower than the scan; see `AGAIN_BELOW`."""
    two = {name: ways[name] for name in ("scan", "auto")}
    for group, times in result.times_scan.items():
        if times["auto"] < AGAIN_BELOW:
            size, k, threads = _size_k_threads(group)
            took = timed(contenders(result.data, two, size, k, (threads,)), effort.again)
            times["auto"] = rounded(ratio(took["scan"][threads].rounds, took["auto"][threads].rounds))


def _size_k_threads(group: str) -> tuple[int, int, int]:
    """The numbers of a name such as `batch256_k10_t2` or `one_k10_t1`."""
    size, k, threads = group.replace("one", "batch1").split("_")
    return int(size.removeprefix("batch")), int(k[1:]), int(threads[1:])


def contenders(
    data: Data, ways: dict[str, Way], size: int, k: int, threads: Iterable[int]
) -> dict[tuple[str, int], Call]:
    """Calls by way and number of threads; each call of a round takes the next queries."""
    n_batches = max(1, len(data.queries) // size)

    def call(way: Way, n_threads: int) -> Call:
        def search(number: int) -> Any:
            start = number % n_batches * size
            return way(data.queries[start : start + size], k, n_threads)

        return search

    return {(name, n_threads): call(way, n_threads) for name, way in ways.items() for n_threads in threads}


def timed(calls: dict[tuple[str, int], Call], n_rounds: int) -> dict[str, dict[int, Timed]]:
    """`take_turns`, by way and number of threads."""
    found: dict[str, dict[int, Timed]] = {}
    for (way, threads), took in take_turns(calls, n_rounds).items():
        found.setdefault(way, {})[threads] = took
    return found
