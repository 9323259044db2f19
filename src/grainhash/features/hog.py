"""HOG: histograms of oriented gradients.

Dalal, Triggs: Histograms of Oriented Gradients for Human Detection, CVPR 2005: the gradient of the
strongest channel, 9 directions without sign, cells of 8 x 8 pixels, overlapping blocks of 2 x 2 cells,
L2-Hys. Pictures are reduced to 64 x 64 first, which gives 1764 numbers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE, CELL, DIRECTIONS = 64, 8, 9
CELLS = SIDE // CELL
BLOCKS = CELLS - 1
N_HOG = BLOCKS * BLOCKS * 4 * DIRECTIONS
CLIP = 0.2
"""L2-Hys: a block's numbers are cut off here and normalised again."""


def hog(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """`(n, size, size, 3)` RGB to `(n, 1764)`."""
    rows = np.empty((len(pixels), N_HOG), np.float32)
    for row, picture in zip(rows, pixels, strict=True):
        small = Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        cells = _cells(*_gradients(np.asarray(small, np.float32)))
        blocks = [cells[y : y + BLOCKS, x : x + BLOCKS] for y in (0, 1) for x in (0, 1)]
        row[:] = _l2_hys(np.concatenate(blocks, axis=-1).reshape(BLOCKS * BLOCKS, -1)).reshape(-1)
    return rows


def _gradients(rgb: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Magnitude, and direction 0..pi, of the channel whose gradient is the strongest: each `(h, w)`."""
    down, across = np.zeros_like(rgb), np.zeros_like(rgb)
    down[1:-1] = rgb[2:] - rgb[:-2]
    across[:, 1:-1] = rgb[:, 2:] - rgb[:, :-2]
    strongest = (down**2 + across**2).argmax(axis=2)[..., None]
    y = np.take_along_axis(down, strongest, axis=2)[..., 0]
    x = np.take_along_axis(across, strongest, axis=2)[..., 0]
    return np.hypot(y, x), np.arctan2(y, x) % np.float32(np.pi)


def _cells(magnitude: NDArray[np.float32], angle: NDArray[np.float32]) -> NDArray[np.float64]:
    """Histograms, `(cells, cells, 9)`; each pixel votes for the two directions nearest to its own."""
    place = angle / np.pi * DIRECTIONS - 0.5
    below = np.floor(place)
    share = place - below
    y, x = np.indices(magnitude.shape) // CELL
    cell = (y * CELLS + x) * DIRECTIONS
    votes = np.zeros(CELLS * CELLS * DIRECTIONS)
    for direction, weight in ((below, 1 - share), (below + 1, share)):
        bins = cell + direction.astype(np.intp) % DIRECTIONS
        votes += np.bincount(bins.ravel(), (magnitude * weight).ravel(), minlength=len(votes))
    return votes.reshape(CELLS, CELLS, DIRECTIONS)


def _l2_hys(blocks: NDArray[np.float64]) -> NDArray[np.float64]:
    return _unit(np.minimum(_unit(blocks), CLIP))


def _unit(blocks: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(blocks / np.sqrt((blocks**2).sum(axis=1, keepdims=True) + 1e-6))
