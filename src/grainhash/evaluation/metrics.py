"""How good rankings are: pure functions, exact, one value a query.

A *ranked* array says rank by rank what was found, in one definite order, such as that of `grainhash.Index`
(ties by ascending id), or what is to be expected there over all orders of ties (`expected_relevance`,
`expected_gain`). Measures at k are linear in it, so of expectations they give the expected value.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from grainhash.errors import InputError
from grainhash.evaluation.ties import Floats, Ints, Ties, ratio

Ranked = NDArray[np.bool_] | Floats
"""`(n_queries, n_ranks)`: whether each rank is relevant, or how likely that is, or its gain."""


def precision_at(ranked: Ranked, k: int) -> Floats:
    """P@k, `(n_queries,)`: the share of the first k that is relevant."""
    return np.asarray(_first(ranked, k).sum(axis=1) / k, np.float64)


def recall_at(ranked: Ranked, n_relevant: Ints, k: int) -> Floats:
    """R@k, `(n_queries,)`: the share of all relevant items that is among the first k."""
    return ratio(_first(ranked, k).sum(axis=1), n_relevant)


def ideal_gains(gains: NDArray[Any], k: int) -> Floats:
    """`(n_queries, k)`: the k largest of `(n_queries, n_database)` gains, descending: the best ranking."""
    k = min(k, gains.shape[1])
    top = np.partition(gains, gains.shape[1] - k, axis=1)[:, gains.shape[1] - k :]
    return np.asarray(-np.sort(-top.astype(np.float64), axis=1))


def ndcg_at(ranked: Ranked, ideal: Floats, k: int) -> Floats:
    """nDCG@k, `(n_queries,)`, of ranked gains.

        DCG@k = sum over i <= k of gain(i) / log2(i + 1), divided by that of the best ranking

    Järvelin, Kekäläinen: Cumulated gain-based evaluation of IR techniques, TOIS 2002. For the exponential
    gain of Burges et al. (ICML 2005) pass `2**grade - 1` as gains, here and in `ideal_gains`.
    """
    discount = 1 / np.log2(np.arange(2, k + 2))
    return ratio(_first(ranked, k) @ discount, _first(ideal, k) @ discount)


def hierarchical_precision(ranked: Ranked, ideal: Floats, k: int) -> Floats:
    """HP@1 ... HP@k, `(n_queries, k)`: gains of the first ranks over those of the best ranking.

    Deng, Berg, Fei-Fei: Hierarchical semantic indexing for large scale image retrieval, CVPR 2011.
    """
    return ratio(np.cumsum(_first(ranked, k), axis=1), np.cumsum(_first(ideal, k), axis=1))


def ahp_at(ranked: Ranked, ideal: Floats, k: int) -> Floats:
    """AHP@k, `(n_queries,)`: the mean of HP@1 to HP@k, the area under their curve; its mean is mAHP@k.

    Barz, Denzler: Hierarchy-based image embeddings for semantic image retrieval, WACV 2019. Their code
    takes off (HP@1 + gain(k) / sum of the k largest gains) / 2k, so that a perfect ranking stays below 1.
    """
    return np.asarray(hierarchical_precision(ranked, ideal, k).mean(axis=1))


def _first(ranked: Ranked, k: int) -> Ranked:
    if not 1 <= k <= ranked.shape[1]:
        raise InputError(f"at {k} of a ranking of {ranked.shape[1]}; ask for 1 to {ranked.shape[1]}")
    return ranked[:, :k]


# Within a radius.


def within(ties: Ties, radius: int) -> tuple[Ints, Ints]:
    """How many items, and how many relevant ones, lie at most `radius` levels away; `(n_queries,)` each."""
    return ties.items[:, : radius + 1].sum(axis=1), ties.relevant[:, : radius + 1].sum(axis=1)


def precision_within(ties: Ties, radius: int) -> Floats:
    """The share of the items within a Hamming radius that is relevant, `(n_queries,)`.

    A ball with nothing in it counts as 0, the field's habit: look-up found nothing of use.
    """
    items, relevant = within(ties, radius)
    return ratio(relevant, items)


def recall_within(ties: Ties, radius: int) -> Floats:
    """The share of all relevant items that lies within a Hamming radius, `(n_queries,)`."""
    return ratio(within(ties, radius)[1], ties.n_relevant)


def precision_recall(items: Ints, relevant: Ints) -> tuple[Floats, Floats]:
    """The precision-recall curve of look-up with growing radius, over all pairs together.

    Args:
        items: `(n_levels,)`, pairs of a query and an item at each distance, of all queries.
        relevant: `(n_levels,)`, the relevant ones.

    Returns:
        Precision and recall, `(n_levels,)` each. Precision is 1 where no pair is within the radius.
    """
    pairs, right = np.cumsum(items), np.cumsum(relevant)
    precision = np.where(pairs > 0, ratio(right, pairs), 1.0)
    return precision, ratio(right, right[-1:] if len(right) else right)
