"""What the deep methods have in common: their settings, and how they become a hash function."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from grainhash.errors import InputError
from grainhash.hashing.function import HashFunction
from grainhash.hashing.method import Features, HashMethod, check_more_rows
from grainhash.labels import Labels
from grainhash.learning.fit import FitSettings, check_views, fit_head, seeded
from grainhash.learning.fusion import block_sizes, check_fusion, unit_blocks
from grainhash.learning.heads import HIDDEN, check_head, make_head
from grainhash.learning.objective import Objective
from grainhash.types import Progress


@dataclass(kw_only=True)
class DeepMethod(HashMethod):
    """A head trained on features with an objective; a subclass sets `name` and makes its objective.

    `fit` takes features as `(n, dim)`, or as `(n_views, n, dim)` for augmented views of each picture.
    """

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
        check_head(self.head, self.hidden, self.dropout)
        self.blocks = check_fusion(self.fusion, self.blocks)
        self.fit_settings()

    @abstractmethod
    def objective(self, labels: Labels | None, features: Tensor | None = None) -> Objective:
        """What is minimised.

        Args:
            labels: those of the training set, which classes and centres come from.
            features: `(n, dim)` of the training set, every block of length 1: what an unsupervised
                objective takes as the truth; `None` for a supervised one.
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

    def _checked(self, features: Features) -> Features:
        return check_views(features)

    def _fit(
        self, rows: Features, labels: Labels | None, progress: Callable[[Progress], None]
    ) -> HashFunction:
        check_more_rows(self.name, rows[0], self.n_bits)
        used = labels if self.needs_labels else None
        sizes = block_sizes(self.blocks, rows.shape[2])
        truth = None if self.needs_labels else unit_blocks(torch.from_numpy(rows[0]), sizes)
        with seeded(self.seed):
            head = make_head(self.head, rows.shape[2], self.n_bits, hidden=self.hidden, dropout=self.dropout)
            objective = self.objective(used, truth)
        return fit_head(
            rows,
            used,
            head=head,
            objective=objective,
            settings=self.fit_settings(),
            method=self.name,
            blocks=self.blocks,
            fusion=self.fusion,
            progress=progress,
        )
