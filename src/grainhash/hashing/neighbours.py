"""The exact nearest neighbours of every row among the others: blocks of a matrix product."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from grainhash.errors import InputError

BLOCK = 1024
"""Rows that are compared with all others together."""


def nearest_neighbours(
    rows: NDArray[np.floating], k: int, *, progress: Callable[[int], None] = lambda done: None
) -> NDArray[np.int64]:
    """Positions `(n, k)` of the `k` nearest other rows by Euclidean distance, the nearest first.

    Distances are compared in float32. Of equal ones any come in, in any order.

    Args:
        rows: `(n, dim)`.
        k: fewer than `n`.
        progress: told the number of rows done.

    Raises:
        InputError: not so many other rows.
    """
    n = len(rows)
    if not 0 < k < n:
        raise InputError(f"{k} neighbours of each of {n} rows; there are {n - 1} others")
    # x . y - |y|^2 / 2 falls as |x - y| grows. Centred rows lose the fewest digits in it.
    plain = np.asarray(rows, np.float32) - rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    halves = np.einsum("ij,ij->i", plain, plain) / 2
    nearest = np.empty((n, k), np.int64)
    for start in range(0, n, BLOCK):
        block = plain[start : start + BLOCK]
        closeness = block @ plain.T - halves
        own = np.arange(len(block))
        closeness[own, start + own] = -np.inf
        nearest[start : start + len(block)] = _largest(closeness, k)
        progress(start + len(block))
    return nearest


def _largest(values: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Columns `(n, k)` of the `k` largest of each row, the largest first."""
    width = values.shape[1]
    largest = np.argpartition(values, width - k, axis=1)[:, width - k :]
    order = np.argsort(-np.take_along_axis(values, largest, axis=1), axis=1, kind="stable")
    return np.take_along_axis(largest, order, axis=1)
