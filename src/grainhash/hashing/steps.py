"""The steps that a hash function is a chain of: each takes rows of numbers and gives rows of numbers.

A step says how wide its rows are, `n_in` and `n_out`, where it knows; `None` is as wide as what comes.
Its numbers are `tensors()`, whatever else it needs to be made again is `options()`, as JSON takes it.
The arithmetic is float64 throughout.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from grainhash.errors import InputError

Rows = NDArray[np.float64]
Tensors = Mapping[str, NDArray[np.float32]]


class _Plain:
    """A step without numbers of its own, for rows of any width."""

    __slots__ = ()
    n_in: ClassVar[int | None] = None
    n_out: ClassVar[int | None] = None

    def tensors(self) -> Tensors:
        return {}

    def options(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True, slots=True)
class L2Norm(_Plain):
    """Scale every row to length 1; a row of zeros stays zero."""

    def __call__(self, rows: Rows) -> Rows:
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows / np.where(norms > 0, norms, 1.0)


@dataclass(frozen=True, slots=True)
class ReLU(_Plain):
    """`max(x, 0)`, between two affine steps of a two-layer head."""

    def __call__(self, rows: Rows) -> Rows:
        return np.maximum(rows, 0.0)


@dataclass(frozen=True, slots=True)
class Tanh(_Plain):
    """`tanh(x)`, between two affine steps of a two-layer head."""

    def __call__(self, rows: Rows) -> Rows:
        return np.tanh(rows)


@dataclass(frozen=True, slots=True)
class Cosine(_Plain):
    """`cos(x)`, the eigenfunctions of spectral hashing."""

    def __call__(self, rows: Rows) -> Rows:
        return np.cos(rows)


@dataclass(frozen=True, eq=False)
class Affine:
    """`rows @ weight + bias`, with `weight` float32 `(n_in, n_out)` and `bias` float32 `(n_out,)`."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[1:]:
            raise InputError(f"affine step of weight {self.weight.shape} and bias {self.bias.shape}")

    def __call__(self, rows: Rows) -> Rows:
        return rows @ self._weight64 + self.bias

    @property
    def n_in(self) -> int:
        return int(self.weight.shape[0])

    @property
    def n_out(self) -> int:
        return int(self.weight.shape[1])

    def tensors(self) -> Tensors:
        return {"weight": self.weight, "bias": self.bias}

    def options(self) -> dict[str, Any]:
        return {}

    @cached_property
    def _weight64(self) -> Rows:
        return self.weight.astype(np.float64)


@dataclass(frozen=True, eq=False)
class BlockNorm:
    """Scale every block of a row to length 1, then by the block's weight; a block of zeros stays zero.

    Features of several kinds stand side by side in a row. Each then counts by its weight, whatever its
    numbers and its width.
    """

    sizes: tuple[int, ...]
    """Columns of each block, in their order."""
    weights: NDArray[np.float32]
    """`(n_blocks,)`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", _checked_sizes("block norm", self.sizes))
        if self.weights.shape != (len(self.sizes),):
            raise InputError(f"block norm of {len(self.sizes)} blocks and weights {self.weights.shape}")

    def __call__(self, rows: Rows) -> Rows:
        blocks = [rows[:, columns] for columns in _columns(self.sizes)]
        norm = L2Norm()
        return np.hstack([norm(block) * float(w) for block, w in zip(blocks, self.weights, strict=True)])

    @property
    def n_in(self) -> int:
        return sum(self.sizes)

    n_out = n_in

    def tensors(self) -> Tensors:
        return {"weights": self.weights}

    def options(self) -> dict[str, Any]:
        return {"sizes": list(self.sizes)}


@dataclass(frozen=True, eq=False)
class Gates:
    """Each block of a row times its gate, `sigmoid(row @ weight + bias)`: what counts depends on the picture.

    Gated fusion as in Arevalo et al., Gated Multimodal Units for Information Fusion, 2017, with one
    gate a block and blocks that keep their own columns.
    """

    sizes: tuple[int, ...]
    """Columns of each block, in their order."""
    weight: NDArray[np.float32]
    """`(sum(sizes), n_blocks)`."""
    bias: NDArray[np.float32]
    """`(n_blocks,)`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", _checked_sizes("gates", self.sizes))
        n_blocks = len(self.sizes)
        if self.weight.shape != (self.n_in, n_blocks) or self.bias.shape != (n_blocks,):
            raise InputError(
                f"gates of {n_blocks} blocks and {self.n_in} columns with weight {self.weight.shape} "
                f"and bias {self.bias.shape}"
            )

    def __call__(self, rows: Rows) -> Rows:
        gates = _sigmoid(rows @ self.weight.astype(np.float64) + self.bias)
        return rows * np.repeat(gates, self.sizes, axis=1)

    @property
    def n_in(self) -> int:
        return sum(self.sizes)

    n_out = n_in

    def tensors(self) -> Tensors:
        return {"weight": self.weight, "bias": self.bias}

    def options(self) -> dict[str, Any]:
        return {"sizes": list(self.sizes)}


@dataclass(frozen=True, eq=False)
class Branch:
    """A chain over some of the columns: those from `start` to before `stop`."""

    start: int
    stop: int
    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", operator.index(self.start))
        object.__setattr__(self, "stop", operator.index(self.stop))


@dataclass(frozen=True, eq=False)
class Parallel:
    """Several chains side by side, each over columns of its own or shared ones; their outputs in a row."""

    n_in: int
    """Columns that come in, whether a branch takes them or not."""
    branches: tuple[Branch, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_in", operator.index(self.n_in))
        if not self.branches:
            raise InputError("a parallel step needs a branch")
        for branch in self.branches:
            if not 0 <= branch.start < branch.stop <= self.n_in:
                raise InputError(
                    f"a branch over columns {branch.start} to {branch.stop} of {self.n_in} columns"
                )
        self._widths  # noqa: B018  a branch that does not fit its columns is refused here, not when used

    def __call__(self, rows: Rows) -> Rows:
        return np.hstack([run(branch.steps, rows[:, branch.start : branch.stop]) for branch in self.branches])

    @property
    def n_out(self) -> int:
        return sum(self._widths)

    @cached_property
    def _widths(self) -> list[int]:
        return [chain_widths(branch.steps, branch.stop - branch.start)[1] for branch in self.branches]

    def tensors(self) -> Tensors:
        return {
            f"{number}.{key}": tensor
            for number, branch in enumerate(self.branches)
            for key, tensor in chain_tensors(branch.steps).items()
        }

    def options(self) -> dict[str, Any]:
        branches = [
            {"start": branch.start, "stop": branch.stop, "steps": describe(branch.steps)}
            for branch in self.branches
        ]
        return {"n_in": self.n_in, "branches": branches}


Step = L2Norm | Affine | ReLU | Tanh | Cosine | BlockNorm | Gates | Parallel

PLAIN: dict[str, type[L2Norm | ReLU | Tanh | Cosine]] = {
    "l2": L2Norm,
    "relu": ReLU,
    "tanh": Tanh,
    "cosine": Cosine,
}
_NAMES: dict[type[Step], str] = {
    **{kind: name for name, kind in PLAIN.items()},
    Affine: "affine",
    BlockNorm: "block-norm",
    Gates: "gates",
    Parallel: "parallel",
}


def step_name(step: Step) -> str:
    """What a step is called in files."""
    return _NAMES[type(step)]


def run(steps: Sequence[Step], rows: Rows) -> Rows:
    """Rows through a chain."""
    for step in steps:
        rows = step(rows)
    return rows


def chain_widths(steps: Sequence[Step], n_in: int | None = None) -> tuple[int, int]:
    """How many columns a chain takes and how many it gives.

    Args:
        steps: the chain.
        n_in: columns that come in, where that is known.

    Raises:
        InputError: steps that do not fit together, or that take anything and so say nothing.
    """
    width = n_in
    for position, step in enumerate(steps):
        if step.n_in is not None and width not in (None, step.n_in):
            raise InputError(
                f"step {position} of the chain, {step_name(step)}, takes {step.n_in} columns, not {width}"
            )
        n_in = step.n_in if n_in is None else n_in
        width = width if step.n_out is None else step.n_out
    if n_in is None or width is None:
        raise InputError("a chain without an affine step makes no bits")
    return n_in, width


def describe(steps: Sequence[Step]) -> list[str | list[Any]]:
    """A chain as JSON takes it, without its numbers: names, with options where a step has some."""
    described: list[str | list[Any]] = []
    for step in steps:
        options = step.options()
        described.append([step_name(step), options] if options else step_name(step))
    return described


def chain_tensors(steps: Sequence[Step]) -> dict[str, NDArray[np.float32]]:
    """The numbers of a chain, by position and name, such as `1.weight`."""
    return {
        f"{position}.{key}": np.ascontiguousarray(tensor, np.float32)
        for position, step in enumerate(steps)
        for key, tensor in step.tensors().items()
    }


def rebuild(described: Sequence[str | list[Any]], tensors: Tensors, prefix: str = "") -> list[Step]:
    """The chain of `describe` and `chain_tensors`.

    Raises:
        KeyError, TypeError, ValueError: what was described is no chain, or lacks a tensor.
        InputError: its steps do not fit together.
    """
    return [_rebuilt(item, tensors, f"{prefix}{position}.") for position, item in enumerate(described)]


def _rebuilt(item: str | list[Any], tensors: Tensors, prefix: str) -> Step:
    name, options = (item, {}) if isinstance(item, str) else item
    if name in PLAIN:
        return PLAIN[name]()
    if name == "affine":
        return Affine(tensors[f"{prefix}weight"], tensors[f"{prefix}bias"])
    if name == "block-norm":
        return BlockNorm(options["sizes"], tensors[f"{prefix}weights"])
    if name == "gates":
        return Gates(options["sizes"], tensors[f"{prefix}weight"], tensors[f"{prefix}bias"])
    if name == "parallel":
        branches = [
            Branch(branch["start"], branch["stop"], tuple(rebuild(branch["steps"], tensors, f"{prefix}{i}.")))
            for i, branch in enumerate(options["branches"])
        ]
        return Parallel(options["n_in"], tuple(branches))
    raise KeyError(name)


def _checked_sizes(what: str, sizes: Sequence[int]) -> tuple[int, ...]:
    whole = tuple(operator.index(size) for size in sizes)
    if not whole or min(whole) < 1:
        raise InputError(f"{what} of blocks {list(whole)}; give a positive number of columns for each block")
    return whole


def _columns(sizes: Sequence[int]) -> Iterator[slice]:
    return (slice(start, stop) for start, stop in pairwise(accumulate(sizes, initial=0)))


def _sigmoid(x: Rows) -> Rows:
    """`1 / (1 + exp(-x))` by way of tanh, which does not overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))
