"""Classical features, and the line of text that says what features are made of."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from grainhash.errors import EncoderError, MissingExtra
from grainhash.features.colour import colour_histogram
from grainhash.features.gist import gist
from grainhash.features.hog import hog
from grainhash.features.parts import CLASSICAL, Part, outputs_of, parse_parts
from grainhash.features.sift import root_sift

WIDTHS = {"colour": 256, "gist": 512, "hog": 1764, "sift": 2048}


@pytest.fixture(scope="module")
def pixels(photographs):
    paths = sorted(photographs.rglob("*.*"))[:6]
    return np.stack([np.asarray(Image.open(path).convert("RGB").resize((224, 224))) for path in paths])


def run(name, pixels):
    if name == "sift":
        pytest.importorskip("cv2", reason="OpenCV is not installed: SIFT is not checked")
    return CLASSICAL[name](pixels)


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def stripes(angle, period=8):
    y, x = np.indices((224, 224))
    wave = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period)
    return np.repeat((127 + 120 * wave).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("name", CLASSICAL)
class TestClassical:
    def test_shape_and_finite(self, name, pixels):
        rows = run(name, pixels)
        assert (rows.shape, rows.dtype) == ((len(pixels), WIDTHS[name]), np.float32)
        assert np.isfinite(rows).all()
        assert run(name, pixels[:0]).shape == (0, WIDTHS[name])

    def test_a_picture_alone_equals_it_in_a_batch(self, name, pixels):
        together = run(name, pixels)
        for i in (0, 5):
            np.testing.assert_array_equal(run(name, pixels[i : i + 1])[0], together[i])

    def test_a_blank_picture_is_finite(self, name, pixels):
        for value in (0, 255):
            assert np.isfinite(run(name, np.full((1, 224, 224, 3), value, np.uint8))).all()

    def test_a_slightly_changed_picture_stays_nearer_than_another(self, name, pixels):
        changed = np.clip(pixels.astype(int) + np.random.default_rng(0).integers(-6, 7, pixels.shape), 0, 255)
        rows, others = run(name, pixels), run(name, changed.astype(np.uint8))
        mean = rows.mean(axis=0)
        for i, row in enumerate(rows):
            likeness = [cosine(row - mean, other - mean) for other in others]
            assert np.argmax(likeness) == i

    @pytest.mark.parametrize("size", [32, 96, 299])
    def test_any_input_size(self, name, pixels, size):
        small = np.asarray(Image.fromarray(pixels[0]).resize((size, size)))[None]
        assert run(name, small).shape == (1, WIDTHS[name])


def test_colour_is_the_share_of_pixels_of_a_colour():
    picture = np.zeros((1, 8, 8, 3), np.uint8)
    picture[0, :2] = (255, 0, 0)
    row = colour_histogram(picture)[0]
    np.testing.assert_allclose(sorted(row[row > 0] ** 2), [0.25, 0.75])
    assert np.linalg.norm(row) == pytest.approx(1)
    turned = np.ascontiguousarray(picture[:, :, ::-1].transpose(0, 2, 1, 3))
    np.testing.assert_array_equal(colour_histogram(turned)[0], row)


def test_hog_finds_the_direction_of_stripes():
    """Upright stripes change across: the direction of their gradient is 0, in the first or last bin."""
    for angle, bins in ((0.0, {0, 8}), (np.pi / 2, {4}), (np.pi / 4, {2})):
        histogram = hog(stripes(angle, 28)[None])[0].reshape(-1, 9).sum(axis=0)
        assert int(histogram.argmax()) in bins


def test_gist_tells_scales_and_directions_apart():
    def strongest(period, angle):
        energy = gist(stripes(angle, period)[None])[0].reshape(4, 8, 16).sum(axis=2)
        return np.unravel_index(energy.argmax(), energy.shape)

    fine, coarse = strongest(6, 0.0), strongest(24, 0.0)
    assert fine[0] < coarse[0]
    assert fine[1] == coarse[1] == 0
    assert strongest(12, np.pi / 2)[1] == 4


def test_gist_takes_no_notice_of_how_bright_it_is(pixels):
    dark = (pixels * 0.6).astype(np.uint8)
    assert min(cosine(a, b) for a, b in zip(gist(pixels), gist(dark), strict=True)) > 0.97


def test_root_sift_rows_have_length_one(pixels):
    pytest.importorskip("cv2", reason="OpenCV is not installed: SIFT is not checked")
    rows = root_sift(pixels[0])
    assert rows.shape[1] == 128
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-4)
    assert len(root_sift(np.zeros((64, 64, 3), np.uint8))) == 0


def test_missing_opencv_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingExtra, match=r"pip install 'grainhash\[classical\]'"):
        CLASSICAL["sift"](np.zeros((1, 64, 64, 3), np.uint8))


# Parts


def test_parts_are_read_in_their_order():
    parts = parse_parts("pooled+map:rmac+colour+map:gem+lite.mid:avg")
    assert parts == (
        Part("pooled", "pooled", None),
        Part("map:rmac", "map", "rmac"),
        Part("colour", None, None),
        Part("map:gem", "map", "gem"),
        Part("lite.mid:avg", "lite.mid", "avg"),
    )
    assert outputs_of(parts) == ("pooled", "map", "lite.mid")


@pytest.mark.parametrize("text", ["", "pooled+", "+", "map:", "map:median", ":avg", "pooled+pooled"])
def test_parts_that_cannot_be_read(text):
    with pytest.raises(EncoderError, match="features"):
        parse_parts(text)


def test_a_map_needs_pooling_and_only_a_map_takes_it():
    outputs = {"map": np.ones((2, 3, 4, 4), np.float32), "pooled": np.ones((2, 3), np.float32)}
    pixels = np.zeros((2, 8, 8, 3), np.uint8)
    (part,) = parse_parts("map")
    with pytest.raises(EncoderError, match="choose map:avg, map:max"):
        part.rows(pixels, outputs)
    (part,) = parse_parts("pooled:avg")
    with pytest.raises(EncoderError, match="no feature map"):
        part.rows(pixels, outputs)
