"""Pages of docs written from results: every number between markers is made here, and nothing else is.

`<!-- NAME:begin -->` and `<!-- NAME:end -->` bound a part of a page; its module says what belongs there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
Document = dict[str, Any]

GREY = "#7a7f87"
"""Of text and axes: stands out from a light page and from a dark one."""
PANEL = 4.6, 3.9
"""Inches, width and height, of one panel."""


@dataclass(frozen=True)
class Page:
    """One page, and what fills it."""

    path: Path
    benchmark: str
    """Whose results it shows, such as `hamming`."""
    parts: Mapping[str, Callable[[Document], str]]
    """What stands between the markers of a name."""
    draw: Callable[[dict[str, Any], Path], Iterator[Path]]
    """Draws the figures' pictures into a folder, and yields the files written."""

    def report(self, results: Path, out: Path | None) -> None:
        """Write the page and its pictures: in docs, or as a draft into `out`."""
        file = results / f"{self.benchmark}.json"
        if not file.exists():
            raise SystemExit(f"{file} is missing; run: python benchmarks/{self.benchmark}.py")
        document = json.loads(file.read_text())
        if document["quick"] and out is None:
            raise SystemExit(f"{file} is of a quick run; for a draft of the page add --out FOLDER")
        page = self.path if out is None else out / self.path.name
        page.write_text(self.filled(self.path.read_text(encoding="utf-8"), document), encoding="utf-8")
        images = page.parent / "images"
        images.mkdir(exist_ok=True)
        for image in self.draw(document["figures"], images):
            print(f"wrote {image}")
        print(f"wrote {page}")

    def filled(self, text: str, document: Document) -> str:
        """The page with every part between markers made anew."""

        def replace(match: re.Match[str]) -> str:
            begin, name, end = match[1], match[2], match[3]
            return f"{begin}\n{self.parts[name](document)}\n{end}"

        markers = re.compile(r"(<!-- (\w+):begin -->)\n.*?(<!-- \2:end -->)", re.DOTALL)
        return markers.sub(replace, text)


# Words and numbers


def where_measured(document: Document, packages: Sequence[str], *others: str) -> str:
    """When, where, and with what else and which versions of packages."""
    machine, versions = document["machine"], document["versions"]
    stages = document["figures"].values()
    dates = sorted({stage["date"] for stage in stages if isinstance(stage, dict) and "date" in stage})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    used = ", ".join([*others, *(f"{name} {versions[name]}" for name in packages)])
    return (
        f"Measured {when} on {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']:.0f} GB, "
        f"{machine['system']}, with {used}."
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows as Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def three_digits(value: float) -> str:
    """Three significant digits, without an exponent."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:.3g}"


def table_of_targets(document: Document, words: Callable[[str], str] = str) -> str:
    """What was asked and what came out."""
    rows = [
        [words(entry["name"]), entry["target"], f"{entry['value']:.3g}", "yes" if entry["met"] else "**no**"]
        for entry in document["targets"]
    ]
    return table(["target", "asked", "measured", "met"], rows)


# Pictures. They are read on a light page and on a dark one, and by people who see fewer colours: the
# background is transparent, and every line has a marker beside its colour, most of which are Okabe and Ito's.


def draw_all(
    pictures: Mapping[str, Callable[[dict[str, Any]], Any]], figures: dict[str, Any], folder: Path
) -> Iterator[Path]:
    """Draw what has been measured, `NAME.png` each; yields the files written."""
    import matplotlib

    matplotlib.use("agg")
    for name, picture in pictures.items():
        figure = picture(figures)
        if figure is not None:
            path = folder / f"{name}.png"
            figure.savefig(path, dpi=150, transparent=True, metadata={"Software": None})
            yield path


def panels_in_a_row(n: int, *, sharex: bool = True, sharey: bool = True) -> tuple[Any, list[Any]]:
    """A figure and its panels, which share their axes if asked."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1, n, figsize=(PANEL[0] * n, PANEL[1]), sharex=sharex, sharey=sharey, squeeze=False
    )
    return figure, list(axes[0])


def finish(figure: Any, panels: Sequence[Any], *, a_legend_each: bool = False) -> None:
    """Grey axes, a faint grid, and below the panels one legend of all names, or one each."""
    named = {}
    for panel in panels:
        panel.grid(color=GREY, alpha=0.25, linewidth=0.8)
        panel.tick_params(which="both", colors=GREY, labelsize=10)
        panel.xaxis.label.set(color=GREY, size=11)
        panel.yaxis.label.set(color=GREY, size=11)
        panel.title.set(color=GREY, size=11)
        for spine in panel.spines.values():
            spine.set_visible(False)
        lines, labels = panel.get_legend_handles_labels()
        named |= dict(zip(labels, lines, strict=True))
    if a_legend_each:
        for panel in panels:
            below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.22), "ncols": 2}
            panel.legend(**below, frameon=False, labelcolor=GREY)
        figure.tight_layout()
        return
    figure.legend(
        named.values(),
        named.keys(),
        loc="lower center",
        ncols=min(4, len(named)),
        frameon=False,
        labelcolor=GREY,
    )
    rows = -(-len(named) // 4)
    figure.tight_layout(rect=(0, 0.02 + 0.065 * rows, 1, 1))
