"""What was to be reached, and what came out. A target whose stage has not been measured is left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness import Target

ISSUE = "learning"
UNSUPERVISED = {16: 0.46, 32: 0.50, 64: 0.54, 128: 0.56}
SUPERVISED = {16: 0.64, 32: 0.68, 64: 0.70, 128: 0.71}
PEERS = ("dpsh", "hashnet", "dsh", "greedyhash", "csq", "orthohash")
END_TO_END = 0.90
PREFIX_TOLERANCE = 0.01
FIT_SECONDS = 120

Figures = dict[str, Any]


def targets(figures: Figures) -> list[Target]:
    """One entry a figure that the issue asks for."""
    stages = (_unsupervised, _supervised, _others, _end_to_end, _fitting)
    return [target for stage in stages for target in stage(figures)]


def _mean(figures: Figures, stage: str, method: str, n_bits: int) -> float:
    return float(figures[stage]["methods"][method][str(n_bits)]["mean"])


def _unsupervised(figures: Figures) -> Iterator[Target]:
    if "unsupervised" not in figures:
        return
    for n_bits, least in UNSUPERVISED.items():
        value = _mean(figures, "unsupervised", "nested-neighbours", n_bits)
        name = f"CIFAR-10 unsupervised mAP@1000, {n_bits} bits"
        yield Target(ISSUE, name, f">= {least}", value, value >= least)


def _supervised(figures: Figures) -> Iterator[Target]:
    if "supervised" not in figures:
        return
    for n_bits, least in SUPERVISED.items():
        value = _mean(figures, "supervised", "nested", n_bits)
        name = f"cifar10-1 mAP on frozen features, {n_bits} bits"
        yield Target(ISSUE, name, f">= {least}", value, value >= least)
        yield _above_peers(figures, "supervised", n_bits, PEERS)
        alone = _mean(figures, "supervised", "nested, for this length alone", n_bits)
        name = f"cifar10-1: a prefix of {n_bits} bits below a code trained for that length"
        below = round(alone - value, 4)
        yield Target(ISSUE, name, f"<= {PREFIX_TOLERANCE}", below, below <= PREFIX_TOLERANCE)


def _others(figures: Figures) -> Iterator[Target]:
    for stage in ("caltech101", "fashion-mnist"):
        if stage in figures:
            yield _above_peers(figures, stage, 64, (*PEERS, "itq"))


def _above_peers(figures: Figures, stage: str, n_bits: int, peers: tuple[str, ...]) -> Target:
    means = {name: _mean(figures, stage, name, n_bits) for name in peers}
    if stage == "supervised" and n_bits == 64 and "regularised" in figures:
        means |= {f"{name}, trained as nested": _mean(figures, "regularised", name, 64) for name in PEERS}
    best = max(means, key=lambda name: means[name])
    ahead = round(_mean(figures, stage, "nested", n_bits) - means[best], 4)
    name = f"{stage}: the default ahead of the best other loss ({best}), {n_bits} bits"
    return Target(ISSUE, name, "> 0", ahead, ahead > 0)


def _end_to_end(figures: Figures) -> Iterator[Target]:
    for protocol in ("cifar10-2", "cifar10-1"):
        if f"end-to-end-{protocol}" in figures:
            value = float(figures[f"end-to-end-{protocol}"]["mean_average_precision"]["64"])
            name = f"{protocol} mAP, end to end, 64 bits"
            yield Target(ISSUE, name, f">= {END_TO_END}", value, value >= END_TO_END)


def _fitting(figures: Figures) -> Iterator[Target]:
    if "fitting" in figures:
        value = float(figures["fitting"]["fit_seconds"]["nested"])
        name = "seconds to fit a head on 50,000 cached features, two cores"
        yield Target(ISSUE, name, f"< {FIT_SECONDS}", value, value < FIT_SECONDS)
