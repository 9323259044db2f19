from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from grainhash.errors import BoxError
from grainhash.types import WHOLE, Box

fraction = st.floats(0, 1)


@st.composite
def boxes(draw):
    x0, x1 = sorted([draw(fraction), draw(fraction)])
    y0, y1 = sorted([draw(fraction), draw(fraction)])
    assume(x0 < x1 and y0 < y1 and (x1 - x0) * (y1 - y0) > 1e-12)
    return Box(x0, y0, x1, y1)


@given(boxes(), boxes())
def test_iou_is_symmetric_and_within_bounds(a, b):
    assert a.iou(b) == pytest.approx(b.iou(a))
    assert 0 <= a.iou(b) <= 1 + 1e-9
    assert a.iou(a) == pytest.approx(1)


@given(boxes())
def test_a_box_within_the_whole_overlaps_it_by_its_area(box):
    assert box.iou(WHOLE) == pytest.approx(box.area)


@given(boxes())
def test_what_a_box_prints_can_be_parsed(box):
    assume(box.x1 - box.x0 > 1e-3 and box.y1 - box.y0 > 1e-3)
    assert Box.parse(str(box)).iou(box) > 0.5


def test_boxes_apart_do_not_overlap():
    assert Box(0, 0, 0.4, 1).iou(Box(0.5, 0, 1, 1)) == 0


@pytest.mark.parametrize(
    "corners",
    [
        (0.5, 0, 0.5, 1),
        (0.6, 0, 0.5, 1),
        (-0.1, 0, 1, 1),
        (0, 0, 1, 1.01),
        (math.nan, 0, 1, 1),
        (0, 0, math.inf, 1),
    ],
)
def test_no_box_without_area_or_outside_the_picture(corners):
    with pytest.raises(BoxError):
        Box(*corners)


@pytest.mark.parametrize("text", ["", "0,0,1", "a,b,c,d", "0 0 1 1", "0,0,1,1,1", "0,0,2,1"])
def test_what_is_no_box_is_refused_with_the_form_to_write(text):
    with pytest.raises(BoxError, match="x0"):
        Box.parse(text)
