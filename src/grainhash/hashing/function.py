"""The hash function: a short chain of steps from features to bits, run by NumPy alone.

Whatever fitted it - a random projection, ITQ, a deep head - a hash function ends as a chain of
L2 normalisations, affine maps and pointwise activations whose signs are the bits. One chain, one
file format, one fingerprint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from grainhash.codes import check_n_bits, pack
from grainhash.errors import EncoderError, InputError
from grainhash.types import Codes

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class L2Norm:
    """Scale every row to length 1; a row of zeros stays zero."""

    def __call__(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows / np.where(norms > 0, norms, 1.0)


@dataclass(frozen=True, eq=False)
class Affine:
    """`rows @ weight + bias`, with `weight` float32 `(n_in, n_out)` and `bias` float32 `(n_out,)`."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[1:]:
            raise InputError(f"affine step of weight {self.weight.shape} and bias {self.bias.shape}")

    def __call__(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return rows @ self._weight64 + self.bias

    @cached_property
    def _weight64(self) -> NDArray[np.float64]:
        return self.weight.astype(np.float64)


@dataclass(frozen=True, slots=True)
class ReLU:
    """`max(x, 0)`, between two affine steps of a two-layer head."""

    def __call__(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.maximum(rows, 0.0)


@dataclass(frozen=True, slots=True)
class Tanh:
    """`tanh(x)`, between two affine steps of a two-layer head."""

    def __call__(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.tanh(rows)


Step = L2Norm | Affine | ReLU | Tanh

_WITHOUT_PARAMETERS: dict[str, type[L2Norm | ReLU | Tanh]] = {"l2": L2Norm, "relu": ReLU, "tanh": Tanh}
_NAMES = {kind: name for name, kind in _WITHOUT_PARAMETERS.items()}


class HashFunction:
    """A chain of steps whose last is affine; `encode` takes the signs of its output.

    The arithmetic is float64: then the order in which a batch is summed cannot flip a bit, so a
    picture gets the same code alone and among others.

    Args:
        steps: the chain; the widths of its affine maps must fit together.
        method: what fitted it, such as `"itq"`; kept with the numbers.
    """

    def __init__(self, steps: Sequence[Step], method: str) -> None:
        affine = [step for step in steps if isinstance(step, Affine)]
        if not affine or not isinstance(steps[-1], Affine):
            raise InputError("a hash function ends in an affine step")
        for before, after in pairwise(affine):
            if before.weight.shape[1] != after.weight.shape[0]:
                raise InputError(f"affine steps of {before.weight.shape} and {after.weight.shape} do not fit")
        self.steps = tuple(steps)
        self.method = method
        self.n_features = int(affine[0].weight.shape[0])
        self.n_bits = check_n_bits(int(affine[-1].weight.shape[1]))

    def project(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """`(n, n_features)` features to `(n, n_bits)` real numbers, the bits before their sign.

        Raises:
            InputError: another width, or numbers that are not finite.
        """
        rows = np.asarray(features, np.float64)
        if rows.ndim != 2 or rows.shape[1] != self.n_features:
            raise InputError(f"features of shape {rows.shape} where (n, {self.n_features}) is expected")
        if not np.isfinite(rows).all():
            raise InputError("features hold NaN or infinity")
        for step in self.steps:
            rows = step(rows)
        return rows

    def encode(self, features: NDArray[np.floating]) -> Codes:
        """`(n, n_features)` features to `(n, n_bits / 8)` packed codes."""
        return pack(self.project(features))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides the bits, as hex."""
        digest = hashlib.sha256()
        for step in self.steps:
            digest.update(_step_name(step).encode())
            if isinstance(step, Affine):
                digest.update(np.ascontiguousarray(step.weight, "<f4").tobytes())
                digest.update(np.ascontiguousarray(step.bias, "<f4").tobytes())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write one safetensors file: the chain as JSON in its header, the numbers as float32."""
        from safetensors.numpy import save

        tensors: dict[str, NDArray[np.float32]] = {}
        for position, step in enumerate(self.steps):
            if isinstance(step, Affine):
                tensors[f"{position}.weight"] = np.ascontiguousarray(step.weight)
                tensors[f"{position}.bias"] = np.ascontiguousarray(step.bias)
        chain = {
            "format_version": FORMAT_VERSION,
            "method": self.method,
            "steps": [_step_name(step) for step in self.steps],
        }
        path.write_bytes(save(tensors, metadata={"hash_function": json.dumps(chain)}))

    @classmethod
    def load(cls, path: Path) -> HashFunction:
        """Read what `save` wrote.

        Raises:
            EncoderError: missing, damaged, or written by another format version.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                chain = json.loads((file.metadata() or {})["hash_function"])
                if chain["format_version"] != FORMAT_VERSION:
                    raise EncoderError(
                        f"{path}: hash function of format {chain['format_version']}, "
                        f"this grainhash reads {FORMAT_VERSION}"
                    )
                steps: list[Step] = [
                    Affine(file.get_tensor(f"{position}.weight"), file.get_tensor(f"{position}.bias"))
                    if name == "affine"
                    else _WITHOUT_PARAMETERS[name]()
                    for position, name in enumerate(chain["steps"])
                ]
                return cls(steps, chain["method"])
        except FileNotFoundError:
            raise EncoderError(f"{path}: no hash function there") from None
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise EncoderError(f"{path}: not a grainhash hash function ({error})") from None


def _step_name(step: Step) -> str:
    return "affine" if isinstance(step, Affine) else _NAMES[type(step)]
