"""Local verification, the last step of a search: do the points of the query lie in the best hits alike?

The points of a hit are found in its file when they are asked for; a gallery keeps none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from math import exp, inf, log

from grainhash.chance import score_of
from grainhash.encoder.encoder import Encoder
from grainhash.encoder.pipeline import in_order, one_core_each
from grainhash.errors import PictureChanged, PictureError
from grainhash.geometry import match_points
from grainhash.images import Source
from grainhash.types import WHOLE, Box, Hit, Match, Points


def verified(
    hits: Sequence[Hit],
    points: Points,
    region: Box,
    encoder: Encoder,
    n_pictures: int,
    content_of: Callable[[Hit], bytes],
) -> list[Hit]:
    """The same hits, those whose points match with the match: fewest expected false matches first.

    Such a hit expects as many false matches as its codes do or its points, whichever is less: a match of
    points only ever brings a hit forward. Its box bounds the outline, where the points alone tell enough. A
    hit whose file cannot be read, or is another by now, stays as it is.

    Args:
        hits: the best by their codes.
        points: of the query.
        region: the part of the query that is asked for.
        encoder: finds the hits' points.
        n_pictures: searched: each has the chance to match.
        content_of: reads the file of a hit; raises `PictureError` or `PictureChanged`.

    Raises:
        MissingExtra: OpenCV is not installed.
    """

    def match(some: list[Hit]) -> list[Match | None]:
        return [_match(hit, points, region, encoder, content_of) for hit in some]

    with one_core_each(encoder), closing(in_order(match, hits, 1)) as chunks:
        matches = [match for chunk in chunks for match in chunk]
    least = [
        log_false_matches(hit, match, n_pictures) for hit, match in zip(hits, matches, strict=True)
    ]  # by logarithms, as numbers would all be 0 where hundreds of points match
    order = sorted(range(len(hits)), key=lambda at: (least[at], hits[at].id))
    return [with_match(hits[at], matches[at], n_pictures) for at in order]


def log_false_matches(hit: Hit, match: Match | None, n_pictures: int) -> float:
    """The logarithm of how many matches as good to expect by chance, by codes or by points."""
    by_codes = log(hit.false_matches) if hit.false_matches > 0 else -inf
    return by_codes if match is None else min(by_codes, log(n_pictures) + match.log_expected)


def with_match(hit: Hit, match: Match | None, n_pictures: int) -> Hit:
    """A hit with the points that match, and what that changes; see `verified`."""
    if match is None:
        return hit
    least = exp(log_false_matches(hit, match, n_pictures))
    box = match.box if log(n_pictures) + match.log_expected < 0 else hit.box
    return replace(hit, match=match, box=box, false_matches=least, score=score_of(least))


def points_of_hit(hit: Hit, source: Source, points: Points, encoder: Encoder) -> Points:
    """A hit's points, of the kind that the query's are, and more of the region that matched.

    Raises:
        PictureError: the source cannot be used.
    """
    boxes = [] if hit.box == WHOLE else [hit.box]
    return encoder.points(source, points.kind, boxes=boxes, name=hit.uri)


def _match(
    hit: Hit, points: Points, region: Box, encoder: Encoder, content_of: Callable[[Hit], bytes]
) -> Match | None:
    try:
        found = points_of_hit(hit, content_of(hit), points, encoder)
    except (PictureError, PictureChanged):
        return None
    return match_points(points, found, region)
