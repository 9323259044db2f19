"""What the deep methods have in common: their settings, and how they become a hash function."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grainhash.errors import InputError
from grainhash.hashing.function import HashFunction
from grainhash.hashing.method import Features, HashMethod, check_labels, check_more_rows
from grainhash.labels import Labels
from grainhash.learning.fit import FitSettings, check_views, fit_head, seeded
from grainhash.learning.fusion import block_sizes, check_fusion, unit_blocks
from grainhash.learning.heads import HIDDEN, make_head
from grainhash.learning.objective import Objective
from grainhash.types import Progress, silent


@dataclass(kw_only=True)
class DeepMethod(HashMethod):
    """A head trained on features with an objective; a subclass sets `name` and makes its objective."""

    head: str = "two-layer"
    """`two-layer` or `linear`."""
    hidden: int = HIDDEN
    """Width between two layers."""
    dropout: float = 0.5
    """Share of the hidden units left out in training."""
    blocks: tuple[int, ...] = ()
    """Columns of each kind of features that stand side by side; `()` for features of one kind."""
    fusion: str = "concat"
    """`concat`, `weights` or `gates`: how blocks are weighed; see `grainhash.learning.fusion`."""
    epochs: int | None = None
    """See `FitSettings`, and so the rest."""
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    noise: float = 0.2
    validation: float = 0.0
    patience: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head == "conv":
            raise InputError("a conv head takes feature maps, not features: train it end to end")
        self.blocks = check_fusion(self.fusion, self.blocks)
        self.fit_settings()

    @abstractmethod
    def objective(self, labels: Labels | None, features: Tensor | None = None) -> Objective:
        """What is minimised.

        Args:
            labels: those of the training set, which classes and centres come from.
            features: `(n, dim)` of the training set, every block of length 1: what an unsupervised
                objective takes as the truth.
        """

    def fit_settings(self) -> FitSettings:
        """The settings of training among this method's own."""
        return FitSettings(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            noise=self.noise,
            validation=self.validation,
            patience=self.patience,
            seed=self.seed,
        )

    def fit(
        self,
        features: Features | NDArray[Any],
        labels: Labels | Any | None = None,
        *,
        progress: Callable[[Progress], None] = silent,
    ) -> Self:
        """Learn the hash function; as `HashMethod.fit`, and `(n_views, n, dim)` for augmented views."""
        views = check_views(features)
        known = None if labels is None else Labels.of(labels)
        if self.needs_labels:
            check_labels(self.name, views.shape[1], known)
        self._function = self._fit_views(views, known, progress)
        return self

    def _fit(
        self, rows: Features, labels: Labels | None, progress: Callable[[Progress], None]
    ) -> HashFunction:
        return self._fit_views(check_views(rows), labels, progress)

    def _fit_views(
        self, views: NDArray[np.float32], labels: Labels | None, progress: Callable[[Progress], None]
    ) -> HashFunction:
        check_more_rows(self.name, views[0], self.n_bits)
        used = labels if self.needs_labels else None
        sizes = block_sizes(self.blocks, views.shape[2])
        with seeded(self.seed):
            head = make_head(self.head, views.shape[2], self.n_bits, hidden=self.hidden, dropout=self.dropout)
            objective = self.objective(used, unit_blocks(torch.from_numpy(views[0]), sizes))
        return fit_head(
            views,
            used,
            head=head,
            objective=objective,
            settings=self.fit_settings(),
            method=self.name,
            blocks=self.blocks,
            fusion=self.fusion,
            progress=progress,
        )
