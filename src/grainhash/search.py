"""Search: one query code against the wholes and the regions of a gallery, and the better of both.

Every granule passes through the same hash function, so the distance of a query to a whole and to
a region are the same kind of number, and the smaller one says how well a picture matches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grainhash.errors import InputError
from grainhash.index import Index
from grainhash.types import Codes, Granularity

WHOLE_PICTURE = -1
"""The region number of a match with the picture as a whole."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """The nearest pictures of one query: by ascending `distances`, equal ones by ascending id."""

    ids: NDArray[np.int64]
    """`(n,)`."""
    distances: NDArray[np.int32]
    """`(n,)`: what the order is by."""
    whole: NDArray[np.int32]
    """`(n,)`: to the picture as a whole."""
    part: NDArray[np.int32]
    """`(n,)`: to the best region; more than the number of bits where there are no regions."""
    regions: NDArray[np.int64]
    """`(n,)`: the region that `distances` was found at, or `WHOLE_PICTURE`."""


def rank(
    wholes: Index,
    regions: Index,
    query: Codes,
    k: int,
    granularity: Granularity = "both",
    *,
    allow: NDArray[np.int64] | None = None,
) -> Ranking:
    """Find the `k` nearest pictures exactly.

    `"both"` orders by the smaller of the two distances. The first `k` of each list hold the first
    `k` of that order: a picture outside both has `k` pictures before it in the list of its smaller
    distance, and each of those has no larger smaller distance.

    Args:
        wholes: one code a picture.
        regions: the codes of each picture's regions, under the same ids.
        query: `(n_bytes,)`.
        k: how many pictures, at most.
        granularity: `"whole"`, `"part"` or `"both"`.
        allow: ids that a filter lets through, ascending; all by default.
    """
    rows = query[np.newaxis]
    candidates = [
        index.search(rows, k, allow=allow).ids[0]
        for kind, index in (("whole", wholes), ("part", regions))
        if granularity in (kind, "both")
    ]
    if not candidates:
        raise InputError(f"granularity {granularity!r}: choose whole, part or both")
    ids = np.unique(np.concatenate(candidates))
    whole, _ = wholes.distances_to(query, ids)
    part, best = regions.distances_to(query, ids)
    by_part = (part < whole) if granularity == "both" else np.full(len(ids), granularity == "part")
    distances = np.where(by_part, part, whole)
    order = np.lexsort((ids, distances))[:k]
    return Ranking(
        ids=ids[order],
        distances=distances[order],
        whole=whole[order],
        part=part[order],
        regions=np.where(by_part, best, WHOLE_PICTURE)[order],
    )
