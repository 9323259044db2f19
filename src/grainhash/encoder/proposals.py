"""Region proposals: boxes that fit the things in a picture, from its edges and the network's own activations.

Boxes of many sizes, laid on a lattice over the picture, are scored in two ways:

- *Edges*: how much of each of its four sides lies on a strong edge, the geometric mean of the sides. Each
  side first moves to the strongest edge beside it. The idea of Edge Boxes (Zitnick, Dollar, ECCV 2014) and of
  Objectness (Alexe, Deselaers, Ferrari, TPAMI 2012).
- *Contrast*: how different what the network sees inside is from what it sees around, 1 minus the cosine of
  the mean activations. The centre against its surround, as in saliency (Itti, Koch, Niebur, TPAMI 1998), but
  of what the network tells apart rather than of colours.

Two in three proposals are the best by the sum of both, the third is the best by contrast alone: round and
furry things have no straight sides. What overlaps a better one much is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Boxes = NDArray[np.float32]
"""`(n, 4)`: x0, y0, x1, y1 as fractions of width and height."""

LATTICE = 24
"""Cells of the lattice along a side."""

SIDES = (4, 5, 6, 7, 8, 9, 10, 12, 14, 16)
"""Sides of boxes, in cells."""

SMALLEST_SIDE = SIDES[0] / LATTICE
"""The smallest side of a proposal but for how far it moves, as a fraction of the picture's."""

LONGEST = 3.0
"""A box is at most this many times as long as wide, as fractions of the picture."""

STEPS_A_SIDE = 5
"""Boxes of one size are laid this densely: a side is this many steps, or one cell a step."""

SIGHT = 192
"""Edges are looked for in the picture at this size, square, in pixels."""

CELL = SIGHT // LATTICE

REACH = CELL
"""How far a side moves to an edge, in pixels of `SIGHT`: boxes of a size are up to two cells apart."""

STRONG = 3.0
"""An edge of this many times the picture's mean gradient counts in full, no stronger one for more."""

FLOOR = 0.02
"""Added to the share of each side on an edge, so that one side without does not rule a box out."""

FRAME = 0.4
"""What a side on the picture's own frame counts as: nobody knows whether the thing ends there."""

SURROUND = 0.3
"""Width of the surround, as a share of the box's sides."""

COMPONENTS = 16
"""Principal components of the activations that are compared."""

OVERLAP = 0.6
"""Intersection over union with a better box from which on a box is left out."""

CANDIDATES = 800
"""Best boxes by each score that are looked at."""

SMALLEST_PIXELS = 24
"""A region of fewer pixels along a side holds nothing that the whole does not show as well."""


def propose(
    rgb: NDArray[np.uint8],
    activations: NDArray[np.float32] | None,
    n: int,
    *,
    taken: Boxes | None = None,
) -> Boxes:
    """The `n` boxes, or fewer, that fit things best, best first, none much like another or one of `taken`.

    Args:
        rgb: the picture, `(height, width, 3)`, of any size.
        activations: a feature map of the whole picture, `(channels, rows, columns)`; `None` to go by edges.
        n: how many, at most.
        taken: boxes that are there already.

    Returns:
        `(m, 4)`, `m <= n`. None for a picture without any edge, such as one of a single colour, and none
        that is less than `SMALLEST_PIXELS` wide or high.
    """
    edges = _Edges.of(rgb)
    if n <= 0 or edges is None:
        return np.empty((0, 4), np.float32)
    lattice = _lattice()
    fit = edges.scores(lattice.boxes)
    if activations is None:
        orders, turns = [_best(fit)], [0]
    else:
        contrast = _contrasts(activations, lattice)
        orders, turns = [_best(fit + contrast), _best(contrast)], [0, 0, 1]
    queues = [edges.moved(lattice.boxes[order]) for order in orders]
    height, width = rgb.shape[:2]
    large = [
        queue[
            ((queue[:, 2] - queue[:, 0]) * width >= SMALLEST_PIXELS)
            & ((queue[:, 3] - queue[:, 1]) * height >= SMALLEST_PIXELS)
        ]
        for queue in queues
    ]
    return _by_turns(large, turns, n, taken)


def without_likenesses(boxes: Boxes, n: int, *, taken: Boxes | None = None) -> Boxes:
    """The first `n` boxes, in their order, without those much like an earlier one or one of `taken`."""
    return _by_turns([boxes], [0], n, taken)


def _by_turns(queues: list[Boxes], turns: Sequence[int], n: int, taken: Boxes | None) -> Boxes:
    """Boxes from the fronts of the queues, `turns` again and again, none much like an earlier one."""
    kept: list[NDArray[np.float32]] = []
    left = list(queues)

    def drop(box: NDArray[np.float32]) -> None:
        left[:] = [queue[iou(queue, box) < OVERLAP] for queue in left]

    for box in [] if taken is None else taken:
        drop(box)
    while len(kept) < n and any(map(len, left)):
        for turn in turns:
            if len(kept) < n and len(left[turn]):
                kept.append(left[turn][0])
                drop(kept[-1])
    return np.array(kept, np.float32).reshape(-1, 4)


def iou(boxes: Boxes, box: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of each of `(n, 4)` boxes with one: `(n,)`, 0..1."""
    x0, y0, x1, y1 = boxes.T
    width = np.minimum(x1, box[2]) - np.maximum(x0, box[0])
    height = np.minimum(y1, box[3]) - np.maximum(y0, box[1])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    areas = (x1 - x0) * (y1 - y0) + (box[2] - box[0]) * (box[3] - box[1])
    overlap: NDArray[np.float32] = shared / np.maximum(areas - shared, 1e-9)
    return overlap


def _best(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Places of the best scores, best first, equal ones in their order."""
    order = np.argpartition(-scores, min(CANDIDATES, len(scores) - 1))[:CANDIDATES]
    return order[np.lexsort((order, -scores[order]))]


# Boxes


@dataclass(frozen=True, slots=True, eq=False)
class _Lattice:
    """Every box, in cells, and where its sums are found in an integral image."""

    boxes: NDArray[np.int64]
    """`(n, 4)`."""
    inside: NDArray[np.int64]
    """`(4, n)`: corners of the box, in a flat integral image of `LATTICE + 1` a side."""
    around: NDArray[np.int64]
    """`(4, n)`: those of the box with its surround."""


@cache
def _lattice() -> _Lattice:
    rows = [
        (x, y, x + width, y + height)
        for width in SIDES
        for height in SIDES
        if max(width, height) <= LONGEST * min(width, height)
        for x in _starts(width)
        for y in _starts(height)
    ]
    boxes = np.array(rows)
    margin = np.maximum(1, np.rint((boxes[:, 2:] - boxes[:, :2]) * SURROUND)).astype(np.int64)
    around = np.concatenate(
        [np.maximum(boxes[:, :2] - margin, 0), np.minimum(boxes[:, 2:] + margin, LATTICE)], axis=1
    )
    return _Lattice(boxes, _corners(boxes), _corners(around))


def _starts(side: int) -> list[int]:
    last = LATTICE - side
    return sorted({*range(0, last + 1, max(1, side // STEPS_A_SIDE)), last})


def _corners(boxes: NDArray[np.int64]) -> NDArray[np.int64]:
    x0, y0, x1, y1 = boxes.T
    across = LATTICE + 1
    return np.stack([y1 * across + x1, y0 * across + x1, y1 * across + x0, y0 * across + x0])


# Edges


@dataclass(frozen=True, slots=True, eq=False)
class _Edges:
    """What a side of a box is worth: tables by (line of the lattice, first cell, last cell)."""

    upright: tuple[NDArray[np.float32], NDArray[np.int64]]
    """Logarithm of the share of the side on an edge, and how far it moves for that, in pixels of `SIGHT`."""
    level: tuple[NDArray[np.float32], NDArray[np.int64]]

    @classmethod
    def of(cls, rgb: NDArray[np.uint8]) -> _Edges | None:
        """The edges of a picture; `None` if it has none."""
        small = Image.fromarray(rgb).resize((SIGHT, SIGHT), Image.Resampling.BOX, reducing_gap=2.0)
        seen = np.asarray(small.convert("YCbCr"), np.int16).transpose(2, 0, 1)
        across, down = (_gradient(np.ascontiguousarray(planes)) for planes in (seen, seen.swapaxes(1, 2)))
        if not (across.any() or down.any()):
            return None
        return cls(_sides(across), _sides(down))

    def scores(self, boxes: NDArray[np.int64]) -> NDArray[np.float32]:
        """The mean over the four sides, `(n,)`: the logarithm of their geometric mean."""
        x0, y0, x1, y1 = boxes.T
        upright, level = self.upright[0], self.level[0]
        sides = upright[x0, y0, y1] + upright[x1, y0, y1] + level[y0, x0, x1] + level[y1, x0, x1]
        mean: NDArray[np.float32] = sides / 4
        return mean

    def moved(self, boxes: NDArray[np.int64]) -> Boxes:
        """Boxes in cells with each side on the edge beside it, as fractions of the picture."""
        x0, y0, x1, y1 = boxes.T
        upright, level = self.upright[1], self.level[1]
        moves = [upright[x0, y0, y1], level[y0, x0, x1], upright[x1, y0, y1], level[y1, x0, x1]]
        moved: Boxes = ((boxes * CELL + np.stack(moves, axis=1)) / SIGHT).astype(np.float32)
        return moved


def _gradient(planes: NDArray[np.int16]) -> NDArray[np.float32]:
    """Differences between neighbours in a row, over all `(channels, SIGHT, SIGHT)`: `(SIGHT, SIGHT - 1)`."""
    gradient: NDArray[np.float32] = np.abs(np.diff(planes)).sum(axis=0, dtype=np.int16).astype(np.float32)
    return gradient


def _sides(gradient: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Tables of one direction, from the gradient `(SIGHT, SIGHT - 1)` across it."""
    strength = np.minimum(gradient / max(float(gradient.mean()) * STRONG, 1e-6), 1.0)
    along = np.zeros((LATTICE + 1, SIGHT + 1), np.float32)
    along[1:, 1:SIGHT] = strength.reshape(LATTICE, CELL, SIGHT - 1).sum(axis=1).cumsum(axis=0)
    lines = np.arange(0, SIGHT + 1, CELL)[:, None] + np.arange(-REACH, REACH + 1)
    near = along[:, np.clip(lines, 0, SIGHT)].transpose(2, 1, 0)  # (shift, line, cell)
    best = np.full((len(lines), LATTICE + 1, LATTICE + 1), -np.inf, np.float32)
    shifts = np.zeros(best.shape, np.int64)
    for shift, sums in enumerate(np.ascontiguousarray(near)):
        over_cells = sums[:, None, :] - sums[:, :, None]  # (line, first cell, last cell)
        shifts[over_cells > best] = shift
        np.maximum(best, over_cells, out=best)
    length = CELL * np.maximum(np.arange(LATTICE + 1) - np.arange(LATTICE + 1)[:, None], 1)
    shares = np.maximum(best, 0) / length
    moves = shifts - REACH
    for frame in (0, LATTICE):
        shares[frame], moves[frame] = FRAME, 0
    return np.log(shares + FLOOR).astype(np.float32), moves


# Contrast


def _contrasts(activations: NDArray[np.float32], lattice: _Lattice) -> NDArray[np.float32]:
    """1 minus the cosine of the mean activation inside and around, of every box: `(n,)`, 0..2."""
    channels = np.ascontiguousarray(activations.reshape(len(activations), -1), np.float32)
    maps = _components(channels).reshape(-1, *activations.shape[1:])
    rows, columns = (_stretch(size) for size in activations.shape[1:])
    integral = np.zeros((LATTICE + 1, LATTICE + 1, len(maps)), np.float32)
    integral[1:, 1:] = (rows @ maps @ columns.T).transpose(1, 2, 0).cumsum(axis=0).cumsum(axis=1)
    flat = integral.reshape(-1, len(maps))
    inside, around = _sums(flat, lattice.inside), _sums(flat, lattice.around)
    around -= inside
    lengths = np.sqrt(_dots(inside, inside) * _dots(around, around))
    contrast: NDArray[np.float32] = 1 - _dots(inside, around) / np.maximum(lengths, 1e-9)
    return contrast


def _dots(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Row by row, `(n,)`."""
    dots: NDArray[np.float32] = np.einsum("ij,ij->i", a, b)
    return dots


def _components(channels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Principal components of `(channels, places)`, not centred: `(COMPONENTS, places)`, or fewer."""
    if len(channels) <= channels.shape[1]:
        _, axes = np.linalg.eigh(channels @ channels.T)
        components: NDArray[np.float32] = axes[:, -COMPONENTS:].T @ channels
    else:
        values, axes = np.linalg.eigh(channels.T @ channels)
        components = (axes[:, -COMPONENTS:] * np.sqrt(np.maximum(values[-COMPONENTS:], 0))).T
    return components


@cache
def _stretch(n: int) -> NDArray[np.float32]:
    """Linear interpolation of `n` places over the lattice, `(LATTICE, n)`."""
    at = np.clip((np.arange(LATTICE) + 0.5) / LATTICE * n - 0.5, 0, n - 1)
    low = at.astype(np.int64)
    high = np.minimum(low + 1, n - 1)
    matrix = np.zeros((LATTICE, n), np.float32)
    np.add.at(matrix, (np.arange(LATTICE), low), 1 - (at - low))
    np.add.at(matrix, (np.arange(LATTICE), high), at - low)
    return matrix


def _sums(flat: NDArray[np.float32], corners: NDArray[np.int64]) -> NDArray[np.float32]:
    """Sums over boxes, `(n, channels)`, from an integral image."""
    last, above, left, both = corners
    sums: NDArray[np.float32] = flat[last] - flat[above]
    sums -= flat[left]
    sums += flat[both]
    return sums
