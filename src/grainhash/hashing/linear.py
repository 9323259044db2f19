"""What linear methods share: the mean and the principal components of rows of length 1.

Rows are taken in blocks, so that 50,000 rows of float32 features are never copied to float64 whole.
Sums and covariances are float64.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from grainhash.errors import InputError
from grainhash.hashing.method import Features
from grainhash.hashing.steps import Affine, L2Norm, Rows

BLOCK = 8192
"""Rows that are turned into float64 together."""


def unit_blocks(rows: Features) -> Iterator[Rows]:
    """The rows, scaled to length 1, block by block."""
    norm = L2Norm()
    for start in range(0, len(rows), BLOCK):
        yield norm(rows[start : start + BLOCK].astype(np.float64))


def mean_of(rows: Features) -> Rows:
    """`(dim,)`: the mean of the rows scaled to length 1."""
    sums = [block.sum(axis=0) for block in unit_blocks(rows)]
    return np.asarray(np.sum(sums, axis=0) / len(rows))


def covariance(rows: Features, mean: Rows) -> Rows:
    """`(dim, dim)` of the rows scaled to length 1.

    Raises:
        InputError: the rows are all the same, so that there is nothing to tell apart.
    """
    total = np.zeros((rows.shape[1], rows.shape[1]))
    for block in unit_blocks(rows):
        block -= mean
        total += block.T @ block
    if np.trace(total) < 1e-12 * len(rows):
        raise InputError("all rows of features are the same, so there is nothing to tell apart")
    return total / len(rows)


def principal_components(covariance: Rows, n: int, *, whitening: float = 0.0) -> Rows:
    """`(dim, n)`: the leading eigenvectors of a covariance, those of the largest values first.

    Args:
        covariance: `(dim, dim)`, symmetric.
        n: how many; at most `dim`.
        whitening: each is divided by `eigenvalue ** (whitening / 2)`: 0 keeps the scale, 1 brings all
            to the same variance.

    Raises:
        InputError: more components than dimensions.
    """
    if n > len(covariance):
        raise InputError(f"{n} bits cannot be cut from features of {len(covariance)} dimensions")
    values, vectors = np.linalg.eigh(covariance)
    leading = np.argsort(values)[::-1][:n]
    floor = values[leading[0]] * 1e-9
    return np.asarray(vectors[:, leading] * np.maximum(values[leading], floor) ** (-whitening / 2))


def centred(rows: Features, mean: Rows, components: Rows) -> Rows:
    """`(n, n_components)`: the rows scaled to length 1, less their mean, on the components."""
    return np.concatenate([(block - mean) @ components for block in unit_blocks(rows)])


def centred_affine(mean: Rows, weight: Rows) -> Affine:
    """The step that subtracts `mean` and multiplies by `weight`."""
    return Affine(weight.astype(np.float32), (-mean @ weight).astype(np.float32))
