"""Faces: boxes of people's faces, as regions that a gallery shall have codes of.

The detector is a cascade (Viola, Jones, CVPR 2001) of local binary patterns (Liao, Zhu, Lei, Zhang, Li, ICB
2007) for faces seen from the front: OpenCV's, as scikit-image ships and runs it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from grainhash.errors import MissingExtra, PictureError
from grainhash.images import Rgb, Source, decode
from grainhash.types import Box

SIDE = 480
"""Faces are looked for in the picture at about this length of its shorter side, in pixels."""

SMALLEST = 32
"""Of a face's side, in those pixels: the cascade itself sees 24 x 24."""

STEP = 1.2
"""Every size is this many times the one before."""

MARGIN = 0.25
"""A face's box is widened by this share of its sides, so that it holds the head."""


def face_boxes(source: Source) -> list[Box]:
    """The faces in a picture, the largest first; none in a picture that cannot be used.

    Pass it to `Gallery.index` as `boxes_of`.

    Args:
        source: path, bytes, `uint8 (h, w, 3)` array or PIL image.

    Raises:
        MissingExtra: scikit-image is not installed.
    """
    cascade = _cascade()
    try:
        rgb = _reduced(decode(source, min_side=SIDE).rgb)
    except PictureError:  # whoever indexes it says so
        return []
    height, width = rgb.shape[:2]
    if min(height, width) <= SMALLEST:
        return []
    found = cascade.detect_multi_scale(
        rgb,
        scale_factor=STEP,
        step_ratio=1,
        min_size=(SMALLEST, SMALLEST),
        max_size=(min(height, width),) * 2,
    )
    largest_first = sorted(found, key=lambda face: -face["width"] * face["height"])
    return [_box(face, width, height) for face in largest_first]


def prepare() -> None:
    """Load the detector now, so that what is missing is said before anything is indexed.

    Raises:
        MissingExtra: scikit-image is not installed.
    """
    _cascade()


def _reduced(rgb: Rgb) -> Rgb:
    step = max(min(rgb.shape[:2]) // SIDE, 1)
    return np.ascontiguousarray(rgb[::step, ::step])


def _box(face: dict[str, int], width: int, height: int) -> Box:
    across, down = MARGIN * face["width"], MARGIN * face["height"]
    return Box(
        max(face["c"] - across, 0) / width,
        max(face["r"] - down, 0) / height,
        min(face["c"] + face["width"] + across, width) / width,
        min(face["r"] + face["height"] + down, height) / height,
    )


@cache
def _cascade() -> Any:
    try:
        from skimage import data, feature
    except ImportError:
        raise MissingExtra("scikit-image", "classical") from None
    return feature.Cascade(data.lbp_frontal_face_cascade_filename())
