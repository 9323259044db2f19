"""Local verification, the last step of a search: do the points of the query lie in the best hits alike?

The points of a hit are found in its file when they are asked for; a gallery keeps none.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from math import exp
from pathlib import Path

from grainhash.chance import score_of
from grainhash.encoder.encoder import Encoder
from grainhash.encoder.pipeline import in_order, one_core_each
from grainhash.errors import PictureError
from grainhash.geometry import match_points
from grainhash.images import Source
from grainhash.types import WHOLE, Box, Hit, Match, Points


def verified(
    hits: Sequence[Hit], points: Points, region: Box, encoder: Encoder, n_pictures: int
) -> list[Hit]:
    """The same hits, in the same order, those whose points match with the match.

    Such a hit expects as many false matches as its codes do or its points, whichever is less: a match of
    points only ever brings a hit forward. Its box bounds the outline, where the points alone tell enough. A
    hit whose file cannot be read stays as it is.

    Args:
        hits: the best by their codes.
        points: of the query.
        region: the part of the query that is asked for.
        encoder: finds the hits' points.
        n_pictures: searched: each has the chance to match.

    Raises:
        MissingExtra: OpenCV is not installed.
    """

    def match(some: list[Hit]) -> list[Match | None]:
        return [_match(hit, points, region, encoder) for hit in some]

    with one_core_each(encoder), closing(in_order(match, hits, 1)) as chunks:
        matches = [match for chunk in chunks for match in chunk]
    return [
        hit if match is None else _with(hit, match, n_pictures)
        for hit, match in zip(hits, matches, strict=True)
    ]


def points_of_hit(hit: Hit, source: Source, points: Points, encoder: Encoder) -> Points:
    """A hit's points, of the kind that the query's are, and more of the region that matched.

    Raises:
        PictureError: the source cannot be used.
    """
    boxes = [] if hit.box == WHOLE else [hit.box]
    return encoder.points(source, points.kind, boxes=boxes, name=hit.uri)


def _match(hit: Hit, points: Points, region: Box, encoder: Encoder) -> Match | None:
    try:
        found = points_of_hit(hit, Path(hit.uri), points, encoder)
    except PictureError:
        return None
    return match_points(points, found, region)


def _with(hit: Hit, match: Match, n_pictures: int) -> Hit:
    expected = n_pictures * exp(match.log_expected)
    least = min(expected, hit.false_matches)
    box = match.box if expected < 1 else hit.box
    return replace(hit, match=match, box=box, false_matches=least, score=score_of(least))
