"""Near copies: pictures cut smaller and compressed again, as they come back from the web."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from PIL import Image

from grainhash.images import decode
from grainhash.labelled import LabelledPictures

KEPT = 0.85
"""Share of width and of height that a copy keeps, from anywhere in the picture."""

JPEG_QUALITY = 50

SIDE = 512
"""Large originals may be decoded at a reduced size, but no smaller than this."""


def near_copies(originals: LabelledPictures, seed: int) -> LabelledPictures:
    """The same pictures, each altered when it is read; the same seed alters them the same.

    Reading one raises PictureError where the original cannot be decoded.
    """

    def read(row: int) -> bytes:
        return _altered(originals, row, seed)

    rows = np.arange(len(originals), dtype=np.int64)
    return replace(originals, labels=None, splits=None, read=read, rows=rows)


def _altered(originals: LabelledPictures, row: int, seed: int) -> bytes:
    picture = decode(originals.source(row), min_side=SIDE, name=originals.names[row])
    height, width = picture.rgb.shape[:2]
    right, down = np.random.default_rng((seed, row)).random(2) * (1 - KEPT)
    left, top = int(right * width), int(down * height)
    box = (left, top, left + max(1, round(KEPT * width)), top + max(1, round(KEPT * height)))
    file = io.BytesIO()
    Image.fromarray(picture.rgb).crop(box).save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()
