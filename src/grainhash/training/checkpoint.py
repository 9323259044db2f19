"""Where a training is, as one safetensors file: the tensors, and all else as JSON in its header.

The file takes the place of the one before at once, so an interrupted training finds the old or the new,
never half of one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from grainhash.errors import CheckpointError
from grainhash.files import whole_file

FORMAT_VERSION = 1
HEADER = "grainhash_checkpoint"


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A training after some step."""

    configuration: Mapping[str, Any]
    """Everything that decides the result: settings and a digest of the data."""
    state: Mapping[str, Any]
    """Numbers: epoch, step, best score and the like."""
    tensors: Mapping[str, Tensor]
    """Weights, buffers and what the optimiser keeps, by name."""

    def save(self, path: Path) -> None:
        """Write the file; what was there before stays until the new one is whole."""
        from safetensors.torch import save_file

        content = {
            "format_version": FORMAT_VERSION,
            "configuration": self.configuration,
            "state": self.state,
        }
        tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in self.tensors.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as draft:
            save_file(tensors, draft, metadata={HEADER: json.dumps(content)})

    @classmethod
    def load(cls, path: Path, configuration: Mapping[str, Any]) -> Checkpoint:
        """Read what `save` wrote.

        Raises:
            CheckpointError: missing, damaged, of another format, or of another configuration: it says what
                differs.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                content = json.loads((file.metadata() or {})[HEADER])
                version = content["format_version"]
                if version != FORMAT_VERSION:
                    raise CheckpointError(
                        f"{path}: checkpoint of format {version}, this grainhash reads {FORMAT_VERSION}"
                    )
                _check_same(path, content["configuration"], configuration)
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                return cls(content["configuration"], content["state"], tensors)
        except FileNotFoundError:
            raise CheckpointError(f"{path}: no checkpoint there to resume from") from None
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: not a grainhash checkpoint ({error})") from None


def _check_same(path: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    there, here = _flat(theirs), _flat(json.loads(json.dumps(ours)))
    differences = [
        f"{name} is {there.get(name, 'not set')} there and {here.get(name, 'not set')} here"
        for name in sorted(there.keys() | here.keys())
        if there.get(name) != here.get(name)
    ]
    if differences:
        raise CheckpointError(
            f"{path}: a checkpoint of another training: {'; '.join(differences)}. "
            "Resume with its settings and pictures, or train into another folder"
        )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
