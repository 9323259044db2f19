"""GIST: how much structure of each scale and direction lies where in a scene.

Oliva, Torralba: Modeling the Shape of the Scene: A Holistic Representation of the Spatial Envelope,
IJCV 2001. 4 scales of 8 directions on a 4 x 4 grid, of the brightness: 512 numbers.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 128
"""Pictures are reduced to this first."""
PADDING = 16
SCALES, DIRECTIONS, GRID = 4, 8, 4
N_GIST = SCALES * DIRECTIONS * GRID * GRID
PREFILTER_CYCLES = 4.0
"""Structure slower than this many cycles a picture is taken for lighting."""


def gist(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean Gabor energy a cell: `(n, size, size, 3)` RGB to `(n, 512)`."""
    rows = np.empty((len(pixels), N_GIST), np.float32)
    for row, picture in zip(rows, pixels, strict=True):
        small = Image.fromarray(picture).convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        spectrum = np.fft.fft2(_even_lighting(np.log1p(np.asarray(small, np.float32))))
        energy = np.abs(np.fft.ifft2(spectrum * _gabor_bank()))
        inside = energy[:, PADDING:-PADDING, PADDING:-PADDING]
        cell = SIDE // GRID
        row[:] = inside.reshape(-1, GRID, cell, GRID, cell).mean(axis=(2, 4)).reshape(-1)
    return rows


def _even_lighting(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """The padded picture less its slow changes, divided by its local contrast."""
    padded = np.pad(grey, PADDING, mode="symmetric")
    slow = _slow_pass()
    fast = padded - np.fft.ifft2(np.fft.fft2(padded) * slow).real
    contrast = np.sqrt(np.maximum(np.fft.ifft2(np.fft.fft2(fast * fast) * slow).real, 0.0))
    return np.asarray(fast / (0.2 + contrast))


@cache
def _frequencies() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cycles a pixel down and across, each `(side, side)` of the padded picture."""
    axis = np.fft.fftfreq(SIDE + 2 * PADDING)
    down, across = np.meshgrid(axis, axis, indexing="ij")
    return down, across


@cache
def _slow_pass() -> NDArray[np.float32]:
    down, across = _frequencies()
    cut = PREFILTER_CYCLES / np.sqrt(np.log(2)) / SIDE
    return np.asarray(np.exp(-(down**2 + across**2) / cut**2), np.float32)


@cache
def _gabor_bank() -> NDArray[np.float32]:
    """Transfer functions, `(32, side, side)`, scales from fine to coarse; widths as in the authors' code."""
    down, across = _frequencies()
    radius, angle = np.hypot(down, across), np.arctan2(down, across)
    bank = []
    for scale in range(SCALES):
        centre = 0.3 / 1.85**scale
        for direction in range(DIRECTIONS):
            turned = angle + np.pi * direction / DIRECTIONS
            turned = (turned + np.pi) % (2 * np.pi) - np.pi
            along = 10 * 0.35 * (radius / centre - 1) ** 2
            around = 2 * np.pi * (DIRECTIONS / 8) ** 2 * turned**2
            bank.append(np.exp(-along - around))
    return np.stack(bank).astype(np.float32)
