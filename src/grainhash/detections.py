"""Boxes that a detector found, from a file: regions that a gallery shall have codes of.

Two kinds of file are read:

- A table, `.csv`, `.tsv`, `.jsonl` or `.ndjson`, of a row a box: a path column as in a metadata file, `x0`,
  `y0`, `x1`, `y1` as fractions of the picture, and perhaps a `score`.
- COCO's JSON, `.json`: `images` with `id`, `file_name`, `width` and `height`, `annotations` with `image_id`,
  `bbox` (left, top, width, height in pixels) and perhaps a `score`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from grainhash.errors import BoxError, MetadataError
from grainhash.metadata import PathTable, read_rows
from grainhash.types import BOX_STEPS, Box

CORNERS = ("x0", "y0", "x1", "y1")


class _Detection(NamedTuple):
    score: float
    box: Box


class Detections:
    """The boxes of a file, found by picture.

    Args:
        boxes: of each picture, best first, by its path as the file writes it.
        folder: where the file lies, for paths written relative to it.
    """

    def __init__(self, boxes: dict[str, list[Box]], folder: Path) -> None:
        self._boxes = boxes
        self._table = PathTable(boxes, folder)

    def __len__(self) -> int:
        """Pictures in the file."""
        return len(self._boxes)

    def of(self, root: Path, path: Path) -> Sequence[Box]:
        """Boxes of the picture at `path`, which lies below `root`; none where the file has none.

        Paths of the file are taken as those of a metadata file, see `MetadataTable.match`.
        """
        written = self._table.find(root, PurePosixPath(path.relative_to(root).as_posix()))
        return () if written is None else self._boxes[written]

    def unmatched(self) -> list[str]:
        """Paths, as the file writes them, that no picture has matched so far."""
        return self._table.unmatched()


def read_detections(path: Path | str) -> Detections:
    """Read a file of boxes.

    Boxes that reach over the picture's edge end there, as detectors' boxes do by a pixel or two.

    Raises:
        MetadataError: a file that cannot be read or is of no known format, or a row that lacks something. The
            message names file and line.
        BoxError: a box that has no area inside its picture. The message says which.
    """
    file = Path(path)
    rows = _coco(file) if file.suffix.lower() == ".json" else _table(file)
    found: dict[str, list[_Detection]] = defaultdict(list)
    for picture, detection in rows:
        found[picture].append(detection)
    best_first = {
        picture: [each.box for each in sorted(detections, key=lambda each: -each.score)]
        for picture, detections in found.items()
    }
    return Detections(best_first, file.parent)


def _table(file: Path) -> Iterator[tuple[str, _Detection]]:
    for line, path, row in read_rows(file):
        where = f"{file}, line {line}"
        missing = [name for name in CORNERS if name not in row]
        if missing:
            raise MetadataError(
                f"{where}: no {missing[0]!r}; a box is x0, y0, x1, y1 as fractions of the picture"
            )
        corners = [_number(row[name], name, where) for name in CORNERS]
        yield path, _Detection(_number(row.get("score", 0.0), "score", where), _clipped(corners, where))


def _coco(file: Path) -> Iterator[tuple[str, _Detection]]:
    try:
        document = json.loads(file.read_text("utf-8"))
        if isinstance(document, list):
            raise ValueError("a list, as of results, does not say which pictures the boxes are of")
        images = {image["id"]: image for image in document["images"]}
        annotations = list(document["annotations"])
    except OSError as error:
        raise MetadataError(f"{file}: {(error.strerror or 'cannot be read').lower()}") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MetadataError(f"{file}: not COCO's JSON with images and annotations ({error!r})") from None
    for number, annotation in enumerate(annotations):
        where = f"{file}, annotation {number}"
        try:
            image = images[annotation["image_id"]]
            left, top, width, height = (_number(each, "bbox", where) for each in annotation["bbox"])
            across, down = (_number(image[side], side, where) for side in ("width", "height"))
            name = str(image["file_name"])
        except (KeyError, TypeError, ValueError) as error:
            raise MetadataError(f"{where}: no box of a known image ({error!r})") from None
        if across <= 0 or down <= 0:
            raise MetadataError(f"{where}: its image is {across:g} x {down:g} pixels")
        corners = [left / across, top / down, (left + width) / across, (top + height) / down]
        yield (
            name,
            _Detection(_number(annotation.get("score", 0.0), "score", where), _clipped(corners, where)),
        )


def _number(value: Any, name: str, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if isinstance(value, bool) or not isfinite(number):
        raise MetadataError(f"{where}: {name} is {value!r}, not a number")
    return number


def _clipped(corners: Sequence[float], where: str) -> Box:
    """The box inside the picture."""
    x0, y0, x1, y1 = (min(max(corner, 0.0), 1.0) for corner in corners)
    if min(x1 - x0, y1 - y0) * BOX_STEPS < 1:
        written = ", ".join(f"{corner:g}" for corner in corners)
        raise BoxError(
            f"{where}: the box {written} has no area inside its picture; corners are fractions of it, 0 to 1"
        )
    return Box(x0, y0, x1, y1)
