"""Fit the codebook of the feature `sift`: k-means of dense RootSIFT descriptors of photographs.

    python tools/fit_sift_codebook.py PHOTOS.parquet [--split train]

Takes JPEG bytes of the column `image`. Only the fitted numbers enter the project; under the name `sift`
they must never change, so this has been run once.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from grainhash.features.sift import CODEBOOK, N_CENTRES, SIDE, root_sift

PICTURES = 400
ROUNDS = 50
SEED = 0


def main() -> None:
    """Fit and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, help="a Parquet file of photographs")
    parser.add_argument("--split", default="train", help="rows of this split, where the file has splits")
    parser.add_argument("--out", type=Path, default=CODEBOOK)
    arguments = parser.parse_args()
    rows = pq.read_table(arguments.photos).to_pylist()
    chosen = [row["image"] for row in rows if row.get("split", arguments.split) == arguments.split]
    descriptors = np.concatenate([root_sift(squashed(image)) for image in chosen[:PICTURES]])
    np.save(arguments.out, k_means(descriptors, N_CENTRES).astype(np.float16))
    print(f"{arguments.out}: {N_CENTRES} centres of {len(descriptors):,} descriptors")


def squashed(image: bytes) -> NDArray[np.uint8]:
    """One picture, `(128, 128, 3)`."""
    picture = Image.open(io.BytesIO(image)).convert("RGB")
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def k_means(rows: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    """Lloyd's algorithm from random rows."""
    centres = rows[np.random.default_rng(SEED).choice(len(rows), k, replace=False)]
    for _ in range(ROUNDS):
        nearest = (rows @ centres.T - 0.5 * (centres**2).sum(axis=1)).argmax(axis=1)
        sums = np.stack([rows[nearest == centre].mean(axis=0) for centre in range(k)])
        centres = sums.astype(np.float32)
    return centres


if __name__ == "__main__":
    main()
