"""What a training step minimises: the seam between losses and the loops that train heads or networks."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn

from grainhash.errors import LabelsError
from grainhash.labels import Labels


class Objective(nn.Module):
    """A loss with what it keeps: centres, a classifier, a memory of outputs, a schedule.

    Its parameters are trained with those of the head.
    """

    views: int = 1
    """Views of each picture in a batch. With 2, the second half of a batch holds other views of the
    pictures of the first half, in the same order."""

    of_neighbours: bool = False
    """With two views: whether the other is always a near neighbour's, not that only for want of views."""

    @abstractmethod
    def forward(self, u: Tensor, targets: Tensor | None, rows: Tensor) -> Tensor:
        """The loss of a batch, a scalar.

        Args:
            u: `(n, n_bits)`, the head's output before the sign.
            targets: float `(n, n_classes)`, rows of `Labels.indicator()`; `None` without labels.
            rows: int64 `(n,)`, positions in the training set.
        """

    def advance(self, fraction: float) -> None:
        """Told at the start of each epoch which share of training is done, 0..1."""


def needed(targets: Tensor | None) -> Tensor:
    """The targets of an objective that cannot do without."""
    if targets is None:
        raise LabelsError("this objective learns from labels; pass the targets of the batch")
    return targets


def with_labels(labels: Labels | None) -> Labels:
    """The labels of an objective that cannot be made without."""
    if labels is None:
        raise LabelsError("this objective is made from labels; pass those of the training set")
    return labels
