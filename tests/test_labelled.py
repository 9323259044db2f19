"""Pictures with labels from a folder, a CSV or a Parquet file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grainhash.errors import LabelsError, MissingExtra, PictureDamaged, PictureUnreadable
from grainhash.images import decode
from grainhash.labelled import read_labelled


def _files(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def _parquet(path: Path, columns: dict[str, list[Any]]) -> Path:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is missing")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), path)
    return path


def _ids(pictures: Any) -> list[int]:
    assert pictures.labels is not None
    assert pictures.labels.ids is not None
    return pictures.labels.ids.tolist()


# Folders


def test_the_folder_is_the_label(photos: Path):
    pictures = read_labelled(photos)
    assert pictures.labels is not None
    assert pictures.labels.classes == ("animals", "astronomy", "places", "things")
    assert pictures.splits is None
    assert [Path(name).parent.name for name in pictures.names] == ["animals", "astronomy", "places", "things"]
    assert decode(pictures.source(0)).width > 0


def test_the_nearest_folder_is_the_label_and_all_are_with_a_hierarchy(tmp_path: Path):
    _files(tmp_path, "animal/cat/1.jpg", "animal/dog/1.jpg")
    single = read_labelled(tmp_path).labels
    assert single is not None
    assert single.classes == ("cat", "dog")
    tree = read_labelled(tmp_path, kind="hierarchy").labels
    assert tree is not None
    assert tree.classes == ("animal", "animal/cat", "animal/dog")


def test_folders_named_as_parts_are_parts(tmp_path: Path):
    _files(tmp_path, "train/cat/1.jpg", "Test/cat/2.jpg", "test/dog/3.jpg")
    pictures = read_labelled(tmp_path)
    assert pictures.labels is not None
    assert pictures.labels.classes == ("cat", "dog")
    assert pictures.splits is not None
    assert sorted(pictures.splits.tolist()) == ["test", "test", "train"]
    assert len(pictures.split("test")) == 2
    with pytest.raises(LabelsError, match="no pictures of the split 'val'; there are: test, train"):
        pictures.split("val")


def test_a_class_may_be_called_test_beside_others(tmp_path: Path):
    pictures = read_labelled(_files(tmp_path, "test/1.jpg", "other/2.jpg"))
    assert pictures.splits is None
    assert pictures.labels is not None
    assert pictures.labels.classes == ("other", "test")


def test_parts_beside_folders_that_are_none_are_refused(tmp_path: Path):
    _files(tmp_path, "train/cat/1.jpg", "test/cat/2.jpg", "more/cat/3.jpg")
    with pytest.raises(LabelsError, match="folders name parts, train among them, but not more"):
        read_labelled(tmp_path)
    (tmp_path / "more/cat/3.jpg").rename(tmp_path / "3.jpg")
    with pytest.raises(LabelsError, match="but not pictures in no folder"):
        read_labelled(tmp_path)


def test_pictures_in_no_folder_have_no_labels(tmp_path: Path):
    assert read_labelled(_files(tmp_path, "1.jpg", "2.png")).labels is None
    _files(tmp_path, "cat/3.jpg")
    with pytest.raises(LabelsError, match="2 pictures lie in no folder that names their class"):
        read_labelled(tmp_path)


def test_a_folder_of_nothing(tmp_path: Path):
    with pytest.raises(LabelsError, match="no pictures below it"):
        read_labelled(tmp_path)
    with pytest.raises(LabelsError, match="no such folder or file"):
        read_labelled(tmp_path / "gone")
    (tmp_path / "a.txt").touch()
    with pytest.raises(LabelsError, match=r"a \.csv or a \.parquet"):
        read_labelled(tmp_path / "a.txt")


# CSV


def test_a_csv_names_pictures_labels_and_parts(tmp_path: Path):
    _files(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    (tmp_path / "x.csv").write_text("path,label,split\nc.jpg,10,train\na.jpg,9,test\n", encoding="utf-8-sig")
    pictures = read_labelled(tmp_path / "x.csv")
    assert pictures.labels is not None
    assert pictures.labels.classes == ("9", "10"), "numbers by size"
    assert _ids(pictures) == [1, 0]
    assert pictures.split("test").source(0) == tmp_path / "a.jpg"


def test_other_columns_and_several_labels(tmp_path: Path):
    _files(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "x.csv").write_text("path,kind\na.jpg,sea; beach\nb.jpg,sea\n")
    assert read_labelled(tmp_path / "x.csv").labels is None
    labels = read_labelled(tmp_path / "x.csv", label="kind").labels
    assert labels is not None
    assert (labels.kind, labels.classes) == ("multi", ("beach", "sea"))
    one = read_labelled(tmp_path / "x.csv", label="kind", kind="single").labels
    assert one is not None
    assert one.classes == ("sea", "sea; beach")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs a column path, and rows"),
        ("path,label\n", "needs a column path, and rows"),
        ("file,label\na.jpg,1\n", "needs a column path"),
        ("path,label\na.jpg,1\ngone.jpg,2\n", "1 of 2 pictures are not there"),
        ("path,label\na.jpg,1\na.jpg\n", "1 pictures have no label"),
        ("path,label\na.jpg,1\na.jpg,\n", "1 pictures have no label"),
    ],
)
def test_a_csv_that_does_not_fit(tmp_path: Path, text: str, message: str):
    _files(tmp_path, "a.jpg")
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(LabelsError, match=message):
        read_labelled(tmp_path / "x.csv")


def test_a_column_that_is_asked_for_must_be_there(tmp_path: Path):
    _files(tmp_path, "a.jpg")
    (tmp_path / "x.csv").write_text("path,label\na.jpg,1\n")
    parquet = _parquet(tmp_path / "x.parquet", {"path": ["a.jpg"], "label": [1]})
    for path in (tmp_path / "x.csv", parquet):
        with pytest.raises(LabelsError, match="no column 'kind'; it has path, label"):
            read_labelled(path, label="kind")
        with pytest.raises(LabelsError, match="no column 'part'"):
            read_labelled(path, split="part")


def test_spaces_around_a_label_and_capitals_of_a_part_mean_nothing(tmp_path: Path):
    _files(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "x.csv").write_text("path,label,split\na.jpg,cat,Train\nb.jpg, cat ,TRAIN \n")
    pictures = read_labelled(tmp_path / "x.csv")
    assert pictures.labels is not None
    assert pictures.labels.classes == ("cat",)
    assert len(pictures.split("train")) == 2


def test_a_csv_that_is_not_text(tmp_path: Path):
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(LabelsError, match="cannot be read as CSV"):
        read_labelled(tmp_path / "x.csv")


# Parquet


def test_parquet_holds_bytes_or_paths(tmp_path: Path):
    columns = {"image": [b"one", b"two"], "label": ["b", "a"], "split": ["train", None]}
    pictures = read_labelled(_parquet(tmp_path / "x.parquet", columns))
    assert pictures.source(1) == b"two"
    assert pictures.names[1] == "x.parquet, row 1"
    assert _ids(pictures) == [1, 0]
    assert pictures.splits is not None
    assert pictures.splits.tolist() == ["train", ""]
    paths = read_labelled(_parquet(tmp_path / "y.parquet", {"path": ["a.jpg"], "label": [["x", "y"]]}))
    assert paths.source(0) == tmp_path / "a.jpg"
    assert paths.labels is not None
    assert paths.labels.kind == "multi"
    hugging = {"image": [{"bytes": b"in", "path": None}, {"bytes": None, "path": "a.jpg"}]}
    found = read_labelled(_parquet(tmp_path / "z.parquet", hugging))
    assert (found.source(0), found.source(1)) == (b"in", tmp_path / "a.jpg")


def test_the_bytes_of_a_picture_are_those_that_are_there(tmp_path: Path):
    _files(tmp_path, "a/1.png", "a/2.png")
    in_folder = read_labelled(tmp_path)
    assert in_folder.content(0) == b"a/1.png"
    (tmp_path / "a/2.png").unlink()
    with pytest.raises(PictureUnreadable, match=r"a/2\.png"):
        in_folder.content(1)
    path = _parquet(tmp_path / "a.parquet", {"image": [b"x", b"", None], "label": [1, 1, 1]})
    in_rows = read_labelled(path)
    assert in_rows.content(0) == b"x"
    for row in (1, 2):
        with pytest.raises(PictureDamaged, match=f"row {row}: it is empty"):
            in_rows.content(row)


def test_parquet_that_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(LabelsError, match="needs a column image"):
        read_labelled(_parquet(tmp_path / "x.parquet", {"pixels": [b""]}))
    with pytest.raises(LabelsError, match="no rows"):
        read_labelled(_parquet(tmp_path / "y.parquet", {"path": []}))
    with pytest.raises(LabelsError, match=r"1 pictures have no label \(first: row 1\)"):
        read_labelled(_parquet(tmp_path / "z.parquet", {"path": ["a", "b"], "label": ["a", None]}))
    nan = {"path": ["a", "b"], "label": [float("nan"), 1.0]}
    with pytest.raises(LabelsError, match=r"1 pictures have no label \(first: row 0\)"):
        read_labelled(_parquet(tmp_path / "n.parquet", nan))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(LabelsError, match="cannot be read as Parquet"):
        read_labelled(tmp_path / "bad.parquet")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"grainhash\[evaluate\]"):
        read_labelled(tmp_path / "bad.parquet")


# Some of them


def test_taking_some_keeps_everything_together(tmp_path: Path):
    columns = {"image": [b"0", b"1", b"2", b"3"], "label": list("abab"), "split": list("xyxy")}
    pictures = read_labelled(_parquet(tmp_path / "x.parquet", columns))
    taken = pictures.take([3, 0]).take(np.array([True, False]))
    assert (taken.source(0), taken.names) == (b"3", ("x.parquet, row 3",))
    assert _ids(taken) == [1]
    assert len(pictures.split("y").split("y")) == 2
