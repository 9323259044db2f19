"""PCA sign: the signs of the principal components, unrotated.

Wang, Kumar, Chang: Semi-Supervised Hashing for Large-Scale Search, TPAMI 2012 (there PCAH).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from grainhash.hashing.function import HashFunction
from grainhash.hashing.linear import centred_affine, covariance, mean_of, principal_components
from grainhash.hashing.method import Features, HashMethod, check_more_rows
from grainhash.hashing.steps import L2Norm
from grainhash.labels import Labels
from grainhash.types import Progress


@dataclass
class PCASign(HashMethod):
    """One bit a principal component. Later bits tell less, so longer codes hardly gain."""

    name: ClassVar[str] = "pca-sign"

    def _fit(
        self, rows: Features, labels: Labels | None, progress: Callable[[Progress], None]
    ) -> HashFunction:
        check_more_rows(self.name, rows, self.n_bits)
        mean = mean_of(rows)
        components = principal_components(covariance(rows, mean), self.n_bits)
        return HashFunction([L2Norm(), centred_affine(mean, components)], self.name)
