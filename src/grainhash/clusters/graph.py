"""The exact graph of nearest neighbours among codes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grainhash.index import checks, kernels
from grainhash.types import Codes

TOGETHER = 20_000
"""Codes whose neighbours are asked for at once: bounds memory."""


@dataclass(frozen=True, slots=True, eq=False)
class NeighbourGraph:
    """The nearest others of each code, nearest first, equal ones by position."""

    neighbours: NDArray[np.int64]
    """`(n, k)`: positions."""
    distances: NDArray[np.int32]
    """`(n, k)`: bits."""


def neighbour_graph(codes: Codes, k: int, *, n_threads: int | None = None) -> NeighbourGraph:
    """The `k` nearest others of each of `n` codes, or all `n - 1`.

    Compares all codes with all: 100,000 of them take seconds, a million take minutes to an hour.
    """
    codes = checks.contiguous_codes(codes)
    threads = checks.thread_count(n_threads)
    n = len(codes)
    k = min(k, max(n - 1, 0))
    neighbours, distances = np.empty((n, k), np.int64), np.empty((n, k), np.int32)
    for begin in range(0, n, TOGETHER):
        some = slice(begin, min(begin + TOGETHER, n))
        bits, found, _ = kernels.knn(codes, codes.shape[1], None, codes[some], k + 1, None, threads)
        others = found != np.arange(some.start, some.stop)[:, np.newaxis]
        others[others.all(axis=1), -1] = False  # so many equal codes that its own place is not among them
        shape = len(found), k
        neighbours[some], distances[some] = found[others].reshape(shape), bits[others].reshape(shape)
    return NeighbourGraph(neighbours, distances)
