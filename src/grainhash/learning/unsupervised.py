"""Hashing learned without labels: BiHalf, CIBHash, and nested codes that neighbours agree on."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import normalize

from grainhash.errors import InputError
from grainhash.hashing.method import check_settings
from grainhash.labels import Labels
from grainhash.learning.centres import prefix_lengths
from grainhash.learning.losses import bihalf, cibhash, nested_contrast
from grainhash.learning.method import DeepMethod
from grainhash.learning.objective import Objective


@dataclass(kw_only=True)
class BiHalf(DeepMethod):
    """Bi-half (Li, van Gemert, AAAI 2021): half of every batch on each side of every bit, cosines kept."""

    name: ClassVar[str] = "bihalf"

    head: str = "linear"
    noise: float = 0.0
    gamma: float = 6.0

    def objective(self, labels: Labels | None, features: Tensor | None = None) -> Objective:
        """The difference of the codes' cosines from those of the centred features."""
        if features is None:
            raise InputError("bihalf keeps the cosines of features; pass those of the training set")
        return _Cosines(features, self.gamma)


@dataclass(kw_only=True)
class CIBHash(DeepMethod):
    """CIBHash (Qiu et al., IJCAI 2021): bits that two views of a picture agree on, and little else.

    With features of one view only, the second is that of a near neighbour (ours).
    """

    name: ClassVar[str] = "cibhash"

    noise: float = 0.5
    dropout: float = 0.0
    temperature: float = 0.3
    beta: float = 0.001

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings(self, {"temperature": not 0 < self.temperature < inf})

    def objective(self, labels: Labels | None, features: Tensor | None = None) -> Objective:
        """NT-Xent of the bits and the bottleneck between two views."""
        return _TwoViews(self.temperature, self.beta)


@dataclass(kw_only=True)
class NestedNeighbours(DeepMethod):
    """Nested codes that a picture shares with its neighbours: grainhash's own unsupervised default.

    A picture is told from all others of a batch by the code of one of its nearest neighbours, and by every
    prefix alone. What neighbours share is more often the class than what any one picture shows (as SCAN,
    Van Gansbeke et al., ECCV 2020, and NNCLR, Dwibedi et al., ICCV 2021, found for features).
    """

    name: ClassVar[str] = "nested-neighbours"

    batch_size: int = 512
    learning_rate: float = 2e-3
    noise: float = 0.3
    dropout: float = 0.0
    temperature: float = 0.7

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings(self, {"temperature": not 0 < self.temperature < inf})

    def objective(self, labels: Labels | None, features: Tensor | None = None) -> Objective:
        """InfoNCE between neighbours by every prefix."""
        return _Neighbours(prefix_lengths(self.n_bits), self.temperature)


class _Cosines(Objective):
    """Bi-half against the features of the training set, `(n, dim)`."""

    features: Tensor

    def __init__(self, features: Tensor, gamma: float) -> None:
        super().__init__()
        unit = normalize(features, dim=1)
        self.register_buffer("features", unit.sub_(unit.mean(dim=0)), persistent=False)
        self.gamma = gamma

    def forward(self, u: Tensor, targets: Tensor | None, rows: Tensor) -> Tensor:
        """Every pair of the batch."""
        return bihalf(u, self.features[rows], gamma=self.gamma)


class _TwoViews(Objective):
    """CIBHash between the two halves of a batch."""

    views = 2

    def __init__(self, temperature: float, beta: float) -> None:
        super().__init__()
        self.temperature, self.beta = temperature, beta

    def forward(self, u: Tensor, targets: Tensor | None, rows: Tensor) -> Tensor:
        """Each picture's two views against all others'."""
        one, other = u.chunk(2)
        return cibhash(one, other, temperature=self.temperature, beta=self.beta)


class _Neighbours(Objective):
    """`nested_contrast` between the two halves of a batch."""

    views = 2
    of_neighbours = True

    def __init__(self, lengths: tuple[int, ...], temperature: float) -> None:
        super().__init__()
        self.lengths, self.temperature = lengths, temperature

    def forward(self, u: Tensor, targets: Tensor | None, rows: Tensor) -> Tensor:
        """Each picture's two views against all others'."""
        one, other = u.chunk(2)
        return nested_contrast(one, other, lengths=self.lengths, temperature=self.temperature)
