"""K-nearest-neighbours hashing: ITQ of rows that were moved to the middle of their neighbours.

He, Wang, Cheng: K-Nearest Neighbors Hashing, CVPR 2019.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from grainhash.errors import InputError
from grainhash.hashing.function import HashFunction
from grainhash.hashing.itq import random_rotation, rotate, told
from grainhash.hashing.linear import centred, centred_affine, covariance, mean_of, principal_components
from grainhash.hashing.method import Features, HashMethod, check_more_rows, check_settings
from grainhash.hashing.neighbours import nearest_neighbours
from grainhash.hashing.steps import L2Norm, Rows
from grainhash.labels import Labels
from grainhash.types import Progress


@dataclass
class KNNH(HashMethod):
    """ITQ whose rotation is learned from the means of each row's nearest neighbours.

    The paper looks for the half-spaces of least conditional entropy: those in which the neighbours of
    a row share its bit. It gets there by shrinking every row to the mean of its `n_neighbours` nearest
    in the space of the principal components before the rotation is learned. New rows are not shrunk.
    """

    n_neighbours: int = 20
    """Neighbours that a row is shrunk to, itself not among them."""
    n_shrinkages: int = 1
    """How often rows are shrunk, with the same neighbours."""
    n_iter: int = 50
    """Alternations between signs and rotation."""

    name: ClassVar[str] = "knnh"

    def __post_init__(self) -> None:
        super().__post_init__()
        wrong = {
            "n_neighbours": self.n_neighbours < 1,
            "n_shrinkages": self.n_shrinkages < 0,
            "n_iter": self.n_iter < 0,
        }
        check_settings(self, wrong)

    def _fit(
        self, rows: Features, labels: Labels | None, progress: Callable[[Progress], None]
    ) -> HashFunction:
        check_more_rows(self.name, rows, self.n_bits)
        if len(rows) <= self.n_neighbours:
            raise InputError(
                f"knnh of {self.n_neighbours} neighbours needs more than {self.n_neighbours} rows of "
                f"features, not {len(rows)}"
            )
        mean = mean_of(rows)
        components = principal_components(covariance(rows, mean), self.n_bits)
        projected = centred(rows, mean, components)
        neighbours = nearest_neighbours(
            projected, self.n_neighbours, progress=told(progress, "neighbours", len(rows))
        )
        for _ in range(self.n_shrinkages):
            projected = shrunk(projected, neighbours)
        start = random_rotation(self.n_bits, self.seed)
        rotation = rotate(projected, start, self.n_iter, told(progress, self.name, self.n_iter))
        return HashFunction([L2Norm(), centred_affine(mean, components @ rotation)], self.name)


def shrunk(rows: Rows, neighbours: NDArray[np.int64]) -> Rows:
    """`(n, dim)`: the mean of each row's neighbours."""
    total = np.zeros_like(rows)
    for column in neighbours.T:
        total += rows[column]
    return np.asarray(total / neighbours.shape[1])
