"""Search by a part: quality, cost and speed of several settings of granules.

    python benchmarks/granularity.py [--quick] [--only STAGE] [--out FOLDER]

The stages:

- scenes: 1,000 photographs into each of which a thing is pasted at 28 to 42 % of its width (shared/bench,
  seed 0). 200 queries are the very picture that was pasted (R@1, and how well the returned box fits), 200 are
  another picture of its class (mAP over all scenes).
- objects: 412 of COCO's photographs; a box of an object asks for the other pictures with its class (mAP).
- copies: 1,000 photographs; altered copies of 100 of them ask for the original (R@1), each with its salient
  parts too (`parts=6`).

Each setting makes a gallery with `Gallery.index` from files, on all cores, with the shipped network and
hash function, and asks it with `Gallery.search`. Bytes are those of codes and boxes. Proposals were tuned on
scenes of our own: other classes of Caltech-101, pasted into other photographs. The pictures are not part of
this repository: what is not there is not measured.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import Any

import numpy as np
from granularity_parts.material import BUILD, Question, Task, copies, objects, scenes
from granules import TILES
from harness import RESULTS, Target, earlier_figures, parser, write

from grainhash.encoder import Encoder
from grainhash.encoder.granules import WHOLE_ONLY, GranuleSettings, Grid
from grainhash.gallery import Gallery
from grainhash.types import Hit

EXPECTED = (1, 0.1, 0.01)
"""False matches to expect: scores of .5, .909 and .99."""
BOX_BYTES = 8
"""Of a region's box in a gallery."""


@dataclass(frozen=True)
class Setting:
    """What is cut from every picture, and how the gallery is asked."""

    granules: GranuleSettings
    search: dict[str, Any]
    quick: bool = True


SETTINGS = {
    "whole pictures only": Setting(WHOLE_ONLY, {}),
    "13 tiles, hamming": Setting(TILES, {"order": "hamming"}),
    "13 tiles": Setting(TILES, {}, quick=False),
    "8 proposals": Setting(GranuleSettings((), 8), {}, quick=False),
    "default, hamming": Setting(GranuleSettings(), {"order": "hamming"}, quick=False),
    "default": Setting(GranuleSettings(), {}),
    "4 tiles, 20 proposals": Setting(GranuleSettings((Grid(2, 0.6),), 20), {}, quick=False),
}
SMALL, LARGE = "8 proposals", "4 tiles, 20 proposals"


def main() -> None:
    """Measure, write the results, and say which targets were met."""
    options = arguments()
    figures: dict[str, Any] = {}
    for name in options.only or list(STAGES):
        task = STAGES[name](quick=options.quick)
        if task is None:
            continue
        figures[name] = {**measured(task, options.quick), "date": datetime.now(UTC).date().isoformat()}
        if not options.quick:
            write_results(options, figures)
    write_results(options, figures)


def write_results(options: argparse.Namespace, measured: dict[str, Any]) -> None:
    """The results so far, and with `--only` those that are there already."""
    figures = earlier_figures((options.out or RESULTS) / "granularity.json", options) | measured
    write(
        options,
        "granularity",
        packages=["openvino", "pillow", "simplejpeg"],
        seeds=[0],
        figures=figures,
        targets=[] if options.quick else targets(figures),
    )


def arguments() -> argparse.Namespace:
    """The options of every benchmark, and those of this one."""
    options = parser(__doc__)
    options.add_argument("--only", action="append", choices=list(STAGES), help="measure this stage")
    return options.parse_args()


STAGES: dict[str, Callable[..., Task | None]] = {"scenes": scenes, "objects": objects, "copies": copies}


def measured(task: Task, quick: bool) -> dict[str, Any]:
    """Every setting on one task."""
    print(f"{task.name}: {len(task.questions)} questions", flush=True)
    figures = {}
    for name, setting in SETTINGS.items():
        if quick and not setting.quick:
            continue
        with Indexed(task, setting.granules) as (gallery, seconds):
            n = len(gallery)
            found = asked(gallery, task.questions, setting.search | task.search)
            info = gallery.info()
            regions = info.regions / n
            n_bytes = info.n_bits // 8
            figures[name] = {
                "pictures": n,
                "regions_a_picture": round(regions, 2),
                "code_bytes_a_picture": round((1 + regions) * n_bytes, 1),
                "bytes_a_picture": round((1 + regions) * n_bytes + regions * BOX_BYTES, 1),
                "pictures_a_second": round(n / seconds, 1) if seconds else None,
                **found,
            }
        print(f"  {name}: {figures[name]}", flush=True)
    return {"settings": figures}


class Indexed:
    """A gallery of a task's pictures, made anew, and the seconds that took; deleted at the end."""

    def __init__(self, task: Task, granules: GranuleSettings) -> None:
        self.task, self.granules = task, granules
        self.path = BUILD / "gallery"

    def __enter__(self) -> tuple[Gallery, float]:
        shutil.rmtree(self.path, ignore_errors=True)
        encoder = Encoder.load().with_granules(self.granules)
        self.gallery = Gallery.open(self.path, create=True, encoder=encoder)
        self.gallery.encoder.prepare()
        report = self.gallery.index(self.task.folder)
        return self.gallery, report.seconds

    def __exit__(self, *_: object) -> None:
        self.gallery.close()
        shutil.rmtree(self.path, ignore_errors=True)


def asked(gallery: Gallery, questions: list[Question], search: dict[str, Any]) -> dict[str, Any]:
    """mAP, R@1, fit of boxes and milliseconds, by kind of question."""
    values: dict[str, dict[str, list[float]]] = {}
    times = []
    for question in questions:
        started = perf_counter()
        hits = gallery.search(
            question.picture, region=question.region, k=len(gallery), name=question.kind, **search
        )
        times.append(perf_counter() - started)
        hits = [hit for hit in hits if name_of(hit) != question.itself]
        right = np.array([name_of(hit) in question.relevant for hit in hits])
        kind = values.setdefault(question.kind, {})
        if question.alike is not None:
            false = [hit.false_matches for hit in hits if name_of(hit) not in question.alike]
            for expected in EXPECTED:
                n_false = sum(each <= expected for each in false)
                kind.setdefault(f"false_where_{expected:g}_expected", []).append(n_false)
        if len(question.relevant) > 1 or question.kind in ("class", "object"):
            precision = np.cumsum(right) / np.arange(1, len(right) + 1)
            kind.setdefault("map", []).append(float((precision * right).sum() / max(right.sum(), 1)))
        else:
            kind.setdefault("recall_at_1", []).append(float(right[0]))
            if question.box is not None:
                box = next(hit.box for hit in hits if name_of(hit) in question.relevant)
                kind.setdefault("iou", []).append(box.iou(question.box))
    figures = {
        kind: {
            "n": len(next(iter(found.values()))),
            **{name: round(mean(of), 4) for name, of in found.items()},
        }
        for kind, found in values.items()
    }
    return {"kinds": figures, "search_of_all_ms": round(1e3 * float(np.median(times)), 1)}


def name_of(hit: Hit) -> str:
    """The file's name."""
    return Path(hit.uri).name


def targets(figures: dict[str, Any]) -> list[Target]:
    """What the issue asks for, of what was measured."""
    found: list[Target] = []

    def least(name: str, value: float | None, at_least: float) -> None:
        if value is not None:
            found.append(Target("granularity", name, f">= {at_least:g}", value, value >= at_least))

    def most(name: str, value: float, at_most: float) -> None:
        found.append(Target("granularity", name, f"<= {at_most:g}", value, value <= at_most))

    if "scenes" in figures:
        large, small = (figures["scenes"]["settings"][name] for name in (LARGE, SMALL))
        least("scenes, instance R@1", large["kinds"]["instance"]["recall_at_1"], 0.97)
        least("scenes, class mAP", large["kinds"]["class"]["map"], 0.60)
        least("scenes, mean IoU of the returned box", large["kinds"]["instance"]["iou"], 0.70)
        most("scenes, bytes of codes a picture", large["code_bytes_a_picture"], 1500)
        least("scenes, pictures a second", large["pictures_a_second"], 15)
        least("scenes, small setting, instance R@1", small["kinds"]["instance"]["recall_at_1"], 0.75)
        most("scenes, small setting, bytes of codes a picture", small["code_bytes_a_picture"], 400)
        least("scenes, small setting, pictures a second", small["pictures_a_second"], 40)
    if "objects" in figures:
        of = {name: each["kinds"]["object"]["map"] for name, each in figures["objects"]["settings"].items()}
        least("objects, mAP by parts over mAP by wholes", of["default"] / of["whole pictures only"], 2)
    if "copies" in figures:
        kinds = figures["copies"]["settings"]["default"]["kinds"]
        others = [kind["recall_at_1"] for name, kind in kinds.items() if name != "paste"]
        least("near-copies without paste, R@1", mean(others), 0.98)
        least("near-copies pasted into another picture, R@1", kinds["paste"]["recall_at_1"], 0.90)
    return found


if __name__ == "__main__":
    main()
