"""The vote of the nearest labelled pictures, the nearer the heavier.

Of `k` neighbours at `d` bits each votes with the weight `exp(-d / scale)` relative to the nearest (S. Dudani,
"The distance-weighted k-nearest-neighbor rule", IEEE Trans. SMC 6, 1976). `k`, the scale and a temperature
are those under which the labelled pictures, each left out of its own vote, are likeliest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from grainhash.classify.calibration import Floats, Ints, fit_temperature, log_loss, softmax
from grainhash.clusters.graph import TOGETHER, neighbour_graph
from grainhash.index import checks, kernels
from grainhash.types import Codes

NEIGHBOURS = (1, 3, 5, 10, 20, 50)
SCALES = (0.01, 0.02, 0.04, 0.08, 0.16, 1.0)
"""As shares of the length of a code."""
DOUBT = 0.1
"""Votes that all classes share by their size among the labelled: no class is ever impossible."""


@dataclass(frozen=True, slots=True, eq=False)
class Vote:
    """A fitted vote."""

    codes: Codes
    classes: Ints
    priors: Floats
    k: int
    scale: float
    """Bits."""
    temperature: float
    left_out: Floats
    """`(n, n_classes)`: the logits of each labelled picture, by all the others."""

    @classmethod
    def fit(cls, codes: Codes, classes: Ints, n_classes: int, *, n_threads: int | None = None) -> Vote:
        """Learn from codes `(n, n_bytes)` of two pictures or more and their classes `(n,)`."""
        graph = neighbour_graph(codes, max(NEIGHBOURS), n_threads=n_threads)
        counts = np.bincount(classes, minlength=n_classes).astype(np.float64)
        own = np.eye(n_classes)[classes]
        priors = (counts - own + 0.5) / (len(codes) - 1 + 0.5 * n_classes)  # without the picture itself
        best: tuple[float, int, float, Floats] | None = None
        for k in NEIGHBOURS:
            if best is not None and k > graph.neighbours.shape[1]:
                break
            labels, bits = classes[graph.neighbours[:, :k]], graph.distances[:, :k]
            for scale in (share * codes.shape[1] * 8 for share in SCALES):
                logits = _logits(labels, bits, scale, priors)
                loss = log_loss(logits / fit_temperature(logits, classes), classes)
                if best is None or loss < best[0] - 1e-9:
                    best = (loss, k, scale, logits)
        assert best is not None  # NEIGHBOURS is not empty
        _, k, scale, logits = best
        all_priors = (counts + 0.5) / (len(codes) + 0.5 * n_classes)
        return cls(codes, classes, all_priors, k, scale, fit_temperature(logits, classes), logits)

    def probabilities(self, codes: Codes, *, n_threads: int | None = None) -> Floats:
        """Of each class for codes `(n, n_bytes)`, `(n, n_classes)`."""
        threads = checks.thread_count(n_threads)
        parts = list(self._parts(codes, threads))
        return np.concatenate([np.empty((0, len(self.priors))), *parts])

    def _parts(self, codes: Codes, n_threads: int) -> Iterator[Floats]:
        for begin in range(0, len(codes), TOGETHER):
            some = codes[begin : begin + TOGETHER]
            bits, found, _ = kernels.knn(self.codes, codes.shape[1], None, some, self.k, None, n_threads)
            yield softmax(_logits(self.classes[found], bits, self.scale, self.priors) / self.temperature)


def _logits(labels: Ints, bits: Ints, scale: float, priors: Floats) -> Floats:
    """Logarithms of each class's share of the votes; `labels` and `bits` are `(n, k)`."""
    n, n_classes = len(labels), priors.shape[-1]
    weights = np.exp(-(bits - bits[:, :1]) / scale)
    cells = labels + np.arange(n)[:, np.newaxis] * n_classes
    votes = np.bincount(cells.ravel(), weights.ravel(), n * n_classes).reshape(n, n_classes)
    return np.asarray(np.log(votes + DOUBT * priors))
