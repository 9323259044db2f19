"""float32 ONNX graphs to int8: a quarter of the size, and on a CPU two to three times the speed.

1. ONNX Runtime quantises: QDQ, activations uint8 by their range on real photographs, weights int8 of
   -64..64 with one scale an output channel, so that no CPU overflows and all give the same features.
2. The weights of convolutions are rounded again, and their biases corrected, so that each layer's output on
   those photographs changes least. Nearest rounding costs depthwise filters much: they have weights that
   almost cancel, and the sum of nine rounding errors does not.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grainhash.encoder.network import NetworkSpec, Pixels
from grainhash.errors import EncoderError, InputError, MissingExtra, first_line
from grainhash.networks.graph import POOLED, import_onnx, read, tidy, write

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

WEIGHT_LIMIT = 64
"""CPUs without VNNI add two uint8 by int8 products in 16 bits: 2 * 255 * 64 fits, 2 * 255 * 127 does not."""

STATISTICS_STRIDE = 4
"""A quarter of the pictures is plenty for second moments: each has many positions."""

DAMPING = 0.01
"""Share of the mean variance added to every input's, as in GPTQ."""

Pictures = NDArray[np.float32]
"""Normalised, laid out as the graph wants them."""

Moments = tuple[Tensor, Tensor]
"""Of what a convolution sees: mean `(groups, fan_in)` and covariance `(groups, fan_in, fan_in)`."""


def quantise(source: Path, target: Path, pixels: Pixels, *, spec: NetworkSpec) -> None:
    """Write an int8 graph of a float32 graph.

    Args:
        source: the float32 `.onnx` file.
        target: the int8 `.onnx` file.
        pixels: uint8 `(n, size, size, 3)`, a hundred pictures or more like those that the network will see:
            wholes and parts.
        spec: how the graph wants its pictures.

    Raises:
        InputError: no pictures, or of another shape.
        EncoderError: a graph that cannot be quantised.
        MissingExtra: onnx or onnxruntime is not installed.
    """
    pictures = normalise(pixels, spec)
    float_model = read(source)
    int8_model = _nearest(source, float_model, pictures)
    _round_weights_to_outputs(int8_model, float_model, pictures)
    tidy(int8_model, name=float_model.graph.name)
    write(int8_model, target)


def likeness(a: Path, b: Path, pixels: Pixels, *, spec: NetworkSpec) -> NDArray[np.float32]:
    """Cosine of two graphs' pooled features, `(n,)`, one a picture of `pixels`."""
    pictures = normalise(pixels, spec)
    x, y = (_run(_session(read(path)), [POOLED], pictures)[0] for path in (a, b))
    norms = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    cosines: NDArray[np.float32] = (x * y).sum(1) / np.maximum(norms, 1e-12)
    return cosines


def normalise(pixels: Pixels, spec: NetworkSpec) -> Pictures:
    """Pictures as the graph of `spec` takes them.

    Raises:
        InputError: no pictures, or of another shape.
    """
    size = spec.input_size
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (size, size, 3) or len(pixels) == 0:
        raise InputError(
            f"pixels to quantise by must be uint8 (n, {size}, {size}, 3), at least one, "
            f"not {pixels.dtype} {pixels.shape}"
        )
    mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
    rows = (pixels.astype(np.float32) - mean) / std
    return np.ascontiguousarray(rows.transpose(0, 3, 1, 2)) if spec.layout == "NCHW" else rows


def _import_ort() -> Any:
    try:
        import onnxruntime
        import onnxruntime.quantization
    except ImportError:
        raise MissingExtra("onnxruntime", "train") from None
    return onnxruntime


def _session(model: ModelProto) -> Any:
    runtime = _import_ort()
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    return runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _run(session: Any, outputs: Sequence[str], pictures: Pictures) -> list[Any]:
    """The outputs for many pictures, computed one picture at a time to bound the memory."""
    name = session.get_inputs()[0].name
    rows = [session.run(list(outputs), {name: picture[None]}) for picture in pictures]
    return [np.concatenate(parts) for parts in zip(*rows, strict=True)]


def _nearest(source: Path, model: ModelProto, pictures: Pictures) -> ModelProto:
    """QDQ by the full range of each activation on `pictures`, and nearest rounding of weights."""
    onnx, quantization = import_onnx(), _import_ort().quantization
    name = model.graph.input[0].name
    base: Any = quantization.CalibrationDataReader

    class Reader(base):  # type: ignore[misc]
        rows = iter(pictures)

        def get_next(self) -> dict[str, Pictures] | None:
            row = next(self.rows, None)
            return None if row is None else {name: row[None]}

    with tempfile.TemporaryDirectory() as folder, _quiet():
        target = Path(folder) / "int8.onnx"
        try:
            quantization.quantize_static(
                source,
                target,
                Reader(),
                per_channel=True,
                reduce_range=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
            )
        except (ValueError, RuntimeError) as error:
            raise EncoderError(
                f"{source}: ONNX Runtime cannot quantise this graph ({first_line(error)})"
            ) from None
        int8_model: ModelProto = onnx.load(target)
        return int8_model


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantiser's advice to preprocess, which the exporter has done."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)


def _round_weights_to_outputs(int8_model: ModelProto, float_model: ModelProto, pictures: Pictures) -> None:
    """Replace the int8 weights of every convolution, and shift its bias, to keep its output on `pictures`."""
    from onnx import numpy_helper

    stored = {tensor.name: tensor for tensor in int8_model.graph.initializer}
    weights = {tensor.name: tensor for tensor in float_model.graph.initializer}
    convolutions = [
        node
        for node in float_model.graph.node
        if node.op_type == "Conv" and f"{node.input[1]}_quantized" in stored and node.input[1] in weights
    ]
    moments = _moments(float_model, convolutions, pictures[::STATISTICS_STRIDE])
    for node in convolutions:
        mean, covariance = moments[_key(node)]
        weight = torch.from_numpy(numpy_helper.to_array(weights[node.input[1]]).copy()).double()
        integers, scale = stored[f"{node.input[1]}_quantized"], stored[f"{node.input[1]}_scale"]
        step = torch.from_numpy(numpy_helper.to_array(scale).copy()).double()
        groups, fan_in = mean.shape
        rounded = _gptq(weight.reshape(groups, -1, fan_in), step.reshape(groups, -1), covariance)
        integers.CopyFrom(
            numpy_helper.from_array(rounded.reshape(weight.shape).to(torch.int8).numpy(), integers.name)
        )
        if len(node.input) < 3:
            continue
        lost = weight.reshape(groups, -1, fan_in) - rounded * step.reshape(groups, -1, 1)
        shift = (lost @ mean[:, :, None]).flatten().numpy()
        bias, bias_scale = stored[f"{node.input[2]}_quantized"], stored[f"{node.input[2]}_quantized_scale"]
        shifted = numpy_helper.to_array(bias) + np.rint(shift / numpy_helper.to_array(bias_scale))
        bias.CopyFrom(numpy_helper.from_array(shifted.astype(np.int32), bias.name))


def _key(node: NodeProto) -> str:
    return str(node.output[0])


def _moments(model: ModelProto, convolutions: list[NodeProto], pictures: Pictures) -> dict[str, Moments]:
    """What each convolution sees on the pictures, by the name of its output."""
    from onnx import ModelProto, ValueInfoProto

    probed = ModelProto()
    probed.CopyFrom(model)
    input_name = model.graph.input[0].name
    names = sorted({node.input[0] for node in convolutions} - {input_name})
    known = {port.name for port in probed.graph.output}
    probed.graph.output.extend(ValueInfoProto(name=name) for name in names if name not in known)
    session = _session(probed)
    sums: dict[str, Moments] = {}
    for row in pictures:
        found = session.run(names, {input_name: row[None]}) if names else []
        seen = dict(zip(names, found, strict=True), **{input_name: row[None]})
        for node in convolutions:
            columns = _patches(torch.from_numpy(seen[node.input[0]]), node, model)
            first = columns.mean(-1).double()
            second = (columns @ columns.mT).double() / columns.shape[-1]
            old = sums.get(_key(node), (torch.zeros(()), torch.zeros(())))
            sums[_key(node)] = (old[0] + first, old[1] + second)
    result = {}
    for name, (first, second) in sums.items():
        mean = first / len(pictures)
        result[name] = (mean, second / len(pictures) - mean[:, :, None] * mean[:, None, :])
    return result


def _patches(x: Tensor, node: NodeProto, model: ModelProto) -> Tensor:
    """The inputs of every output pixel of a convolution of one picture: `(groups, fan_in, positions)`."""
    onnx = import_onnx()
    has = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == node.input[1])
    kernel = has.get("kernel_shape", list(weight.dims[2:]))
    stride, dilation = has.get("strides", [1, 1]), has.get("dilations", [1, 1])
    top, left, bottom, right = _padding(has, list(x.shape[2:]), kernel, stride, dilation)
    padded = torch.nn.functional.pad(x, (left, right, top, bottom))
    columns = torch.nn.functional.unfold(padded, kernel, stride=stride, dilation=dilation)
    return columns.reshape(has.get("group", 1), -1, columns.shape[-1])


def _padding(
    has: dict[str, Any], size: list[int], kernel: list[int], stride: list[int], dilation: list[int]
) -> list[int]:
    """Top, left, bottom, right: as the node says, or as `auto_pad` works them out."""
    auto = has.get("auto_pad", b"NOTSET").decode()
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        return list(has.get("pads", [0, 0, 0, 0]))
    totals = [
        max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        for n, k, s, d in zip(size, kernel, stride, dilation, strict=True)
    ]
    less, more = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return less + more if auto == "SAME_UPPER" else more + less


def _gptq(weight: Tensor, step: Tensor, covariance: Tensor) -> Tensor:
    """Round weights one input at a time, each error made good by the inputs not yet rounded.

    Frantar et al. 2022, https://arxiv.org/abs/2210.17323. A depthwise convolution is many groups of one
    output; an ordinary one is one group.

    Args:
        weight: `(groups, outputs, fan_in)`.
        step: `(groups, outputs)`, the distance between neighbouring int8 values.
        covariance: `(groups, fan_in, fan_in)` of the inputs.

    Returns:
        Integers -WEIGHT_LIMIT..WEIGHT_LIMIT as floats, shaped as `weight`.
    """
    fan_in = weight.shape[-1]
    variance = covariance.diagonal(dim1=1, dim2=2).mean(1)
    damped = covariance + (DAMPING * variance + 1e-9)[:, None, None] * torch.eye(fan_in)
    inverse = torch.linalg.cholesky(torch.linalg.inv(damped), upper=True)
    left, integers = weight.clone(), torch.zeros_like(weight)
    for i in range(fan_in):
        integers[:, :, i] = (left[:, :, i] / step).round().clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT)
        error = (left[:, :, i] - integers[:, :, i] * step) / inverse[:, i, i, None]
        left[:, :, i:] -= error[:, :, None] * inverse[:, i, None, i:]
    return integers
