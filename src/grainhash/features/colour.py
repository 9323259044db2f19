"""The colour histogram: how much of a picture has which hue, saturation and brightness."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HUES, SATURATIONS, VALUES = 16, 4, 4
N_COLOUR = HUES * SATURATIONS * VALUES


def colour_histogram(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The joint HSV histogram, square-rooted: `(n, size, size, 3)` RGB to `(n, 256)` of length 1.

    The dot product of two such rows is the Bhattacharyya coefficient of the histograms (Swain, Ballard:
    Color Indexing, IJCV 1991; the root after Arandjelovic, Zisserman, CVPR 2012).
    """
    rows = np.empty((len(pixels), N_COLOUR), np.float32)
    for row, picture in zip(rows, pixels, strict=True):
        hsv = np.asarray(Image.fromarray(picture).convert("HSV")).reshape(-1, 3)
        hue, saturation, value = (hsv >> (4, 6, 6)).T.astype(np.intp)
        bins = (hue * SATURATIONS + saturation) * VALUES + value
        row[:] = np.sqrt(np.bincount(bins, minlength=N_COLOUR) / len(bins))
    return rows
