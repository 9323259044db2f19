"""Supervised hashing by classes: GreedyHash, CSQ, OrthoHash."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from grainhash.hashing.method import check_settings
from grainhash.labels import SEPARATOR, Labels
from grainhash.learning.centres import Centres, check_kind, hierarchy_centres, make_centres, random_centres
from grainhash.learning.losses import (
    csq,
    greedyhash,
    orthohash,
    straight_through_signs,
    target_centres,
)
from grainhash.learning.method import DeepMethod
from grainhash.learning.objective import Objective, needed, with_labels


@dataclass(kw_only=True)
class GreedyHash(DeepMethod):
    """GreedyHash (Su et al., NeurIPS 2018): a classifier of the bits, straight through the sign."""

    name: ClassVar[str] = "greedyhash"
    needs_labels: ClassVar[bool] = True

    alpha: float = 0.1

    def objective(self, labels: Labels | None, features: Tensor | None = None) -> Objective:
        """Cross entropy of a linear classifier of the bits, and the cubic term."""
        return _BitClassifier(self.n_bits, with_labels(labels).n_classes, self.alpha)


@dataclass(kw_only=True)
class CSQ(DeepMethod):
    """Central similarity quantisation (Yuan et al., CVPR 2020): towards the centre of the class."""

    name: ClassVar[str] = "csq"
    needs_labels: ClassVar[bool] = True

    quantisation: float = 1e-4
    centres: str = "hadamard"
    """`hadamard`, `random` or `nested`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_kind(self.centres)

    def objective(self, labels: Labels | None, features: Tensor | None = None) -> Objective:
        """Binary cross entropy with the bits of the centre."""
        labels = with_labels(labels)
        centres = make_centres(self.centres, labels.n_classes, self.n_bits, seed=self.seed)
        return _Central(labels, centres, self.quantisation, self.seed)


@dataclass(kw_only=True)
class OrthoHash(DeepMethod):
    """OrthoHash (Hoe et al., NeurIPS 2021): cosine margin on a fixed binary codebook."""

    name: ClassVar[str] = "orthohash"
    needs_labels: ClassVar[bool] = True

    scale: float = 8.0
    margin: float = 0.2
    centres: str = "random"
    """`hadamard`, `random` or `nested`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_kind(self.centres)
        check_settings(self, {"scale": not 0 < self.scale < inf})

    def objective(self, labels: Labels | None, features: Tensor | None = None) -> Objective:
        """Cross entropy of the cosines to the codebook."""
        centres = make_centres(self.centres, with_labels(labels).n_classes, self.n_bits, seed=self.seed)
        return _Codebook(centres, self.scale, self.margin)


class _BitClassifier(Objective):
    """GreedyHash with its classifier."""

    def __init__(self, n_bits: int, n_classes: int, alpha: float) -> None:
        super().__init__()
        self.classifier = nn.Linear(n_bits, n_classes, bias=False)
        self.alpha = alpha

    def forward(self, u: Tensor, targets: Tensor | None, rows: Tensor) -> Tensor:
        """Classify the bits."""
        logits = self.classifier(straight_through_signs(u))
        return greedyhash(u, logits, needed(targets), alpha=self.alpha)


class _Central(Objective):
    """CSQ. In a hierarchy (ours) the centre is the finest class's, which shares bits with those above."""

    centres: Tensor
    ties: Tensor
    depth: Tensor

    def __init__(self, labels: Labels, centres: Centres, quantisation: float, seed: int) -> None:
        super().__init__()
        self.by_leaf = labels.kind == "hierarchy"
        if self.by_leaf:
            centres = hierarchy_centres(labels, centres)
        ties = random_centres(2, centres.shape[1], seed=seed)[0]
        depth = np.array([1 + name.count(SEPARATOR) for name in labels.classes], np.float32)
        self.register_buffer("centres", torch.from_numpy(centres))
        self.register_buffer("ties", torch.from_numpy(ties))
        self.register_buffer("depth", torch.from_numpy(depth))
        self.quantisation = quantisation

    def forward(self, u: Tensor, targets: Tensor | None, rows: Tensor) -> Tensor:
        """Each picture that has a label against its centre."""
        targets = needed(targets)
        labelled = targets.sum(dim=1) > 0
        if not labelled.any():
            return 0 * u.sum()
        u, targets = u[labelled], targets[labelled]
        if self.by_leaf:
            centres = self.centres[(targets * self.depth).argmax(dim=1)]
        else:
            centres = target_centres(targets, self.centres, self.ties)
        return csq(u, centres, quantisation=self.quantisation)


class _Codebook(Objective):
    """OrthoHash with its codebook."""

    centres: Tensor

    def __init__(self, centres: Centres, scale: float, margin: float) -> None:
        super().__init__()
        self.register_buffer("centres", torch.from_numpy(centres))
        self.scale, self.margin = scale, margin

    def forward(self, u: Tensor, targets: Tensor | None, rows: Tensor) -> Tensor:
        """Classify by the codebook."""
        return orthohash(u, self.centres, needed(targets), scale=self.scale, margin=self.margin)
