"""Iterative quantisation: rotate the principal components until their signs lose least.

Gong, Lazebnik: Iterative Quantization: A Procrustean Approach to Learning Binary Codes, CVPR 2011.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from grainhash.errors import InputError
from grainhash.hashing.function import Affine, HashFunction, L2Norm


def fit_itq(
    features: NDArray[np.floating],
    n_bits: int,
    *,
    whitening: float = 0.0,
    n_iter: int = 50,
    seed: int = 0,
) -> HashFunction:
    """Fit PCA, part of a whitening, and the ITQ rotation to `(n, dim)` features.

    Args:
        features: one row a granule; normalised to length 1 here and in the fitted chain.
        n_bits: length of the code; at most `dim` and fewer than the rows.
        whitening: 0 keeps the scale of the principal components (plain ITQ), 1 gives all the same
            variance; components are divided by `eigenvalue ** (whitening / 2)`. Half helps to find
            parts of pictures, none is best for classes of whole pictures.
        n_iter: alternations between signs and rotation.
        seed: of the first, random rotation.

    Raises:
        InputError: too few rows, too many bits, or numbers that are not finite.
    """
    rows = np.asarray(features, np.float64)
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise InputError(f"features must be finite and (n, dim), not {rows.shape}")
    if n_bits > rows.shape[1]:
        raise InputError(f"{n_bits} bits cannot be cut from features of {rows.shape[1]} dimensions")
    if len(rows) <= n_bits:
        raise InputError(f"ITQ of {n_bits} bits needs more than {n_bits} rows of features, not {len(rows)}")
    rows = L2Norm()(rows)
    mean = rows.mean(axis=0)
    components = _principal_components(rows - mean, n_bits, whitening)
    rotation = _rotation((rows - mean) @ components, n_iter, seed)
    weight = components @ rotation
    affine = Affine(weight.astype(np.float32), (-mean @ weight).astype(np.float32))
    return HashFunction([L2Norm(), affine], method="itq")


def _principal_components(centred: NDArray[np.float64], n: int, whitening: float) -> NDArray[np.float64]:
    """`(dim, n)`: the leading eigenvectors of the covariance, scaled by the whitening."""
    values, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    leading = np.argsort(values)[::-1][:n]
    floor = values[leading[0]] * 1e-9 + 1e-30
    scales = np.maximum(values[leading], floor) ** (-whitening / 2)
    return np.asarray(vectors[:, leading] * scales)


def _rotation(projected: NDArray[np.float64], n_iter: int, seed: int) -> NDArray[np.float64]:
    """The orthogonal `(n, n)` matrix that brings `projected` close to its own signs."""
    n = projected.shape[1]
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))
    for _ in range(n_iter):
        signs = np.where(projected @ rotation > 0, 1.0, -1.0)
        u, _, vt = np.linalg.svd(projected.T @ signs)
        rotation = u @ vt
    return rotation
