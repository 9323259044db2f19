"""Fit the hash function that the package ships, and write the encoder folder around it.

    python tools/fit_default_hash.py PHOTOS.parquet ... [--split train] [--out FOLDER]

Takes wholes, tiles and random crops of photographs (JPEG bytes in the column `image` of Parquet
files) through the shipped network and fits ITQ of 256 bits to all of them together: one hash
function for wholes and parts, so that each can be compared with the other. Only the fitted numbers
enter the project. `--compare` fits nothing to ship: it prints how plain, half and fully whitened
functions find classes of wholes on pictures kept out of the fit.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from grainhash.codes import hamming
from grainhash.encoder.encoder import DEFAULT_FOLDER, Encoder, EncoderConfig
from grainhash.encoder.granules import GranuleSettings, cut
from grainhash.encoder.network import NetworkSpec
from grainhash.hashing.itq import ITQ
from grainhash.images import decode
from grainhash.types import WHOLE, Box

N_BITS = 256
WHITENING = 0.5
RANDOM_CROPS = 8
SEED = 0


def photographs(path: Path, split: str | None) -> Iterator[dict[str, Any]]:
    """Rows of a Parquet file of photographs, those of one split if it has splits."""
    for row in pq.read_table(path).to_pylist():
        if split is None or row.get("split", split) == split:
            yield row


def random_box(rng: np.random.Generator) -> Box:
    """A part of a picture, 20 % to 80 % of each side."""
    width, height = rng.uniform(0.2, 0.8, 2)
    x, y = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
    return Box(x, y, x + width, y + height)


def whole_features(encoder: Encoder, images: list[bytes]) -> NDArray[np.float32]:
    """Features of each picture as a whole."""
    size = encoder.config.network.input_size
    with ThreadPoolExecutor(2) as pool:
        return np.concatenate(
            list(pool.map(lambda data: encoder.features(cut(decode(data).rgb, [WHOLE], size)), images))
        )


def granule_features(encoder: Encoder, images: list[bytes]) -> NDArray[np.float32]:
    """Features of each picture's whole, tiles and random crops, half of the pictures mirrored."""

    def features(item: tuple[int, bytes]) -> NDArray[np.float32]:
        number, data = item
        rng = np.random.default_rng([SEED, number])
        rgb = decode(data).rgb
        if rng.integers(2):
            rgb = np.ascontiguousarray(rgb[:, ::-1])
        tiles = [Box(*map(float, row)) for row in encoder.granules.tiles(rgb.shape[1], rgb.shape[0])]
        boxes = [WHOLE, *tiles, *(random_box(rng) for _ in range(RANDOM_CROPS))]
        return encoder.features(cut(rgb, boxes, encoder.config.network.input_size))

    with ThreadPoolExecutor(2) as pool:
        return np.concatenate(list(pool.map(features, enumerate(images))))


def class_map(codes: NDArray[np.uint8], labels: NDArray[np.str_], n_queries: int) -> float:
    """mAP of the first codes against the rest, by label."""
    distances = hamming(codes[:n_queries], codes[n_queries:])
    precisions = []
    for row, label in zip(distances, labels[:n_queries], strict=True):
        relevant = (labels[n_queries:] == label)[np.argsort(row, kind="stable")]
        ranks = np.flatnonzero(relevant) + 1
        if len(ranks):
            precisions.append(float(np.mean(np.arange(1, len(ranks) + 1) / ranks)))
    return float(np.mean(precisions))


def main() -> None:
    """Fit and write, or compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, nargs="+", help="Parquet files to fit on")
    parser.add_argument("--split", default="train", help="rows of this split, where a file has splits")
    parser.add_argument("--compare", type=Path, help="a labelled Parquet file to compare whitenings on")
    parser.add_argument("--out", type=Path, default=DEFAULT_FOLDER)
    arguments = parser.parse_args()

    encoder = bare_encoder(arguments.out)
    rows = [row for path in arguments.photos for row in photographs(path, arguments.split)]
    features = granule_features(encoder, [row["image"] for row in rows])
    print(f"{len(rows)} photographs, {len(features)} granules")
    if arguments.compare:
        compare(encoder, features, list(photographs(arguments.compare, "database")))
        return
    hash_function = ITQ(N_BITS, whitening=WHITENING, seed=SEED).fit(features).function
    provenance = {
        "method": "itq",
        "whitening": WHITENING,
        "seed": SEED,
        "pictures": len(rows),
        "granules": len(features),
        "fitted_on": [f"{path.stem} ({arguments.split})" for path in arguments.photos],
    }
    encoder.with_hash_function(hash_function, provenance).save(arguments.out)
    print(f"{arguments.out}: encoder {Encoder.load(arguments.out).fingerprint[:16]}")


def compare(encoder: Encoder, features: NDArray[np.float32], rows: list[dict[str, Any]]) -> None:
    """Print the class mAP of wholes for three whitenings; a sixth of the rows are the queries."""
    np.random.default_rng(SEED).shuffle(rows)
    wholes = whole_features(encoder, [row["image"] for row in rows])
    labels = np.array([row["label"] for row in rows])
    for whitening in (0.0, 0.5, 1.0):
        codes = ITQ(N_BITS, whitening=whitening, seed=SEED).fit(features).encode(wholes)
        print(f"whitening {whitening}: class mAP of wholes {class_map(codes, labels, len(rows) // 6):.3f}")


def bare_encoder(folder: Path) -> Encoder:
    """An encoder of the network in a folder; its hash function is there only to be replaced."""
    network = folder / "network.onnx"
    config = EncoderConfig(
        name="efficientnet-lite0-itq256",
        network=NetworkSpec(input_size=224, mean=(127.5,) * 3, std=(127.5,) * 3, layout="NCHW"),
        network_name="efficientnet-lite0-int8",
        network_sha256=hashlib.sha256(network.read_bytes()).hexdigest(),
        granules=GranuleSettings(),
        features="pooled",
        provenance={"network": "see PROVENANCE.md"},
    )
    placeholder = ITQ(8).fit(np.random.default_rng(SEED).standard_normal((16, 1280))).function
    return Encoder(folder, config, placeholder)


if __name__ == "__main__":
    main()
