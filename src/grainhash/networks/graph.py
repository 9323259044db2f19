"""ONNX graphs of any origin made into graphs that an encoder can run.

    adopt("keras.onnx", "network.onnx", NetworkSpec(224, (127.5,) * 3, (127.5,) * 3, layout="NHWC"))

Nothing here needs the framework that the network was trained in.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from grainhash.encoder.network import NetworkSpec
from grainhash.errors import EncoderError, MissingExtra, first_line

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, ValueInfoProto

INPUT = "pixels"
"""The one input of every graph: normalised pictures, a free number of them."""

POOLED = "pooled"
"""The output of shape `(n, c)`."""

MAP = "map"
"""The output of shape `(n, c, h, w)`."""

POOLED_MAP = "pooled_map"
"""On the way from `map` to `pooled`: `(n, c, 1, 1)`."""

OWN = "own."
"""Before the names of a graph that has one of these for something else."""


def import_onnx() -> Any:
    """The module `onnx`.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import onnx
        import onnx.compose
        import onnx.version_converter
    except ImportError:
        raise MissingExtra("onnx", "train") from None
    return onnx


def read(path: Path) -> ModelProto:
    """The graph of a file.

    Raises:
        EncoderError: it is missing or no ONNX graph.
    """
    onnx = import_onnx()
    try:
        model: ModelProto = onnx.load(path)
        onnx.checker.check_model(model)
    except OSError as error:
        raise EncoderError(f"{path}: {error.strerror or error}") from None
    except Exception as error:  # protobuf's and onnx's errors share no base class
        raise EncoderError(f"{path}: not an ONNX graph ({first_line(error)})") from None
    return model


def write(model: ModelProto, path: Path) -> None:
    """Save a graph; the same graph gives the same bytes."""
    path.write_bytes(model.SerializeToString(deterministic=True))


def tidy(model: ModelProto, *, name: str) -> None:
    """Drop what running needs not: stack traces of the exporter, shapes inside, operator sets not used.

    Raises:
        EncoderError: what is left is no valid graph.
    """
    onnx = import_onnx()
    graph = model.graph
    for holder in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        holder.ClearField("metadata_props")
        holder.ClearField("doc_string")
    graph.ClearField("value_info")
    used = {node.domain for node in graph.node} | {node.domain for f in model.functions for node in f.node}
    opsets = [opset for opset in model.opset_import if opset.domain in used]
    model.ClearField("opset_import")
    model.opset_import.extend(opsets)
    model.producer_name, model.producer_version = "grainhash", ""
    graph.name = name
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise EncoderError(f"{name}: not a valid ONNX graph ({str(error).splitlines()[0]})") from None


def adopt(source: Path, target: Path, spec: NetworkSpec, *, output: str | None = None) -> None:
    """Make a graph of any framework one of an encoder: a free number of pictures in, `pooled` out.

    The input becomes `pixels`, the chosen output `pooled`; an output that is a feature map becomes `map`,
    channels first, and its mean over the positions `pooled`. Other outputs go.

    Args:
        source: an `.onnx` file with one input.
        target: the file to write.
        spec: how the graph wants its pictures; its `layout` also says how its maps are laid out.
        output: the output to take: the only one by default.

    Raises:
        EncoderError: no ONNX graph, or one that does not fit `spec` and `output`.
    """
    model = read(source)
    found = _chosen_output(model, output, source).name
    if not _inner_names(model).isdisjoint((INPUT, POOLED, MAP, POOLED_MAP)):
        model, found = import_onnx().compose.add_prefix(model, OWN), OWN + found
    graph = model.graph
    pictures = _only_input(model, source)
    chosen = next(port for port in graph.output if port.name == found)
    rank = len(chosen.type.tensor_type.shape.dim)
    if rank not in (2, 4):
        name = found.removeprefix(OWN)
        raise EncoderError(
            f"{source}: output {name!r} has {rank} axes; choose one of 2 (features) or 4 (a map)"
        )
    _free_first_axis(pictures)
    del graph.output[:]
    _rename(model, pictures.name, INPUT)
    if rank == 2:
        _append(model, "Identity", [found], POOLED, rank=2)
    else:
        to_channels_first = [0, 3, 1, 2] if spec.layout == "NHWC" else [0, 1, 2, 3]
        _append(model, "Transpose", [found], MAP, rank=4, perm=to_channels_first)
        _append_mean(model)
    _drop_unused(model)
    tidy(model, name=source.stem)
    write(model, target)


def input_shape(path: Path) -> list[int | None]:
    """The axes of the one input of a file's graph, `None` where an axis is free.

    Raises:
        EncoderError: no ONNX graph, or one of several inputs.
    """
    shape = _only_input(read(path), path).type.tensor_type.shape
    return [axis.dim_value if axis.HasField("dim_value") else None for axis in shape.dim]


def _only_input(model: ModelProto, source: Path) -> ValueInfoProto:
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [port for port in model.graph.input if port.name not in constants]
    if len(inputs) != 1:
        raise EncoderError(f"{source}: the graph has {len(inputs)} inputs; it must have one, the pictures")
    return inputs[0]


def _chosen_output(model: ModelProto, name: str | None, source: Path) -> ValueInfoProto:
    names = [port.name for port in model.graph.output]
    if name is None and len(names) == 1:
        return model.graph.output[0]
    if name not in names:
        asked = f"no output {name!r}" if name else "several outputs: choose one with --output"
        raise EncoderError(f"{source}: the graph has {asked}; it has {', '.join(names)}")
    return model.graph.output[names.index(name)]


def _inner_names(model: ModelProto) -> set[str]:
    """What nodes and constants of a graph are called by."""
    graph = model.graph
    return {name for node in graph.node for name in node.output} | {t.name for t in graph.initializer}


def _free_first_axis(port: ValueInfoProto) -> None:
    """Let a graph that was exported for one picture take any number."""
    shape = port.type.tensor_type.shape
    if shape.dim:
        shape.dim[0].dim_param = "n"


def _rename(model: ModelProto, old: str, new: str) -> None:
    graph = model.graph
    for port in graph.input:
        port.name = new if port.name == old else port.name
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]


def _append(
    model: ModelProto,
    operation: str,
    inputs: list[str],
    output: str,
    *,
    rank: int,
    **attributes: Any,
) -> None:
    """Add a node whose float32 result is an output of the graph."""
    onnx = import_onnx()
    model.graph.node.append(onnx.helper.make_node(operation, inputs, [output], **attributes))
    axes = ["n", *[None] * (rank - 1)]
    model.graph.output.append(onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, axes))


def _append_mean(model: ModelProto) -> None:
    """`pooled`: the mean of `map` over its positions."""
    _append(model, "GlobalAveragePool", [MAP], POOLED_MAP, rank=4)
    del model.graph.output[-1]
    _append(model, "Flatten", [POOLED_MAP], POOLED, rank=2, axis=1)


def _drop_unused(model: ModelProto) -> None:
    """Take out the nodes and constants that no output needs."""
    graph = model.graph
    needed = {port.name for port in graph.output}
    nodes = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(node.input, _read_inside(node))
    del graph.node[:]
    graph.node.extend(reversed(nodes))
    constants = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(constants)


def _read_inside(node: NodeProto) -> set[str]:
    """What the bodies of an `If` or `Loop` read from around them."""
    inside = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    return {name for graph in inside for inner in graph.node for name in (*inner.input, *_read_inside(inner))}
