"""A linear classifier on the bits: ridge regression of each class against the others, in closed form.

The regression without one picture follows from that with all (D. Allen, "The relationship between variable
selection and data augmentation and a method for prediction", Technometrics 16, 1974), so that strength and
temperature are chosen on predictions that never saw the picture they are about.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from grainhash.classify.calibration import Floats, Ints, fit_temperature, log_loss, softmax
from grainhash.types import Codes

STRENGTHS = tuple(10.0**power for power in range(-2, 6))
"""Of the penalty, as it is added to the number of pictures in the diagonal."""
TOGETHER = 50_000
"""Codes whose bits are floats at once: bounds memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """A fitted classifier."""

    weights: Floats
    """`(n_bits, n_classes)`, of bits as -1 and 1."""
    bias: Floats
    strength: float
    temperature: float
    left_out: Floats
    """`(n, n_classes)`: the logits of each labelled picture, by all the others."""

    @classmethod
    def fit(cls, codes: Codes, classes: Ints, n_classes: int, *, n_threads: int | None = None) -> Linear:
        """Learn from codes `(n, n_bytes)` of two pictures or more and their classes `(n,)`."""
        from threadpoolctl import threadpool_limits

        with threadpool_limits(n_threads):
            bits, targets = signs(codes), 2 * np.eye(n_classes)[classes] - 1
            middle, bias = bits.mean(axis=0), targets.mean(axis=0)
            bits, targets = bits - middle, targets - bias
            values, axes = np.linalg.eigh(bits.T @ bits)
            turned = bits @ axes
            along = turned.T @ targets
            best: tuple[float, float, Floats] | None = None
            for strength in STRENGTHS:
                shrunk = 1 / (np.maximum(values, 0) + strength)
                fitted = turned @ (shrunk[:, np.newaxis] * along)
                leverage = (turned**2 @ shrunk) + 1 / len(bits)
                errors = (targets - fitted) / np.maximum(1 - leverage, 1e-6)[:, np.newaxis]
                left_out = targets - errors + bias
                loss = log_loss(left_out / fit_temperature(left_out, classes), classes)
                if best is None or loss < best[0] - 1e-9:
                    best = (loss, strength, left_out)
            assert best is not None  # STRENGTHS is not empty
            _, strength, left_out = best
            weights = axes @ (along / (np.maximum(values, 0) + strength)[:, np.newaxis])
            return cls(
                weights, bias - middle @ weights, strength, fit_temperature(left_out, classes), left_out
            )

    def probabilities(self, codes: Codes, *, n_threads: int | None = None) -> Floats:
        """Of each class for codes `(n, n_bytes)`, `(n, n_classes)`."""
        from threadpoolctl import threadpool_limits

        with threadpool_limits(n_threads):
            parts = [
                softmax(self._logits(codes[begin : begin + TOGETHER]) / self.temperature)
                for begin in range(0, len(codes), TOGETHER)
            ]
        return np.concatenate([np.empty((0, len(self.bias))), *parts])

    def _logits(self, codes: Codes) -> Floats:
        return np.asarray(signs(codes) @ self.weights + self.bias)


def signs(codes: Codes) -> Floats:
    """Bits as -1 and 1, `(n, n_bits)`."""
    return np.asarray(np.unpackbits(codes, axis=1) * 2.0 - 1, np.float64)
