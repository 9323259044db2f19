"""Which pictures have a label: by a metadata key, folder names among them, or by a table of paths."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from grainhash.errors import LabelsError
from grainhash.metadata import MetadataTable
from grainhash.store import PictureRow


def labels_by_key(
    pictures: Iterable[PictureRow], key: str, unlabelled: Collection[str] = ()
) -> dict[int, str]:
    """Labels by id of the pictures whose metadata have the key.

    Args:
        pictures: all of them.
        key: such as `label`, which is the outermost folder unless a metadata file says otherwise.
        unlabelled: values that are no label, such as the name of a folder of pictures yet to be sorted.

    Raises:
        LabelsError: a value that is no one label.
    """
    return _labels(((row, row.meta) for row in pictures), key, unlabelled)


def labels_by_table(
    pictures: Iterable[PictureRow], table: MetadataTable, column: str, unlabelled: Collection[str] = ()
) -> dict[int, str]:
    """Labels by id of the pictures that a table names, by absolute path, path beside it, or the end of one.

    Raises:
        LabelsError: no picture is in the table, or none of its rows has the column.
    """
    rows = [(row, _match(table, PurePosixPath(row.uri))) for row in pictures]
    if not any(meta for _, meta in rows):
        raise LabelsError(
            f"none of the {len(table)} paths of the table of labels is a picture of the gallery (first: "
            f"{next(iter(table.unmatched()), 'none')}); write them absolute, or their last folders and names"
        )
    if not any(column in meta for _, meta in rows):
        raise LabelsError(f"no row of the table of labels has a value in column {column!r}")
    return _labels(rows, column, unlabelled)


def _match(table: MetadataTable, path: PurePosixPath) -> dict[str, Any]:
    """The row of a picture: a gallery knows no root, so that each of its folders may be the one meant."""
    rows = (table.match(Path(root), path.relative_to(root)) for root in reversed(path.parents))
    return next((row for row in rows if row), {})


def _labels(
    rows: Iterable[tuple[PictureRow, Mapping[str, Any]]], key: str, unlabelled: Collection[str]
) -> dict[int, str]:
    found = {}
    for row, meta in rows:
        value = meta.get(key)
        if value is None:
            continue
        if not isinstance(value, str | bool | int | float):
            raise LabelsError(
                f"picture {row.id}, {Path(row.uri).name}: {key} = {value!r} is no one label; give each "
                "picture one text or number"
            )
        if str(value) and str(value) not in unlabelled:
            found[row.id] = str(value)
    return found
