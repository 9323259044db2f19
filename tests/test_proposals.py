from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from grainhash.encoder.proposals import OVERLAP, SMALLEST_PIXELS, iou, propose, without_likenesses
from grainhash.types import Box


def photograph(photographs, name="places/china.jpg"):
    return Image.open(photographs / name).convert("RGB")


@pytest.mark.parametrize("box", [(0.1, 0.2, 0.45, 0.6), (0.5, 0.05, 0.9, 0.5), (0.3, 0.55, 0.6, 0.95)])
def test_a_picture_in_a_picture_is_among_the_first_things_that_are_proposed(photographs, box):
    host = photograph(photographs, "plants/flower.jpg")
    guest = photograph(photographs, "people/astronaut.png")
    left, top, right, bottom = (round(edge) for edge in Box(*box).pixels(*host.size))
    host.paste(guest.resize((right - left, bottom - top)), (left, top))
    found = propose(np.asarray(host), None, 5)
    assert iou(found, np.array(box, np.float32)).max() > 0.85


def test_what_the_network_sees_counts_where_edges_say_nothing():
    """Noise has edges everywhere; the network tells one place from the rest."""
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (300, 400, 3), np.uint8)
    activations = np.ones((16, 14, 14), np.float32)
    activations[:8, 4:9, 7:12] = 0
    activations[8:, 4:9, 7:12] = 5
    thing = np.array([7 / 14, 4 / 14, 12 / 14, 9 / 14], np.float32)
    assert iou(propose(rgb, activations, 3), thing).max() > 0.6
    assert iou(propose(rgb, None, 3), thing).max() < 0.6


def test_more_channels_than_places_are_compared_alike():
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (300, 400, 3), np.uint8)
    few = rng.random((12, 7, 7), np.float32)
    many = np.concatenate([few, np.zeros((100, 7, 7), np.float32)])
    np.testing.assert_allclose(propose(rgb, few, 6), propose(rgb, many, 6), atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    arrays.arrays(np.uint8, st.tuples(st.integers(1, 90), st.integers(1, 90), st.just(3))),
    st.none() | arrays.arrays(np.float32, (5, 4, 4), elements=st.floats(0, 10, width=32)),
    st.integers(0, 30),
)
def test_proposals_are_boxes_unlike_each_other_and_not_too_small(rgb, activations, n):
    found = propose(rgb, activations, n)
    assert found.dtype == np.float32
    assert len(found) <= n
    for place, row in enumerate(found):
        box = Box(*row.astype(np.float64).tolist())
        assert (box.x1 - box.x0) * rgb.shape[1] >= SMALLEST_PIXELS - 1e-3
        assert (box.y1 - box.y0) * rgb.shape[0] >= SMALLEST_PIXELS - 1e-3
        assert (iou(found[:place], row) < OVERLAP).all()


@pytest.mark.parametrize("size", [(1, 1), (20, 20), (224, 224), (4000, 30)])
def test_one_colour_has_no_regions(size):
    assert propose(np.full((*size, 3), 90, np.uint8), np.ones((8, 14, 14), np.float32), 10).shape == (0, 4)


def test_the_same_picture_gets_the_same_boxes(photographs):
    rgb = np.asarray(photograph(photographs))
    activations = np.random.default_rng(1).random((32, 14, 14), np.float32)
    np.testing.assert_array_equal(propose(rgb, activations, 12), propose(rgb, activations, 12))
    np.testing.assert_array_equal(propose(rgb, activations, 12)[:5], propose(rgb, activations, 5))


def test_what_is_taken_is_not_proposed_again(photographs):
    rgb = np.asarray(photograph(photographs))
    first = propose(rgb, None, 4)
    others = propose(rgb, None, 4, taken=first)
    assert len(others) == 4
    for row in others:
        assert (iou(first, row) < OVERLAP).all()


def test_likenesses_go_and_the_first_stays():
    boxes = np.array(
        [[0, 0, 0.5, 0.5], [0.01, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], [0.2, 0.2, 0.4, 0.9]], np.float32
    )
    np.testing.assert_array_equal(without_likenesses(boxes, 10), boxes[[0, 2, 3]])
    np.testing.assert_array_equal(without_likenesses(boxes, 2), boxes[[0, 2]])
    np.testing.assert_array_equal(without_likenesses(boxes, 10, taken=boxes[2:3]), boxes[[0, 3]])
