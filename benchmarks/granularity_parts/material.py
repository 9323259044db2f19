"""Pictures to search, and questions with known answers: scenes, near-copies, objects."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageEnhance, ImageFont

from grainhash.types import WHOLE, Box

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
SCENES = SHARED / "bench" / "scenes.py"
PICTURES = SHARED / "data"
BUILD = ROOT / "build" / "granularity"

SCENES_SEED = 0
COPIES_SEED = 0
QUERY_PARTS = 6
COPIED = 100
"""Pictures of which altered copies are made."""
SMALLEST_OBJECT, LARGEST_OBJECT = 0.02, 0.6
"""Share of its picture that an object covers to be asked for."""
OBJECTS_A_PICTURE = 2


@dataclass(frozen=True)
class Question:
    """A picture, or a part of it, and the answers."""

    kind: str
    picture: bytes
    region: Box
    relevant: frozenset[str]
    """Names of the files that are right."""
    itself: str | None = None
    """Where the query comes from: left out of the answer."""
    box: Box | None = None
    """Where in the one right picture it is."""
    alike: frozenset[str] | None = None
    """Files that show the same kind of thing: all else is a false match. `None` where nobody knows."""
    label: str | None = None
    """The class asked for, where the mean over classes is wanted, too."""


@dataclass(frozen=True)
class Task:
    """A folder of pictures and what is asked of it."""

    name: str
    folder: Path
    questions: list[Question]
    search: Mapping[str, Any] = field(default_factory=dict)
    """Options of the search that it takes."""
    timed: bool = False
    """Whether it is this task that says how fast indexing is."""
    boxes: Mapping[str, Sequence[Box]] = field(default_factory=dict)
    """Of the things in a picture, by the file's name, drawn by people."""


def scenes(*, quick: bool) -> Task | None:
    """Things pasted into photographs: find the very thing (`instance`), and others of its class (`class`)."""
    if not SCENES.exists():
        print(f"scenes: not measured, there is no {SCENES.name} on this machine")
        return None
    n = 80 if quick else 1000
    out = BUILD / f"scenes-{n}"
    if not (out / "truth.json").exists():
        out.mkdir(parents=True, exist_ok=True)
        arguments = [SCENES, PICTURES, out, "--scenes", str(n), "--seed", str(SCENES_SEED)]
        subprocess.run([sys.executable, *map(str, arguments)], check=True)
    truth = json.loads((out / "truth.json").read_text())
    by_label: dict[str, set[str]] = {}
    of_source: dict[tuple[str, str], Any] = {}
    for scene in truth["scenes"]:
        by_label.setdefault(scene["label"], set()).add(scene["file"])
        of_source[scene["label"], scene["source"]] = scene
    questions = []
    for query in truth["queries"]:
        data = (out / "queries" / query["file"]).read_bytes()
        if query["source"] is None:
            relevant = frozenset(by_label[query["label"]])
            questions.append(Question("class", data, WHOLE, relevant, alike=relevant))
        else:
            scene = of_source[query["label"], query["source"]]
            right = frozenset([scene["file"]])
            box, alike = Box(*scene["box"]), frozenset(by_label[query["label"]])
            questions.append(Question("instance", data, WHOLE, right, box=box, alike=alike))
    return Task("scenes", out / "scenes", questions[:: 9 if quick else 1], timed=not quick)


def objects(*, quick: bool) -> Task | None:
    """COCO's photographs: an object's box asks for other pictures with its class."""
    rows = rows_of("coco_mini")
    if rows is None:
        return None
    rows = rows[: 60 if quick else None]
    folder = _written(f"objects-{len(rows)}", {row["file"]: row["image"] for row in rows})
    having: dict[str, set[str]] = {}
    for row in rows:
        for thing in row["objects"]:
            having.setdefault(thing["label"], set()).add(row["file"])
    rng = random.Random(0)
    questions, drawn = [], {}
    for row in rows:
        sides = row["width"], row["height"]
        boxes = [(thing["label"], _fractions(thing["box"], *sides)) for thing in row["objects"]]
        drawn[Path(row["file"]).name] = [box for _, box in boxes if box is not None]
        asked = [
            (label, box)
            for label, box in boxes
            if box is not None and SMALLEST_OBJECT <= box.area <= LARGEST_OBJECT and len(having[label]) > 1
        ]
        for label, box in rng.sample(asked, min(OBJECTS_A_PICTURE, len(asked))):
            relevant = frozenset(having[label] - {row["file"]})
            question = Question("object", row["image"], box, relevant, itself=row["file"], label=label)
            questions.append(question)
    return Task("objects", folder, questions[:: 3 if quick else 1], boxes=drawn)


def copies(*, quick: bool) -> Task | None:
    """Photographs, and altered copies of some: find the original."""
    rows, hosts = rows_of("flickr8k_1k"), rows_of("coco_mini")
    if rows is None or hosts is None:
        return None
    rows = sorted(rows, key=lambda row: row["split"] != "test")  # those that copies are made of are among few
    files = {row["file"]: row["image"] for row in rows[: 70 if quick else None]}
    folder = _written(f"copies-{len(files)}", files)
    rng = random.Random(COPIES_SEED)
    held_out = sorted(row["file"] for row in rows if row["split"] == "test" and row["file"] in files)
    chosen = rng.sample(held_out, 5 if quick else COPIED)
    questions = []
    for name in chosen:
        picture = Image.open(io.BytesIO(files[name])).convert("RGB")
        for kind, change in CHANGES.items():
            other = Image.open(io.BytesIO(rng.choice(hosts)["image"])).convert("RGB")
            questions.append(Question(kind, jpeg(*change(picture, other, rng)), WHOLE, frozenset([name])))
    return Task("copies", folder, questions, {"parts": QUERY_PARTS})


def classes(*, quick: bool) -> Task | None:
    """Caltech-101: whole pictures ask for the others of their class."""
    rows = rows_of("caltech101")
    if rows is None:
        return None
    searched = [row for row in rows if row["split"] == "database"][:: 40 if quick else 1]
    named = {f"{number:04d}.jpg": row for number, row in enumerate(searched)}
    folder = _written(f"classes-{len(named)}", {name: row["image"] for name, row in named.items()})
    of_label: dict[str, set[str]] = {}
    for name, row in named.items():
        of_label.setdefault(row["label"], set()).add(name)
    asking = [row for row in rows if row["split"] == "query" and row["label"] in of_label]
    questions = [
        Question("class", row["image"], WHOLE, frozenset(of_label[row["label"]]))
        for row in asking[:: 80 if quick else 1]
    ]
    return Task("classes", folder, questions)


def pictures_of(name: str) -> list[bytes] | None:
    """The pictures of one file of the evaluation data, if that is here."""
    rows = rows_of(name)
    return None if rows is None else [row["image"] for row in rows]


def _crop(picture: Image.Image, other: Image.Image, rng: random.Random) -> tuple[Image.Image, int]:
    """A half to nine tenths of each side."""
    width, height = (int(side * rng.uniform(0.5, 0.9)) for side in picture.size)
    left, top = rng.randint(0, picture.width - width), rng.randint(0, picture.height - height)
    return picture.crop((left, top, left + width, top + height)), 90


def _flip(picture: Image.Image, other: Image.Image, rng: random.Random) -> tuple[Image.Image, int]:
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 90


def _rotate(picture: Image.Image, other: Image.Image, rng: random.Random) -> tuple[Image.Image, int]:
    """Up to 15 degrees, the corners grey."""
    turned = picture.rotate(rng.uniform(-15, 15), Image.Resampling.BICUBIC, fillcolor=(127, 127, 127))
    return turned, 90


def _recolour(picture: Image.Image, other: Image.Image, rng: random.Random) -> tuple[Image.Image, int]:
    for enhance in (ImageEnhance.Color, ImageEnhance.Brightness, ImageEnhance.Contrast):
        picture = enhance(picture).enhance(rng.uniform(0.6, 1.5))
    return picture, 90


def _text(picture: Image.Image, other: Image.Image, rng: random.Random) -> tuple[Image.Image, int]:
    picture = picture.copy()
    height = picture.height // 9
    font = ImageFont.load_default(size=height)
    for line in range(2):
        at = (picture.width * rng.uniform(0.02, 0.2), picture.height * (0.1 + 0.6 * line))
        ImageDraw.Draw(picture).text(
            at, "FOR SALE 2 for 1", (255, 255, 255), font, stroke_width=2, stroke_fill=0
        )
    return picture, 90


def _recompress(picture: Image.Image, other: Image.Image, rng: random.Random) -> tuple[Image.Image, int]:
    """Half the size, JPEG quality 15."""
    return picture.resize((picture.width // 2, picture.height // 2)), 15


def _paste(picture: Image.Image, other: Image.Image, rng: random.Random) -> tuple[Image.Image, int]:
    """Into a photograph that is not in the collection, 40 to 60 % of its width."""
    other = other.copy()
    width = int(other.width * rng.uniform(0.4, 0.6))
    height = min(int(width * picture.height / picture.width), int(0.8 * other.height))
    left, top = rng.randint(0, other.width - width), rng.randint(0, other.height - height)
    other.paste(picture.resize((width, height)), (left, top))
    return other, 90


CHANGES: dict[str, Callable[[Image.Image, Image.Image, random.Random], tuple[Image.Image, int]]] = {
    "crop": _crop,
    "flip": _flip,
    "rotate": _rotate,
    "recolour": _recolour,
    "text": _text,
    "recompress": _recompress,
    "paste": _paste,
}


def jpeg(picture: Image.Image, quality: int) -> bytes:
    """A picture as the bytes of a JPEG."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


def _fractions(box: list[float], width: int, height: int) -> Box | None:
    x0, y0, x1, y1 = box
    corners = [max(x0 / width, 0), max(y0 / height, 0), min(x1 / width, 1), min(y1 / height, 1)]
    return Box(*corners) if corners[0] < corners[2] and corners[1] < corners[3] else None


def rows_of(name: str) -> list[dict[str, Any]] | None:
    """The rows of a table of photographs; `None` where it is not there."""
    path = PICTURES / f"{name}.parquet"
    if not path.exists():
        print(f"{name}: not measured, there is no {path.name} on this machine")
        return None
    import pyarrow.parquet as parquet

    rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return rows


def _written(name: str, files: dict[str, bytes]) -> Path:
    folder = BUILD / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, data in files.items():
        path = folder / Path(file).name
        if not path.exists():
            path.write_bytes(data)
    return folder
