from __future__ import annotations

import csv
import io
import json
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grainhash.errors import MetadataError
from grainhash.images import Picture
from grainhash.metadata import (
    MAX_DEPTH,
    MetadataTable,
    check_metadata,
    folder_labels,
    picture_metadata,
    read_table,
)


def table(folder: Path, text: str | bytes, suffix: str = ".csv", **options: Any) -> MetadataTable:
    file = folder / f"table{suffix}"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(file, **options)


def row(found: MetadataTable, relative: str = "a.jpg") -> dict[str, Any]:
    return found.match(Path("/photos"), PurePosixPath(relative))


# --- Folders and EXIF ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (PurePosixPath("cats/indoor/1.jpg"), {"folder": "cats/indoor", "label": "cats"}),
        (PureWindowsPath("cats\\indoor\\1.jpg"), {"folder": "cats/indoor", "label": "cats"}),
        (PurePosixPath("cats/1.jpg"), {"folder": "cats", "label": "cats"}),
        (PurePosixPath("1.jpg"), {}),
    ],
)
def test_folder_labels(path: PurePath, expected: dict[str, str]):
    assert folder_labels(path) == expected


def test_values_deep_within_values_are_refused():
    """What reads them again, from JSON or to copy them, has a limit of its own."""
    value: Any = 1
    for _ in range(MAX_DEPTH - 1):
        value = [value]
    assert check_metadata({"key": value}, "here") == {"key": value}
    for much in ({"key": [value]}, {"key": {"a": value}}):
        with pytest.raises(MetadataError, match="more than 32 deep"):
            check_metadata(much, "here")


def test_picture_metadata_leaves_out_what_is_absent():
    rgb = np.zeros((1, 1, 3), np.uint8)
    assert picture_metadata(Picture(rgb, 1, 1)) == {}
    assert picture_metadata(Picture(rgb, 1, 1, camera="Leica M10")) == {"camera": "Leica M10"}
    both = Picture(rgb, 1, 1, "2024-05-01T12:00:00", "Leica M10")
    assert picture_metadata(both) == {"taken": "2024-05-01T12:00:00", "camera": "Leica M10"}


# --- Cells -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("12", 12),
        ("-3", -3),
        ("0", 0),
        ("00123", "00123"),
        ("+5", "+5"),
        ("1_000", "1_000"),
        (" 12", " 12"),
        ("0.5", 0.5),
        ("1.50", "1.50"),
        ("1e+20", "1e+20"),
        ("nan", "nan"),
        ("inf", "inf"),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", "9223372036854775808"),
        ("9" * 5000, "9" * 5000),
        ("TRUE", True),
        ("false", False),
        ("cat", "cat"),
        ("٣", "٣"),
    ],
)
def test_csv_cells(tmp_path: Path, cell: str, value: Any):
    found = row(table(tmp_path, f"path,x\na.jpg,{cell}\n"))["x"]
    assert found == value
    assert type(found) is type(value)


def test_empty_cells_and_short_rows_are_absent(tmp_path: Path):
    assert row(table(tmp_path, "path,x,y,z\na.jpg,,2\n")) == {"y": 2}


@given(value=st.one_of(st.integers(-(2**63) + 1, 2**63 - 1), st.floats(-1e15, 1e15), st.text(max_size=20)))
@settings(max_examples=100, deadline=None)
def test_any_value_comes_back_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, value: Any):
    text = str(value)
    if "\0" in text or text == "":
        return
    file = io.StringIO()
    csv.writer(file).writerows([["path", "x"], ["a.jpg", text]])
    assert str(row(table(tmp_path_factory.getbasetemp(), file.getvalue()))["x"]).lower() == text.lower()


# --- CSV -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_csv_dialects(tmp_path: Path, separator: str, mark: str, newline: str):
    lines = [("path", "title", "n"), ("a.jpg", f'"one{separator} ""two"""', "3")]
    text = mark + newline.join(separator.join(cells) for cells in lines) + newline
    assert row(table(tmp_path, text)) == {"title": f'one{separator} "two"', "n": 3}


def test_tsv_and_upper_case_suffixes(tmp_path: Path):
    assert row(table(tmp_path, "path\tx, y\na.jpg\t1\n", ".TSV")) == {"x, y": 1}


def test_quoted_newlines_blank_lines_and_nameless_columns(tmp_path: Path):
    found = table(tmp_path, ',path,text\n0,a.jpg,"two\nlines"\n\n1,b.jpg,z\n')
    assert row(found) == {"text": "two\nlines"}
    assert len(found) == 2


def test_paths_that_look_like_numbers_stay_paths(tmp_path: Path):
    assert row(table(tmp_path, "path,x\n123,1\n"), "123") == {"x": 1}


# --- JSONL -----------------------------------------------------------------------------------------------


def test_json_values_are_kept(tmp_path: Path):
    values = {"n": 1, "x": 1.5, "b": True, "none": None, "tags": ["a", {"b": 1}], "text": "00123\u2028é"}
    text = json.dumps({"file_name": "a.jpg", **values}, ensure_ascii=False)
    for suffix in (".jsonl", ".ndjson"):
        assert row(table(tmp_path, f"\ufeff{text}\r\n\n", suffix)) == values


# --- The path column -------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["path", "file", "filename", "file_name", "image", "uri"])
def test_path_columns(tmp_path: Path, column: str):
    assert row(table(tmp_path, f"x,{column}\n1,a.jpg\n")) == {"x": 1}
    assert row(table(tmp_path, json.dumps({"x": 1, column: "a.jpg"}), ".jsonl")) == {"x": 1}


def test_the_first_path_column_wins_unless_another_is_named(tmp_path: Path):
    text = "image,path,photo\ni.jpg,p.jpg,q.jpg\n"
    assert row(table(tmp_path, text), "p.jpg") == {"image": "i.jpg", "photo": "q.jpg"}
    assert row(table(tmp_path, text, path_column="photo"), "q.jpg") == {"image": "i.jpg", "path": "p.jpg"}


# --- Matching --------------------------------------------------------------------------------------------


def test_matching_goes_from_the_exact_to_the_bare_name(tmp_path: Path):
    root = tmp_path / "photos"
    rows = [
        ("cats/1.jpg", "relative"),
        (f"{root}/cats/2.jpg", "absolute"),
        ("photos/cats/3.jpg", "beside the table"),
        ("4.jpg", "bare"),
        ("1.jpg", "bare too"),
        ("./dogs\\5.jpg", "odd spelling"),
        ("birds/9.jpg", "nowhere"),
    ]
    found = table(tmp_path, "path,how\n" + "".join(f"{path},{how}\n" for path, how in rows))

    def how(relative: str) -> Any:
        return found.match(root, PurePosixPath(relative)).get("how")

    assert how("cats/1.jpg") == "relative"
    assert how("cats/2.jpg") == "absolute"
    assert how("cats/3.jpg") == "beside the table"
    assert how("cats/4.jpg") == "bare"
    assert how("dogs/5.jpg") == "odd spelling"
    assert how("cats/9.jpg") is None, "a row of another folder's picture must not match"
    assert found.unmatched() == ["1.jpg", "birds/9.jpg"]
    assert how("dogs/1.jpg") == "bare too"
    assert found.unmatched() == ["birds/9.jpg"]


def test_a_match_is_the_callers_to_change(tmp_path: Path):
    found = table(tmp_path, "path,x\na.jpg,1\n")
    row(found)["x"] = 2
    assert row(found) == {"x": 1}


# --- Errors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "text", "message"),
    [
        (".csv", "", r"line 1: no header row"),
        (".csv", "\n\n", r"line 1: no header row"),
        (".csv", "name,x\na.jpg,1\n", r"line 2: no column of paths; call it one of path, file"),
        (".csv", "path,x,x\na.jpg,1,2\n", r"line 1: column 'x' comes twice"),
        (".csv", "path,x\na.jpg,1\n,2\n", r"line 3: no path in column 'path'"),
        (".csv", "path,x\na.jpg,1\nb.jpg,1\n./a.jpg,2\n", r"line 4: path './a.jpg' again; .*line 2"),
        (".csv", "path,x\na.jpg,1,2\n", r"line 2: 3 cells under 2 columns"),
        (".csv", 'path,x\na.jpg,"1\n', r"line 2: not CSV"),
        (".csv", b"path,x\na.jpg,1\nb.jpg,\xe9\n", r"line 3: not UTF-8"),
        (".csv", "path,x\n".encode("utf-16"), r"line 1: not UTF-8"),
        (".jsonl", '{"path": "a.jpg"}\n{"path": \n', r"line 2: not JSON"),
        (".jsonl", '{"path": "a.jpg"}\n\n["a.jpg"]\n', r"line 3: not a JSON object"),
        (".jsonl", '{"path": "a.jpg", "x": NaN}\n', r"line 1: not JSON: NaN"),
        (".jsonl", '{"path": "a.jpg"}\n{"x": 1}\n', r"line 2: no column 'path'; it has x"),
        (".jsonl", '{"path": 3}\n', r"line 1: no path in column 'path'"),
        (".jsonl", '{"path": "a.jpg"}\n{"path": "a.jpg"}\n', r"line 2: path 'a.jpg' again"),
        (".jsonl", "[" * 100_000, r"line 1: not JSON"),
        (".txt", "path\n", r"use \.csv, \.tsv, \.jsonl, \.ndjson"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, suffix: str, text: str | bytes, message: str):
    with pytest.raises(MetadataError, match=message) as caught:
        table(tmp_path, text, suffix)
    assert str(caught.value).startswith(str(tmp_path / "table"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("column", ["id", "uri", "width", "height", "sha256"])
def test_reserved_columns(tmp_path: Path, column: str):
    for suffix, text in (
        (".csv", f"path,{column}\na.jpg,1\n"),
        (".jsonl", f'{{"path": "a", "{column}": 1}}'),
    ):
        with pytest.raises(MetadataError, match=f"column '{column}' is reserved"):
            table(tmp_path, text, suffix)


def test_a_named_path_column_that_is_missing(tmp_path: Path):
    with pytest.raises(MetadataError, match=r"line 2: no column 'photo'; it has path, x"):
        table(tmp_path, "path,x\na.jpg,1\n", path_column="photo")


def test_files_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(MetadataError, match="no such file"):
        read_table(tmp_path / "nowhere.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(MetadataError, match="is a directory"):
        read_table(tmp_path / "folder.csv")
