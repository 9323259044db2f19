"""Codes and labels from files that anyone wrote: `.npy`, `.csv`, `.txt`."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grainhash.errors import CodesError, LabelsError
from grainhash.labelled import LabelKind, labels_of
from grainhash.labels import Labels


def read_vectors(path: Path) -> NDArray[Any]:
    """Packed codes (uint8) or float vectors, one a row, of a `.npy` file; memory-mapped.

    Raises:
        CodesError: there is no such file, or it holds something else.
    """
    array = _read_npy(path, CodesError, mapped=True)
    if array.ndim != 2 or not (array.dtype == np.uint8 or array.dtype.kind == "f"):
        raise CodesError(
            f"{path}: {array.dtype} of shape {array.shape}; packed codes are uint8 (n, n_bits / 8), "
            "vectors are real numbers (n, width)"
        )
    return array


def read_labels(queries: Path, database: Path, *, kind: LabelKind = "auto") -> tuple[Labels, Labels]:
    """The labels of queries and of the database, with the same classes.

    A file is a `.npy` of `(n,)` names or numbers or of `(n, n_classes)` 0 and 1, a `.csv` with a column
    `label`, or any other text with a line a picture. Several labels of one picture have `;` between them.

    Raises:
        LabelsError: a file is missing, holds something else, or the two do not fit one another.
    """
    asked, stored = _values(queries), _values(database)
    if isinstance(asked, list) and isinstance(stored, list):
        labels = _together((queries, asked), (database, stored), kind)
    elif isinstance(asked, list) or isinstance(stored, list):
        raise LabelsError(f"{queries} and {database}: one is a 0/1 matrix, the other is not")
    elif asked.shape[1] != stored.shape[1]:
        raise LabelsError(
            f"{queries} has {asked.shape[1]} classes and {database} {stored.shape[1]}; they must agree"
        )
    else:
        labels = Labels.of(np.concatenate([asked, stored]))
    return labels.take(slice(0, len(asked))), labels.take(slice(len(asked), None))


def _together(
    queries: tuple[Path, Sequence[Any]], database: tuple[Path, Sequence[Any]], kind: LabelKind
) -> Labels:
    """Labels of both files; an error names the file and its own row."""
    try:
        return labels_of([*queries[1], *database[1]], kind, queries[0])
    except LabelsError:
        for path, values in (queries, database):
            labels_of(values, kind, path)
        raise


def _values(path: Path) -> list[Any] | NDArray[Any]:
    """A label a picture, or the matrix that the file holds."""
    if path.suffix.lower() == ".npy":
        array = _read_npy(path, LabelsError)
        if array.ndim not in (1, 2):
            raise LabelsError(f"{path}: labels of shape {array.shape}; give (n,) or a 0/1 matrix")
        return array if array.ndim == 2 else list(map(str, array.tolist()))  # as text files have them
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            if path.suffix.lower() != ".csv":
                return file.read().splitlines()
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LabelsError(f"{path}: labels cannot be read ({error})") from None
    if not rows or "label" not in rows[0]:
        raise LabelsError(f"{path}: a CSV of labels needs a column label, and rows")
    return [row["label"] for row in rows]


def _read_npy(path: Path, error: type[CodesError | LabelsError], *, mapped: bool = False) -> NDArray[Any]:
    try:
        array: Any = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except FileNotFoundError:
        raise error(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError) as problem:
        raise error(f"{path}: not a .npy file that can be read ({problem})") from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise error(f"{path}: an archive of arrays; save the one that is meant as .npy")
    return array
