"""Nested codes, grainhash's own supervised default: one code whose prefixes are each a good code.

The first 16, 32, 64, ... bits are trained as codes of their own: against centres that are well separated at
each of these lengths, and by classifiers of the very bits. So a gallery can be searched with a short prefix
and ordered with all bits, or cut to a smaller one, without training again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import ClassVar

import torch
from torch import Tensor, nn

from grainhash.hashing.method import check_settings
from grainhash.labels import Labels
from grainhash.learning.centres import check_kind, make_centres, prefix_lengths
from grainhash.learning.losses import greedyhash, nested_orthohash, straight_through_signs
from grainhash.learning.method import DeepMethod
from grainhash.learning.objective import Objective, needed, with_labels


@dataclass(kw_only=True)
class NestedCodes(DeepMethod):
    """OrthoHash's and GreedyHash's losses for every prefix of a code.

    Fixed nested centres keep the classes apart at every length; linear classifiers of the bits, one a prefix,
    learn which classes are alike.
    """

    name: ClassVar[str] = "nested"
    needs_labels: ClassVar[bool] = True

    dropout: float = 0.3
    noise: float = 0.5
    learning_rate: float = 2e-3
    scale: float = 8.0
    margin: float = 6.4
    """In bits: how much nearer to its own class's centre than to any other each prefix shall be."""
    smoothing: float = 0.0
    centres: str = "nested"
    """`nested`, `hadamard` or `random`."""
    greedy: float = 0.3
    """Weight of GreedyHash's loss; OrthoHash's has 1."""
    alpha: float = 0.1
    """Weight of GreedyHash's cubic term."""
    prefixes: bool = True
    """Whether prefixes are trained as codes of their own; otherwise the whole code alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_kind(self.centres)
        wrong = {
            "scale": not 0 < self.scale < inf,
            "margin": not 0 <= self.margin < inf,
            "smoothing": not 0 <= self.smoothing < 1,
            "greedy": not 0 <= self.greedy < inf,
            "alpha": not 0 <= self.alpha < inf,
        }
        check_settings(self, wrong)

    def objective(self, labels: Labels | None, features: Tensor | None = None) -> Objective:
        """The mean over prefixes of OrthoHash's loss and, weighed by `greedy`, of GreedyHash's."""
        centres = make_centres(self.centres, with_labels(labels).n_classes, self.n_bits, seed=self.seed)
        lengths = prefix_lengths(self.n_bits) if self.prefixes else (self.n_bits,)
        return NestedObjective(
            torch.from_numpy(centres),
            lengths,
            scale=self.scale,
            margins=[cosine_margin(self.margin, m) for m in lengths],
            smoothing=self.smoothing,
            greedy=self.greedy,
            alpha=self.alpha,
        )


def cosine_margin(margin: float, n_bits: int) -> float:
    """A margin in bits as one of the cosine of codes of `n_bits`: `1 - 2 d / n_bits` is that of distance `d`.

    At most 1, what keeps a code apart from all that is orthogonal to it.
    """
    return min(2 * margin / n_bits, 1.0)


class NestedObjective(Objective):
    """Both losses, with the centres `(n_classes, n_bits)` of the first and the second's classifiers.

    All prefixes, of `lengths` bits, weigh the same; `margins` are of their cosines.
    """

    centres: Tensor

    def __init__(
        self,
        centres: Tensor,
        lengths: Sequence[int],
        *,
        scale: float,
        margins: Sequence[float],
        smoothing: float,
        greedy: float,
        alpha: float,
    ) -> None:
        super().__init__()
        self.register_buffer("centres", centres)
        self.lengths = lengths
        self.scale, self.margins, self.smoothing = scale, margins, smoothing
        self.greedy, self.alpha = greedy, alpha
        self.classified = lengths if greedy else ()
        self.classifiers = nn.ModuleList(nn.Linear(m, len(centres), bias=False) for m in self.classified)

    def forward(self, u: Tensor, targets: Tensor | None, rows: Tensor) -> Tensor:
        """The mean of both losses over the prefixes."""
        targets = needed(targets)
        loss = nested_orthohash(
            u,
            self.centres,
            targets,
            lengths=self.lengths,
            weights=[1 / len(self.lengths)] * len(self.lengths),
            scale=self.scale,
            margins=self.margins,
            smoothing=self.smoothing,
        )
        for classifier, m in zip(self.classifiers, self.classified, strict=True):
            prefix = u[:, :m]
            logits = classifier(straight_through_signs(prefix))
            weight = self.greedy / len(self.lengths)
            loss = loss + weight * greedyhash(prefix, logits, targets, alpha=self.alpha)
        return loss
