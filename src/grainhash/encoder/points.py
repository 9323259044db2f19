"""Local granules: points of a picture, each with a binary descriptor.

- `map`: cells of the network's feature map that differ more from the picture's mean than their four
  neighbours do. The network looks at the picture as a whole and at parts of it, so points are of several
  sizes. Detecting and describing by one map is the idea of DELF (Noh, Araujo, Sim, Weyand, Han, ICCV 2017)
  and D2-Net (Dusmanu et al., CVPR 2019). A descriptor has the signs of random projections (LSH) of the cell's
  activations less the picture's mean: it needs no fitting, so that every network has one.
- `orb`: corners with BRIEF descriptors along their direction (Rublee, Rabaud, Konolige, Bradski, ICCV 2011).
- `sift`: blobs (Lowe, IJCV 2004), whose RootSIFT descriptors are made binary by what is above their mean.

Mirrored pictures have map points alike, not ORB's or SIFT's.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grainhash.codes import pack
from grainhash.features.sift import import_cv2, root
from grainhash.types import PointKind, Points

MAX_POINTS = 400
"""Points of a picture, at most: the strongest."""

DESCRIPTOR_BITS = 256
SEED = 0
"""Of the random projections."""

CORNER_SIDE = 480
"""ORB and SIFT look for points in the picture reduced to this length of its longer side."""

MIRRORED = np.arange(128).reshape(4, 4, 8)[::-1][:, :, -np.arange(8) % 8].ravel()
"""Where each number of a SIFT descriptor is in that of the mirrored point: its 4 x 4 cells change sides
across the point's own direction, and so do their 8 directions."""

LEAST_SIDE = 16
"""They find nothing in a picture of fewer pixels, and ORB fails."""


def map_points(maps: NDArray[np.float32], boxes: NDArray[np.float32], width: int, height: int) -> Points:
    """The points of feature maps.

    Args:
        maps: `(n, channels, rows, columns)`: of the whole picture first, then of parts of it.
        boxes: `(n, 4)`: what each is a map of.
        width: of the picture, in pixels.
        height: the same.
    """
    cells = maps.transpose(0, 2, 3, 1).astype(np.float64)
    cells -= cells[0].mean(axis=(0, 1))
    strength = np.linalg.norm(cells, axis=3)
    peaks = strength >= _strongest_neighbour(strength)
    peaks[:, [0, -1]] = peaks[:, :, [0, -1]] = False  # the network sees the frame there, in every picture
    of_map, row, column = np.nonzero(peaks)
    order = np.argsort(-strength[peaks], kind="stable")[:MAX_POINTS]
    of_map, row, column = of_map[order], row[order], column[order]
    x0, y0, x1, y1 = boxes[of_map].astype(np.float64).T
    x = x0 + (column + 0.5) / maps.shape[3] * (x1 - x0)
    y = y0 + (row + 0.5) / maps.shape[2] * (y1 - y0)
    codes = pack(cells[of_map, row, column] @ _projections(maps.shape[1]))
    return Points(np.stack([x, y], axis=1), codes, width, height, "map")


def _strongest_neighbour(strength: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each cell of `(n, rows, columns)`, the greatest value among the four beside it."""
    _, rows, columns = strength.shape
    padded = np.pad(strength, ((0, 0), (1, 1), (1, 1)), constant_values=-1.0)
    beside = [(0, 1), (1, 0), (1, 2), (2, 1)]
    around = [padded[:, top : top + rows, left : left + columns] for top, left in beside]
    greatest: NDArray[np.float64] = np.max(around, axis=0)
    return greatest


@cache
def _projections(channels: int) -> NDArray[np.float64]:
    return np.random.default_rng(SEED).standard_normal((channels, DESCRIPTOR_BITS))


def corner_points(rgb: NDArray[np.uint8], kind: PointKind) -> Points:
    """ORB's or SIFT's points of a picture, `(height, width, 3)`.

    Raises:
        MissingExtra: OpenCV is not installed.
    """
    cv2 = import_cv2()
    height, width = rgb.shape[:2]
    shrink = min(1.0, CORNER_SIDE / max(height, width))
    size = max(round(width * shrink), 1), max(round(height * shrink), 1)
    grey = cv2.cvtColor(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    detector: Any = cv2.ORB_create(MAX_POINTS) if kind == "orb" else cv2.SIFT_create(MAX_POINTS)
    found, descriptors = detector.detectAndCompute(grey, None) if min(size) >= LEAST_SIDE else ((), None)
    if descriptors is None:  # no corner at all
        n_bytes = detector.descriptorSize() // (1 if kind == "orb" else 8)
        return Points(np.empty((0, 2)), np.empty((0, n_bytes), np.uint8), width, height, kind)
    places = np.array([point.pt for point in found], np.float64) / size
    if kind == "sift":
        descriptors = root(descriptors)
        descriptors = pack(descriptors - descriptors.mean(axis=1, keepdims=True))
    return Points(places, descriptors, width, height, kind)


def mirrored(points: Points) -> Points:
    """SIFT's points of the same picture from left to right, very nearly: the picture is not looked at again.

    A mirrored point has the same surroundings in another order (MI-SIFT; Ma, Chen, Su, CIVR 2010).
    """
    bits = np.unpackbits(points.codes, axis=1)[:, MIRRORED]
    places = points.places * (-1, 1) + (1, 0)
    codes = np.ascontiguousarray(np.packbits(bits, axis=1))
    return Points(places, codes, points.width, points.height, points.kind)
