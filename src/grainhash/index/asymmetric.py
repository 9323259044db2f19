"""Asymmetric order: the nearest by Hamming distance, ordered anew by how sure the query is of its bits.

A bit of the query is the sign of a real number, its projection. Where that is near 0, the other bit
was almost as good, so a difference there should cost little: the asymmetric distance is the sum of
the sizes of the projections over the bits that differ (Gordo, Perronnin, Gong, Lazebnik 2014). It
is computed on whole numbers, so the order is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Self

import numpy as np
from numpy.typing import NDArray

from grainhash.codes import pack
from grainhash.errors import CodesError
from grainhash.index import kernels
from grainhash.index.answers import Neighbours
from grainhash.index.segment import Segment
from grainhash.types import Codes

NONE = np.int32(np.iinfo(np.int32).max)

STEPS = 2**20
"""The largest projection of a query becomes this number; 1024 of them fit into an int32."""

Reals = NDArray[np.float32] | NDArray[np.float64]


def check_projections(projections: Reals, queries: Codes) -> NDArray[np.float64]:
    """Projections `(n_queries, n_bits)` as float64.

    Raises:
        CodesError: wrong dtype or shape, numbers that are not finite, signs that are not the queries' bits.
    """
    array = np.asarray(projections)
    expected = len(queries), queries.shape[1] * 8
    if array.dtype not in (np.float32, np.float64) or array.shape != expected:
        raise CodesError(
            f"projections are {array.dtype} {array.shape}; "
            f"for these queries they are float32 or float64 {expected}"
        )
    wrong = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(wrong):
        raise CodesError(f"the projections of query {wrong[0]} hold NaN or infinity")
    wrong = np.flatnonzero((pack(array) != queries).any(axis=1))
    if len(wrong):
        raise CodesError(f"the signs of the projections of query {wrong[0]} are not its bits; pack them anew")
    return array.astype(np.float64)


def reordered(
    found: Neighbours,
    segments: Sequence[Segment],
    queries: Codes,
    projections: NDArray[np.float64],
    k: int,
) -> Neighbours:
    """The `k` first of what was found by (asymmetric distance, id), with the members nearest by it."""
    weights, largest = _weights(projections)
    sums, members = np.empty_like(found.distances), np.empty_like(found.members)
    for segment in segments:
        positions = segment.find(found.ids.ravel()).reshape(found.ids.shape)
        here = positions >= 0
        if here.any():
            of_segment = kernels.asymmetric(segment.codes, segment.offsets, queries, weights, positions)
            sums[here], members[here] = of_segment[0][here], of_segment[1][here]
    first = np.lexsort((found.ids, sums))[:, :k]
    sums = np.take_along_axis(sums, first, axis=1)
    with np.errstate(over="ignore"):  # only projections beyond 1e35 come to infinity
        distances = (sums / STEPS * largest).astype(np.float32)
    return Neighbours(
        np.take_along_axis(found.distances, first, axis=1),
        np.take_along_axis(found.ids, first, axis=1),
        np.take_along_axis(members, first, axis=1),
        distances,
    )


@dataclass(frozen=True, slots=True, eq=False)
class AsymmetricQueries:
    """Queries and how sure they are of their bits, checked and in whole numbers once for many comparisons."""

    codes: Codes
    """`(n_queries, n_bytes)`; of fewer bytes than the codes searched, to compare first bits alone."""
    weights: NDArray[np.int32]
    """`(n_queries, n_bits)`."""
    largest: NDArray[np.float64]
    """`(n_queries, 1)`: the real number that is `STEPS` in whole ones."""

    @classmethod
    def of(cls, codes: Codes, projections: Reals) -> Self:
        """Queries by their projections, `(n_queries, n_bits)`, whose signs their bits are.

        Raises:
            CodesError: projections that are not finite, or not those of the queries.
        """
        return cls(codes, *_weights(check_projections(projections, codes)))

    def distances(self, codes: Codes) -> NDArray[np.float64]:
        """From every query to every one of some codes `(n, n_bytes)`: `(n_queries, n)`."""
        rows = np.arange(len(codes))[None]
        sums, _, _ = kernels.asymmetric(codes, None, self.codes, self.weights, rows)
        return self._reals(sums)

    def to_given(
        self, segments: Sequence[Segment], ids: NDArray[np.int64]
    ) -> tuple[Nearest, NDArray[np.bool_]]:
        """The nearest of given items, `(n_queries, n)` or `(1, n)` for all, and which ids there are."""
        known = np.zeros(ids.shape, np.bool_)
        parts = []
        for segment in segments:
            positions = segment.find(ids.ravel()).reshape(ids.shape)
            here = positions >= 0
            if here.any():
                parts.append(
                    kernels.asymmetric(segment.codes, segment.offsets, self.codes, self.weights, positions)
                )
                known |= here
            if known.all():
                break
        if not parts:
            shape = len(self.codes), ids.shape[1]
            parts = [(np.full(shape, NONE), np.full(shape, -1), np.full(shape, NONE))]
        sums = reduce(np.minimum, (part[0] for part in parts))  # NONE where an item is in another segment
        members = reduce(np.maximum, (part[1] for part in parts))
        bits = reduce(np.minimum, (part[2] for part in parts))
        return Nearest(np.where(members >= 0, self._reals(sums), np.inf), members, bits), known

    def _reals(self, sums: NDArray[np.int32]) -> NDArray[np.float64]:
        distances: NDArray[np.float64] = sums * (self.largest / STEPS)
        return distances


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """The code of each of given items that is nearest to a query, `(n_queries, n)` each."""

    distances: NDArray[np.float64]
    """Asymmetric ones; infinite for an item without codes."""
    members: NDArray[np.int64]
    """Which code of the item it is; -1 where there is none."""
    bits: NDArray[np.int32]
    """How many of the compared bits differ there; the largest int32 where there is none."""


def _weights(projections: NDArray[np.float64]) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Sizes in steps, and the largest of each query, `(n_queries, 1)`."""
    sizes = np.abs(projections)
    largest = sizes.max(axis=1, keepdims=True)
    return np.rint(sizes / np.where(largest > 0, largest, 1.0) * STEPS).astype(np.int32), largest
