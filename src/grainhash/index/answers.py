"""What a search answers, and how the answers of several segments become one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The nearest items of each query, `(n_queries, k)`, in rows ordered by (distance, id).

    With projections the rows are ordered by (asymmetric distance, id).
    """

    distances: NDArray[np.int32]
    """In bits; of an item of several codes, the least."""
    ids: NDArray[np.int64]
    members: NDArray[np.int64]
    """Position of the nearest code among those of its item, the lowest of equals; 0 where it has one code."""
    asymmetric: NDArray[np.float32] | None = None
    """Sum of the sizes of the query's projections over the bits that differ; `None` without projections."""


@dataclass(frozen=True, slots=True)
class Ranges:
    """Every item within a radius of each query.

    Query `q` has the entries from `limits[q]` to before `limits[q + 1]`, ordered by (distance, id).
    """

    limits: NDArray[np.int64]
    """`(n_queries + 1,)`."""
    distances: NDArray[np.int32]
    """In bits; of an item of several codes, the least."""
    ids: NDArray[np.int64]
    members: NDArray[np.int64]
    """As in `Neighbours`."""


def nearest_of(parts: Sequence[Neighbours], n_queries: int, k: int) -> Neighbours:
    """The `k` nearest of several answers whose ids ascend from one to the next."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        empty = np.empty((n_queries, 0), np.int64)
        return Neighbours(empty.astype(np.int32), empty, empty)
    distances = np.concatenate([part.distances for part in parts], axis=1)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return Neighbours(
        np.take_along_axis(distances, nearest, axis=1),
        np.take_along_axis(np.concatenate([part.ids for part in parts], axis=1), nearest, axis=1),
        np.take_along_axis(np.concatenate([part.members for part in parts], axis=1), nearest, axis=1),
    )


def all_of(parts: Sequence[Ranges], n_queries: int) -> Ranges:
    """Everything in several answers; of equal distances, those of earlier parts come first."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        empty = np.empty(0, np.int64)
        return Ranges(np.zeros(n_queries + 1, np.int64), empty.astype(np.int32), empty, empty)
    queries = np.arange(n_queries)
    rows = np.concatenate([np.repeat(queries, np.diff(part.limits)) for part in parts])
    distances = np.concatenate([part.distances for part in parts])
    order = np.lexsort((distances, rows))
    return Ranges(
        np.sum([part.limits for part in parts], axis=0),
        distances[order],
        np.concatenate([part.ids for part in parts])[order],
        np.concatenate([part.members for part in parts])[order],
    )
