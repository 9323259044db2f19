"""Supervised hashing by pairs: DPSH, HashNet, DSH."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from grainhash.hashing.method import check_settings
from grainhash.labels import Labels
from grainhash.learning.losses import dpsh, dsh, hashnet, similarity
from grainhash.learning.method import DeepMethod
from grainhash.learning.objective import Objective, needed, with_labels


@dataclass(kw_only=True)
class DPSH(DeepMethod):
    """Deep pairwise-supervised hashing (Li et al., IJCAI 2016): a batch against outputs remembered."""

    name: ClassVar[str] = "dpsh"
    needs_labels: ClassVar[bool] = True

    quantisation: float = 0.1
    memory: int = 5000
    """Outputs that each batch is compared with, the latest ones. The paper compares with all of its 5,000."""

    def objective(self, labels: Labels | None, features: Tensor | None = None) -> Objective:
        """The likelihood of pairs between the batch and the memory."""
        return _RememberedPairs(self.quantisation, self.memory, _graded(labels))


@dataclass(kw_only=True)
class HashNet(DeepMethod):
    """HashNet (Cao et al., ICCV 2017): weighted pairs of a batch, a tanh that turns into the sign."""

    name: ClassVar[str] = "hashnet"
    needs_labels: ClassVar[bool] = True

    alpha: float = 10.0
    """Of the adaptive sigmoid, over `n_bits` as in the authors' code."""
    stages: int = 10
    """In stage `s` from 1 on the scale of the tanh is the root of `s`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings(self, {"stages": self.stages < 1})

    def objective(self, labels: Labels | None, features: Tensor | None = None) -> Objective:
        """The weighted likelihood of the batch's pairs."""
        return _Continuation(self.alpha / self.n_bits, self.stages, _graded(labels))


@dataclass(kw_only=True)
class DSH(DeepMethod):
    """Deep supervised hashing (Liu et al., CVPR 2016): the contrastive loss of a batch's pairs."""

    name: ClassVar[str] = "dsh"
    needs_labels: ClassVar[bool] = True

    alpha: float = 0.01
    margin: float = 2.0
    """Times `n_bits`: the squared distance from which on pictures of other classes are apart enough."""

    def objective(self, labels: Labels | None, features: Tensor | None = None) -> Objective:
        """The contrastive loss of the batch's pairs."""
        return _Contrastive(self.margin * self.n_bits, self.alpha, _graded(labels))


class _RememberedPairs(Objective):
    """DPSH over a ring of the latest outputs."""

    def __init__(self, quantisation: float, memory: int, graded: bool) -> None:
        super().__init__()
        self.quantisation, self.memory, self.graded = quantisation, memory, graded
        self.latest: tuple[Tensor, Tensor] | None = None

    def forward(self, u: Tensor, targets: Tensor | None, rows: Tensor) -> Tensor:
        """The batch against the memory and itself; in training it is then remembered."""
        targets = needed(targets)
        others, their_targets = u.detach(), targets
        if self.latest is not None:
            others = torch.cat([others, self.latest[0]])[: max(self.memory, len(u))]
            their_targets = torch.cat([targets, self.latest[1]])[: max(self.memory, len(u))]
        if self.training:
            self.latest = others, their_targets
        similar = similarity(targets, their_targets, graded=self.graded)
        return dpsh(u, others, similar, quantisation=self.quantisation)

    def get_extra_state(self) -> dict[str, Tensor]:
        """The memory, so that a resumed training goes on as if it had not stopped."""
        return {} if self.latest is None else {"outputs": self.latest[0], "targets": self.latest[1]}

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        """Put the memory back."""
        self.latest = (state["outputs"], state["targets"]) if state else None


class _Continuation(Objective):
    """HashNet with the scale of its tanh growing in stages."""

    def __init__(self, alpha: float, stages: int, graded: bool) -> None:
        super().__init__()
        self.alpha, self.stages, self.graded = alpha, stages, graded
        self.scale = 1.0

    def advance(self, fraction: float) -> None:
        """Set the scale of the stage."""
        self.scale = float(int(fraction * self.stages) + 1) ** 0.5

    def forward(self, u: Tensor, targets: Tensor | None, rows: Tensor) -> Tensor:
        """Every pair of the batch."""
        targets = needed(targets)
        similar = similarity(targets, targets, graded=self.graded)
        return hashnet(u, similar, scale=self.scale, alpha=self.alpha)


class _Contrastive(Objective):
    """DSH."""

    def __init__(self, margin: float, alpha: float, graded: bool) -> None:
        super().__init__()
        self.margin, self.alpha, self.graded = margin, alpha, graded

    def forward(self, u: Tensor, targets: Tensor | None, rows: Tensor) -> Tensor:
        """Every pair of the batch."""
        targets = needed(targets)
        return dsh(u, similarity(targets, targets, graded=self.graded), margin=self.margin, alpha=self.alpha)


def _graded(labels: Labels | None) -> bool:
    return with_labels(labels).kind == "hierarchy"
