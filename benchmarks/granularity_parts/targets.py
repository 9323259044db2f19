"""What was to be reached, and what came out. A target whose stage has not been measured is left out."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import mean
from typing import Any

from harness import Target

from granularity_parts.settings import DEFAULT, SMALL, VERIFIED, WHOLES

ISSUE = "granularity"

Figures = dict[str, Any]


def targets(figures: Figures) -> list[Target]:
    """One entry a figure that the issue asks for."""
    stages = {"scenes": _scenes, "objects": _objects, "copies": _copies, "classes": _classes, "scale": _scale}
    return [target for name, stage in stages.items() if name in figures for target in stage(figures[name])]


def _least(name: str, value: float, at_least: float) -> Target:
    return Target(ISSUE, name, f">= {at_least:g}", value, value >= at_least)


def _most(name: str, value: float, at_most: float) -> Target:
    return Target(ISSUE, name, f"<= {at_most:g}", value, value <= at_most)


def _scenes(stage: Figures) -> Iterator[Target]:
    large, small = (stage["settings"][name] for name in (DEFAULT, SMALL))
    yield _least("scenes, instance R@1", large["kinds"]["instance"]["recall_at_1"], 0.97)
    yield _least("scenes, class mAP", large["kinds"]["class"]["map"], 0.60)
    yield _least("scenes, mean IoU of the returned box", large["kinds"]["instance"]["iou"], 0.70)
    yield _most("scenes, bytes of codes a picture", large["code_bytes_a_picture"], 1500)
    yield _least("scenes, pictures a second", large["pictures_a_second"], 15)
    yield _least("scenes, small setting, instance R@1", small["kinds"]["instance"]["recall_at_1"], 0.75)
    yield _most("scenes, small setting, bytes of codes a picture", small["code_bytes_a_picture"], 400)
    yield _least("scenes, small setting, pictures a second", small["pictures_a_second"], 40)


def _objects(stage: Figures) -> Iterator[Target]:
    parts, wholes = (stage["settings"][name]["kinds"]["object"]["map"] for name in (DEFAULT, WHOLES))
    yield _least("objects, mAP by parts over mAP by wholes", round(parts / wholes, 3), 2)


def _copies(stage: Figures) -> Iterator[Target]:
    kinds = stage["settings"][VERIFIED]["kinds"]
    others = [kind["recall_at_1"] for name, kind in kinds.items() if name != "paste"]
    yield _least("near-copies without paste, 20 verified, R@1", round(mean(others), 4), 0.98)
    pasted = kinds["paste"]["recall_at_1"]
    yield _least("near-copies pasted into another picture, 20 verified, R@1", pasted, 0.90)


def _classes(stage: Figures) -> Iterator[Target]:
    by = {name: each["kinds"]["class"]["map"] for name, each in stage["settings"].items()}
    name = "class search by wholes, what parts add to its mAP"
    yield _least(name, round(by[DEFAULT] - by["default, by wholes"], 4), 0)


def _scale(stage: Figures) -> Iterator[Target]:
    for n, at_most in (("100000", 150), ("1000000", 500)):
        if n in stage["galleries"]:
            value = stage["galleries"][n]["part"]["median_ms"]
            yield _most(f"a part query beyond encoding, {int(n):,} pictures, ms", value, at_most)
