"""Several networks as one graph with one input, so that an encoder sees a picture with all of them at once.

    spec = compose({"lite": (Path("a.onnx"), a_spec), "resnet": (Path("b.onnx"), b_spec)}, Path("both.onnx"))

The composed graph takes pictures as they are, 0..255, at the largest input size; each network's own size and
normalisation are steps of the graph. An output `pooled` of `resnet` becomes `resnet.pooled`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from grainhash.encoder.network import NetworkSpec
from grainhash.errors import EncoderError, InputError, first_line
from grainhash.networks.graph import INPUT, import_onnx, read, tidy, write

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

BETWEEN = "."
"""Between a network's name and that of its output."""


def compose(networks: Mapping[str, tuple[Path, NetworkSpec]], target: Path) -> NetworkSpec:
    """Write one graph of several, each a file and how it wants its pictures, by name.

    Pictures are brought from the largest input size to the smaller ones by linear interpolation without
    antialiasing, so a network that is not the largest sees them a little differently than alone.

    Returns:
        How the composed graph wants its pictures.

    Raises:
        InputError: fewer than two networks, or a name that is no plain word.
        EncoderError: a file that is no ONNX graph of one input, or graphs of operator sets that cannot be
            brought together.
    """
    if len(networks) < 2 or not all(re.fullmatch(r"[\w-]+", name) for name in networks):
        raise InputError(f"compose takes two networks or more, named by plain words, not {list(networks)}")
    onnx = import_onnx()
    size = max(spec.input_size for _, spec in networks.values())
    models = _same_operators({name: read(path) for name, (path, _) in networks.items()})
    graph = onnx.helper.make_graph(
        [],
        "-".join(networks),
        [onnx.helper.make_tensor_value_info(INPUT, onnx.TensorProto.FLOAT, ["n", 3, size, size])],
        [],
    )
    for name, model in models.items():
        _add(graph, name, model, networks[name][1], size)
    composed = onnx.helper.make_model(
        graph,
        opset_imports=models[next(iter(models))].opset_import,
        ir_version=max(model.ir_version for model in models.values()),
    )
    tidy(composed, name=graph.name)
    write(composed, target)
    return NetworkSpec(size, mean=(0.0,) * 3, std=(1.0,) * 3)


def _same_operators(models: Mapping[str, ModelProto]) -> dict[str, ModelProto]:
    """The models, those of an older standard operator set brought to the newest among them."""
    onnx = import_onnx()
    versions = {
        name: max((o.version for o in model.opset_import if o.domain == ""), default=0)
        for name, model in models.items()
    }
    newest = max(versions.values())
    same = {}
    for name, model in models.items():
        if any(opset.domain for opset in model.opset_import) or model.functions:
            raise EncoderError(
                f"network {name}: has operators beside the standard ones; it cannot be composed"
            )
        try:
            older = versions[name] < newest
            same[name] = onnx.version_converter.convert_version(model, newest) if older else model
        except RuntimeError as error:
            raise EncoderError(
                f"network {name}: of operator set {versions[name]}, cannot be brought to {newest} "
                f"({first_line(error)})"
            ) from None
    return same


def _add(graph: GraphProto, name: str, model: ModelProto, spec: NetworkSpec, size: int) -> None:
    """Add a network, its names prefixed, behind its own size and normalisation."""
    onnx = import_onnx()
    prefix = name + BETWEEN
    if len(model.graph.input) != 1:
        raise EncoderError(f"network {name}: the graph must have one input, the pictures")
    prefixed = onnx.compose.add_prefix(model, prefix).graph
    nodes, constants = _preparation(prefix, spec, size, result=prefixed.input[0].name)
    graph.node.extend([*nodes, *prefixed.node])
    graph.initializer.extend([*constants, *prefixed.initializer])
    graph.output.extend(prefixed.output)


def _preparation(
    prefix: str, spec: NetworkSpec, size: int, *, result: str
) -> tuple[list[NodeProto], list[TensorProto]]:
    """Nodes from the pictures 0..255 to what a network of `spec` takes, and their constants."""
    onnx = import_onnx()
    own = spec.input_size
    constants = {
        "mean": np.array(spec.mean, np.float32).reshape(1, 3, 1, 1),
        "std": np.array(spec.std, np.float32).reshape(1, 3, 1, 1),
    }
    steps: list[tuple[str, list[str], dict[str, object]]] = []
    if own != size:
        constants["scales"] = np.array([1, 1, own / size, own / size], np.float32)
        steps.append(("Resize", ["", prefix + "scales"], {"mode": "linear"}))
    steps += [("Sub", [prefix + "mean"], {}), ("Div", [prefix + "std"], {})]
    if spec.layout == "NHWC":
        steps.append(("Transpose", [], {"perm": [0, 2, 3, 1]}))
    nodes, last = [], INPUT
    for position, (operation, others, attributes) in enumerate(steps):
        here = result if position == len(steps) - 1 else f"{prefix}prepared_{position}"
        nodes.append(onnx.helper.make_node(operation, [last, *others], [here], **attributes))
        last = here
    tensors = [onnx.numpy_helper.from_array(value, prefix + name) for name, value in constants.items()]
    return nodes, tensors
