"""Spectral hashing: the signs of the smoothest waves along the principal components.

Weiss, Torralba, Fergus: Spectral Hashing, NIPS 2008.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from grainhash.hashing.function import HashFunction
from grainhash.hashing.linear import centred, centred_affine, covariance, mean_of, principal_components
from grainhash.hashing.method import Features, HashMethod, check_more_rows
from grainhash.hashing.steps import Affine, Cosine, L2Norm, Rows
from grainhash.labels import Labels
from grainhash.types import Progress


@dataclass
class SpectralHashing(HashMethod):
    """Bits from the eigenfunctions of a uniform distribution over the box of the principal components.

    Along a component that spans `[a, b]` they are `cos(k pi (x - a) / (b - a))`, of eigenvalues that
    rise with `(k / (b - a)) ** 2`: a long component gives several bits, a short one none.
    """

    name: ClassVar[str] = "spectral"

    def _fit(
        self, rows: Features, labels: Labels | None, progress: Callable[[Progress], None]
    ) -> HashFunction:
        check_more_rows(self.name, rows, self.n_bits)
        mean = mean_of(rows)
        components = principal_components(covariance(rows, mean), min(self.n_bits, rows.shape[1]))
        projected = centred(rows, mean, components)
        low, span = projected.min(axis=0), np.ptp(projected, axis=0)
        component, frequency = _smoothest(span, self.n_bits)
        to_phase = centred_affine(mean, components[:, component] * frequency)
        bias = to_phase.bias - low[component] * frequency
        affine = Affine(to_phase.weight, bias.astype(np.float32))
        return HashFunction([L2Norm(), affine, Cosine()], self.name)


def _smoothest(span: Rows, n_bits: int) -> tuple[NDArray[np.int64], Rows]:
    """Component and frequency `(n_bits,)` of the waves of the lowest frequency, the lowest first."""
    span = np.maximum(span, span.max() * 1e-9)
    frequencies = np.pi * np.arange(1, n_bits + 1)[:, None] / span
    first = np.argsort(frequencies, axis=None, kind="stable")[:n_bits]
    return first % len(span), frequencies.ravel()[first]
