"""Heads: from features to what becomes bits by its sign; each also as steps of a `HashFunction`.

    head = make_head("two-layer", n_in=1280, n_bits=64)
    u = head(features)                                 # (n, 64), before the sign
    HashFunction(head.steps(), "by hand")              # the same numbers from NumPy

Every head ends in a batch norm: a bit that is 1 for half of the pictures carries most.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from grainhash.codes import check_n_bits
from grainhash.errors import InputError
from grainhash.hashing.function import Affine, ReLU, Step

HIDDEN = 512
"""Width between the two layers."""


class Head(nn.Module):
    """From features to `(n, n_bits)` real numbers whose signs are the bits."""

    n_bits: int

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """`(n, n_bits)`, before the sign."""

    @abstractmethod
    def steps(self) -> list[Step]:
        """The chain that gives what `forward` gives in evaluation, batch norm folded in."""


class LinearHead(Head):
    """One affine map: `(n, n_in)` to `(n, n_bits)`."""

    def __init__(self, n_in: int, n_bits: int) -> None:
        super().__init__()
        self.n_bits = check_n_bits(n_bits)
        self.linear = nn.Linear(n_in, n_bits, bias=False)
        self.norm = nn.BatchNorm1d(n_bits)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, n_in)` to `(n, n_bits)`."""
        u: Tensor = self.norm(self.linear(x))
        return u

    def steps(self) -> list[Step]:
        """One affine step."""
        return [folded(self.linear, self.norm)]


class TwoLayerHead(Head):
    """Two affine maps with a ReLU between them: `(n, n_in)` to `(n, n_bits)`.

    Args:
        n_in: width of the features.
        n_bits: length of the code.
        hidden: width between the layers.
        dropout: share of the hidden units left out in training.
    """

    def __init__(self, n_in: int, n_bits: int, hidden: int = HIDDEN, dropout: float = 0.0) -> None:
        super().__init__()
        self.n_bits = check_n_bits(n_bits)
        self.first = nn.Linear(n_in, hidden, bias=False)
        self.first_norm = nn.BatchNorm1d(hidden)
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(hidden, n_bits, bias=False)
        self.last_norm = nn.BatchNorm1d(n_bits)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, n_in)` to `(n, n_bits)`."""
        hidden = torch.relu(self.first_norm(self.first(x)))
        u: Tensor = self.last_norm(self.last(self.dropout(hidden)))
        return u

    def steps(self) -> list[Step]:
        """Affine, ReLU, affine."""
        return [folded(self.first, self.first_norm), ReLU(), folded(self.last, self.last_norm)]


class ConvHead(Head):
    """Filters over a feature map, their mean, one affine map: `(n, channels, h, w)` to `(n, n_bits)`.

    `describe`, the part up to the mean, belongs into the network's graph; `steps` is what follows it.

    Args:
        channels: of the feature map.
        n_bits: length of the code.
        hidden: filters, and width of `describe`.
        dropout: share of the filters left out in training.
    """

    def __init__(self, channels: int, n_bits: int, hidden: int = HIDDEN, dropout: float = 0.0) -> None:
        super().__init__()
        self.n_bits = check_n_bits(n_bits)
        self.filters = nn.Conv2d(channels, hidden, 1, bias=False)
        self.filters_norm = nn.BatchNorm2d(hidden)
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(hidden, n_bits, bias=False)
        self.last_norm = nn.BatchNorm1d(n_bits)

    def describe(self, x: Tensor) -> Tensor:
        """Map `(n, channels, h, w)` to `(n, hidden)`."""
        return torch.relu(self.filters_norm(self.filters(x))).mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, channels, h, w)` to `(n, n_bits)`."""
        u: Tensor = self.last_norm(self.last(self.dropout(self.describe(x))))
        return u

    def steps(self) -> list[Step]:
        """One affine step, from what `describe` gives."""
        return [folded(self.last, self.last_norm)]


def make_head(name: str, n_in: int, n_bits: int, *, hidden: int = HIDDEN, dropout: float = 0.0) -> Head:
    """A head by its name: `linear`, `two-layer` or `conv`, of which the first has no hidden layer.

    Raises:
        InputError: as `check_head`.
    """
    check_head(name, hidden, dropout)
    return HEADS[name](n_in, n_bits, hidden, dropout)


def check_head(name: str, hidden: int, dropout: float) -> None:
    """Refuse what `make_head` cannot make.

    Raises:
        InputError: another name, no hidden units, or a dropout below 0, of 1 or above.
    """
    if name not in HEADS:
        raise InputError(f"head {name!r}: there are {', '.join(HEADS)}")
    if hidden < 1 or not 0 <= dropout < 1:
        raise InputError(f"a head of {hidden} hidden units and a dropout of {dropout} cannot be made")


HEADS: dict[str, Callable[[int, int, int, float], Head]] = {
    "linear": lambda n_in, n_bits, hidden, dropout: LinearHead(n_in, n_bits),
    "two-layer": TwoLayerHead,
    "conv": ConvHead,
}


def folded(linear: nn.Linear, norm: nn.BatchNorm1d) -> Affine:
    """A linear layer without bias and the batch norm after it, in evaluation, as one affine step."""
    scale = _array(norm.weight) / np.sqrt(_array(norm.running_var) + norm.eps)
    weight = _array(linear.weight).T * scale
    bias = _array(norm.bias) - _array(norm.running_mean) * scale
    return Affine(np.ascontiguousarray(weight, np.float32), bias.astype(np.float32))


def _array(tensor: Tensor | None) -> NDArray[np.float64]:
    if tensor is None:
        raise InputError("a batch norm without running statistics has no affine step")
    return tensor.detach().cpu().numpy().astype(np.float64)
