"""Search by a part: quality, cost and speed of several settings of granules.

    python benchmarks/granularity.py [--quick] [--only STAGE] [--report] [--out FOLDER]

The stages:

- scenes: 1,000 photographs into each of which a thing is pasted at 28 to 42 % of its width (shared/bench,
  seed 0). 200 queries are the very picture that was pasted (R@1, and how well the returned box fits), 200 are
  another picture of its class (mAP over all scenes).
- objects: 412 of COCO's photographs; a box of an object asks for the other pictures with its class (mAP).
- copies: 1,000 photographs; altered copies of 100 of them ask for the original (R@1), each with its salient
  parts too (`parts=6`).
- classes: 808 pictures of Caltech-101 ask for others of their class among 3,161, by wholes, and by wholes and
  parts: do parts harm?
- scale: a hundred thousand pictures, and a million, with 17 codes each: how long a search takes.

Each setting makes a gallery with `Gallery.index` from files, on all cores, with the shipped network and
hash function, and asks it with `Gallery.search`. Bytes are those of codes and boxes. Proposals were tuned on
scenes of our own: other classes of Caltech-101, pasted into other photographs. Local points were tuned on
altered copies of photographs in the training split of Flickr8k's sample; those here are of its test split.
The mean of wholes and regions, its power and what wholes count in it, and how wide chance may spread at most
were chosen on the same, and on
Caltech-101's database pictures, which asked for each other.
How many proposals the small setting has was chosen here, by pictures a second alone.
The pictures are not part of this repository: what is not there is not measured. `--only` measures one stage
again and keeps the others.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import Any

import numpy as np
from granularity_parts.material import BUILD, Question, Task, classes, copies, objects, scenes
from granularity_parts.scale import scale
from granularity_parts.settings import SETTINGS, Setting
from granularity_parts.targets import targets
from harness import RESULTS, earlier_figures, parser, write

from grainhash.encoder import Encoder
from grainhash.gallery import Gallery
from grainhash.types import Hit

EXPECTED = (1, 0.1, 0.01)
"""False matches to expect: scores of .5, .909 and .99."""
ROUNDS = 2
"""Times that a gallery is made where the time counts: the machine may be busy with something else."""
BOX_BYTES = 8
"""Of a region's box in a gallery."""


def main() -> None:
    """Measure, write the results, and say which targets were met."""
    options = arguments()
    if options.report:
        from granularity_parts.page import PAGE

        PAGE.report(options.out or RESULTS, options.out)
        return
    figures: dict[str, Any] = {}
    for name in options.only or list(STAGES):
        print(name, flush=True)
        started = perf_counter()
        found = STAGES[name](options.quick)
        if found is None:
            continue
        seconds = round(perf_counter() - started, 1)
        figures[name] = {**found, "date": datetime.now(UTC).date().isoformat(), "seconds": seconds}
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
    options.add_argument("--report", action="store_true", help="measure nothing; write page and pictures")
    return options.parse_args()


def measured(make: Callable[..., Task | None], quick: bool) -> dict[str, Any] | None:
    """Every setting on one task."""
    task = make(quick=quick)
    if task is None:
        return None
    print(f"  {len(task.questions)} questions", flush=True)
    figures = {}
    for setting in SETTINGS:
        if task.name not in setting.tasks or (quick and not setting.quick):
            continue
        with Indexed(task, setting) as (gallery, seconds):
            n, info = len(gallery), gallery.info()
            regions, n_bytes = info.regions / n, info.n_bits // 8
            for name, search in setting.searches_for(task.name).items():
                figures[name] = {
                    "pictures": n,
                    "regions_a_picture": round(regions, 2),
                    "code_bytes_a_picture": round((1 + regions) * n_bytes, 1),
                    "bytes_a_picture": round((1 + regions) * n_bytes + regions * BOX_BYTES, 1),
                    "pictures_a_second": round(n / seconds, 1),
                    **asked(gallery, task.questions, {**search, **task.search}),
                }
                print(f"  {name}: {figures[name]}", flush=True)
    return {"settings": figures}


STAGES: dict[str, Callable[[bool], dict[str, Any] | None]] = {
    "scenes": partial(measured, scenes),
    "objects": partial(measured, objects),
    "copies": partial(measured, copies),
    "classes": partial(measured, classes),
    "scale": scale,
}


class Indexed:
    """A gallery of a task's pictures, made anew, and the seconds that took at best; deleted at the end."""

    def __init__(self, task: Task, setting: Setting) -> None:
        self.task, self.setting = task, setting
        self.path = BUILD / "gallery"

    def __enter__(self) -> tuple[Gallery, float]:
        seconds = [self._made() for _ in range(ROUNDS if self.task.timed else 1)]
        return self.gallery, min(seconds)

    def _made(self) -> float:
        shutil.rmtree(self.path, ignore_errors=True)
        encoder = Encoder.load().with_granules(self.setting.granules)
        self.gallery = Gallery.open(self.path, create=True, encoder=encoder)
        self.gallery.encoder.prepare()
        boxes = self.task.boxes if self.setting.given else {}
        report = self.gallery.index(self.task.folder, boxes_of=lambda path: boxes.get(path.name, ()))
        return report.seconds

    def __exit__(self, *_: object) -> None:
        self.gallery.close()
        shutil.rmtree(self.path, ignore_errors=True)


def asked(gallery: Gallery, questions: list[Question], search: dict[str, Any]) -> dict[str, Any]:
    """mAP, R@1, fit of boxes and milliseconds, by kind of question."""
    values: dict[str, dict[str, list[float]]] = {}
    of_label: dict[str, list[float]] = {}
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
            average = float((precision * right).sum() / max(right.sum(), 1))
            kind.setdefault("map", []).append(average)
            if question.label is not None:
                of_label.setdefault(question.label, []).append(average)
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
    if of_label:
        figures["object"]["map_over_classes"] = round(mean(map(mean, of_label.values())), 4)
    return {"kinds": figures, "search_of_all_ms": round(1e3 * float(np.median(times)), 1)}


def name_of(hit: Hit) -> str:
    """The file's name."""
    return Path(hit.uri).name


if __name__ == "__main__":
    main()
