"""SIFT on a dense grid, aggregated to one vector a picture.

Lowe: Distinctive Image Features from Scale-Invariant Keypoints, IJCV 2004; root and normalisation after
Arandjelovic, Zisserman: Three Things Everyone Should Know to Improve Object Retrieval, CVPR 2012 (RootSIFT)
and All About VLAD, CVPR 2013; the aggregation is VLAD (Jegou, Douze, Schmid, Perez, CVPR 2010).

The codebook comes with the package: 16 centres, fitted by `tools/fit_sift_codebook.py`. It never changes
under the name `sift`, so the name alone says in an encoder's fingerprint which codebook it was.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from grainhash.errors import MissingExtra

SIDE = 128
"""Pictures are reduced to this first."""
STEP = 8
SIZES = (4.0, 8.0)
"""Diameters of the patches' centres, in pixels: SIFT looks at six times that."""
N_CENTRES = 16
N_SIFT = N_CENTRES * 128
CODEBOOK = Path(__file__).with_name("sift_codebook.npy")


def sift_vlad(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """VLAD of dense RootSIFT: `(n, size, size, 3)` RGB to `(n, 2048)` of length 1, of zeros if blank.

    Raises:
        MissingExtra: OpenCV is not installed.
    """
    centres = _codebook()
    rows = np.empty((len(pixels), N_SIFT), np.float32)
    for row, picture in zip(rows, pixels, strict=True):
        row[:] = _vlad(root_sift(picture), centres)
    return rows


def root_sift(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The RootSIFT descriptors of a `(size, size, 3)` picture on the grid: `(n_patches, 128)`.

    Patches without structure, whose descriptor is zero, are left out.

    Raises:
        MissingExtra: OpenCV is not installed.
    """
    cv2 = import_cv2()
    grey = Image.fromarray(picture).convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    places = np.arange(STEP, SIDE - STEP + 1, STEP, dtype=np.float32)
    points = [cv2.KeyPoint(float(x), float(y), size, 0.0) for size in SIZES for y in places for x in places]
    _, found = cv2.SIFT_create().compute(np.asarray(grey), points)
    return root(found[found.any(axis=1)])


def root(descriptors: NDArray[np.float32]) -> NDArray[np.float32]:
    """RootSIFT of SIFT's descriptors `(n, 128)`."""
    sums = descriptors.sum(axis=1, keepdims=True)
    return np.asarray(np.sqrt(descriptors / np.maximum(sums, 1.0)), np.float32)


def _vlad(descriptors: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sums of the differences from the nearest centre, normalised a centre and then all together."""
    nearest = (descriptors @ centres.T - 0.5 * (centres**2).sum(axis=1)).argmax(axis=1)
    sums = np.zeros_like(centres)
    np.add.at(sums, nearest, descriptors - centres[nearest])
    sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)
    flat = sums.reshape(-1)
    return np.asarray(flat / max(float(np.linalg.norm(flat)), 1e-9))


@cache
def _codebook() -> NDArray[np.float32]:
    return np.asarray(np.load(CODEBOOK, allow_pickle=False), np.float32)


def import_cv2() -> Any:
    """OpenCV.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import cv2
    except ImportError:
        raise MissingExtra("opencv-python-headless", "classical") from None
    return cv2
