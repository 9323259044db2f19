"""The pictures of docs/granularity.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pages import draw_all, finish, panels_in_a_row

from granularity_parts.settings import DEFAULT, SMALL, WHOLES

LOOKS = {
    WHOLES: ("#A67C00", "v"),
    "13 tiles": ("#D55E00", "s"),
    SMALL: ("#56B4E9", "P"),
    "4 proposals": ("#B0619A", "^"),
    DEFAULT: ("#0072B2", "o"),
}
"""How a setting is drawn: colour, marker."""

MEASURES: dict[str, Callable[[dict[str, Any]], float]] = {
    "R@1, the very thing": lambda found: found["kinds"]["instance"]["recall_at_1"],
    "mAP, things of its class": lambda found: found["kinds"]["class"]["map"],
    "IoU of the returned box": lambda found: found["kinds"]["instance"]["iou"],
}


def draw(figures: dict[str, Any], folder: Path) -> Iterator[Path]:
    """Draw what has been measured; yields the files written."""
    pictures = {"granularity-bytes": against_bytes, "granularity-time": against_time}
    yield from draw_all(pictures, figures, folder)


def against_bytes(figures: dict[str, Any]) -> Any:
    """Quality on scenes against bytes of codes and boxes."""
    ticks = [32, 64, 128, 256, 512]
    return _against(figures, "bytes a picture", lambda found: found["bytes_a_picture"], ticks)


def against_time(figures: dict[str, Any]) -> Any:
    """Quality on scenes against the time that indexing takes."""
    ticks = [5, 10, 20, 50]
    return _against(figures, "ms a picture to index", lambda found: 1000 / found["pictures_a_second"], ticks)


def _against(
    figures: dict[str, Any], name: str, cost: Callable[[dict[str, Any]], float], ticks: list[int]
) -> Any:
    if "scenes" not in figures:
        return None
    settings = figures["scenes"]["settings"]
    figure, panels = panels_in_a_row(len(MEASURES), sharey=False)
    for panel, (title, value) in zip(panels, MEASURES.items(), strict=True):
        for setting, (colour, marker) in LOOKS.items():
            if setting in settings:
                found = settings[setting]
                panel.plot(
                    cost(found),
                    value(found),
                    color=colour,
                    marker=marker,
                    markersize=10,
                    linestyle="none",
                    label=setting,
                )
        panel.set_title(title)
        panel.set_xlabel(name)
        panel.set_xscale("log")
        panel.set_xticks(ticks, [str(tick) for tick in ticks])
        panel.minorticks_off()
        panel.set_ylim(0, 1.03)
    finish(figure, panels)
    return figure
