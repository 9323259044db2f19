from __future__ import annotations

import json
from pathlib import Path

import pytest

from grainhash.detections import read_detections
from grainhash.errors import BoxError, MetadataError
from grainhash.types import Box

TABLE = (
    "path,x0,y0,x1,y1,score\ncats/a.jpg,0,0,0.5,0.5,0.2\ncats/a.jpg,0.1,0.2,0.9,0.8,0.9\nb.jpg,0,0,1,1,1\n"
)
COCO = {
    "images": [{"id": 7, "file_name": "cats/a.jpg", "width": 200, "height": 100}],
    "annotations": [
        {"image_id": 7, "bbox": [20, 10, 100, 50], "score": 0.3},
        {"image_id": 7, "bbox": [-4, 0, 60, 104], "score": 0.8},
    ],
}


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_table_of_boxes_best_first(tmp_path):
    found = read_detections(written(tmp_path, "boxes.csv", TABLE))
    assert len(found) == 2
    assert found.of(Path("/p"), Path("/p/cats/a.jpg")) == [Box(0.1, 0.2, 0.9, 0.8), Box(0, 0, 0.5, 0.5)]
    assert found.of(Path("/p"), Path("/p/other.jpg")) == ()
    assert found.unmatched() == ["b.jpg"]


def test_without_scores_the_order_of_the_file_counts(tmp_path):
    rows = [{"path": "a.jpg", "x0": x / 10, "y0": 0, "x1": 1, "y1": 1} for x in (5, 1, 3)]
    file = written(tmp_path, "boxes.jsonl", "\n".join(map(json.dumps, rows)))
    assert [box.x0 for box in read_detections(file).of(tmp_path, tmp_path / "a.jpg")] == [0.5, 0.1, 0.3]


def test_coco_in_pixels_ends_at_the_edge(tmp_path):
    found = read_detections(written(tmp_path, "boxes.json", json.dumps(COCO)))
    assert found.of(Path("/p"), Path("/p/cats/a.jpg")) == [Box(0, 0, 0.28, 1), Box(0.1, 0.1, 0.6, 0.6)]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "path,x0,y0,x1\nb.jpg,0,0,1\n", "line 2: no 'y1'"),
        ("a.csv", "path,x0,y0,x1,y1\nb.jpg,0,left,1,1\n", "line 2: y0 is 'left', not a number"),
        ("a.csv", "name,x0,y0,x1,y1\nb.jpg,0,0,1,1\n", "no column of paths"),
        ("a.txt", "", "not a metadata file by its suffix"),
        ("a.json", "[]", "not COCO's JSON"),
        ("a.json", "{", "not COCO's JSON"),
        ("a.json", json.dumps(COCO | {"images": []}), "annotation 0: no box of a known image"),
        (
            "a.json",
            json.dumps(COCO | {"annotations": [{"image_id": 7, "bbox": [1, 2, 3]}]}),
            "annotation 0: no box",
        ),
        (
            "a.json",
            '{"images": [{"id": 7, "file_name": "a", "width": 4, "height": 4}], "annotations":'
            ' [{"image_id": 7, "bbox": [1, 2, 3, 1' + 400 * "0" + "]}]}",
            "annotation 0: bbox is 1000",
        ),
        ("a.json", '[{"image_id": 7, "bbox": [1, 2, 3, 4], "score": 1}]', "a list, as of results"),
        (
            "a.json",
            json.dumps(COCO | {"images": [{"id": 7, "file_name": "a", "width": 0, "height": 4}]}),
            "annotation 0: its image is 0 x 4 pixels",
        ),
    ],
)
def test_a_file_that_cannot_be_read_says_where(tmp_path, name, text, said):
    with pytest.raises(MetadataError, match=said):
        read_detections(written(tmp_path, name, text))


@pytest.mark.parametrize(
    "corners",
    [
        "0.999999,0,1.5,1",
        "0.5,0.5,0.500001,0.6",
        "1.2,0,1.5,1",
        "0.4,0.5,0.4,0.9",
        "0.5,0,0.2,1",
        "-3,-3,-1,-1",
    ],
)
def test_a_box_outside_or_of_no_area_is_refused(tmp_path, corners):
    file = written(tmp_path, "a.csv", f"path,x0,y0,x1,y1\nb.jpg,{corners}\n")
    with pytest.raises(BoxError, match=r"line 2: the box .* has no area inside its picture"):
        read_detections(file)


def test_a_missing_file(tmp_path):
    with pytest.raises(MetadataError, match="no such file"):
        read_detections(tmp_path / "boxes.json")
