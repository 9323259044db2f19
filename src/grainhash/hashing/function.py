"""The hash function: a short chain of steps from features to bits, run by NumPy alone.

Whatever fitted it - a random projection, ITQ, a deep head - a hash function ends as a chain of
normalisations, affine maps and pointwise functions whose signs are the bits. One chain, one file
format, one fingerprint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grainhash.codes import check_n_bits, pack
from grainhash.errors import EncoderError, InputError
from grainhash.hashing.steps import (
    Affine,
    BlockNorm,
    Branch,
    Cosine,
    Gates,
    L2Norm,
    Parallel,
    ReLU,
    Step,
    Tanh,
    chain_tensors,
    chain_widths,
    describe,
    rebuild,
    run,
    step_name,
)
from grainhash.types import Codes

__all__ = [
    "Affine",
    "BlockNorm",
    "Branch",
    "Cosine",
    "Gates",
    "HashFunction",
    "L2Norm",
    "Parallel",
    "ReLU",
    "Step",
    "Tanh",
]

FORMAT_VERSION = 2
"""1 knows the steps `l2`, `affine`, `relu` and `tanh`. Chains of these alone are written as 1 still."""

_OF_VERSION_1 = (L2Norm, Affine, ReLU, Tanh)
_LAST = (Affine, Cosine, Parallel)


class HashFunction:
    """A chain of steps, the last of them affine as a rule; `encode` takes the signs of its output.

    The arithmetic is float64: then the order in which a batch is summed cannot flip a bit, so a
    picture gets the same code alone and among others.

    Args:
        steps: the chain; its steps must fit together, and the last be `Affine`, `Cosine` or `Parallel`.
        method: what fitted it, such as `"itq"`; kept with the numbers.
    """

    def __init__(self, steps: Sequence[Step], method: str) -> None:
        if not steps or not isinstance(steps[-1], _LAST):
            raise InputError("a hash function ends in an affine, cosine or parallel step")
        self.steps = tuple(steps)
        self.method = method
        self.n_features, n_out = chain_widths(self.steps)
        self.n_bits = check_n_bits(n_out)

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
        return run(self.steps, rows)

    def encode(self, features: NDArray[np.floating]) -> Codes:
        """`(n, n_features)` features to `(n, n_bits / 8)` packed codes."""
        return pack(self.project(features))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides the bits, as hex."""
        digest = hashlib.sha256()
        for step in self.steps:
            digest.update(step_name(step).encode())
            if options := step.options():
                digest.update(json.dumps(options, sort_keys=True).encode())
            for tensor in step.tensors().values():
                digest.update(np.ascontiguousarray(tensor, "<f4").tobytes())
        return digest.hexdigest()

    def save(self, path: Path, *, settings: Mapping[str, Any] | None = None) -> None:
        """Write one safetensors file: the chain as JSON in its header, the numbers as float32.

        Args:
            path: the file.
            settings: of the method that fitted it, kept beside the chain.
        """
        from safetensors.numpy import save

        old = all(isinstance(step, _OF_VERSION_1) for step in self.steps)
        chain = {
            "format_version": 1 if old else FORMAT_VERSION,
            "method": self.method,
            "settings": dict(settings or {}),
            "steps": describe(self.steps),
        }
        path.write_bytes(save(chain_tensors(self.steps), metadata={"hash_function": json.dumps(chain)}))

    @classmethod
    def load(cls, path: Path) -> HashFunction:
        """Read what `save` wrote.

        Raises:
            EncoderError: missing, damaged, or written by another format version.
        """
        return cls.load_with_settings(path)[0]

    @classmethod
    def load_with_settings(cls, path: Path) -> tuple[HashFunction, dict[str, Any]]:
        """The hash function, and the settings of the method that fitted it; errors as `load`."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                chain = json.loads((file.metadata() or {})["hash_function"])
                if chain["format_version"] not in range(1, FORMAT_VERSION + 1):
                    raise EncoderError(
                        f"{path}: hash function of format {chain['format_version']}, "
                        f"this grainhash reads 1 to {FORMAT_VERSION}"
                    )
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                steps = rebuild(chain["steps"], tensors)
                return cls(steps, chain["method"]), dict(chain.get("settings", {}))
        except FileNotFoundError:
            raise EncoderError(f"{path}: no hash function there") from None
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise EncoderError(f"{path}: not a grainhash hash function ({error})") from None
