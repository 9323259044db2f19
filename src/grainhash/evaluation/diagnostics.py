"""What codes look like without any labels: balance, correlation, collisions, effective bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grainhash.codes import check_codes, unpack
from grainhash.errors import InputError
from grainhash.types import Codes

ROWS = 2**14
"""Codes that are unpacked at once."""


@dataclass(frozen=True, slots=True)
class CodeDiagnostics:
    """Properties of one array of codes. The ideal code has balanced, uncorrelated bits."""

    n_codes: int
    n_bits: int
    ones: tuple[float, ...]
    """`(n_bits,)`: the share of codes in which each bit is 1; .5 is balanced."""
    n_constant: int
    """Bits that are the same in every code, and so say nothing."""
    mean_correlation: float
    """Mean of the absolute correlation of two bits, over all pairs of bits that vary."""
    max_correlation: float
    """The largest of them."""
    effective_bits: float
    """So many independent balanced bits would spread as much: `(tr C)^2 / ||C||^2` of the covariance C of
    the bits, the participation ratio of its eigenvalues. At most `n_bits`."""
    n_distinct: int
    """Distinct codes."""
    colliding: float
    """The share of pictures whose code another picture has as well."""
    largest_collision: int
    """Pictures that share the commonest code."""


def diagnose(codes: Codes) -> CodeDiagnostics:
    """Look at `(n, n_bytes)` packed codes.

    Raises:
        CodesError: no packed codes.
        InputError: there are none.
    """
    codes = check_codes(codes)
    if not len(codes):
        raise InputError("there are no codes to look at")
    ones, covariance = _moments(codes)
    varies = np.diag(covariance) > 0
    correlations = _correlations(covariance[np.ix_(varies, varies)])
    sizes = np.unique(_as_bytes(codes), return_counts=True)[1]
    spread = float(np.square(covariance).sum())
    return CodeDiagnostics(
        n_codes=len(codes),
        n_bits=codes.shape[1] * 8,
        ones=tuple(ones.tolist()),
        n_constant=int((~varies).sum()),
        mean_correlation=float(correlations.mean()) if len(correlations) else 0.0,
        max_correlation=float(correlations.max(initial=0.0)),
        effective_bits=float(np.trace(covariance)) ** 2 / spread if spread else 0.0,
        n_distinct=len(sizes),
        colliding=float(sizes[sizes > 1].sum() / len(codes)),
        largest_collision=int(sizes.max()),
    )


def _moments(codes: Codes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`(n_bits,)` shares of ones and the `(n_bits, n_bits)` covariance of the bits, in bounded memory."""
    n_bits = codes.shape[1] * 8
    both = np.zeros((n_bits, n_bits))
    for start in range(0, len(codes), ROWS):
        bits = unpack(codes[start : start + ROWS]).astype(np.float32)
        both += bits.T @ bits  # whole numbers below 2**24 are exact in float32
    both /= len(codes)
    ones = np.diag(both).copy()
    return ones, both - np.outer(ones, ones)


def _correlations(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Absolute correlations of all pairs of bits, each pair once."""
    deviation = np.sqrt(np.diag(covariance))
    pairs = np.triu_indices(len(covariance), k=1)
    correlations: NDArray[np.float64] = np.abs(covariance[pairs]) / (
        deviation[pairs[0]] * deviation[pairs[1]]
    )
    return correlations


def _as_bytes(codes: Codes) -> NDArray[np.void]:
    """Each code as one value that can be compared."""
    return np.ascontiguousarray(codes).view(np.dtype((np.void, codes.shape[1]))).ravel()
