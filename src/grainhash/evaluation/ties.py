"""Items counted by distance: all that tie-aware measures need to know of a ranking.

Codes make ties: 64 bits give 65 distances for a whole database. What comes first among equals is then
chance, and shuffling the database moves the score. Counted by distance, a ranking has an expectation over
all orders of ties, exactly, and bounds (McSherry, Najork: Computing information retrieval performance
measures efficiently in the presence of tied scores, ECIR 2008).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grainhash.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Ties:
    """Items of the database counted by distance, a row a query; columns ascend in distance."""

    items: Ints
    """`(n_queries, n_levels)`."""
    relevant: Ints
    """`(n_queries, n_levels)`: those of them that are relevant."""
    gains: Floats | Ints
    """`(n_queries, n_levels)`: the sum of their gains; the same as `relevant` without graded labels."""

    @property
    def n_relevant(self) -> Ints:
        """`(n_queries,)`: all that are relevant."""
        totals: Ints = self.relevant.sum(axis=1)
        return totals

    @property
    def n_database(self) -> int:
        """How many items each query is compared with."""
        return int(self.items[0].sum()) if len(self.items) else 0


def count_ties(
    distances: NDArray[Any],
    relevant: NDArray[np.bool_],
    gains: NDArray[Any] | None = None,
    *,
    n_levels: int | None = None,
    depth: int | None = None,
    order: Ints | None = None,
) -> Ties:
    """Count items by distance.

    Args:
        distances: `(n_queries, n_database)`.
        relevant: the same shape.
        gains: the same shape, for graded labels.
        n_levels: distances are whole numbers below this; `None` for any numbers, whose levels are then
            the distinct values of each query, from the first column on.
        depth: only so many first ranks will be asked for: of real numbers, all that lie farther are
            counted in one column, which saves most of the work.
        order: a stable `argsort` of the distances, if it is known already; used for real numbers.
    """
    levels: NDArray[Any] = distances
    if n_levels is None:
        order = np.argsort(distances, axis=1, kind="stable") if order is None else order
        levels = _dense_levels(distances, order, distances.shape[1] if depth is None else depth)
        n_levels = int(levels.max(initial=0)) + 1
    n = len(levels)
    cell = levels.astype(np.int64)
    cell += (np.arange(n) * n_levels)[:, None]
    items = np.bincount(cell.ravel(), minlength=n * n_levels).reshape(n, n_levels)
    of_relevant = np.bincount(cell[relevant], minlength=n * n_levels).reshape(n, n_levels)
    if gains is None:
        return Ties(items, of_relevant, of_relevant)
    total = np.bincount(cell.ravel(), weights=gains.ravel(), minlength=n * n_levels)
    return Ties(items, of_relevant, total.reshape(n, n_levels))


def _dense_levels(distances: NDArray[Any], order: Ints, depth: int) -> Ints:
    """Each distance as its place among the distinct ones of its row; what is past `depth` ranks is one."""
    ascending = np.take_along_axis(distances, order, axis=1)
    place: Ints = np.zeros(distances.shape, np.int64)
    np.cumsum(ascending[:, 1:] != ascending[:, :-1], axis=1, out=place[:, 1:])
    if depth < place.shape[1]:
        np.minimum(place, place[:, depth - 1 : depth] + 1, out=place)
    levels = np.empty_like(place)
    np.put_along_axis(levels, order, place, axis=1)
    return levels


def expected_relevance(ties: Ties, k: int) -> Floats:
    """`(n_queries, k)`: how likely each rank is relevant over all orders of ties, r/n at its distance."""
    return _by_rank(ties.items, ratio(ties.relevant, ties.items), k)


def expected_gain(ties: Ties, k: int) -> Floats:
    """`(n_queries, k)`: the gain to expect at each rank over all orders of ties."""
    return _by_rank(ties.items, ratio(ties.gains, ties.items), k)


def _by_rank(items: Ints, values: Floats, k: int) -> Floats:
    """The value of each distance at all the ranks that it takes up."""
    ends = np.cumsum(items, axis=1)
    n_database = int(ends[0, -1]) if len(ends) else k
    if k > n_database:
        raise InputError(f"{k} ranks of a database of {n_database}; ask for fewer")
    starts_at = np.zeros((len(items), k + 1), np.int64)
    np.add.at(starts_at, (np.arange(len(items))[:, None], np.minimum(ends, k)), 1)
    level = np.cumsum(starts_at[:, :k], axis=1)
    ranked: Floats = np.take_along_axis(values, level, axis=1)
    return ranked


def ratio(a: Any, b: Any) -> Floats:
    """`a / b`, 0 where `b` is 0."""
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(b, np.float64))
    quotient: Floats = np.divide(a, b, out=np.zeros(a.shape), where=b != 0)
    return quotient
