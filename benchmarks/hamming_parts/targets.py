"""What was to be reached, and what came out. A target whose stage has not been measured is left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness import Target

ISSUE = "hamming"
TIMES_FAISS = {64: 20, 128: 14, 256: 9, 512: 6}
COMPARED = ("uniform", "clustered", "scattered", "real")
"""Stages that set all ways side by side."""

Figures = dict[str, Any]


def targets(figures: Figures) -> list[Target]:
    """One entry a figure that the issue asks for."""
    return [
        *_throughput(figures),
        *_bandwidth(figures),
        *_groups(figures),
        *_multi_index(figures),
        *_auto(figures),
        *_mapped(figures),
    ]


def largest(figures: Figures, stage: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The largest collection of each width, narrow codes first, as (where, result)."""
    results = collections(figures, stage)
    for n_bits in sorted({result["n_bits"] for result in results}):
        result = max((r for r in results if r["n_bits"] == n_bits), key=lambda r: r["n"])
        yield f"{n_bits} bits, {result['n']:,} {stage} codes", result


def collections(figures: Figures, stage: str) -> list[dict[str, Any]]:
    """The results of all collections of one kind of data."""
    found = figures.get(stage, {}).values()
    return [result for result in found if isinstance(result, dict) and "n_bits" in result]


def _at_least(name: str, target: float, value: float) -> Target:
    return Target(ISSUE, name, f">= {target:g}", value, value >= target)


def _throughput(figures: Figures) -> Iterator[Target]:
    for where, result in largest(figures, "uniform"):
        name = f"{where}, batches of 256, k = 10"
        times = round(1 / result["times_scan"]["batch256_k10_t1"]["faiss-flat"], 2)
        yield _at_least(f"{name}, one thread: times FAISS Flat", TIMES_FAISS[result["n_bits"]], times)
        two_threads = result["two_threads"]["batch256_k10"]["scan"]
        yield _at_least(f"{name}, two threads: times one thread", 1.8, two_threads)


def _bandwidth(figures: Figures) -> Iterator[Target]:
    for where, result in largest(figures, "uniform"):
        for threads in (1, 2):
            share = 1 / result["times_scan"][f"one_k10_t{threads}"]["read"]
            name = f"{where}, one query, {threads} thread{'s'[: threads > 1]}: share of the read bandwidth"
            yield _at_least(name, 0.85, round(share, 3))


def _groups(figures: Figures) -> Iterator[Target]:
    for result in figures.get("groups", {}).get("widths", []):
        for mode, name in (("one", "one query"), ("batch256", "batches of 256")):
            times = result[f"{mode}_k10_t1"]["times_plain"]
            label = f"{result['n_bits']} bits, best of 15 regions of {result['pictures']:,} pictures, {name}"
            yield Target(ISSUE, f"{label}: times the plain scan's time", "<= 1.3", times, times <= 1.3)


def _multi_index(figures: Figures) -> Iterator[Target]:
    wanted = {(64, "one"): 100, (64, "batch256"): 10, (128, "one"): 10, (128, "batch256"): 10}
    for where, result in largest(figures, "clustered"):
        for mode, name in (("one", "one query"), ("batch256", "batches of 256")):
            target = wanted.get((result["n_bits"], mode))
            if target is not None:
                times = result["times_scan"][f"{mode}_k10_t1"].get("multi-index", 0.0)
                yield _at_least(f"{where}, {name}, multi-index: times the scan", target, times)


def worst_auto(figures: Figures) -> tuple[float, str] | None:
    """The least that `auto` was of the scan's speed on any collection, and where."""
    found = [
        (ways["auto"], f"{stage}, {result['n']:,} codes of {result['n_bits']} bits, {group}")
        for stage in COMPARED
        for result in collections(figures, stage)
        for group, ways in result["times_scan"].items()
        if "auto" in ways
    ]
    return min(found, default=None)


def _auto(figures: Figures) -> Iterator[Target]:
    worst = worst_auto(figures)
    if worst:
        yield _at_least(f"auto: times the scan where it is worst ({worst[1]})", 0.9, worst[0])


def _mapped(figures: Figures) -> Iterator[Target]:
    if "mapped" in figures:
        where = f"64 bits, {figures['mapped']['n']:,} clustered codes, mapped"
        opened = figures["mapped"]["opened"]
        share = round(opened["codes_in_memory_after_opening"] / opened["code_bytes"], 5)
        name = f"{where}: share of the codes in memory after opening"
        yield Target(ISSUE, name, "< 0.01", share, share < 0.01)
        times = opened["one_k10_t1"]["times_scan"]
        yield _at_least(f"{where}, one query: times the scan", 100, times)
