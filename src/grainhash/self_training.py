"""Learning from pictures without labels beside those that have them: self-training.

    trained = self_train(method("nested")(64), features, labels, unlabelled)
    trained.rows, trained.labels        # which of the others were taken in, and as what

A method that learns from labels is fitted to what is labelled. Every other picture gets the label of the
labelled pictures next to it, and where those agree it is learned from as well (Lee, Pseudo-Label, ICML
workshop 2013; neighbours for a classifier as in Iscen et al., Label Propagation, CVPR 2019).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grainhash.errors import InputError, LabelsError
from grainhash.hashing.function import HashFunction
from grainhash.hashing.method import HashMethod, check_labels
from grainhash.labels import Labels
from grainhash.types import Progress, silent

NEIGHBOURS = 50
"""Labelled pictures that are asked what another one shows, at most."""

AGREEMENT = 0.9
"""Share of their votes that a label needs."""

BLOCK = 2048
"""Pictures compared with all labelled ones at once."""

Features = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class SelfTrained:
    """What pictures without labels were taken to show."""

    rows: NDArray[np.int64]
    """`(n_taken,)`: positions among those without labels, ascending."""
    labels: Labels
    """One for each of them."""

    def after(self, labels: Labels) -> Labels:
        """These labels below others of the same classes."""
        return replace(labels, ids=np.concatenate([check_single(labels), check_single(self.labels)]))


def self_train(
    method: HashMethod,
    features: Features,
    labels: Labels,
    unlabelled: Features,
    *,
    k: int | None = None,
    agreement: float = AGREEMENT,
    progress: Callable[[Progress], None] = silent,
) -> SelfTrained:
    """Fit a method to pictures with labels, then anew with those of the others that it is sure of.

    Args:
        method: one that learns from labels; fitted in place.
        features: `(n, dim)`, or `(n_views, n, dim)` where the method takes views.
        labels: one a picture, `n` of them.
        unlabelled: `(m, dim)`, or `(n_views, m, dim)` with as many views.
        k: labelled pictures that each of the others is compared with, the nearest ones; by default as many as
            a class has on average, at most `NEIGHBOURS`.
        agreement: share of their votes, weighed by likeness, that a label needs, above 0 to 1.
        progress: told of both fits.

    Raises:
        InputError: features that do not go together, or `k` or `agreement` out of range.
        LabelsError: labels that are not one a picture, or that nothing can be learned from.
    """
    if features.shape[:-2] != unlabelled.shape[:-2] or features.shape[-1] != unlabelled.shape[-1]:
        raise InputError(
            f"features of shape {features.shape} with labels, {unlabelled.shape} without: they do not go "
            "together"
        )
    check_labels(method.name, features.shape[-2], labels)
    plain, others = (rows if rows.ndim == 2 else rows[0] for rows in (features, unlabelled))
    check_single(labels)
    _check_vote(k, agreement)
    method.fit(features, labels, progress=progress)
    taken = surely_labelled(method.function, plain, labels, others, k=k, agreement=agreement)
    together = np.concatenate([features, unlabelled[..., taken.rows, :]], axis=-2)
    method.fit(together, taken.after(labels), progress=progress)
    return taken


def surely_labelled(
    function: HashFunction,
    known: Features,
    labels: Labels,
    others: Features,
    *,
    k: int | None = None,
    agreement: float = AGREEMENT,
) -> SelfTrained:
    """Give pictures the label of their neighbours where these agree.

    Args:
        function: what says who is next to whom.
        known: `(n, dim)` features of pictures with labels.
        labels: one a picture, `n` of them.
        others: `(m, dim)` features of pictures without.
        k: as in `self_train`, and so `agreement`.

    Raises:
        InputError: `k` or `agreement` out of range.
        LabelsError: several labels a picture, or a hierarchy.
    """
    ids = check_single(labels)
    _check_vote(k, agreement)
    k = max(1, min(NEIGHBOURS, len(labels) // labels.n_classes)) if k is None else k
    if not len(others):
        return SelfTrained(np.empty(0, np.int64), labels.take(np.empty(0, np.int64)))
    numbers, asked = (function.project(rows.astype(np.float32)) for rows in (known, others))
    voted, shares = vote(numbers, ids, asked, n_classes=labels.n_classes, k=k)
    rows = np.flatnonzero(shares >= agreement)
    return SelfTrained(rows, replace(labels, ids=voted[rows]))


def check_single(labels: Labels) -> NDArray[np.int64]:
    """The class of each picture.

    Raises:
        LabelsError: several labels a picture, or a hierarchy.
    """
    if labels.ids is None or labels.kind != "single":
        raise LabelsError("pictures without labels are learned from where the others have one label each")
    return labels.ids


def vote(
    known: Features, ids: NDArray[np.int64], asked: Features, *, n_classes: int, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The class that the nearest known rows give each asked row, and its share of their votes.

    Args:
        known: `(n, n_bits)` real numbers before the sign.
        ids: `(n,)`, the class of each.
        asked: `(m, n_bits)`.
        n_classes: all there are.
        k: how many vote, each by the cosine of its row to the asked one, not below 0; all if there are fewer.

    Returns:
        `(m,)` classes, the lower one where votes are even, and `(m,)` shares, 0..1.
    """
    known, asked = _unit(known), _unit(asked)
    k = min(k, len(known))
    classes, shares = [], []
    for start in range(0, len(asked), BLOCK):
        cosines = asked[start : start + BLOCK] @ known.T
        nearest = np.argpartition(cosines, -k, axis=1)[:, -k:]
        weights = np.maximum(np.take_along_axis(cosines, nearest, axis=1), 0)
        votes = np.zeros((len(cosines), n_classes))
        np.add.at(votes, (np.arange(len(cosines))[:, None], ids[nearest]), weights)
        classes.append(votes.argmax(axis=1))
        shares.append(votes.max(axis=1) / np.maximum(votes.sum(axis=1), np.finfo(np.float64).tiny))
    return np.concatenate(classes), np.concatenate(shares)


def _check_vote(k: int | None, agreement: float) -> None:
    if (k is not None and k < 1) or not 0 < agreement <= 1:
        raise InputError(f"k={k} and agreement={agreement}: k is 1 or more, agreement above 0 to 1")


def _unit(rows: Features) -> NDArray[np.float32]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, np.finfo(np.float32).tiny), np.float32)
