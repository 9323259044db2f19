"""What is looked at in a picture to tell whether it is another's copy, and whether two looks agree.

Points alone are not enough: the same words over two photographs match as well as one photograph does with
itself. So points only say how one picture lies in the other; then the two are laid upon each other, and
most of what is there must look alike.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from grainhash.encoder.points import CORNER_SIDE, MAX_POINTS, corner_points, mirrored
from grainhash.errors import PictureUnreadable
from grainhash.features.sift import import_cv2
from grainhash.geometry import match_points
from grainhash.images import Limits, decode, read_bytes
from grainhash.types import Box, Match, Points

GREY = 128
"""Pixels a side of the picture that is laid upon another."""

SIDE = 8
"""Pixels a side of the blocks that are compared."""

FARTHEST = 26
"""Bits of 128 by which points of a match differ at most: 19 of 20 of copies do, and one of four of others."""

LEAST_CONTRAST = 4.0
"""Of 256: a block that varies less in both pictures says nothing."""

LEAST_LIKENESS = 0.5
"""Correlation of blocks that look alike."""

LEAST_AGREEMENT = 0.6
"""Share of the blocks that look alike in copies. Chosen, as all here, on altered copies of photographs of
Flickr8k's training split, of which the benchmark of copies judges none."""

LEAST_BLOCKS = 6
"""Fewer that say anything are no evidence."""

LOOK = np.dtype(
    [
        ("width", np.int32),
        ("height", np.int32),
        ("n_points", np.int32),
        ("places", np.uint16, (MAX_POINTS, 2)),
        ("codes", np.uint8, (MAX_POINTS, 16)),
        ("grey", np.uint8, (GREY, GREY)),
    ]
)
"""A look as it is kept: points, their places in steps of 1/65535, and the picture in grey, made square."""


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    """Two pictures that show the same."""

    of_first: float
    """Share of the first's area that the second shows."""
    of_second: float
    box_in_first: Box
    """Bounds of what both show."""
    box_in_second: Box
    alike: float
    """Share of the blocks with anything in them that look alike."""


def look_at(path: Path, sha256: str, limits: Limits) -> NDArray[np.void]:
    """A picture's look, of dtype `LOOK`.

    Raises:
        PictureError: unreadable, or no longer what was indexed.
        MissingExtra: OpenCV is not installed.
    """
    cv2 = import_cv2()
    data = read_bytes(path, limits)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise PictureUnreadable(str(path), "it has changed since it was indexed")
    rgb = decode(data, min_side=CORNER_SIDE, name=str(path), limits=limits).rgb
    points = corner_points(rgb, "sift")
    n = min(len(points), MAX_POINTS)
    look = np.zeros((), LOOK)
    look["height"], look["width"] = rgb.shape[:2]
    look["n_points"] = n
    look["places"][:n] = np.rint(points.places[:n].clip(0, 1) * 65535)
    look["codes"][:n] = points.codes[:n]
    look["grey"] = cv2.cvtColor(
        cv2.resize(rgb, (GREY, GREY), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY
    )
    return look


def agreement(first: NDArray[np.void], second: NDArray[np.void]) -> Agreement | None:
    """What two looks say; `None` where they do not show the same.

    Raises:
        MissingExtra: OpenCV is not installed.
    """
    points, others = _points(first), _points(second)
    for asked in (points, mirrored(points)):
        match = match_points(asked, others, farthest=FARTHEST)
        if match is None or match.log_expected >= 0:
            continue
        map = match.map if asked is points else _of_mirrored(match.map)
        alike = _alike(first["grey"], second["grey"], map)
        if alike >= LEAST_AGREEMENT:
            return _agreement(match, map, alike)
    return None


def _points(look: NDArray[np.void]) -> Points:
    n = int(look["n_points"])
    places = look["places"][:n].astype(np.float64) / 65535
    return Points(places, look["codes"][:n], int(look["width"]), int(look["height"]), "sift")


def _of_mirrored(map: NDArray[np.float64]) -> NDArray[np.float64]:
    """The map of a picture, from that of its mirrored one."""
    along, across, shift = map.T
    return np.column_stack([-along, across, shift + along])


def _agreement(match: Match, map: NDArray[np.float64], alike: float) -> Agreement:
    cv2 = import_cv2()
    outline = match.outline
    of_second = float(cv2.contourArea(outline.astype(np.float32)))
    linear, shift = map[:, :2], map[:, 2]
    of_first = of_second / abs(float(np.linalg.det(linear)))
    back = ((outline - shift) @ np.linalg.inv(linear).T).clip(0, 1)
    return Agreement(min(of_first, 1.0), min(of_second, 1.0), Box.around(back), match.box, alike)


def _alike(first: NDArray[np.uint8], second: NDArray[np.uint8], map: NDArray[np.float64]) -> float:
    """Lay the first upon the second and say what share of the blocks that show anything look alike."""
    cv2 = import_cv2()
    scale = abs(float(np.linalg.det(map[:, :2]))) ** 0.5
    pixels = np.column_stack([map[:, :2], map[:, 2] * GREY])
    if scale > 1:  # the one that shows it larger is reduced, never the other enlarged
        first, second, pixels, scale = second, first, cv2.invertAffineTransform(pixels), 1 / scale
    laid = cv2.GaussianBlur(first.astype(np.float32), (0, 0), max(0.5 / scale, 0.6))
    laid = cv2.warpAffine(laid, pixels, (GREY, GREY), flags=cv2.INTER_LINEAR)
    there = cv2.warpAffine(np.ones((GREY, GREY), np.float32), pixels, (GREY, GREY))
    whole = _blocks(there).min(axis=1) > 0.99
    a, b = (_blocks(cv2.GaussianBlur(each.astype(np.float32), (0, 0), 1.0))[whole] for each in (laid, second))
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    spread_a, spread_b = a.std(axis=1), b.std(axis=1)
    tells = np.maximum(spread_a, spread_b) > LEAST_CONTRAST
    if tells.sum() < LEAST_BLOCKS:
        return 0.0
    correlation = (a * b).mean(axis=1)[tells] / np.maximum(spread_a * spread_b, 1e-3)[tells]
    return float((correlation > LEAST_LIKENESS).mean())


def _blocks(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    n = GREY // SIDE
    return grey.reshape(n, SIDE, n, SIDE).swapaxes(1, 2).reshape(n * n, SIDE * SIDE)
