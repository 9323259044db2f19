"""How good codes are, query by query, so that lengths can be compared on the same queries.

Everything is an expectation over all orders of ties; see `grainhash.evaluation.ties`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grainhash.advise.lengths import Estimate
from grainhash.errors import LabelsError
from grainhash.evaluation import metrics
from grainhash.evaluation.average_precision import expected_average_precision
from grainhash.evaluation.distances import Cosine, Distances, blocks
from grainhash.evaluation.ties import Floats, Ints, count_ties, expected_relevance
from grainhash.labels import Labels, relevant

RESAMPLES = 2000
"""Bootstrap samples of the queries."""

NEAREST = 10
"""Neighbours by the network's features that codes should find again."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One meaning of quality, from 0 to 1."""

    title: str
    """Short, for a table and a plot."""
    says: str
    """What it is the share of, in a sentence."""


MEASURES: dict[str, Measure] = {
    "mAP": Measure("mAP", "Mean average precision: how far pictures of the query's class come first."),
    "neighbours": Measure(
        f"{NEAREST} in {NEAREST}",
        f"Of the {NEAREST} pictures nearest by the network's features, the share that codes rank among "
        f"their first {NEAREST}.",
    ),
    "neighbours-100": Measure(
        f"{NEAREST} in 100",
        f"Of the {NEAREST} pictures nearest by the network's features, the share among the first 100.",
    ),
    "copies": Measure(
        "copies R@1", "Cropped and recompressed copies of pictures whose original comes first of all."
    ),
}
"""Every measure by its name, which is also that of a goal."""

DEPTH = {"neighbours": NEAREST, "neighbours-100": 100, "copies": 1}
"""First ranks in which what is sought must be found."""


def average_precisions(
    distances: Distances, query_labels: Labels, database_labels: Labels, at: int | None
) -> Floats:
    """AP@R (`found`) of every query that has anything relevant in the database.

    Raises:
        LabelsError: none has.
    """
    parts = []
    for rows in blocks(distances):
        right = relevant(query_labels.take(rows), database_labels)
        answerable = right.any(axis=1)
        if answerable.any():
            ties = count_ties(
                distances.block(rows)[answerable], right[answerable], n_levels=distances.n_levels, depth=at
            )
            parts.append(expected_average_precision(ties, at, "found"))
    if not parts:
        raise LabelsError(
            "no query has a picture of its class in the database; pass more pictures, or leave labels aside"
        )
    return np.concatenate(parts)


def recalls(distances: Distances, sought: Ints, k: int) -> Floats:
    """`(n_queries,)`: the share of the positions `sought`, `(n_queries, n)`, among the first `k`."""
    k = min(k, distances.n_database)
    parts = []
    for rows in blocks(distances):
        nearness = distances.block(rows)
        right = np.zeros(nearness.shape, np.bool_)
        np.put_along_axis(right, sought[rows], True, axis=1)
        ties = count_ties(nearness, right, n_levels=distances.n_levels, depth=k)
        parts.append(metrics.recall_at(expected_relevance(ties, k), ties.n_relevant, k))
    return np.concatenate(parts)


def nearest_by_features(queries: NDArray[np.float32], database: NDArray[np.float32]) -> Ints:
    """`(n_queries, NEAREST)`: positions of the nearest by cosine, equal ones by position."""
    cosine = Cosine(queries, database)
    parts = [np.argsort(cosine.block(rows), axis=1, kind="stable")[:, :NEAREST] for rows in blocks(cosine)]
    return np.concatenate(parts)


def resampled_means(values: Floats, seed: int) -> Floats:
    """Means over bootstrap samples of the queries.

    Args:
        values: `(n_rows, n_queries)`, all rows of the same queries; every row sees the same samples, so
            their differences are paired.
        seed: of the samples.

    Returns:
        `(n_rows, RESAMPLES)`.
    """
    n = values.shape[1]
    times = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    return np.asarray(values @ times.T / n)


def estimate(values: Floats, seed: int) -> Estimate:
    """Mean and 95 % interval (percentile bootstrap; Efron, Tibshirani 1993) of one value a query."""
    low, high = np.percentile(resampled_means(values[None], seed)[0], (2.5, 97.5))
    return Estimate(float(values.mean()), float(low), float(high), len(values))
