"""Locality-sensitive hashing: the sides of random hyperplanes, the baseline that learns nothing.

Charikar: Similarity Estimation Techniques from Rounding Algorithms, STOC 2002. Orthogonal hyperplanes:
Ji, Li, Yan, Zhang, Tian: Super-Bit Locality-Sensitive Hashing, NIPS 2012.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from grainhash.errors import InputError
from grainhash.hashing.function import HashFunction
from grainhash.hashing.linear import centred_affine, mean_of
from grainhash.hashing.method import Features, HashMethod
from grainhash.hashing.steps import L2Norm, Rows
from grainhash.labels import Labels
from grainhash.types import Progress


@dataclass
class LSH(HashMethod):
    """Bits from hyperplanes through the mean of the features, in directions drawn from a Gaussian.

    Two bits of two rows differ with a probability of their angle over pi.
    """

    orthogonal: bool = False
    """Orthogonal hyperplanes, in groups of as many as there are dimensions: the same expectation, less
    variance (super-bits)."""

    name: ClassVar[str] = "lsh"

    def _fit(
        self, rows: Features, labels: Labels | None, progress: Callable[[Progress], None]
    ) -> HashFunction:
        if len(rows) < 2:
            raise InputError("lsh centres the features, so it needs two rows at least")
        directions = np.random.default_rng(self.seed).standard_normal((rows.shape[1], self.n_bits))
        if self.orthogonal:
            directions = _orthogonal_in_groups(directions)
        return HashFunction([L2Norm(), centred_affine(mean_of(rows), directions)], self.name)


def _orthogonal_in_groups(directions: Rows) -> Rows:
    """Gram-Schmidt over as many columns at a time as there are rows."""
    dim, n_bits = directions.shape
    groups = [directions[:, start : start + dim] for start in range(0, n_bits, dim)]
    return np.hstack([np.linalg.qr(group)[0] for group in groups])
