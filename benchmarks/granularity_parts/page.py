"""What fills docs/granularity.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pages import ROOT, Document, Page, table, table_of_targets, where_measured

from granularity_parts.plots import draw
from granularity_parts.scale import SEARCHES

CHANGES = ("crop", "flip", "rotate", "recolour", "text", "recompress", "paste")
EXPECTED = ("1", "0.1", "0.01")


def measured(document: Document) -> str:
    """When, where and with what."""
    return where_measured(document, ("openvino", "numpy"))


def scenes(document: Document) -> str:
    """Every setting on scenes."""
    rows = []
    for name, found in _settings(document, "scenes").items():
        instance, others = found["kinds"]["instance"], found["kinds"]["class"]
        rows.append(
            [
                name,
                f"{found['code_bytes_a_picture']:,.0f}",
                f"{found['pictures_a_second']:.0f}",
                _share(instance["recall_at_1"]),
                _share(others["map"]),
                _share(instance["iou"]),
                f"{found['search_of_all_ms']:.0f}",
            ]
        )
    head = ["setting", "bytes of codes", "pictures a second", "R@1", "class mAP", "IoU of the box"]
    return table([*head, "ms to order all 1,000"], rows)


def chance(document: Document) -> str:
    """Does the score mean what it says?"""
    rows = []
    for name, found in _settings(document, "scenes").items():
        kinds = found["kinds"].values()
        cells = [
            sum(kind[f"false_where_{expected}_expected"] * kind["n"] for kind in kinds)
            / sum(kind["n"] for kind in kinds)
            for expected in EXPECTED
        ]
        rows.append([name, *(f"{cell:.2f}" for cell in cells)])
    head = [f"false matches where {expected} is expected" for expected in EXPECTED]
    return table(["setting", *head], rows)


def objects(document: Document) -> str:
    """Every setting on objects."""
    settings = _settings(document, "objects")
    rows = [
        [name, *(_share(found["kinds"]["object"][measure]) for measure in ("map", "map_over_classes"))]
        for name, found in settings.items()
    ]
    return table(["setting", "mAP", "mean over classes"], rows)


def copies(document: Document) -> str:
    """Every setting on near-copies."""
    rows = [
        [name, *(_share(found["kinds"][change]["recall_at_1"]) for change in CHANGES)]
        for name, found in _settings(document, "copies").items()
    ]
    return table(["R@1", *CHANGES], rows)


def classes(document: Document) -> str:
    """Whole pictures, asked by wholes and by parts too."""
    settings = _settings(document, "classes")
    return table(["search", "mAP"], [[n, _share(f["kinds"]["class"]["map"])] for n, f in settings.items()])


def scale(document: Document) -> str:
    """Milliseconds in large galleries."""
    rows = []
    for found in document["figures"]["scale"]["galleries"].values():
        cells = [f"{found[name]['median_ms']:.0f} ({found[name]['p90_ms']:.0f})" for name in SEARCHES]
        opened = f"{found['first_search_seconds']:.1f} s, then {found['next_opened_seconds']:.2f} s"
        rows.append([f"{found['pictures']:,}", f"{found['codes']:,}", *cells, opened])
    names = [f"{name}, ms" for name in SEARCHES]
    return table(["pictures", "codes", *names, "opening and the first search"], rows)


def _settings(document: Document, stage: str) -> dict[str, Any]:
    return dict(document["figures"][stage]["settings"])


def _share(value: float) -> str:
    return f"{value:.3f}".lstrip("0") if value < 1 else "1.000"


def where_there(part: Callable[[Document], str], stage: str) -> Callable[[Document], str]:
    """The part, or a word in its place where its stage has not been measured."""
    return lambda document: part(document) if stage in document["figures"] else "Not measured yet."


PARTS: dict[str, Callable[[Document], str]] = {
    "measured": measured,
    "scenes": where_there(scenes, "scenes"),
    "chance": where_there(chance, "scenes"),
    "objects": where_there(objects, "objects"),
    "copies": where_there(copies, "copies"),
    "classes": where_there(classes, "classes"),
    "scale": where_there(scale, "scale"),
    "targets": table_of_targets,
}

PAGE = Page(ROOT / "docs" / "granularity.md", "granularity", PARTS, draw)
