"""Confidence that means what it says: of predictions with confidence .8, eight in ten should be right.

A temperature, fitted on predictions that each leave out the very picture they are about: C. Guo, G. Pleiss,
Y. Sun, K. Weinberger, "On calibration of modern neural networks", ICML 2017, which is where the expected
calibration error is from too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.integer[Any]]

TEMPERATURES = np.geomspace(0.02, 20, 121)
N_BINS = 15


@dataclass(frozen=True, slots=True)
class Calibration:
    """Confidence against what was right, in bins of equal width."""

    error: float
    """The expected calibration error: how far they are apart in the mean over the predictions, 0..1."""
    bins: list[tuple[int, float, float]]
    """Predictions, mean confidence and share that was right of each bin that is not empty."""


def calibration_error(confidence: Floats, right: NDArray[np.bool_]) -> Calibration:
    """Compare confidences `(n,)` from 0 to 1 with whether each prediction was right."""
    place = np.minimum((confidence * N_BINS).astype(np.int64), N_BINS - 1)
    sizes = np.bincount(place, minlength=N_BINS)
    said = np.bincount(place, confidence, N_BINS)
    was = np.bincount(place, right, N_BINS)
    error = float(np.abs(said - was).sum() / max(len(right), 1))
    bins = [(int(n), float(s / n), float(w / n)) for n, s, w in zip(sizes, said, was, strict=True) if n]
    return Calibration(error, bins)


def log_loss(logits: Floats, classes: Ints) -> float:
    """The mean negative logarithm of the probability of the right class; logits are `(n, n_classes)`."""
    return float(-_log_softmax(logits)[np.arange(len(classes)), classes].mean())


def fit_temperature(logits: Floats, classes: Ints) -> float:
    """What to divide logits `(n, n_classes)` by, so that their softmax says how often it is right.

    The best of `TEMPERATURES`. The loss is convex in 1 / temperature, so that halving finds its lowest place.
    """
    losses: dict[int, float] = {}

    def loss(at: int) -> float:
        if at not in losses:
            losses[at] = log_loss(logits / TEMPERATURES[at], classes)
        return losses[at]

    low, high = 0, len(TEMPERATURES) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if loss(middle) <= loss(middle + 1) else (middle + 1, high)
    return float(TEMPERATURES[low])


def softmax(logits: Floats) -> Floats:
    """Probabilities `(n, n_classes)`."""
    return np.asarray(np.exp(_log_softmax(logits)))


def _log_softmax(logits: Floats) -> Floats:
    moved = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(moved - np.log(np.exp(moved).sum(axis=1, keepdims=True)))
