"""Pooling: feature maps `(n, c, h, w)` to vectors `(n, c)`, in NumPy.

Every function reduces each picture by itself, so a picture's vector does not depend on its batch.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import numpy as np
from numpy.typing import NDArray

from grainhash.errors import InputError

Maps = NDArray[np.float32]
"""`(n, c, h, w)`."""

Vectors = NDArray[np.float32]
"""`(n, c)`."""

GEM_POWER = 3.0
GEM_LEAST = 1e-6
RMAC_LEVELS = 3
RMAC_OVERLAP = 0.4


def average_pool(maps: Maps) -> Vectors:
    """The mean over all positions."""
    return np.asarray(_positions(maps).mean(axis=2, dtype=np.float32))


def max_pool(maps: Maps) -> Vectors:
    """The largest value over all positions (MAC)."""
    return np.asarray(_positions(maps).max(axis=2))


def gem_pool(maps: Maps, power: float = GEM_POWER) -> Vectors:
    """The generalised mean `mean(x ** p) ** (1 / p)` of values cut off below at 1e-6.

    Radenovic, Tolias, Chum: Fine-tuning CNN Image Retrieval with No Human Annotation, TPAMI 2018;
    p = 1 is the average, p towards infinity the maximum.
    """
    values = np.maximum(_positions(maps), np.float32(GEM_LEAST))
    powers = values * values * values if power == GEM_POWER else values**power
    return np.asarray(powers.mean(axis=2, dtype=np.float32) ** (1 / power), np.float32)


def rmac_pool(maps: Maps, levels: int = RMAC_LEVELS) -> Vectors:
    """The sum of the L2-normalised maxima of square regions at several scales.

    Tolias, Sicre, Jegou: Particular Object Retrieval with Integral Max-Pooling of CNN Activations, ICLR
    2016, without its whitening, which is the hash function's. Sides are rounded up, positions to the
    nearest.
    """
    checked = _check(maps)
    n, c, height, width = checked.shape
    rows_first = np.ascontiguousarray(checked.transpose(2, 3, 0, 1))  # maxima then run along memory
    pooled = np.zeros((n, c), np.float32)
    for top, left, side in rmac_regions(height, width, levels):
        region = rows_first[top : top + side, left : left + side].reshape(side * side, n, c)
        maxima = region.max(axis=0)
        norms = np.linalg.norm(maxima, axis=1, keepdims=True)
        pooled += maxima / np.maximum(norms, 1e-9)
    return pooled


def rmac_regions(height: int, width: int, levels: int = RMAC_LEVELS) -> list[tuple[int, int, int]]:
    """R-MAC's regions of a map as `(top, left, side)`.

    At level `l` the side is `2 min(h, w) / (l + 1)`; `l` regions lie along the shorter side and, so
    that neighbours overlap by about 40 %, `l` or more along the longer.
    """
    short, long = min(height, width), max(height, width)
    more = 0
    if long > short:
        more = min(range(1, 7), key=lambda n: abs(1 - (long - short) / n / short - RMAC_OVERLAP))
    regions = []
    for level in range(1, levels + 1):
        side = ceil(2 * short / (level + 1))
        down, across = (level, level + more) if height == short else (level + more, level)
        regions += [
            (top, left, side) for top in _spread(height, side, down) for left in _spread(width, side, across)
        ]
    return regions


def _spread(length: int, side: int, n: int) -> list[int]:
    return [round(start) for start in np.linspace(0, length - side, n).tolist()]


def _check(maps: Maps) -> Maps:
    if maps.ndim != 4 or 0 in maps.shape[1:]:
        raise InputError(f"feature maps of shape {maps.shape} where (n, c, h, w) is expected")
    return maps


def _positions(maps: Maps) -> Maps:
    """The maps as `(n, c, h * w)`."""
    n, c, height, width = _check(maps).shape
    return maps.reshape(n, c, height * width)


POOLINGS: dict[str, Callable[[Maps], Vectors]] = {
    "avg": average_pool,
    "max": max_pool,
    "gem": gem_pool,
    "rmac": rmac_pool,
}
"""Every pooling by the name that `encoder.json` and the command line use."""
