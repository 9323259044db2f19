"""The nouns that travel between floors: boxes, the codes of one picture, hits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from grainhash.errors import BoxError

Granularity = Literal["whole", "part", "both"]
"""What a search compares the query with: whole pictures, their regions, or the better of the two."""

Order = Literal["asymmetric", "hamming"]
"""What candidates are ordered by: how sure the query is of the bits that differ, or how many differ."""

PointKind = Literal["map", "orb", "sift"]
"""What local points are found and described by; see `grainhash.encoder.points`."""

Codes = NDArray[np.uint8]
"""Packed codes, `(n, n_bits / 8)`; see `grainhash.codes` for the bit order."""


@dataclass(frozen=True, slots=True)
class Box:
    """A part of a picture, as fractions of width and height after EXIF rotation.

    `0 <= x0 < x1 <= 1` and `0 <= y0 < y1 <= 1`; the origin is the top left corner.

    Raises:
        BoxError: the corners are not finite, not inside the picture, or span no area.
    """

    x0: float
    y0: float
    x1: float
    y1: float

    def __post_init__(self) -> None:
        corners = (self.x0, self.y0, self.x1, self.y1)
        if not all(math.isfinite(c) for c in corners):
            raise BoxError(f"box {self} has a corner that is not a finite number")
        if not (0 <= self.x0 < self.x1 <= 1 and 0 <= self.y0 < self.y1 <= 1):
            raise BoxError(f"box {self} must satisfy 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1")

    def __str__(self) -> str:
        return ",".join(f"{c:.4g}" for c in (self.x0, self.y0, self.x1, self.y1))

    @classmethod
    def around(cls, places: NDArray[np.float64]) -> Box:
        """The least box that holds some places `(n, 2)` within a picture."""
        return cls(*places.min(axis=0).tolist(), *places.max(axis=0).tolist())

    @classmethod
    def parse(cls, text: str) -> Box:
        """Read `"x0,y0,x1,y1"`, the form the command line takes."""
        try:
            x0, y0, x1, y1 = (float(part) for part in text.split(","))
        except ValueError:
            raise BoxError(
                f"{text!r} is not a box; write x0,y0,x1,y1 as fractions of the picture, "
                "such as 0.5,0,1,0.5 for its top right quarter"
            ) from None
        return cls(x0, y0, x1, y1)

    @property
    def corners(self) -> list[float]:
        """`[x0, y0, x1, y1]`, as JSON has it."""
        return [self.x0, self.y0, self.x1, self.y1]

    @property
    def area(self) -> float:
        """Share of the picture that the box covers, 0..1."""
        return (self.x1 - self.x0) * (self.y1 - self.y0)

    def iou(self, other: Box) -> float:
        """Intersection over union with another box of the same picture, 0..1."""
        width = min(self.x1, other.x1) - max(self.x0, other.x0)
        height = min(self.y1, other.y1) - max(self.y0, other.y0)
        if width <= 0 or height <= 0:
            return 0.0
        return width * height / (self.area + other.area - width * height)

    def within(self, outer: Box) -> Box:
        """This box of the part `outer` of a picture, as a box of that picture."""
        width, height = outer.x1 - outer.x0, outer.y1 - outer.y0
        return Box(
            outer.x0 + self.x0 * width,
            outer.y0 + self.y0 * height,
            min(outer.x0 + self.x1 * width, 1.0),
            min(outer.y0 + self.y1 * height, 1.0),
        )

    def pixels(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The corners in pixels of a `width` x `height` picture."""
        return self.x0 * width, self.y0 * height, self.x1 * width, self.y1 * height

    def whole_pixels(self, width: int, height: int) -> tuple[int, int, int, int]:
        """The corners in whole pixels of a `width` x `height` picture, one apart at least."""
        x0, y0, x1, y1 = (round(edge) for edge in self.pixels(width, height))
        left, top = min(x0, width - 1), min(y0, height - 1)
        return left, top, max(x1, left + 1), max(y1, top + 1)


WHOLE = Box(0.0, 0.0, 1.0, 1.0)
"""The box of a whole picture."""

MAX_PARTS = 100
"""Things in a query that are searched for too, at most: each is a look and a search."""

BOX_STEPS = 65535
"""A region's box is kept as four uint16: fractions in steps far finer than a pixel of any picture."""


@dataclass(frozen=True, slots=True)
class PictureCodes:
    """The codes of one picture's granules, as an encoder makes them and a store keeps them."""

    width: int
    """Pixels after EXIF rotation, before any reduction."""
    height: int
    whole: Codes
    """`(n_bytes,)`."""
    regions: Codes
    """`(n_regions, n_bytes)`; no rows where the encoder cuts no regions."""
    boxes: NDArray[np.float32]
    """`(n_regions, 4)`, one box a region."""


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """The local granules of one picture: points, each with a binary descriptor."""

    places: NDArray[np.float64]
    """`(n, 2)`: x and y as fractions of width and height."""
    codes: Codes
    """`(n, n_bytes)`: the descriptors."""
    width: int
    """Of the picture, in pixels."""
    height: int
    kind: PointKind

    def __len__(self) -> int:
        return len(self.places)

    def within(self, outer: Box) -> Points:
        """The points of the part `outer` of a picture, as points of that picture."""
        size = np.array([outer.x1 - outer.x0, outer.y1 - outer.y0])
        width, height = round(self.width / size[0]), round(self.height / size[1])
        return Points(self.places * size + (outer.x0, outer.y0), self.codes, width, height, self.kind)


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """Points of a query that lie in a hit as one affine map says; see `grainhash.geometry`."""

    query: NDArray[np.float64]
    """`(n, 2)`: their places in the query, as fractions of its width and height."""
    hit: NDArray[np.float64]
    """`(n, 2)`: the places in the hit of the points they match."""
    outline: NDArray[np.float64]
    """`(n_corners, 2)`: a convex polygon, where in the hit what was asked for is, as far as it is there."""
    n_places: int
    """Matched places that are apart from each other in both pictures."""
    log_expected: float
    """Natural logarithm of how many matches as good to expect by chance of one unrelated picture."""
    map: NDArray[np.float64]
    """`(2, 3)`: takes `(x, y, 1)` of the query to a place in the hit, both as fractions."""

    @property
    def box(self) -> Box:
        """What bounds the outline."""
        return Box.around(self.outline)


@dataclass(frozen=True, slots=True)
class File:
    """A file as a folder walk sees it; two looks at an unchanged file are equal."""

    uri: str
    """The absolute path."""
    n_bytes: int
    mtime_ns: int

    @property
    def path(self) -> Path:
        """The same as a path."""
        return Path(self.uri)


@dataclass(frozen=True, slots=True)
class Hit:
    """One picture of an answer. Distances are Hamming distances in bits: lower is better."""

    id: int
    uri: str
    score: float
    """0..1, higher is better: `1 / (1 + false_matches)`. What the answer is ordered by."""
    false_matches: float
    """Matches as good as this one to expect by chance in this gallery; see `grainhash.chance`."""
    distance: int
    """Of the granule that is nearest to the query."""
    whole_distance: int
    """From the query to the picture as a whole."""
    part_distance: int | None
    """From the query to the best region; `None` where the picture has no regions."""
    box: Box
    """Where in the picture the likeness is: what `distance` was found at, or what bounds `match`."""
    query_box: Box
    """The part of the query that it was found for."""
    width: int
    height: int
    meta: Mapping[str, Any] = field(default_factory=dict)
    match: Match | None = None
    """The local points that match, where these were looked for and found."""


@dataclass(slots=True)
class Stage:
    """One step of a search, for those who want to know what it did."""

    name: str
    what: str
    n: int = 0
    """Pictures that came out of it."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, and how."""

    hits: list[Hit]
    """Best first, equal ones by ascending id."""
    stages: list[Stage]
    n_pictures: int
    """In the gallery when it was searched."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long run is; passed to the `progress` callable after every picture."""

    stage: str
    done: int
    total: int
    skipped: int


def silent(progress: Progress) -> None:
    """Take no notice: the `progress` callable where none is given."""
