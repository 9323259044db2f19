"""How many groups: as many as have the best simplified silhouette.

The silhouette of a code compares its distance `a` to the centre of its group with that `b` to the nearest
other centre: `(b - a) / max(a, b)`, and 0 for the only member of a group. E. Hruschka, L. de Castro,
R. Campello, "Evolutionary algorithms for clustering gene-expression data", ICDM 2004; L. Vendramin,
R. Campello, E. Hruschka, "Relative clustering validity criteria", Statistical Analysis and Data Mining 3,
2010.
"""

from __future__ import annotations

from math import isqrt

import numpy as np

from grainhash.clusters.majority import Majority, k_majority
from grainhash.index import checks, kernels
from grainhash.types import Codes

SAMPLE = 20_000
"""Codes that the number is chosen on, at most."""
MOST = 256
"""Groups that are tried, at most; nor more than the square root of the number of codes."""
GRID = (
    *range(2, 10),
    *range(10, 16, 2),
    *range(16, 32, 4),
    *range(32, 64, 8),
    *range(64, 128, 16),
    *range(128, 257, 32),
)


def choose_k(
    codes: Codes, *, seed: int = 0, restarts: int = 1, n_threads: int | None = None
) -> tuple[int, list[tuple[int, float]]]:
    """The number of groups with the highest silhouette, the lowest of equals.

    Args:
        codes: `(n, n_bytes)`, at least one.
        seed: of the sample and of the groups.
        restarts: of each grouping; see `k_majority`.
        n_threads: at most so many; all by default.

    Returns:
        The number, and what was tried with its silhouette from -1 to 1. One group where all codes are equal,
        or there are fewer than four.
    """
    if len(codes) > SAMPLE:
        codes = codes[np.sort(np.random.default_rng(seed).choice(len(codes), SAMPLE, replace=False))]
    if not (codes != codes[0]).any() or len(codes) < 4:
        return 1, []
    most = min(isqrt(len(codes)), MOST)
    tried = []
    for k in (k for k in GRID if k <= max(most, 2)):
        found = k_majority(codes, k, seed=seed, restarts=restarts, n_threads=n_threads)
        if len(found.centres) == k:
            tried.append((k, silhouette(codes, found, n_threads=n_threads)))
    best = max(value for _, value in tried)
    return next(k for k, value in tried if value == best), tried


def silhouette(codes: Codes, groups: Majority, *, n_threads: int | None = None) -> float:
    """The mean simplified silhouette of codes in two groups or more."""
    threads = checks.thread_count(n_threads)
    bits, _, _ = kernels.knn(groups.centres, codes.shape[1], None, codes, 2, None, threads)
    own, other = bits[:, 0].astype(np.float64), bits[:, 1].astype(np.float64)
    values = np.divide(other - own, other, out=np.zeros(len(codes)), where=other > 0)
    values[np.bincount(groups.labels, minlength=len(groups.centres))[groups.labels] == 1] = 0
    return float(values.mean())
