"""Exact search in plain NumPy: the judge of the native kernels, and their stand-in where they are missing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from grainhash.codes import hamming
from grainhash.types import Codes


def knn(
    codes: Codes,
    offsets: NDArray[np.int64] | None,
    queries: Codes,
    k: int,
    allow: NDArray[np.bool_] | None,
    n_threads: int,
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Find the `k` items nearest to each query.

    Args:
        codes: `(n_codes, n_bytes)`.
        offsets: `(n_items + 1,)`; item `i` is `codes[offsets[i]:offsets[i + 1]]`, and its distance
            is that of its best code. `None` where each code is an item.
        queries: `(n_queries, n_bytes)`.
        k: at least 0; clamped to the number of eligible items, which are allowed and have a code.
        allow: `(n_items,)`, which items may be hits; `None` for all.
        n_threads: not used here.

    Returns:
        Distances, positions of the items, and members, `(n_queries, k)` each. A member is the
        position inside its item of the best code, the lowest of equals. Rows are ordered by
        (distance, position).
    """
    n_items = len(codes) if offsets is None else len(offsets) - 1
    eligible = np.ones(n_items, np.bool_) if allow is None else allow
    if offsets is not None:
        eligible = eligible & (np.diff(offsets) > 0)
    candidates = np.flatnonzero(eligible).astype(np.int64)

    shape = len(queries), min(k, len(candidates))
    found = np.empty(shape, np.int32), np.empty(shape, np.int64), np.empty(shape, np.int64)
    for row, query in enumerate(queries):
        distances = hamming(query[np.newaxis], codes)[0]
        members = np.zeros(n_items, np.int64)
        if offsets is not None:
            distances, members = best_of_groups(distances, offsets)
        order = np.argsort(distances[candidates], kind="stable")[:k]
        positions = candidates[order]
        found[0][row], found[1][row], found[2][row] = distances[positions], positions, members[positions]
    return found


def best_of_groups(
    distances: NDArray[np.int32], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The least of each run `distances[offsets[i]:offsets[i + 1]]`, and where in the run it is first.

    Returns:
        Distances and members, `(n_groups,)` each. An empty run has the largest int32 and member -1.
    """
    n_groups = len(offsets) - 1
    best = np.full(n_groups, np.iinfo(np.int32).max, np.int32)
    members = np.full(n_groups, -1, np.int64)
    lengths = np.diff(offsets)
    filled = lengths > 0
    if filled.any():
        starts = offsets[:-1][filled]
        best[filled] = np.minimum.reduceat(distances, starts)
        positions = np.arange(len(distances), dtype=np.int64)
        positions[distances != np.repeat(best, lengths)] = len(distances)
        members[filled] = np.minimum.reduceat(positions, starts) - starts
    return best, members
