"""What is known about a picture besides its pixels: its folder, its EXIF facts, rows of a CSV or JSONL file.

Everything here gives plain dicts of JSON values, which a gallery keeps beside the picture for filters.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, NoReturn

from grainhash.errors import MetadataError
from grainhash.images import Picture

PATH_COLUMNS = ("path", "file", "filename", "file_name", "image", "uri")
"""Names of the column that says which picture a row is about, in order of preference."""

RESERVED_COLUMNS = frozenset({"id", "uri", "width", "height", "sha256"})
"""What a gallery records about every picture by itself, so that no row may give it."""


MAX_DEPTH = 32
"""How deep the values of metadata may lie within each other: what reads them again has a limit of its own."""

FILE_KEYS = ("taken", "camera")
"""What a file says of itself: the same for every exact copy of it."""


def folder_labels(relative_path: PurePath) -> dict[str, str]:
    """Where a picture lies below the indexed root; empty for a picture in the root itself.

    `cats/indoor/1.jpg` gives `{"folder": "cats/indoor", "label": "cats"}`.
    """
    folder = relative_path.parent
    return {"folder": folder.as_posix(), "label": folder.parts[0]} if folder.parts else {}


def picture_metadata(picture: Picture) -> dict[str, str]:
    """`taken` and `camera` of a picture, without what its file does not say."""
    facts = {"taken": picture.taken, "camera": picture.camera}
    return {key: value for key, value in facts.items() if value is not None}


def check_metadata(values: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return `values` if a gallery can keep and compare them: JSON, without the picture's own keys.

    Raises:
        MetadataError: a reserved key, or a value that is no JSON. `what` says where it stands.
    """
    reserved = RESERVED_COLUMNS & values.keys()
    if reserved:
        raise MetadataError(f"{what}: {min(reserved)!r} is reserved for the picture's own; rename it")
    try:
        json.dumps(dict(values), allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:  # UnicodeEncodeError is a ValueError
        reason = " ".join(str(error).split())
        raise MetadataError(f"{what}: not values that JSON can hold ({reason})") from None
    if _depth(values) > MAX_DEPTH:
        raise MetadataError(f"{what}: values within values more than {MAX_DEPTH} deep")
    return dict(values)


def _depth(value: Any) -> int:
    """How deep values lie within each other: 0 for a number or a text."""
    depth, level = 0, [value]
    while level := [
        inner
        for outer in level
        if isinstance(outer, Mapping | list | tuple)
        for inner in (outer.values() if isinstance(outer, Mapping) else outer)
    ]:
        depth += 1
    return depth


class PathTable:
    """Paths as a file writes them, found by picture.

    Args:
        paths: those of the file.
        folder: where the file lies, for paths written relative to it.
    """

    def __init__(self, paths: Iterable[str], folder: Path) -> None:
        self._written = {_normal(path): path for path in paths}
        self._matched: set[str] = set()
        self._folder = PurePath(os.path.abspath(folder))  # noqa: PTH100 - resolves no links, as in find

    def find(self, root: Path, relative: PurePosixPath) -> str | None:
        """What the file writes of the picture at `root / relative`; `None` where it has nothing.

        A path of the file is taken as relative to `root`, else as absolute, else as relative to the folder of
        the file, else, where it is a bare file name, as that of a picture in any folder.
        """
        absolute = PurePath(os.path.abspath(root / relative))  # noqa: PTH100
        keys = [relative.as_posix(), absolute.as_posix()]
        if absolute.is_relative_to(self._folder):
            keys.append(absolute.relative_to(self._folder).as_posix())
        for key in (*keys, relative.name):
            if key in self._written:
                self._matched.add(key)
                return self._written[key]
        return None

    def unmatched(self) -> list[str]:
        """Paths, as the file writes them, that no picture has matched so far."""
        return [written for key, written in self._written.items() if key not in self._matched]


class MetadataTable:
    """The rows of a metadata file, found by picture.

    Args:
        rows: the values of each row by its path, as the file writes it.
        folder: where the file lies, for paths written relative to it.
    """

    def __init__(self, rows: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
        self._rows = {path: dict(row) for path, row in rows.items()}
        self._paths = PathTable(rows, folder)

    def __len__(self) -> int:
        return len(self._rows)

    def match(self, root: Path, relative: PurePosixPath) -> dict[str, Any]:
        """The row of the picture at `root / relative`, see `PathTable.find`; empty where there is none."""
        written = self._paths.find(root, relative)
        return {} if written is None else dict(self._rows[written])

    def unmatched(self) -> list[str]:
        """Paths, as the file writes them, of the rows that no picture has matched so far."""
        return self._paths.unmatched()


def read_table(path: str | os.PathLike[str], *, path_column: str | None = None) -> MetadataTable:
    """Read a metadata file: `.csv` or `.tsv` with a header row, `.jsonl` or `.ndjson` with an object a line.

    Both are UTF-8, with or without a byte order mark. A CSV's separator is a comma, semicolon or tab,
    whichever its header holds most of. Of its cells, `true` and `false` in any case become booleans; what is
    written exactly as Python writes an integer or a float becomes one, so that `00123` and `1.50` stay text;
    empty cells, and columns without a name, are left out. JSON values are kept as they are.

    Args:
        path: the file.
        path_column: the column that holds the picture's path; by default the first of `PATH_COLUMNS` that
            the header, or the first object, has.

    Raises:
        MetadataError: the file cannot be read, is none of these formats or not UTF-8; a path is missing or
            comes twice; a column is reserved. The message names file and line.
    """
    file = Path(path)
    rows: dict[str, dict[str, Any]] = {}
    lines: dict[str, int] = {}
    for line, written, row in read_rows(file, path_column=path_column):
        first = lines.setdefault(_normal(written), line)
        if first != line:
            _refuse(file, line, f"path {written!r} again; its first row is on line {first}")
        rows[written] = check_metadata(row, f"{file}, line {line}")
    return MetadataTable(rows, file.parent)


def read_rows(file: Path, *, path_column: str | None = None) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Line, path and values of each row of a file of one of the formats of `read_table`.

    Raises:
        MetadataError: see `read_table`; but a path may come more than once.
    """
    if file.suffix.lower() not in _FORMATS:
        raise MetadataError(f"{file}: not a metadata file by its suffix; use {', '.join(_FORMATS)}")
    rows_of, values_of = _FORMATS[file.suffix.lower()]
    for line, row in rows_of(file, _read_text(file)):
        column = path_column = path_column or _path_column(row, file, line)
        _check_columns(row, column, file, line)
        written = row.pop(column, None)
        if not isinstance(written, str) or not written:
            _refuse(file, line, f"no path in column {column!r}")
        yield line, written, values_of(row)


_Rows = Iterator[tuple[int, dict[str, Any]]]


def _csv_rows(file: Path, text: str) -> _Rows:
    """The line on which each row ends, and its cells by column, as text."""
    header_line = text.partition("\n")[0]
    separator = "\t" if file.suffix.lower() == ".tsv" else max(",;\t", key=header_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(header, file)
        for cells in reader:
            if len(cells) > len(header):
                _refuse(file, reader.line_num, f"{len(cells)} cells under {len(header)} columns")
            cells += [""] * (len(header) - len(cells))
            if any(cells):
                row = zip(header, cells, strict=True)
                yield reader.line_num, {name: cell for name, cell in row if name}
    except csv.Error as error:
        _refuse(file, reader.line_num, f"not CSV: {error}")


def _check_header(header: list[str], file: Path) -> None:
    named = [name for name in header if name]
    if not named:
        _refuse(file, 1, "no header row; the first line must name the columns")
    twice = {name for name in named if named.count(name) > 1}
    if twice:
        _refuse(file, 1, f"column {min(twice)!r} comes twice")


def _typed(row: dict[str, str]) -> dict[str, Any]:
    return {name: _cell(cell) for name, cell in row.items() if cell}


def _cell(text: str) -> bool | int | float | str:
    """A cell's value: a boolean, an integer, a float, or text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for number in (int, float):
        try:
            value = number(text)
        except ValueError:
            continue
        # 64 bits are what a gallery can compare; beyond them, and for nan and inf, text is exact.
        if math.isfinite(value) and abs(value) < 2**63 and str(value) == text:
            return value
    return text


def _json_rows(file: Path, text: str) -> _Rows:
    """The line of each object, and the object."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            _refuse(file, number, f"not JSON: {error}")
        if not isinstance(row, dict):
            _refuse(file, number, "not a JSON object; write one {...} a line")
        yield number, row


_FORMATS: dict[str, tuple[Callable[[Path, str], _Rows], Callable[[dict[str, Any]], dict[str, Any]]]] = {
    ".csv": (_csv_rows, _typed),
    ".tsv": (_csv_rows, _typed),
    ".jsonl": (_json_rows, dict),
    ".ndjson": (_json_rows, dict),
}
"""By suffix: what reads the rows, and what makes values of one."""


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _path_column(columns: Iterable[str], file: Path, line: int) -> str:
    names = set(columns)
    for name in PATH_COLUMNS:
        if name in names:
            return name
    _refuse(file, line, f"no column of paths; call it one of {', '.join(PATH_COLUMNS)}, or say which it is")


def _check_columns(row: Mapping[str, Any], path_column: str, file: Path, line: int) -> None:
    if path_column not in row:
        _refuse(file, line, f"no column {path_column!r}; it has {', '.join(row) or 'none'}")
    reserved = RESERVED_COLUMNS & row.keys() - {path_column}
    if reserved:
        _refuse(file, line, f"column {min(reserved)!r} is reserved for the picture's own; rename it")


def _read_text(file: Path) -> str:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise MetadataError(f"{file}: {(error.strerror or 'cannot be read').lower()}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _refuse(file, data.count(b"\n", 0, error.start) + 1, "not UTF-8; save the file as UTF-8")


def _refuse(file: Path, line: int, reason: str) -> NoReturn:
    raise MetadataError(f"{file}, line {line}: {reason}")


def _normal(path: str) -> str:
    """One spelling for `./cats/1.jpg`, `cats//1.jpg` and `cats\\1.jpg`."""
    return PurePosixPath(path.replace("\\", "/")).as_posix()
