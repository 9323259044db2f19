"""The pictures of docs/quality.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pages import GREY, draw_all, finish, panels_in_a_row

LOOKS = {
    "nested-neighbours": ("grainhash nested-neighbours", "#0072B2", "o"),
    "nested": ("grainhash nested", "#0072B2", "o"),
    "lsh": ("LSH", GREY, "X"),
    "pca-sign": ("PCA sign", "#A67C00", "v"),
    "spectral": ("spectral hashing", "#B0619A", "^"),
    "itq": ("ITQ", "#D55E00", "s"),
    "knnh": ("KNNH", "#009E73", "D"),
    "bihalf": ("Bi-half", "#56B4E9", "P"),
    "cibhash": ("CIBHash", "#CC79A7", "d"),
    "dpsh": ("DPSH", "#A67C00", "v"),
    "hashnet": ("HashNet", "#B0619A", "^"),
    "dsh": ("DSH", GREY, "X"),
    "greedyhash": ("GreedyHash", "#009E73", "D"),
    "csq": ("CSQ", "#56B4E9", "P"),
    "orthohash": ("OrthoHash", "#CC79A7", "d"),
}
"""How a method is drawn and called everywhere: name, colour, marker."""

PANELS = {
    "unsupervised": ("without labels", "mAP@1000", "nested-neighbours"),
    "supervised": ("cifar10-1, with labels", "mAP@all", "nested"),
}
"""By stage: title, measure, and which method is the default."""

NOT_DRAWN = {"supervised": {"itq"}}
"""So far below the others that these could not be told apart."""


def draw(figures: dict[str, Any], folder: Path) -> Iterator[Path]:
    """Draw what has been measured; yields the files written."""
    yield from draw_all({"quality-lengths": lengths}, figures, folder)


def lengths(figures: dict[str, Any]) -> Any:
    """mAP against bits, a panel a protocol; a bar is one deviation over seeds, of splits and of training."""
    stages = [stage for stage in PANELS if stage in figures]
    if not stages:
        return None
    figure, panels = panels_in_a_row(len(stages), sharey=False)
    for panel, stage in zip(panels, stages, strict=True):
        title, measure, ours = PANELS[stage]
        for name, by_length in figures[stage]["methods"].items():
            if name in LOOKS and name not in NOT_DRAWN.get(stage, ()):
                label, colour, marker = LOOKS[name]
                panel.errorbar(
                    [int(n_bits) for n_bits in by_length],
                    [values["mean"] for values in by_length.values()],
                    yerr=[values["deviation"] or 0 for values in by_length.values()],
                    color=colour,
                    marker=marker,
                    linewidth=2,
                    markersize=9 if name == ours else 6,
                    label=label,
                    zorder=4 if name == ours else 3,
                )
        ticks = sorted(
            {int(n) for by_length in figures[stage]["methods"].values() for n in by_length if n.isdigit()}
        )
        panel.set_title(f"CIFAR-10, {title}")
        panel.set_xlabel("bits a code")
        panel.set_ylabel(measure)
        panel.set_xscale("log", base=2)
        panel.set_xticks(ticks, [str(n) for n in ticks])
        panel.minorticks_off()
    finish(figure, panels, a_legend_each=True)
    return figure
