"""CCA-ITQ: iterative quantisation of the directions that go with the labels.

Gong, Lazebnik, Gordo, Perronnin: Iterative Quantization: A Procrustean Approach to Learning Binary Codes
for Large-Scale Image Retrieval, TPAMI 2013, section 4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import ClassVar

import numpy as np

from grainhash.hashing.function import HashFunction
from grainhash.hashing.itq import random_rotation, rotate, told
from grainhash.hashing.linear import centred, centred_affine, covariance, mean_of, unit_blocks
from grainhash.hashing.method import Features, HashMethod, check_more_rows, check_settings
from grainhash.hashing.steps import L2Norm, Rows
from grainhash.labels import Labels
from grainhash.types import Progress


@dataclass
class CCAITQ(HashMethod):
    """Supervised ITQ: canonical correlation analysis with the labels in place of PCA.

    There are fewer informative directions than classes. Where the code has more bits than these, the
    rotation of the paper is a map from few directions to many bits, with orthonormal rows.
    """

    regularisation: float = 1e-2
    """Added to the variance of every feature, as a share of their mean variance."""
    n_iter: int = 50
    """Alternations between signs and rotation."""

    name: ClassVar[str] = "cca-itq"
    needs_labels: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings(
            self, {"regularisation": not 0 <= self.regularisation < inf, "n_iter": self.n_iter < 0}
        )

    def _fit(
        self, rows: Features, labels: Labels | None, progress: Callable[[Progress], None]
    ) -> HashFunction:
        assert labels is not None
        check_more_rows(self.name, rows, self.n_bits)
        mean = mean_of(rows)
        directions = _canonical_directions(
            covariance(rows, mean),
            _cross_covariance(rows, labels),
            _label_covariance(labels),
            self.regularisation,
        )[:, : self.n_bits]
        start = random_rotation(self.n_bits, self.seed)[: directions.shape[1]]
        rotation = rotate(
            centred(rows, mean, directions), start, self.n_iter, told(progress, self.name, self.n_iter)
        )
        return HashFunction([L2Norm(), centred_affine(mean, directions @ rotation)], self.name)


def _cross_covariance(rows: Features, labels: Labels) -> Rows:
    """`(dim, n_classes)` of features of length 1 and the indicator of labels."""
    indicator = labels.indicator().astype(np.float64)
    indicator -= indicator.mean(axis=0)
    total, start = np.zeros((rows.shape[1], labels.n_classes)), 0
    for block in unit_blocks(rows):
        total += block.T @ indicator[start : start + len(block)]
        start += len(block)
    return total / len(rows)


def _label_covariance(labels: Labels) -> Rows:
    """`(n_classes, n_classes)`."""
    indicator = labels.indicator().astype(np.float64)
    indicator -= indicator.mean(axis=0)
    return indicator.T @ indicator / len(labels)


def _canonical_directions(xx: Rows, xy: Rows, yy: Rows, regularisation: float) -> Rows:
    """`(dim, n_directions)`: canonical directions of x, times their correlation, strongest first.

    With `W = (Cxx + r I)^-1/2`, they are `W u s` for the singular vectors `u` and values `s` of
    `W Cxy (Cyy + e I)^-1/2`.
    """
    ridge = regularisation * np.trace(xx) / len(xx)
    whiten = _inverse_root(xx + ridge * np.eye(len(xx)))
    u, s, _ = np.linalg.svd(whiten @ xy @ _inverse_root(yy + 1e-6 * np.eye(len(yy))), full_matrices=False)
    informative = s > 1e-3 * s[0]
    return np.asarray(whiten @ u[:, informative] * s[informative])


def _inverse_root(matrix: Rows) -> Rows:
    """`matrix ** -1/2`, of a symmetric matrix of positive eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray(vectors / np.sqrt(np.maximum(values, 1e-30)) @ vectors.T)
