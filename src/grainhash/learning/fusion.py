"""Fusion: how features of several kinds become one input of a head.

Each kind is a block of columns. Every block is brought to length 1, then its columns are centred and scaled
(`Scaling`). How much a block says is then

    concat      the same for every block
    weights     a positive weight a block, the same for all pictures
    gates       a gate a block, which depends on the picture

Weights and gates are trained with the head, start out equal and have the mean 1, so that training starts from
`concat`. `chain` makes NumPy's steps of fusion and head, which give the same numbers.
"""

from __future__ import annotations

import math
import operator
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from grainhash.errors import InputError
from grainhash.hashing.function import Affine, BlockNorm, Gates, L2Norm, Step
from grainhash.learning.heads import Head

WEIGHT_RATE = 10.0
"""How much faster `weights` learn than the head: they are a few numbers, and far from where they start."""

GATE_RATE = 5.0
"""How much faster `gates` learn than the head, times the square root of the columns that they look at: with
thousands of them, gates at full speed would know every picture by heart."""


def unit_blocks(rows: Tensor, sizes: Sequence[int]) -> Tensor:
    """`(..., sum(sizes))` with every block scaled to length 1, as a copy; a block of zeros stays zero."""
    if len(sizes) == 1:
        return normalize(rows, dim=-1)
    return torch.cat([normalize(block, dim=-1) for block in torch.split(rows, list(sizes), dim=-1)], dim=-1)


@dataclass(frozen=True)
class Scaling:
    """`(rows - mean) / divisor`, column by column: `(dim,)` each."""

    mean: Tensor
    divisor: Tensor

    @classmethod
    def of(cls, rows: Tensor) -> Self:
        """That of `(n_views, n, dim)` rows.

        The divisor is the geometric mean of a column's own deviation and the mean one: columns that vary
        more say more, but not as much more as their numbers would make them.

        Raises:
            InputError: the rows are all the same, so that there is nothing to tell apart.
        """
        deviation, mean = torch.std_mean(rows, dim=(0, 1), correction=0)
        if deviation.square().sum() < 1e-12:
            raise InputError("all rows of features are the same, so there is nothing to tell apart")
        divisor = (deviation * deviation.mean()).sqrt()
        return cls(mean, divisor.clamp(min=max(float(deviation.mean()) / 10, 1e-12)))

    def apply_(self, rows: Tensor) -> Tensor:
        """Scale the rows where they are."""
        return rows.sub_(self.mean).div_(self.divisor)

    def before(
        self, weight: NDArray[np.floating[Any]], bias: NDArray[np.floating[Any]]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Weight and bias for rows before scaling, of those for scaled rows."""
        unscaled = weight / _array(self.divisor)[:, None]
        return unscaled, bias - _array(self.mean) @ unscaled


class Fusion(nn.Module):
    """From scaled rows of all blocks to the rows that the head takes, both `(n, sum(sizes))`.

    Args:
        sizes: columns of each block.
        scaling: by which the rows that come were scaled.
    """

    def __init__(self, sizes: Sequence[int], scaling: Scaling) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        self.scaling = scaling

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """`(n, sum(sizes))` to the same."""

    @abstractmethod
    def steps(self) -> tuple[list[Step], Scaling]:
        """Steps for features as a network gives them, and the scaling still to do to get `forward`'s rows."""


class Concat(Fusion):
    """Blocks side by side as they are."""

    def forward(self, x: Tensor) -> Tensor:
        """The same."""
        return x

    def steps(self) -> tuple[list[Step], Scaling]:
        """Every block to length 1."""
        return [_norm(self.sizes)], self.scaling


class Weights(Fusion):
    """A weighted mean's weights, `softmax` of one number a block, by which whole blocks are scaled."""

    def __init__(self, sizes: Sequence[int], scaling: Scaling) -> None:
        super().__init__(sizes, scaling)
        self.logits = nn.Parameter(torch.zeros(len(self.sizes)))

    def weights(self) -> Tensor:
        """`(n_blocks,)`, positive, of mean 1."""
        return len(self.sizes) * torch.softmax(WEIGHT_RATE * self.logits, dim=0)

    def forward(self, x: Tensor) -> Tensor:
        """Every block times its weight."""
        return x * _by_column(self.weights(), self.sizes)

    def steps(self) -> tuple[list[Step], Scaling]:
        """Every block to the length that is its weight; the columns' means are as much longer."""
        weights = self.weights().detach()
        weighed = BlockNorm(self.sizes, _array(weights).astype(np.float32))
        mean = self.scaling.mean * _by_column(weights, self.sizes)
        return [weighed], Scaling(mean, self.scaling.divisor)


class PictureGates(Fusion):
    """A gate a block, `sigmoid` of an affine map of the scaled rows of all blocks: the step `Gates`.

    What a gate multiplies is its block before scaling, of length 1, so a shut gate leaves what a block of
    zeros does. The factor is twice the gate: 1 for one that is half open, as all are at the start.
    """

    centre: Tensor

    def __init__(self, sizes: Sequence[int], scaling: Scaling) -> None:
        super().__init__(sizes, scaling)
        n_columns, n_blocks = sum(self.sizes), len(self.sizes)
        self.rate = GATE_RATE / math.sqrt(n_columns)
        self.gate = nn.Linear(n_columns, n_blocks)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)
        self.register_buffer("centre", scaling.mean / scaling.divisor, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Every block times twice its gate."""
        gates = torch.sigmoid(self.rate * self.gate(x))
        return (x + self.centre) * _by_column(2 * gates, self.sizes) - self.centre

    def steps(self) -> tuple[list[Step], Scaling]:
        """Every block to length 1, then times its gate; the rest of the scaling takes the factor 2."""
        weight, bias = (self.rate * _array(parameter) for parameter in (self.gate.weight.T, self.gate.bias))
        weight, bias = self.scaling.before(weight, bias)
        gates = Gates(self.sizes, weight.astype(np.float32), bias.astype(np.float32))
        return [_norm(self.sizes), gates], Scaling(self.scaling.mean / 2, self.scaling.divisor / 2)


FUSIONS: dict[str, type[Fusion]] = {"concat": Concat, "weights": Weights, "gates": PictureGates}
"""Every way of fusion by name."""


def check_fusion(name: str, sizes: Sequence[int]) -> tuple[int, ...]:
    """The blocks' sizes as a tuple; empty for features of one kind.

    Raises:
        InputError: an unknown fusion, blocks that are none, or one block where several are to be weighed.
    """
    if name not in FUSIONS:
        raise InputError(f"fusion {name!r}: there are {', '.join(FUSIONS)}")
    try:
        blocks = tuple(operator.index(size) for size in sizes)
    except TypeError:
        raise InputError(f"blocks={sizes!r}: give the columns of each kind of features") from None
    if any(size < 1 for size in blocks):
        raise InputError(f"blocks={list(blocks)}: every kind of features has a column at least")
    if name != "concat" and len(blocks) < 2:
        raise InputError(
            f"fusion {name!r} weighs features of several kinds, and there is one; "
            "take several, such as pooled+map:rmac, or concat"
        )
    return blocks


def block_sizes(blocks: Sequence[int], n_columns: int) -> tuple[int, ...]:
    """The blocks of features with `n_columns` columns: one if none are named.

    Raises:
        InputError: blocks that are for features of another width.
    """
    if blocks and sum(blocks) != n_columns:
        raise InputError(f"blocks of {sum(blocks)} columns in all, and features of {n_columns}")
    return tuple(blocks) or (n_columns,)


def chain(fusion: Fusion, head: Head) -> list[Step]:
    """The steps, for features as a network gives them, of what fusion and head do to scaled ones."""
    before, scaling = fusion.steps()
    first, *rest = head.steps()
    if not isinstance(first, Affine):
        raise InputError(f"{type(head).__name__} does not start with an affine step")
    weight, bias = scaling.before(first.weight, first.bias)
    return [*before, Affine(weight.astype(np.float32), bias.astype(np.float32)), *rest]


def _norm(sizes: tuple[int, ...]) -> Step:
    """Every block to length 1."""
    return L2Norm() if len(sizes) == 1 else BlockNorm(sizes, np.ones(len(sizes), np.float32))


def _by_column(of_blocks: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """`(..., n_blocks)` as `(..., sum(sizes))`: each block's number at all of its columns."""
    return of_blocks.repeat_interleave(torch.tensor(sizes), dim=-1)


def _array(tensor: Tensor) -> NDArray[np.float64]:
    return tensor.detach().numpy().astype(np.float64)
