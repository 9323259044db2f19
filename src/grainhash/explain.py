"""Why two pictures match: where in each of them the agreement of their codes comes from.

The agreement of a picture with another is the sum of its real numbers before the sign, one a bit, each with
the sign of the other's bit. Where features are the mean of a feature map and the hash function is linear over
them, every cell of the map has an exact share in that sum. Otherwise a patch goes over the picture, and a
cell's share is what the agreement loses while the patch hides it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from grainhash.encoder.encoder import Encoder
from grainhash.encoder.granules import cut
from grainhash.hashing.steps import Affine, L2Norm, Step
from grainhash.images import Rgb
from grainhash.types import WHOLE, Box, Hit

Heat = NDArray[np.float64]
"""A number a cell, `(rows, columns)`, over the part of a picture that was compared."""

Method = Literal["exact", "occlusion"]

SAME = 1e-4
"""Features are the mean of a map if they differ by no more than this share of their length."""

ROUNDING = 1e-9
"""A smaller share of the agreement is the order in which numbers were added, not a loss."""

LATTICE = 7
"""Cells along each side that occlusion tells apart."""

PATCH = 2
"""Cells along each side of the patch that hides them."""

BATCH = 16
"""Patched pictures that the network sees at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One of two pictures that were compared."""

    rgb: Rgb
    """The whole picture, as decoded for the comparison."""
    box: Box
    """The part of it that was compared."""
    projections: NDArray[np.float64]
    """`(n_bits,)`: the real numbers whose signs are the bits."""
    heat: Heat
    """The share of each cell in the agreement; below 0 where it speaks against the match."""
    activations: Heat | None
    """How much the network saw in each cell, the length of its features; `None` where it gives no map."""
    attention: Heat | None = None
    """What of the picture a transformer attended to in its last layer, the mean of its heads, in cells of its
    own; `None` for other networks."""

    def core(self, share: float = 0.5) -> tuple[float, Box] | None:
        """The fewest cells that `share` of all that agrees is in.

        Returns:
            Which part of `box` they are, 0..1, and the box around them in the whole picture; `None` where no
            cell speaks for the match.
        """
        gains = np.maximum(self.heat, 0.0)
        order = np.argsort(-gains, axis=None, kind="stable")
        sums = np.cumsum(gains.ravel()[order])
        if not sums[-1] > 0:
            return None
        n = int(np.searchsorted(sums, share * sums[-1])) + 1
        at, across = np.unravel_index(order[:n], gains.shape)
        rows, columns = gains.shape
        around = Box(
            int(across.min()) / columns,
            int(at.min()) / rows,
            (int(across.max()) + 1) / columns,
            (int(at.max()) + 1) / rows,
        )
        return n / gains.size, around.within(self.box)


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """Where the agreement of two pictures' codes comes from."""

    query: Side
    hit: Side
    method: Method
    """`"exact"` where the cells' shares add up to the agreement, else `"occlusion"`."""
    found: Hit | None = None
    """What a search says of the same two; `None` where no gallery was asked."""

    @property
    def agree(self) -> NDArray[np.bool_]:
        """`(n_bits,)`: the bits that are the same."""
        same: NDArray[np.bool_] = (self.query.projections > 0) == (self.hit.projections > 0)
        return same

    @property
    def n_bits(self) -> int:
        """Length of the codes."""
        return len(self.query.projections)

    @property
    def distance(self) -> int:
        """Bits that differ."""
        return int(self.n_bits - self.agree.sum())


def agreement(projections: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far the real numbers `(..., n_bits)` of some pictures are on the side of the bits of another."""
    agreements: NDArray[np.float64] = projections @ np.where(other > 0, 1.0, -1.0)
    return agreements


def explain(
    encoder: Encoder,
    query: Rgb,
    hit: Rgb,
    *,
    query_box: Box = WHOLE,
    hit_box: Box = WHOLE,
    bits: int | None = None,
) -> Explanation:
    """Say where in two pictures the agreement of their codes comes from.

    Args:
        encoder: what makes the codes.
        query: one picture, as `Encoder.decode` gives its pixels.
        hit: the other.
        query_box: the part of the query that is compared.
        hit_box: the part of the hit.
        bits: so many first bits of the codes alone; all by default.
    """
    pictures = (query, query_box), (hit, hit_box)
    pixels = np.concatenate([cut(rgb, [box], encoder.config.network.input_size) for rgb, box in pictures])
    features = encoder.features(pixels)
    projections = encoder.hash_function.project(features)[:, :bits]
    maps, attention = encoder.inside(pixels)
    pieces = None if maps is None else _pieces(encoder, features, maps)
    others = projections[::-1]
    if maps is not None and pieces is not None:
        heats = [
            agreement(own[:, :bits], other).reshape(maps.shape[2:])
            for own, other in zip(pieces, others, strict=True)
        ]
    else:
        heats = [_occlusion(encoder, own, other) for own, other in zip(pixels, others, strict=True)]
    seen = [None, None] if maps is None else np.linalg.norm(maps.astype(np.float64), axis=1)
    attended = [None, None] if attention is None else attention.astype(np.float64).mean(axis=1)
    of_query, of_hit = (
        Side(rgb, box, own, heat, energy, place)
        for (rgb, box), own, heat, energy, place in zip(
            pictures, projections, heats, seen, attended, strict=True
        )
    )
    return Explanation(of_query, of_hit, "occlusion" if pieces is None else "exact")


def _pieces(
    encoder: Encoder, features: NDArray[np.float32], maps: NDArray[np.float32]
) -> list[NDArray[np.float64]] | None:
    """Each picture's real numbers by the cells of its map; `None` where they cannot be told apart."""
    steps = encoder.hash_function.steps
    n, channels, rows, columns = maps.shape
    cells = maps.reshape(n, channels, rows * columns).transpose(0, 2, 1).astype(np.float64) / (rows * columns)
    means = cells.sum(axis=1)
    if means.shape != features.shape or not all(isinstance(step, L2Norm | Affine) for step in steps):
        return None
    errors = np.linalg.norm(means - features, axis=1)
    is_mean = bool((errors <= SAME * np.linalg.norm(features, axis=1)).all())
    return [shares(steps, each) for each in cells] if is_mean else None


def shares(steps: Sequence[Step], pieces: NDArray[np.float64]) -> NDArray[np.float64]:
    """What becomes of the pieces of one row in a chain: they add up to what becomes of the row.

    A length is that of the whole row, and a bias is spread evenly.

    Args:
        steps: a chain of `L2Norm` and `Affine` alone.
        pieces: `(n_pieces, n_features)`, which add up to the row.

    Returns:
        `(n_pieces, n_bits)`.
    """
    for step in steps:
        if isinstance(step, Affine):
            pieces = pieces @ step.weight.astype(np.float64) + step.bias.astype(np.float64) / len(pieces)
        else:
            length = float(np.linalg.norm(pieces.sum(axis=0)))
            pieces = pieces / (length if length > 0 else 1.0)
    return pieces


def _occlusion(encoder: Encoder, pixels: Rgb, other: NDArray[np.float64]) -> Heat:
    """What the agreement loses where a patch of the mean colour hides `(size, size, 3)` pixels."""
    edges = np.linspace(0, len(pixels), LATTICE + 1).round().astype(int)
    n = LATTICE + PATCH - 1
    windows = [slice(max(start - PATCH + 1, 0), min(start + 1, LATTICE)) for start in range(n)]
    places = [(down, across) for down in windows for across in windows]
    drops = np.empty(len(places))
    whole = _agreements(encoder, pixels[None], other)[0]
    for start in range(0, len(places), BATCH):
        some = places[start : start + BATCH]
        hidden = np.stack([_hide(pixels, edges, down, across) for down, across in some])
        drops[start : start + BATCH] = whole - _agreements(encoder, hidden, other)
    drops[np.abs(drops) < ROUNDING * abs(whole)] = 0.0
    heat, counts = np.zeros((LATTICE, LATTICE)), np.zeros((LATTICE, LATTICE))
    for (down, across), drop in zip(places, drops, strict=True):
        heat[down, across] += drop
        counts[down, across] += 1
    return heat / counts


def _agreements(
    encoder: Encoder, pixels: NDArray[np.uint8], other: NDArray[np.float64]
) -> NDArray[np.float64]:
    return agreement(encoder.hash_function.project(encoder.features(pixels))[:, : len(other)], other)


def _hide(pixels: Rgb, edges: NDArray[np.int_], down: slice, across: slice) -> Rgb:
    hidden = pixels.copy()
    rows, columns = slice(edges[down.start], edges[down.stop]), slice(edges[across.start], edges[across.stop])
    hidden[rows, columns] = pixels.mean(axis=(0, 1)).round().astype(np.uint8)
    return hidden
