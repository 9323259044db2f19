"""Exact Hamming search side by side with its peers, its own bounds and the NumPy reference.

    python benchmarks/hamming.py [--quick] [--only STAGE] [--out FOLDER]
    python benchmarks/hamming.py --report    # docs/performance.md and its pictures, from the results

The stages, in one run on one machine:

- uniform, clustered, scattered, real: for one kind of data (see hamming_parts/data.py), every exact way to
  search it, at several sizes and widths: grainhash's scan, multi-index and `auto`, FAISS Flat, how fast the
  machine reads the same bytes, and on uniform codes usearch and NumPy.
- groups: the best of 15 regions of each picture, against a plain scan of the same bytes.
- recall: approximate indexes of FAISS and usearch, recall@10 against speed.
- growth: one query as the collection grows.
- mapped: a large collection saved, and opened memory-mapped in a fresh process.

Contenders take turns in rounds, and the medians of the rounds are reported. Every way is held to the NumPy
reference on some queries and to the scan on a batch: a wrong answer ends the run. `--only` measures one stage
again and keeps the others of the results that are there. A full run takes about half an hour on two cores,
and the first time a few minutes more for codes of real pictures; it needs 8 GB of memory and 4 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

from hamming_parts import data, mapped
from hamming_parts.groups import groups
from hamming_parts.growth import PANELS, growth
from hamming_parts.recall import recall
from hamming_parts.side_by_side import Effort, Which, side_by_side
from hamming_parts.targets import targets
from harness import RESULTS, earlier_figures, parser, write

from grainhash.index import kernels

WIDTHS = (64, 128, 256, 512)
TABLES_UP_TO = {"uniform": 64, "clustered": 256, "scattered": 256, "real": 256}
"""Widths up to which the multi-index is measured even where `auto` does not use it; beyond, it is slow."""


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    sizes: tuple[int, ...]
    pictures: int | None
    """Of each set, for codes of real pictures."""
    grown: tuple[int, ...]
    recall: int
    mapped: int
    effort: Effort


FULL = Scale(
    sizes=(1_000_000, 10_000_000),
    pictures=None,
    grown=(100_000, 300_000, 1_000_000, 3_000_000, 10_000_000),
    recall=1_000_000,
    mapped=100_000_000,
    effort=Effort(),
)
QUICK = Scale(
    sizes=(20_000,),
    pictures=40,
    grown=(5_000, 20_000),
    recall=5_000,
    mapped=200_000,
    effort=Effort(one=1, batches=1, batches_k100=1, again=3),
)


def main() -> None:
    """Measure, write the results, and say which targets were met."""
    options = arguments()
    folder = options.out or RESULTS
    if options.report:
        from hamming_parts.page import PAGE

        PAGE.report(folder, options.out)
        return
    figures = earlier_figures(folder / "hamming.json", options)
    scale = QUICK if options.quick else FULL
    for name in options.only or STAGES:
        started = perf_counter()
        measured = STAGES[name](scale)
        if measured is not None:
            seconds = round(perf_counter() - started, 1)
            figures[name] = {**measured, "date": datetime.now(UTC).date().isoformat(), "seconds": seconds}
            print(f"{name}: {seconds:.0f} s", flush=True)
    figures["kernel"] = kernels.kernel()
    write(
        options,
        "hamming",
        packages=["faiss-cpu", "usearch"],
        seeds=[data.SEED],
        figures=figures,
        targets=targets(figures),
    )


def arguments() -> argparse.Namespace:
    """The options of every benchmark, and those of this one."""
    options = parser(__doc__)
    options.add_argument("--only", action="append", choices=list(STAGES), help="measure this stage")
    options.add_argument("--report", action="store_true", help="measure nothing; write page and pictures")
    return options.parse_args()


# Stages


def synthetic_stage(name: str) -> Callable[[Scale], dict[str, Any]]:
    """All ways on one kind of synthetic codes."""

    def measure(scale: Scale) -> dict[str, Any]:
        found = {}
        for n in scale.sizes:
            for n_bits in WIDTHS:
                which = Which(
                    faiss=name != "scattered",
                    slow_peers=name == "uniform",
                    tables=n_bits <= TABLES_UP_TO[name],
                )
                found[f"{n}x{n_bits}"] = compare(data.synthetic(name, n, n_bits), scale, which)
        return found

    return measure


def real_stage(scale: Scale) -> dict[str, Any] | None:
    """All ways on codes of real pictures, and on their first bits."""
    found = {}
    for n_bits in (64, 128, 256):
        codes = data.real_codes(n_bits, at_most=scale.pictures)
        if codes is None:
            return None
        found[f"{codes.n}x{n_bits}"] = compare(codes, scale, Which(tables=n_bits <= TABLES_UP_TO["real"]))
    return found


def compare(codes: data.Data, scale: Scale, which: Which) -> dict[str, Any]:
    """All ways on one collection, with a line of what came out."""
    result = side_by_side(codes, scale.effort, which)
    one = result["seconds"]["one_k10_t1"]
    shown = ", ".join(f"{way} {seconds * 1e3:.3g}" for way, seconds in one.items())
    print(f"{codes.name} {codes.n} x {codes.n_bits}: ms a query: {shown}", flush=True)
    return result


def groups_stage(scale: Scale) -> dict[str, Any]:
    """Best of group at every width."""
    return {"widths": [groups(scale.sizes[-1], n_bits, scale.effort.one) for n_bits in WIDTHS]}


def recall_stage(scale: Scale) -> dict[str, Any]:
    """Approximate indexes on clustered codes."""
    n_rounds, widths = scale.effort.batches_k100, (64, 256)
    return {"widths": [recall("clustered", scale.recall, n_bits, n_rounds) for n_bits in widths]}


def growth_stage(scale: Scale) -> dict[str, Any]:
    """One query at each size."""
    return {"panels": [growth(name, n_bits, scale.grown, scale.effort.batches) for name, n_bits in PANELS]}


def mapped_stage(scale: Scale) -> dict[str, Any] | None:
    """Opening a large collection, where the page cache can be asked."""
    if sys.platform != "linux":
        print("SKIPPED: mapped; it asks Linux for what is in memory of a file")
        return None
    return mapped.mapped(scale.mapped, scale.effort.batches)


STAGES: dict[str, Callable[[Scale], dict[str, Any] | None]] = {
    "uniform": synthetic_stage("uniform"),
    "clustered": synthetic_stage("clustered"),
    "scattered": synthetic_stage("scattered"),
    "real": real_stage,
    "groups": groups_stage,
    "recall": recall_stage,
    "growth": growth_stage,
    "mapped": mapped_stage,
}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--job"]:
        print(json.dumps(mapped.JOBS[sys.argv[2]](*sys.argv[3:])))
    else:
        main()
