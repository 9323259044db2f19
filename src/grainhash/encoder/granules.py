"""Granules: which parts of a picture get a code, and how they are cut.

A part is seen again by the network at its full input size: a window pooled from one dense map
loses most of what makes a part findable. Some parts are tiles, the same for every picture of a shape; the
rest are boxes that fit what is in it (`grainhash.encoder.proposals`), or that somebody gives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from grainhash.encoder.proposals import SMALLEST_SIDE
from grainhash.errors import EncoderError
from grainhash.types import BOX_STEPS, Box

LONG = 2.0
"""A picture more than this many times longer than wide gets more tiles along its length."""

MAX_TILES_ALONG = 12
"""Tiles of one scale along the length of a very long picture, at most."""


RESAMPLING = "hamming, enlarged bilinear"
"""How parts are brought to the network's size, part of every encoder's fingerprint; see `resized`."""


@dataclass(frozen=True, slots=True)
class Grid:
    """`n` x `n` tiles, each `side` of the picture's width and height, spread evenly over it."""

    n: int
    side: float

    def __post_init__(self) -> None:
        if not (1 <= self.n <= MAX_TILES_ALONG and 0 < self.side <= 1):
            raise EncoderError(f"a grid of {self.n} x {self.n} tiles of side {self.side} cannot be laid")


MAX_PROPOSALS = 1000
"""More boxes a picture than this are a mistake."""


@dataclass(frozen=True, slots=True)
class GranuleSettings:
    """What an encoder cuts: the whole always; as regions the tiles of these grids, and proposals.

    Raises:
        EncoderError: a number of proposals below 0 or above `MAX_PROPOSALS`.
    """

    grids: tuple[Grid, ...] = (Grid(2, 0.6),)
    proposals: int = 12
    """Boxes that fit things, a picture, at most: those that are given, then the best that are found."""

    def __post_init__(self) -> None:
        if type(self.proposals) is not int or not 0 <= self.proposals <= MAX_PROPOSALS:
            raise EncoderError(
                f"proposals must be a whole number from 0 to {MAX_PROPOSALS}, not {self.proposals!r}"
            )

    @property
    def has_regions(self) -> bool:
        """Whether anything but the whole is cut."""
        return bool(self.grids or self.proposals)

    @property
    def smallest_side(self) -> float:
        """The smallest side of a granule, as a fraction of the picture's, but for boxes that are given."""
        sides = [grid.side for grid in self.grids]
        return min([*sides, SMALLEST_SIDE] if self.proposals else sides, default=1.0)

    @property
    def n_tiles(self) -> int:
        """Tiles of a picture of usual shape."""
        return sum(grid.n**2 for grid in self.grids)

    @property
    def n_usual(self) -> int:
        """Granules of a picture of usual shape, the whole among them."""
        return 1 + self.n_tiles + self.proposals

    def tiles(self, width: int, height: int) -> NDArray[np.float32]:
        """The tiles of a `width` x `height` picture, `(n_tiles, 4)` as fractions."""
        rows = [
            (x, y, min(x + tile_width, 1.0), min(y + tile_height, 1.0))
            for grid in self.grids
            for tile_height, tops in [_spread(grid, height / width)]
            for tile_width, lefts in [_spread(grid, width / height)]
            for y in tops
            for x in lefts
        ]
        return np.array(rows, np.float32).reshape(-1, 4)

    def to_dict(self) -> dict[str, Any]:
        """The form kept in `encoder.json`."""
        grids = [{"n": grid.n, "side": grid.side} for grid in self.grids]
        return {"grids": grids, "proposals": self.proposals}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> GranuleSettings:
        """Read what `to_dict` wrote; unknown keys are errors, and tiles alone name no proposals."""
        try:
            return cls(**{"proposals": 0, **value, "grids": tuple(Grid(**grid) for grid in value["grids"])})
        except (KeyError, TypeError) as error:
            raise EncoderError(f"granule settings {value!r} cannot be read ({error})") from None


WHOLE_ONLY = GranuleSettings(grids=(), proposals=0)


def _spread(grid: Grid, elongation: float) -> tuple[float, list[float]]:
    """Length and starts of a grid's tiles along one axis, as fractions of that axis.

    `elongation` is this axis over the other. Along a long axis a tile is cut shorter, so that it is
    no longer than `LONG` times its width, and more of them are laid at the same overlap.
    """
    length = grid.side * min(1.0, LONG / elongation)
    n = grid.n
    if elongation > LONG:
        step = (1 - grid.side) / max(grid.n - 1, 1) * length / grid.side
        n = min(MAX_TILES_ALONG, math.ceil((1 - length) / step) + 1)
    if n == 1:
        return length, [(1 - length) / 2]
    return length, [i * (1 - length) / (n - 1) for i in range(n)]


def resized(picture: Image.Image, size: int, box: tuple[float, float, float, float]) -> NDArray[np.uint8]:
    """A part of a picture at the network's size, `uint8 (size, size, 3)`, antialiased.

    A part that shrinks goes through Pillow's Hamming filter, which finds classes as well as bicubic in two
    thirds of its time (Caltech-101 mAP .616 against .611). A part that grows goes through its bilinear one:
    sharper filters show the network the edges of pixels (CIFAR-10, 32 pixels to 224, mAP@200 of a sample:
    bilinear .560, bicubic .529, Hamming .433).

    Args:
        picture: RGB.
        size: the side in pixels.
        box: left, top, right and bottom of the part, in pixels.
    """
    left, top, right, bottom = box
    grows = right - left < size or bottom - top < size
    filter = Image.Resampling.BILINEAR if grows else Image.Resampling.HAMMING
    return np.asarray(picture.resize((size, size), filter, box=box))


def on_steps(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Boxes on the `BOX_STEPS` that a store keeps, so that a box read back is the box that was cut."""
    return (np.rint(boxes * BOX_STEPS) / BOX_STEPS).astype(np.float32)


def as_rows(boxes: Sequence[Box]) -> NDArray[np.float32]:
    """Boxes as rows `(n, 4)`."""
    return np.array([(box.x0, box.y0, box.x1, box.y1) for box in boxes], np.float32).reshape(-1, 4)


def as_boxes(rows: NDArray[np.float32]) -> list[Box]:
    """Rows `(n, 4)` as boxes."""
    return [Box(*row) for row in rows.astype(np.float64).tolist()]


def cut(rgb: NDArray[np.uint8], boxes: list[Box], size: int) -> NDArray[np.uint8]:
    """Cut parts from a picture and bring each to `size` x `size`, antialiased.

    Args:
        rgb: `(height, width, 3)`.
        boxes: the parts, in the order wanted.

    Returns:
        `uint8 (len(boxes), size, size, 3)`.
    """
    image = Image.fromarray(rgb)
    pieces = np.empty((len(boxes), size, size, 3), np.uint8)
    for piece, box in zip(pieces, boxes, strict=True):
        piece[:] = resized(image, size, box.pixels(*image.size))
    return pieces
