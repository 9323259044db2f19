from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from grainhash.encoder.granules import LONG, WHOLE_ONLY, GranuleSettings, Grid, cut, resized
from grainhash.errors import EncoderError
from grainhash.types import WHOLE, Box

sides = st.integers(1, 20_000)


@given(sides, sides)
def test_tiles_are_boxes_that_cover_the_picture(width, height):
    boxes = [Box(*map(float, row)) for row in GranuleSettings().tiles(width, height)]
    assert min(box.x0 for box in boxes) == min(box.y0 for box in boxes) == 0
    assert max(box.x1 for box in boxes) == pytest.approx(1)
    assert max(box.y1 for box in boxes) == pytest.approx(1)


TWO_SCALES = GranuleSettings((Grid(2, 0.6), Grid(3, 0.45)), proposals=5)


def test_a_usual_picture_gets_the_tiles_of_every_grid():
    boxes = TWO_SCALES.tiles(500, 375)
    assert len(boxes) == TWO_SCALES.n_tiles == 13
    assert TWO_SCALES.n_usual == 1 + 13 + 5
    assert boxes.dtype == np.float32
    np.testing.assert_allclose(boxes[:, 2] - boxes[:, 0], [0.6] * 4 + [0.45] * 9, atol=1e-6)


def test_a_long_picture_gets_more_tiles_that_are_no_longer_than_they_should_be():
    boxes = TWO_SCALES.tiles(6000, 600)
    assert 13 < len(boxes) <= 12 * 5
    shapes = (boxes[:, 2] - boxes[:, 0]) * 6000 / ((boxes[:, 3] - boxes[:, 1]) * 600)
    assert shapes.max() <= LONG + 1e-3


def test_a_tall_picture_is_a_wide_one_turned():
    wide, tall = GranuleSettings().tiles(6000, 600), GranuleSettings().tiles(600, 6000)
    assert {tuple(row) for row in wide} == {tuple(row[[1, 0, 3, 2]]) for row in tall}


def test_whole_only_has_no_regions():
    assert WHOLE_ONLY.tiles(500, 375).shape == (0, 4)
    assert (WHOLE_ONLY.n_usual, WHOLE_ONLY.smallest_side) == (1, 1.0)


def test_settings_survive_json():
    settings = GranuleSettings((Grid(4, 0.3),), proposals=7)
    assert GranuleSettings.from_dict(settings.to_dict()) == settings
    assert GranuleSettings.from_dict({"grids": []}) == WHOLE_ONLY
    for proposals in (-1, 1001, 2.5, True):
        with pytest.raises(EncoderError, match="proposals must be"):
            GranuleSettings(proposals=proposals)
    with pytest.raises(EncoderError, match="cannot be read"):
        GranuleSettings.from_dict({**settings.to_dict(), "surprise": 1})


def test_a_part_is_what_is_in_its_box():
    rgb = np.zeros((400, 600, 3), np.uint8)
    rgb[100:200, 300:450] = (255, 0, 0)
    inside, whole = cut(rgb, [Box(0.5, 0.25, 0.75, 0.5), WHOLE], 32)
    assert (inside[2:-2, 2:-2] == (255, 0, 0)).all()
    assert whole.mean(axis=(0, 1))[0] == pytest.approx(255 * 0.0625, abs=3)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 5000, 3), (5000, 1, 3)])
def test_pictures_of_extreme_shape_can_be_cut(shape):
    boxes = [WHOLE, *(Box(*map(float, row)) for row in GranuleSettings().tiles(shape[1], shape[0]))]
    assert cut(np.full(shape, 7, np.uint8), boxes, 224).shape == (len(boxes), 224, 224, 3)


def test_what_grows_shows_no_edges_of_pixels():
    """Enlarged by a filter as sharp as Hamming's, a picture of few pixels is seen as one of many squares."""
    step = np.repeat(np.array([[[0] * 3, [240] * 3]], np.uint8), 2, axis=0)
    row = resized(Image.fromarray(step), 32, (0, 0, 2, 2))[16, :, 0].astype(int)
    assert (row[0], row[-1]) == (0, 240)
    assert (np.diff(row) >= 0).all()
    assert np.diff(row).max() <= 240 / 16 + 1


def test_what_shrinks_is_antialiased():
    board = (np.indices((512, 512)).sum(axis=0) % 2 * 255).astype(np.uint8)
    small = resized(Image.fromarray(np.dstack([board] * 3)), 64, (0, 0, 512, 512))
    assert np.abs(small.astype(int) - 127.5).max() <= 3


@pytest.mark.parametrize(
    ("box", "filter"),
    [
        ((0, 0, 300, 400), Image.Resampling.HAMMING),
        ((10, 20, 234, 244), Image.Resampling.HAMMING),
        ((10, 20, 233, 244), Image.Resampling.BILINEAR),
        ((0, 0, 300, 60), Image.Resampling.BILINEAR),
    ],
    ids=["shrinks", "stays", "grows by one pixel", "grows one way and shrinks the other"],
)
def test_the_filter_depends_on_whether_a_part_grows(box, filter):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 300, 3), np.uint8))
    np.testing.assert_array_equal(resized(picture, 224, box), picture.resize((224, 224), filter, box=box))
    others = {Image.Resampling.HAMMING, Image.Resampling.BILINEAR} - {filter}
    for other in others if box[2] - box[0] != 224 else ():
        assert (resized(picture, 224, box) != picture.resize((224, 224), other, box=box)).any()
