"""Local points, and what their matching says of two pictures."""

from __future__ import annotations

from math import exp

import numpy as np
import pytest
from PIL import Image, ImageOps

from grainhash.encoder.points import DESCRIPTOR_BITS, MAX_POINTS
from grainhash.errors import EncoderError
from grainhash.geometry import LEAST_PLACES, REACH, match_points
from grainhash.types import WHOLE, Box, Points

KINDS = "map", "orb", "sift"
BYTES = {"map": DESCRIPTOR_BITS // 8, "orb": 32, "sift": 16}


@pytest.fixture(scope="module")
def pictures(photographs):
    files = sorted(photographs.rglob("*.*"))
    return {file.stem: Image.open(file).convert("RGB") for file in files}


def asked(encoder, picture, kind, region=WHOLE):
    return encoder.ask(np.asarray(picture), region=region, points=kind).points


# Points


@pytest.mark.parametrize("kind", KINDS)
def test_points_are_places_with_descriptors(encoder, pictures, kind):
    picture = pictures["coffee"]
    points = encoder.points(np.asarray(picture), kind)
    assert 20 <= len(points) <= MAX_POINTS + 1  # SIFT may give one more
    assert points.places.shape == (len(points), 2)
    assert ((points.places >= 0) & (points.places <= 1)).all()
    assert points.codes.dtype == np.uint8
    assert points.codes.shape == (len(points), BYTES[kind])
    assert (points.width / points.height) == pytest.approx(picture.width / picture.height, rel=0.01)
    assert points.kind == kind


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (300, 200), (3, 400)])
def test_a_picture_of_one_colour_matches_nothing(encoder, pictures, kind, size):
    plain = encoder.points(np.full((*size, 3), 90, np.uint8), kind)
    assert len(plain) <= MAX_POINTS
    assert match_points(asked(encoder, pictures["coffee"], kind), plain) is None
    assert match_points(asked(encoder, Image.new("RGB", size, (9, 90, 200)), kind), plain) is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_point_lies_where_it_is_in_the_whole_picture(encoder, pictures, kind):
    """Points of a part of a query are placed in the query, and match where they are."""
    picture, region = pictures["coffee"], Box(0.3, 0.2, 0.8, 0.9)
    points = asked(encoder, picture, kind, region)
    inside = (points.places >= [region.x0, region.y0]) & (points.places <= [region.x1, region.y1])
    assert inside.all()
    match = match_points(points, encoder.points(np.asarray(picture), kind), region)
    assert match is not None
    assert match.box.iou(region) > 0.8
    assert np.abs(match.query - match.hit).max() < 3 * REACH


def test_points_of_a_map_need_a_map(encoder):
    blind = encoder.with_features("colour")
    with pytest.raises(EncoderError, match="no feature map"):
        blind.points(np.zeros((50, 50, 3), np.uint8))
    assert blind.points(np.zeros((50, 50, 3), np.uint8), "orb").kind == "orb"


# Matching


@pytest.mark.parametrize("kind", KINDS)
def test_a_turned_crop_is_found_where_it_is(encoder, pictures, kind):
    for name in ("coffee", "chelsea", "astronaut"):
        picture = pictures[name]
        width, height = picture.size
        box = Box(0.2, 0.25, 0.9, 0.95)
        crop = picture.crop([round(edge) for edge in box.pixels(width, height)]).rotate(8, expand=False)
        match = match_points(asked(encoder, crop, kind), encoder.points(np.asarray(picture), kind))
        assert match is not None
        assert match.box.iou(box) > 0.6
        assert match.log_expected < np.log(0.1)
        assert len(match.query) == len(match.hit) >= match.n_places >= LEAST_PLACES


def test_a_mirrored_picture_matches_by_the_map(encoder, pictures):
    picture = pictures["chelsea"]
    match = match_points(asked(encoder, ImageOps.mirror(picture), "map"), encoder.points(np.asarray(picture)))
    assert match is not None
    assert match.log_expected < np.log(1e-9)
    assert np.abs(1 - match.query[:, 0] - match.hit[:, 0]).max() < 3 * REACH


@pytest.mark.parametrize("kind", ["map", "sift"])
def test_unrelated_pictures_expect_a_match_as_good(encoder, pictures, kind):
    """Of 153 pairs, none expects less than a tenth of a chance."""
    found = {name: encoder.points(np.asarray(picture), kind) for name, picture in pictures.items()}
    pairs = [(a, b) for a in found for b in found if a < b]
    assert len(pairs) == 153
    matches = [match_points(found[a], found[b]) for a, b in pairs]
    assert min((match.log_expected for match in matches if match), default=9) > np.log(0.1)


def scattered(n, seed, width=400, height=300):
    rng = np.random.default_rng(seed)
    return Points(rng.random((n, 2)), rng.integers(0, 256, (n, 16), np.uint8), width, height, "map")


def test_an_affine_map_between_points_is_found_among_others():
    """60 points follow a map exactly, 60 others lie anywhere."""
    query, strangers = scattered(120, 0), scattered(60, 1)
    turn, shift = np.array([[0.5, 0.1], [-0.1, 0.6]]), np.array([0.2, 0.15])
    places = np.concatenate([query.places[:60] @ turn.T + shift, strangers.places])
    hit = Points(places, np.concatenate([query.codes[:60], strangers.codes]), 500, 500, "map")
    match = match_points(query, hit)
    assert match is not None
    right = {tuple(place) for place in query.places[:60]}
    assert sum(tuple(place) in right for place in match.query) == 60
    corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) @ turn.T + shift
    assert np.abs(np.sort(match.outline, axis=0) - np.sort(corners, axis=0)).max() < 0.03
    assert exp(match.log_expected) < 1e-30


def test_the_outline_ends_where_the_hit_ends():
    """The query shows more than the hit: the hit is all of the outline."""
    query = scattered(80, 0)
    inside = (np.abs(query.places - 0.5) < 0.25).all(axis=1)
    hit = Points((query.places[inside] - 0.25) * 2, query.codes[inside], 400, 300, "map")
    match = match_points(query, hit)
    assert match is not None
    assert match.box.area > 0.98


def test_points_on_top_of_each_other_count_once():
    query = scattered(5, 0)
    rows = np.repeat(np.arange(5), 12)
    noise = np.random.default_rng(2)
    codes = noise.integers(0, 256, (60, 16), np.uint8)
    crowd = Points(query.places[rows] + noise.normal(0, 1e-4, (60, 2)), codes, 400, 300, "map")
    match = match_points(crowd, crowd)
    assert match is not None
    assert (len(match.query), match.n_places) == (60, 5)
    spread = scattered(60, 3)
    apart = match_points(spread, spread)
    assert apart is not None
    assert apart.n_places > 40
    assert match.log_expected > apart.log_expected


@pytest.mark.parametrize("n", [0, 1, 4])
def test_too_few_points_are_no_match(n):
    assert match_points(scattered(n, 0), scattered(n, 0)) is None
    assert match_points(scattered(n, 0), scattered(50, 0)) is None


def test_a_picture_crushed_to_a_line_is_no_match():
    query = scattered(60, 0)
    hit = Points(query.places * [1, 0.01] + [0, 0.5], query.codes, 400, 300, "map")
    assert match_points(query, hit) is None
