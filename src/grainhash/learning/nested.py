"""Nested codes, grainhash's own supervised default: one code whose prefixes are each a good code.

The first 16, 32, 64, ... bits are trained as codes of their own against centres that are well separated at
each of these lengths. So a gallery can be searched with a short prefix and ordered with all bits, or cut to
a smaller one, without training again.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import ClassVar

import torch
from torch import Tensor

from grainhash.hashing.method import check_settings
from grainhash.labels import Labels
from grainhash.learning.centres import check_kind, make_centres, prefix_lengths
from grainhash.learning.losses import nested_orthohash
from grainhash.learning.method import DeepMethod
from grainhash.learning.objective import Objective, needed, with_labels


@dataclass(kw_only=True)
class NestedCodes(DeepMethod):
    """Cosine-margin classification by every prefix, on fixed nested centres."""

    name: ClassVar[str] = "nested"
    needs_labels: ClassVar[bool] = True

    hidden: int = 1024
    dropout: float = 0.7
    noise: float = 0.5
    scale: float = 8.0
    margin: float = 0.4
    smoothing: float = 0.0
    centres: str = "nested"
    """`nested`, `hadamard` or `random`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_kind(self.centres)
        check_settings(self, {"scale": not 0 < self.scale < inf, "smoothing": not 0 <= self.smoothing < 1})

    def objective(self, labels: Labels | None, features: Tensor | None = None) -> Objective:
        """The mean over prefixes of OrthoHash's loss."""
        centres = make_centres(self.centres, with_labels(labels).n_classes, self.n_bits, seed=self.seed)
        return NestedObjective(
            torch.from_numpy(centres), scale=self.scale, margin=self.margin, smoothing=self.smoothing
        )


class NestedObjective(Objective):
    """`nested_orthohash` with its centres, `(n_classes, n_bits)`; all prefixes weigh the same."""

    centres: Tensor

    def __init__(self, centres: Tensor, *, scale: float, margin: float, smoothing: float) -> None:
        super().__init__()
        self.register_buffer("centres", centres)
        self.lengths = prefix_lengths(centres.shape[1])
        self.weights = [1 / len(self.lengths)] * len(self.lengths)
        self.scale, self.margin, self.smoothing = scale, margin, smoothing

    def forward(self, u: Tensor, targets: Tensor | None, rows: Tensor) -> Tensor:
        """Classify by every prefix."""
        return nested_orthohash(
            u,
            self.centres,
            needed(targets),
            lengths=self.lengths,
            weights=self.weights,
            scale=self.scale,
            margin=self.margin,
            smoothing=self.smoothing,
        )
