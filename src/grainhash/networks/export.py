"""PyTorch networks to ONNX graphs, as `grainhash.encoder.network` runs them.

Such a graph has one input, `pixels`: normalised pictures, a free number of them. Its outputs are
`pooled` `(n, c)`, and where the network has them `map` and `mid`, `(n, c, h, w)`, and `attention`,
`(n, heads, h, w)`.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from grainhash.encoder.network import NetworkSpec
from grainhash.errors import EncoderError, MissingExtra, first_line
from grainhash.networks.graph import INPUT, tidy, write

if TYPE_CHECKING:
    import onnx


def export_onnx(module: nn.Module, spec: NetworkSpec, path: Path) -> None:
    """Write a float32 graph of a network; the exporter folds batch norm and padding into convolutions.

    Args:
        module: normalised pictures `(n, 3, s, s)` to a named tuple of tensors, such as a `Backbone`;
            exported in `eval` mode, and left in the mode it was in.
        spec: how the network wants its pictures.
        path: the `.onnx` file.

    Raises:
        EncoderError: PyTorch cannot export the network.
        MissingExtra: onnx or onnxscript is not installed.
    """
    try:
        import onnxscript  # noqa: F401  what PyTorch's exporter stands on
    except ImportError:
        raise MissingExtra("onnxscript", "train") from None
    was_training = module.training
    module.eval()
    size = spec.input_size
    example = torch.zeros(2, 3, size, size, device=next(module.parameters()).device)
    try:
        with _quiet():
            program = torch.onnx.export(
                _OutputsThatAre(module),
                (example,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("n")},),
                input_names=[INPUT],
                output_names=_output_names(module, example),
                verbose=False,
            )
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        raise EncoderError(f"PyTorch cannot export the network to ONNX ({first_line(error)})") from None
    finally:
        module.train(was_training)
    if program is None:
        raise EncoderError("PyTorch cannot export the network to ONNX")
    model = program.model_proto
    if not model.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise EncoderError(
            "the network fixes the number of pictures (such as by len(x)); it cannot be exported"
        )
    _shorten_names(model)
    tidy(model, name=str(getattr(module, "name", type(module).__name__)).replace("-", "_"))
    write(model, path)


class _OutputsThatAre(nn.Module):
    """A network's outputs without those that are `None`, as a plain tuple."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return tuple(output for output in self.module(pixels) if output is not None)


def _output_names(module: nn.Module, example: Tensor) -> list[str]:
    with torch.no_grad():
        outputs = module(example)._asdict()
    return [name for name, output in outputs.items() if output is not None]


def _shorten_names(model: onnx.ModelProto) -> None:
    """Take from the names of weights what all of them begin with: the modules around the network."""
    weights = [tensor.name for tensor in model.graph.initializer if tensor.name.startswith("module.")]
    pairs = zip(min(weights, default=""), max(weights, default=""), strict=False)
    common = "".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    n = common.rfind(".") + 1
    short = {name: name[n:] for name in weights}
    for tensor in model.graph.initializer:
        tensor.name = short.get(tensor.name, tensor.name)
    for node in model.graph.node:
        node.input[:] = [short.get(name, name) for name in node.input]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's own account of its progress."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
