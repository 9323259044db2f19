"""Index real photographs, look for altered pieces of them, and show what came back.

    python examples/demo.py [--photos FOLDER] [--out demo] [--seed 0]

Without --photos: the photographs that scikit-image and scikit-learn ship. Some of them are seen by
the gallery only inside collages. Every query is a piece of a photograph - a crop, a corner, a
mirror image, a small and heavily compressed copy, a whole photograph to be found inside a collage -
so the right answer is known. Writes OUT/report.html and prints how many right answers came first.
"""

from __future__ import annotations

import argparse
import filecmp
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common import ask
from photographs import copy_photographs
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table

from grainhash import Box, Gallery
from grainhash.errors import PictureError
from grainhash.images import decode
from grainhash.report import Answer, html_page, write_html

SHOWN = 4
"""Hits a query on the page."""
ASKED_PHOTOS = 30
"""Photographs of a large folder that queries are made from."""
COLLAGE_SIDE = 900
IN_COLLAGES = ("china", "chelsea", "brick", "rocket", "page", "retina", "color", "moon")
"""Of the shipped photographs, those that the gallery sees only as a quarter of a collage."""


@dataclass(frozen=True)
class Question:
    """A query whose answer is known."""

    kind: str
    query: Path
    answer: Path
    box: Box | None = None
    """Where in the answer, if that is the question."""


def main() -> None:
    """Build, index, ask, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, help="a folder of your own; it is only read")
    parser.add_argument("--out", type=Path, default=Path("demo"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    out = arguments.out.absolute()
    console = Console()

    shutil.rmtree(out / "queries", ignore_errors=True)
    (out / "queries").mkdir(parents=True)
    questions: list[Question] = []
    if arguments.photos is None:
        folder, home = out / "photos", out / "gallery"
        for old in (folder, home):
            shutil.rmtree(old, ignore_errors=True)
        photos, questions = build_gallery_folder(folder, out / "queries")
    else:
        folder, home = arguments.photos.absolute(), out / "gallery-of-your-photos"

    with Gallery.open(home, create=True) as gallery:
        report = gallery.index(folder)
        console.print(
            f"indexed {len(gallery)} pictures of {folder} in {report.seconds:.1f} s "
            f"({report.added} added, {report.unchanged} known, {len(report.skipped)} left out)"
        )
        if arguments.photos is not None:
            photos = sample_of_folder(folder, report.skipped, rng)
        questions += list(altered_pieces(photos, out / "queries", rng))
        if not questions:
            raise SystemExit(f"{folder}: no pictures there to ask for")
        answers = [ask(gallery, question.query, k=SHOWN) for question in questions]

    expected = [right_hit(question, answer) for question, answer in zip(questions, answers, strict=True)]
    right = [
        bool(answer.hits) and answer.hits[0].uri == uri for answer, uri in zip(answers, expected, strict=True)
    ]
    print_table(console, questions, answers, right)
    page = out / "report.html"
    write_html(
        page,
        html_page(
            answers,
            title="grainhash: pictures found again, whole and by part",
            notes=[
                f"{len(questions)} altered pieces of photographs, looked for among {answers[0].n_pictures}"
            ],
            expectations=expected,
        ),
    )
    console.print(f"{sum(right)} of {len(right)} right answers came first; see file://{page}", soft_wrap=True)


def build_gallery_folder(folder: Path, queries: Path) -> tuple[list[Path], list[Question]]:
    """Shipped photographs as files, some of them only inside collages, with the questions for those."""
    photos = copy_photographs(folder)
    hidden = [photo for photo in photos if photo.stem in IN_COLLAGES]
    questions = []
    for number in range(len(hidden) // 4):
        four = hidden[4 * number : 4 * number + 4]
        target = folder / "collages" / f"collage{number + 1}.jpg"
        for photo, box in zip(four, paste_collage(four, target), strict=True):
            query = photo.rename(queries / f"{photo.stem}{photo.suffix}")
            questions.append(Question("inside a collage", query, target, box))
    return [photo for photo in photos if photo not in hidden], questions


def paste_collage(photos: list[Path], target: Path) -> list[Box]:
    """Four photographs side by side and one above the other; returns where each one is."""
    sheet = Image.new("RGB", (COLLAGE_SIDE, COLLAGE_SIDE))
    half = COLLAGE_SIDE // 2
    boxes = []
    for place, photo in enumerate(photos):
        left, top = place % 2, place // 2
        sheet.paste(picture(photo).resize((half, half)), (left * half, top * half))
        boxes.append(Box(left / 2, top / 2, (left + 1) / 2, (top + 1) / 2))
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(target, quality=90)
    return boxes


def sample_of_folder(folder: Path, skipped: dict[str, str], rng: random.Random) -> list[Path]:
    """Some pictures of a folder, drawn at random."""
    from grainhash.folder import walk

    files = [file.path for file in walk(folder) if file.uri not in skipped]
    rng.shuffle(files)
    return sorted(files[:ASKED_PHOTOS])


def altered_pieces(photos: list[Path], queries: Path, rng: random.Random) -> Iterator[Question]:
    """Four altered pieces of every photograph, each written to a file of its own."""
    for number, photo in enumerate(photos):
        try:
            image = picture(photo)
        except PictureError:
            continue
        width, height = image.size
        side = rng.uniform(0.45, 0.65)
        x, y = rng.uniform(0, 1 - side), rng.uniform(0, 1 - side)
        crop = image.crop(
            (int(x * width), int(y * height), int((x + side) * width), int((y + side) * height))
        )
        corner = image.crop((width // 2, 0, width, height // 2))
        small = image.resize((max(1, width // 3), max(1, height // 3)))
        for kind, piece, quality in (
            ("a crop", crop, 90),
            ("a corner", corner, 90),
            ("mirrored", ImageOps.mirror(image), 90),
            ("small, quality 20", small, 20),
        ):
            query = queries / f"{number:02d}-{photo.stem}-{kind.split()[-1]}.jpg"
            piece.save(query, quality=quality)
            yield Question(kind, query, photo)


def right_hit(question: Question, answer: Answer) -> str:
    """The right answer's path, or that of an exact copy of it if one came first."""
    if answer.hits and filecmp.cmp(answer.hits[0].uri, question.answer, shallow=False):
        return answer.hits[0].uri
    return str(question.answer)


def picture(path: Path) -> Image.Image:
    """A photograph as the gallery sees it: upright, RGB."""
    return Image.fromarray(decode(path).rgb)


def print_table(
    console: Console, questions: list[Question], answers: list[Answer], right: list[bool]
) -> None:
    """How many came first, by kind of question, and how well the boxes of collages fit."""
    asked = Counter(question.kind for question in questions)
    found = Counter(question.kind for question, is_right in zip(questions, right, strict=True) if is_right)
    overlaps = [
        answer.hits[0].box.iou(question.box)
        for question, answer, is_right in zip(questions, answers, right, strict=True)
        if question.box is not None and is_right
    ]
    table = Table("query", "asked", "came first", "box overlap (IoU)")
    for kind, n in asked.items():
        overlap = f"{sum(overlaps) / len(overlaps):.2f}" if overlaps and kind == "inside a collage" else ""
        table.add_row(kind, str(n), str(found[kind]), overlap)
    console.print(table)


if __name__ == "__main__":
    main()
