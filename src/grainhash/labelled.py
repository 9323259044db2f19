"""Pictures with labels, to train on and to judge by: from a folder, a CSV or a Parquet file.

    pictures = read_labelled("photos/")            # photos/cat/1.jpg, photos/dog/2.jpg
    pictures = read_labelled("labels.csv")         # columns path, label and, if it has one, split
    pictures = read_labelled("pictures.parquet")   # columns image (bytes) or path, label, split

Nothing is decoded here, and of a Parquet file nothing but the asked-for bytes is held.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from grainhash.errors import LabelsError, MissingExtra, PictureDamaged
from grainhash.folder import absolute, walk
from grainhash.images import read_bytes
from grainhash.labels import SEPARATOR, Labels

LabelKind = Literal["auto", "single", "multi", "hierarchy"]
"""How labels are read. `auto`: lists, or text with `;`, are several labels; all else is one label."""

SPLIT_FOLDERS = frozenset({"train", "val", "valid", "validation", "test", "query", "database"})
"""Folders right below the root that name a part of the data set rather than a class."""

BETWEEN_LABELS = ";"

LABEL, SPLIT = "label", "split"
"""Columns that a file may have or not; others, asked for by name, it must have."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledPictures:
    """Pictures in a fixed order, with a label each and perhaps the part of the data set they are in."""

    names: tuple[str, ...]
    """The path, or file and row: what an error calls the picture."""
    labels: Labels | None
    splits: NDArray[np.str_] | None
    """`(n,)`, such as `train` and `test`, in lower case; `None` where the source names no parts."""
    read: Callable[[int], Path | bytes]
    """Where the picture at a position of `rows` is, or its bytes."""
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)

    def source(self, position: int) -> Path | bytes:
        """The picture at `position`, as `grainhash.images.decode` takes it."""
        return self.read(int(self.rows[position]))

    def content(self, position: int) -> bytes:
        """The bytes of the picture at `position`.

        Raises:
            PictureError: it cannot be read, or is empty.
        """
        source = self.source(position)
        if isinstance(source, Path):
            return read_bytes(source)
        if not source:
            raise PictureDamaged(self.names[position], "it is empty")
        return source

    def take(self, positions: NDArray[Any] | Sequence[int]) -> LabelledPictures:
        """Some of the pictures, by position or mask, in that order; classes keep their numbers."""
        chosen = np.asarray(positions)
        chosen = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen.astype(np.int64)
        return replace(
            self,
            names=tuple(self.names[position] for position in chosen),
            labels=None if self.labels is None else self.labels.take(chosen),
            splits=None if self.splits is None else self.splits[chosen],
            rows=self.rows[chosen],
        )

    def split(self, name: str) -> LabelledPictures:
        """The pictures of one part.

        Raises:
            LabelsError: there is no such part.
        """
        if self.splits is None or name not in self.splits:
            known = "none" if self.splits is None else ", ".join(sorted(set(self.splits.tolist())))
            raise LabelsError(f"no pictures of the split {name!r}; there are: {known}")
        return self.take(self.splits == name)


def read_labelled(
    path: Path | str,
    *,
    label: str | None = LABEL,
    split: str = SPLIT,
    kind: LabelKind = "auto",
) -> LabelledPictures:
    """Find pictures and their labels.

    Args:
        path: a folder (the folder that a picture lies in is its label; for hierarchies, all folders
            above it), a `.csv` file (paths are relative to it), or a `.parquet` file.
        label: the column of labels; a file without `label` gives pictures without labels. `None` to leave
            labels aside, those that are folders too.
        split: the column that names the part of the data set; a file without `split` names none.
        kind: how labels are read.

    Raises:
        LabelsError: no pictures, a missing column, labels that do not match the pictures, or a folder in
            which some folders name parts and others do not.
        MissingExtra: a Parquet file without pyarrow.
    """
    path = absolute(path)
    if path.is_dir():
        return _from_folder(path, None if label is None else kind)
    if not path.is_file():
        raise LabelsError(f"{path}: no such folder or file")
    if path.suffix.lower() == ".csv":
        return _from_csv(path, label, split, kind)
    if path.suffix.lower() in (".parquet", ".pq"):
        return _from_parquet(path, label, split, kind)
    raise LabelsError(f"{path}: pictures are read from a folder, a .csv or a .parquet file")


def _from_folder(root: Path, kind: LabelKind | None) -> LabelledPictures:
    files = [Path(file.uri) for file in walk(root)]
    if not files:
        raise LabelsError(f"{root}: no pictures below it")
    folders = [file.relative_to(root).parts[:-1] for file in files]
    tops = {parts[0].lower() if parts else "" for parts in folders}
    has_splits = tops <= SPLIT_FOLDERS
    if not has_splits and "train" in tops and tops & {"test", "query"}:
        other = min(tops - SPLIT_FOLDERS) or "pictures in no folder"
        raise LabelsError(
            f"{root}: folders name parts, train among them, but not {other}; move that elsewhere"
        )
    splits = [parts[0].lower() for parts in folders] if has_splits else None
    below = [parts[1:] if has_splits else parts for parts in folders]
    labels = None
    if kind is not None and any(below):
        bare = [file for file, parts in zip(files, below, strict=True) if not parts]
        if bare:
            raise LabelsError(
                f"{root}: {len(bare)} pictures lie in no folder that names their class (first: {bare[0]})"
            )
        whole_path = kind == "hierarchy"
        labels = labels_of(
            [SEPARATOR.join(parts) if whole_path else parts[-1] for parts in below], kind, root
        )
    return _pictures(list(map(str, files)), labels, splits, lambda row: files[row])


def _from_csv(path: Path, label: str | None, split: str, kind: LabelKind) -> LabelledPictures:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LabelsError(f"{path}: cannot be read as CSV ({error})") from None
    if not rows or "path" not in rows[0]:
        raise LabelsError(f"{path}: a CSV of pictures needs a column path, and rows")
    files = [Path(path.parent, row["path"] or "") for row in rows]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise LabelsError(
            f"{path}: {len(missing)} of {len(files)} pictures are not there (first: {missing[0]})"
        )
    _check_columns(path, rows[0], label, split)
    labels = None
    if label is not None and label in rows[0]:
        labels = labels_of([row[label] and row[label].strip() for row in rows], kind, path)
    splits = [row[split] or "" for row in rows] if split in rows[0] else None
    return _pictures(list(map(str, files)), labels, splits, lambda row: files[row])


def _from_parquet(path: Path, label: str | None, split: str, kind: LabelKind) -> LabelledPictures:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtra("pyarrow", "evaluate") from None
    try:
        columns = parquet.read_schema(path).names
        source = next((name for name in ("image", "path") if name in columns), None)
        if source is None:
            raise LabelsError(f"{path}: needs a column image (bytes) or path; it has {', '.join(columns)}")
        _check_columns(path, columns, label, split)
        table = parquet.read_table(path, columns=[c for c in (source, label, split) if c in columns])
    except (OSError, pyarrow.ArrowException) as error:
        raise LabelsError(f"{path}: cannot be read as Parquet ({error})") from None
    if not len(table):
        raise LabelsError(f"{path}: no rows")
    pictures = table.column(source)

    def read(row: int) -> Path | bytes:
        value = pictures[row].as_py()
        if isinstance(value, dict):  # as Hugging Face datasets keep pictures
            value = value.get("bytes") or value.get("path")
        return Path(path.parent, value) if isinstance(value, str) else value or b""

    labels = None
    if label is not None and label in columns:
        labels = labels_of(table.column(label).to_pylist(), kind, path)
    splits = None
    if split in columns:
        splits = ["" if part is None else str(part) for part in table.column(split).to_pylist()]
    return _pictures([f"{path.name}, row {row}" for row in range(len(table))], labels, splits, read)


def _check_columns(path: Path, there: Iterable[str], label: str | None, split: str) -> None:
    """Refuse a column that was asked for by name and is not there."""
    columns = [column for column in there if column]
    for asked, usual in ((label, LABEL), (split, SPLIT)):
        if asked not in (None, usual, *columns):
            raise LabelsError(f"{path}: no column {asked!r}; it has {', '.join(columns)}")


def labels_of(values: Sequence[Any], kind: LabelKind, where: Path) -> Labels:
    """Labels as a column or folder names give them.

    Args:
        values: names, numbers, lists of them, or text with `;` between them.
        kind: how they are read.
        where: what an error names.

    Raises:
        LabelsError: a picture without a label, or a path of a hierarchy with an empty level.
    """
    if kind == "auto":
        several = any(isinstance(v, list) or (isinstance(v, str) and BETWEEN_LABELS in v) for v in values)
        kind = "multi" if several else "single"
    missing = [row for row, v in enumerate(values) if _is_missing(v) or (v == "" and kind != "multi")]
    if missing:
        raise LabelsError(f"{where}: {len(missing)} pictures have no label (first: row {missing[0]})")
    if kind == "hierarchy":
        return Labels.hierarchy(map(str, values))
    if kind == "multi":
        return Labels.multi(map(_several, values))
    return Labels.single(_numbers(values))


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _several(value: Any) -> Iterable[Any]:
    if isinstance(value, str):
        return [part.strip() for part in value.split(BETWEEN_LABELS) if part.strip()]
    return value if isinstance(value, list) else [value]


def _numbers(values: Sequence[Any]) -> Sequence[Any]:
    """Whole numbers written as text become numbers, so that 10 comes after 9."""
    if all(isinstance(value, str) and value.isdecimal() for value in values):
        return [int(value) for value in values]
    return values


def _pictures(
    names: Sequence[str],
    labels: Labels | None,
    splits: Sequence[str] | None,
    read: Callable[[int], Path | bytes],
) -> LabelledPictures:
    return LabelledPictures(
        names=tuple(names),
        labels=labels,
        splits=None if splits is None else np.array([part.strip().lower() for part in splits], np.str_),
        read=read,
        rows=np.arange(len(names), dtype=np.int64),
    )
