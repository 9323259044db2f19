"""Iterative quantisation: rotate the principal components until their signs lose least.

Gong, Lazebnik: Iterative Quantization: A Procrustean Approach to Learning Binary Codes, CVPR 2011.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import ClassVar

import numpy as np

from grainhash.hashing.function import HashFunction
from grainhash.hashing.linear import centred, centred_affine, covariance, mean_of, principal_components
from grainhash.hashing.method import Features, HashMethod, check_more_rows, check_settings
from grainhash.hashing.steps import L2Norm, Rows
from grainhash.labels import Labels
from grainhash.types import Progress


@dataclass
class ITQ(HashMethod):
    """PCA, part of a whitening, and the rotation that brings the result closest to its own signs."""

    whitening: float = 0.0
    """0 keeps the scale of the principal components (plain ITQ), 1 gives all the same variance;
    components are divided by `eigenvalue ** (whitening / 2)`. Half helps to find parts of pictures,
    none is best for classes of whole pictures."""
    n_iter: int = 50
    """Alternations between signs and rotation."""

    name: ClassVar[str] = "itq"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings(self, {"whitening": not isfinite(self.whitening), "n_iter": self.n_iter < 0})

    def _fit(
        self, rows: Features, labels: Labels | None, progress: Callable[[Progress], None]
    ) -> HashFunction:
        check_more_rows(self.name, rows, self.n_bits)
        mean = mean_of(rows)
        components = principal_components(covariance(rows, mean), self.n_bits, whitening=self.whitening)
        start = random_rotation(self.n_bits, self.seed)
        rotation = rotate(
            centred(rows, mean, components), start, self.n_iter, told(progress, self.name, self.n_iter)
        )
        return HashFunction([L2Norm(), centred_affine(mean, components @ rotation)], self.name)


def random_rotation(n: int, seed: int) -> Rows:
    """An orthogonal `(n, n)` matrix."""
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]


def rotate(projected: Rows, start: Rows, n_iter: int, progress: Callable[[int], None]) -> Rows:
    """The rotation that brings `projected` close to its own signs, `min |sign(V R) - V R|`.

    Args:
        projected: `(n, n_components)`, the V of the paper.
        start: `(n_components, n_bits)` with orthonormal rows. More bits than components are possible:
            then the result is no rotation, but has orthonormal rows as well.
        n_iter: alternations.
        progress: told the number done.
    """
    rotation = start
    for iteration in range(n_iter):
        signs = np.where(projected @ rotation > 0, 1.0, -1.0)
        u, _, vt = np.linalg.svd(projected.T @ signs, full_matrices=False)
        rotation = u @ vt
        progress(iteration + 1)
    return rotation


def told(progress: Callable[[Progress], None], stage: str, total: int) -> Callable[[int], None]:
    """A callable that passes the number of steps done on as `Progress`."""
    return lambda done: progress(Progress(stage, done, total, 0))
