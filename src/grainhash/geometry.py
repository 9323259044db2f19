"""Do the local points of two pictures lie in them alike? Matching, and verifying by geometry.

Points match that are each other's nearest by Hamming distance. Of those an affine map from the query to
the hit is estimated that as many as can be follow: OpenCV's RANSAC (Fischler, Bolles, CACM 1981). Unrelated
pictures have some points that follow some map, so what counts is how many to expect: of `n` matches that
lie anywhere, the number of maps through three of them that `k` or more follow by chance is

    expected = (n - 3) C(n, k) C(k, 3) p ** (k - 3)

where `p` is the share of the hit's area within reach of a point (Moisan, Stival, IJCV 2004). Points on top
of each other are no independent evidence, so `n` and `k` count places that are apart in both pictures.
"""

from __future__ import annotations

from math import lgamma, log, pi

import numpy as np
from numpy.typing import NDArray

from grainhash.features.sift import import_cv2
from grainhash.index import kernels
from grainhash.types import WHOLE, Box, Match, Points

REACH = 0.02
"""How far a point may lie from where the map says, as a share of the side of a square as large as the hit."""

ITERATIONS = 2000
"""Of RANSAC, at most."""

LARGEST_SCALE = 8.0
"""The map enlarges or reduces by this much at most."""

LARGEST_STRETCH = 2.0
"""Along one direction it enlarges by this many times more than along any other at most."""

LEAST_PLACES = 5
"""Fewer are no match, whatever the numbers say: three fix the map."""


def match_points(
    query: Points, hit: Points, region: Box = WHOLE, *, farthest: int | None = None
) -> Match | None:
    """The points of a query that lie in a hit as one map says; `None` where those are too few.

    Args:
        query: its points.
        hit: those of a picture, of the same kind.
        region: what part of the query is asked for: the outline is where the map takes its corners.
        farthest: bits by which the descriptors of a match may differ; any by default.

    Raises:
        MissingExtra: OpenCV is not installed.
    """
    cv2 = import_cv2()
    one, other = _mutually_nearest(query, hit, farthest)
    # In shares of the side of a square as large as the picture: a distance is one whatever its direction.
    from_query, from_hit = (_shape(points) for points in (query, hit))
    a, b = query.places[one] * from_query, hit.places[other] * from_hit
    if len(a) < LEAST_PLACES:
        return None
    map, follows = cv2.estimateAffine2D(
        a, b, method=cv2.RANSAC, ransacReprojThreshold=REACH, maxIters=ITERATIONS
    )
    if map is None or not _plausible(map):
        return None
    inliers = follows.ravel() > 0
    k = _apart(a[inliers], b[inliers])
    n = k + _apart(a[~inliers], b[~inliers])
    map = np.column_stack([map[:, :2] * from_query, map[:, 2]]) / from_hit[:, None]
    outline = _outline(map, region)
    if k < LEAST_PLACES or outline is None:
        return None
    places = query.places[one][inliers], hit.places[other][inliers]
    return Match(*places, outline, k, _log_expected(n, k), map)


def _mutually_nearest(
    query: Points, hit: Points, farthest: int | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of points that are each other's nearest, the first of equals."""
    if not len(query) or not len(hit):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    nearest, distances = kernels.nearest_centres(query.codes, hit.codes, 1)
    back, _ = kernels.nearest_centres(hit.codes, query.codes, 1)
    mutual = back[nearest] == np.arange(len(query))
    if farthest is not None:
        mutual &= distances <= farthest
    own = np.flatnonzero(mutual)
    return own, nearest[own].astype(np.int64)


def _shape(points: Points) -> NDArray[np.float64]:
    """Width and height of a picture of area 1."""
    elongation = (points.width / points.height) ** 0.5
    return np.array([elongation, 1 / elongation])


def _plausible(map: NDArray[np.float64]) -> bool:
    """Whether one picture may look like that in another: not crushed to a line, not a speck."""
    long, short = np.linalg.svd(map[:, :2], compute_uv=False)
    return bool(long <= LARGEST_SCALE and short >= 1 / LARGEST_SCALE and long <= LARGEST_STRETCH * short)


def _apart(a: NDArray[np.float64], b: NDArray[np.float64]) -> int:
    """How many of these matched places are apart in both pictures."""
    return min(len(np.unique(np.floor(places / (2 * REACH)), axis=0)) for places in (a, b)) if len(a) else 0


def _log_expected(n: int, k: int) -> float:
    inside = pi * REACH**2
    return log(max(n - 3, 1)) + _log_choose(n, k) + _log_choose(k, 3) + (k - 3) * log(inside)


def _log_choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


def _outline(map: NDArray[np.float64], region: Box) -> NDArray[np.float64] | None:
    """Where the map takes the region, as far as it is in the hit; `None` where that has no area."""
    cv2 = import_cv2()
    corners = np.array(
        [(region.x0, region.y0), (region.x1, region.y0), (region.x1, region.y1), (region.x0, region.y1)]
    )
    mapped = corners @ map[:, :2].T + map[:, 2]
    frame = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32)
    area, polygon = cv2.intersectConvexConvex(mapped.astype(np.float32), frame)
    if area < 1e-4:
        return None
    inside: NDArray[np.float64] = polygon.reshape(-1, 2).astype(np.float64).clip(0, 1).round(6)
    return inside
