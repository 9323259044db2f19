"""Fashion-MNIST (Xiao, Rasul, Vollgraf, 2017): 70,000 products of ten kinds, 28 x 28 pixels each."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HOME = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts its files."""

TRAIN, TEST = "train", "t10k"
KINDS = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Boot")


def read_part(home: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Pixels `(n, 28, 28)` and kinds `(n,)`, from 0, of `TRAIN` or `TEST`."""
    return _read_idx(home / f"{part}-images-idx3-ubyte.gz"), _read_idx(home / f"{part}-labels-idx1-ubyte.gz")


def _read_idx(file: Path) -> NDArray[np.uint8]:
    data = gzip.decompress(file.read_bytes())
    n_axes = data[3]
    shape = np.frombuffer(data, ">u4", n_axes, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * n_axes).reshape(shape)


def write_products(home: Path, part: str, folder: Path, *, each: int, after: int = 0) -> list[Path]:
    """Write so many products of each kind, after some, as `folder`/kind/number.png; their paths."""
    pixels, kinds = read_part(home, part)
    paths = []
    for number, kind in enumerate(KINDS):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for row in np.flatnonzero(kinds == number)[after : after + each].tolist():
            paths.append(folder / kind / f"{row:05d}.png")
            Image.fromarray(pixels[row]).save(paths[-1], compress_level=1)
    return paths
