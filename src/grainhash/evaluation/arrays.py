"""Codes and labels from files that anyone wrote: `.npy`, `.csv`, `.txt`."""

from __future__ import annotations

import csv
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
    if isinstance(asked, np.ndarray) != isinstance(stored, np.ndarray):
        raise LabelsError(f"{queries} and {database}: one is a 0/1 matrix, the other is not")
    if isinstance(asked, np.ndarray) and isinstance(stored, np.ndarray):
        if asked.shape[1] != stored.shape[1]:
            raise LabelsError(
                f"{queries} has {asked.shape[1]} classes and {database} {stored.shape[1]}; they must agree"
            )
        labels = Labels.of(np.concatenate([asked, stored]))
    else:
        labels = labels_of([*asked, *stored], kind, queries)
    return labels.take(slice(0, len(asked))), labels.take(slice(len(asked), None))


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
        array: NDArray[Any] = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as problem:
        raise error(f"{path}: not a .npy file that can be read ({problem})") from None
    return array
