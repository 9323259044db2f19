from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from grainhash import Box, Gallery
from grainhash.errors import MissingExtra
from grainhash.faces import _cascade, face_boxes

FACE = Box(0.33, 0.11, 0.55, 0.34)
"""Of the astronaut."""


def test_a_face_is_found_where_it_is_in_any_form(photographs):
    path = photographs / "people/astronaut.png"
    picture = Image.open(path).convert("RGB")
    large = picture.resize((1536, 1536))
    for source in (path, path.read_bytes(), np.asarray(picture), large):
        (box,) = face_boxes(source)
        assert box.iou(FACE) > 0.4


def test_a_face_at_the_edge_ends_there(photographs):
    picture = Image.open(photographs / "people/astronaut.png").convert("RGB")
    boxes = face_boxes(picture.crop((165, 60, 300, 200)).resize((540, 560)))
    assert len(boxes) == 1
    assert boxes[0].area > 0.5


@pytest.mark.parametrize("size", [(1, 1), (20, 400), (33, 33), (300, 200)])
def test_no_face_in_one_colour(size):
    assert face_boxes(np.full((*size, 3), 130, np.uint8)) == []


def test_things_have_no_face_and_files_that_are_no_pictures_none(photographs, tmp_path):
    assert face_boxes(photographs / "things/coffee.png") == []
    (tmp_path / "no.jpg").write_bytes(b"no picture")
    assert face_boxes(tmp_path / "no.jpg") == []
    assert face_boxes(tmp_path / "gone.jpg") == []


def test_a_face_becomes_a_region(tmp_path, photographs, encoder):
    folder = tmp_path / "people"
    folder.mkdir()
    (folder / "a.png").write_bytes((photographs / "people/astronaut.png").read_bytes())
    (folder / "broken.png").write_bytes(b"no picture")
    with Gallery.open(tmp_path / "gallery", create=True, encoder=encoder) as gallery:
        report = gallery.index(folder, boxes_of=face_boxes)
        assert (report.added, len(report.skipped)) == (1, 1)
        (box,) = face_boxes(folder / "a.png")
        (hit,) = gallery.search(folder / "a.png", region=box, k=1)
        assert hit.box.iou(box) > 0.99
        assert hit.distance <= 8


def test_what_is_missing_is_said(monkeypatch):
    _cascade.cache_clear()
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(MissingExtra, match="classical"):
        face_boxes(np.zeros((100, 100, 3), np.uint8))
