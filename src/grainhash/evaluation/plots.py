"""The plots of an evaluation, drawn once and coloured twice: as PNG files, and as SVG that follows the page.

Needs matplotlib, of the extra `evaluate`. Figures are made without `pyplot`, so nothing global changes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from grainhash.errors import InputError, MissingExtra
from grainhash.evaluation.judge import CodeFacts, Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = 6
"""Evaluations whose distances are drawn, at most."""


@dataclass(frozen=True, slots=True)
class Colours:
    """What a plot is drawn in."""

    paper: str
    ink: str
    soft: str
    line: str
    series: tuple[str, ...]


ON_PAPER = Colours(
    "#fbfaf8",
    "#1d1c1a",
    "#6b6862",
    "#e4e1db",
    ("#d8401f", "#2466a8", "#2f7d55", "#8a55a8", "#a87410", "#4b4a47", "#c05a8a", "#3b8f98"),
)
"""Those of the page in light."""

PLACES = Colours(
    "#010101", "#010102", "#010103", "#010104", tuple(f"#0102{n:02x}" for n in range(len(ON_PAPER.series)))
)
"""Stand-ins, each of which `svg` turns into a CSS variable."""


def plots(evaluations: Sequence[Evaluation]) -> dict[str, str]:
    """Every plot as inline SVG for a page that defines `--paper --ink --soft --line --series-0 ...`.

    Returns:
        The plots that these evaluations have, by name: `lengths`, `precision-recall`, `precision-at-k`,
        `recall-at-k`, `distances`, `bits`.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    return {name: svg(figure, name) for name, figure in _figures(evaluations, PLACES)}


def write_pngs(evaluations: Sequence[Evaluation], folder: Path) -> list[Path]:
    """Write every plot as `folder`/NAME.png; the folder is made.

    Raises:
        InputError: the folder cannot be written.
        MissingExtra: matplotlib is not installed.
    """
    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, figure in _figures(evaluations, ON_PAPER):
            paths.append(folder / f"{name}.png")
            figure.savefig(paths[-1], dpi=200)
    except OSError as error:
        raise InputError(
            f"{folder}: {error.strerror or 'cannot be written'}; choose another folder"
        ) from None
    return paths


def label(evaluation: Evaluation) -> str:
    """What an evaluation is called in a legend: its name and length."""
    return f"{evaluation.name} {evaluation.n_bits}" if evaluation.n_bits else evaluation.name


def _figures(evaluations: Sequence[Evaluation], colours: Colours) -> Iterator[tuple[str, Figure]]:
    draw: dict[str, Callable[[Sequence[Evaluation], Colours], Figure | None]] = {
        "lengths": _lengths,
        "precision-recall": _precision_recall,
        "precision-at-k": _precision_at_k,
        "recall-at-k": _recall_at_k,
        "distances": _distances,
        "bits": _bits,
    }
    with style(colours):
        for name, function in draw.items():
            figure = function(evaluations, colours)
            if figure is not None:
                yield name, figure


@contextmanager
def style(colours: Colours) -> Iterator[None]:
    """Draw in these colours within the context.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        raise MissingExtra("matplotlib", "evaluate") from None
    from cycler import cycler

    settings: dict[Any, Any] = {
        "axes.edgecolor": colours.line,
        "axes.facecolor": "none",
        "axes.grid": True,
        "axes.labelcolor": colours.soft,
        "axes.prop_cycle": cycler(color=colours.series),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlecolor": colours.ink,
        "axes.titlelocation": "left",
        "axes.titlesize": 10,
        "figure.constrained_layout.use": True,
        "figure.facecolor": colours.paper,
        "font.size": 9,
        "grid.color": colours.line,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "legend.labelcolor": colours.ink,
        "lines.linewidth": 1.6,
        "svg.fonttype": "none",
        "xtick.color": colours.line,
        "xtick.labelcolor": colours.soft,
        "ytick.color": colours.line,
        "ytick.labelcolor": colours.soft,
    }
    with mpl.rc_context(settings):
        yield


def svg(figure: Figure, name: str) -> str:
    """A figure drawn in `PLACES` as an element of a page, its colours as variables and its ids its own."""
    file = io.StringIO()
    figure.patch.set_visible(False)
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = file.getvalue()
    element, rest = text[text.index("<svg") :].split(">", 1)
    element = re.sub(r' (?:width|height)="[^"]*"', "", element)
    text = re.sub(r"<metadata>.*?</metadata>", "", f"{element}>{rest}", flags=re.DOTALL)
    text = re.sub(r' (xmlns(:\w+)?|version)="[^"]*"', "", text)
    text = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", text)
    for place, variable in {
        PLACES.paper: "paper",
        PLACES.ink: "ink",
        PLACES.soft: "soft",
        PLACES.line: "line",
        **{place: f"series-{n}" for n, place in enumerate(PLACES.series)},
    }.items():
        text = text.replace(place, f"var(--{variable})")
    return text


def _subplots(
    n_columns: int = 1, n_rows: int = 1, size: tuple[float, float] = (4.6, 3.3)
) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size)
    return figure, figure.subplots(n_rows, n_columns, squeeze=False)


def _one(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure, axes = _subplots()
    axis: Axes = axes[0, 0]
    axis.set(title=title, xlabel=x, ylabel=y)
    return figure, axis


def _with_codes(evaluations: Sequence[Evaluation]) -> list[tuple[int, Evaluation, CodeFacts]]:
    """Those of codes, with the number that their colour goes by."""
    return [(n, each, each.codes) for n, each in enumerate(evaluations) if each.codes is not None]


def _look(number: int, colours: Colours) -> dict[str, Any]:
    """Colour, and dashes where colours have run out."""
    n = len(colours.series)
    return {"color": colours.series[number % n], "linestyle": ("-", "--", ":", "-.")[number // n % 4]}


def _lengths(evaluations: Sequence[Evaluation], colours: Colours) -> Figure | None:
    names = list(dict.fromkeys(each.name for each in evaluations if each.n_bits))
    if len({each.n_bits for each in evaluations if each.n_bits}) < 2:
        return None
    figure, axis = _one("Quality by length of code", "bits", f"mAP@{evaluations[0].at:,}")
    for number, name in enumerate(names):
        own = sorted((e for e in evaluations if e.name == name and e.n_bits), key=lambda e: e.n_bits or 0)
        bits = [each.n_bits or 0 for each in own]
        values = [each.mean_average_precision["found"] for each in own]
        look = _look(number, colours)
        axis.plot(bits, [v.expected for v in values], marker="o", markersize=4, label=name, **look)
        axis.fill_between(
            bits,
            [v.worst for v in values],
            [v.best for v in values],
            color=look["color"],
            alpha=0.14,
            linewidth=0,
        )
    for each in evaluations:
        if each.n_bits is None and each.name.endswith("floats"):
            axis.axhline(
                each.mean_average_precision["found"].expected,
                color=colours.soft,
                linestyle="--",
                label=each.name,
            )
    axis.set_xscale("log", base=2)
    ticks = sorted({each.n_bits for each in evaluations if each.n_bits})
    axis.set_xticks(ticks, [str(bits) for bits in ticks])
    axis.minorticks_off()
    axis.legend(loc="lower right")
    return figure


def _precision_recall(evaluations: Sequence[Evaluation], colours: Colours) -> Figure | None:
    if not _with_codes(evaluations):
        return None
    figure, axis = _one("Look-up within a growing radius", "recall", "precision")
    for number, each, codes in _with_codes(evaluations):
        axis.plot(codes.radius_recall, codes.radius_precision, label=label(each), **_look(number, colours))
    axis.set(xlim=(0, 1), ylim=(0, 1.02))
    axis.legend()
    return figure


def _precision_at_k(evaluations: Sequence[Evaluation], colours: Colours) -> Figure:
    figure, axis = _one("Precision of the first k", "k", "P@k")
    for number, each in enumerate(evaluations):
        axis.plot(each.depths, each.depth_precision, label=label(each), **_look(number, colours))
    axis.set_xscale("log")
    axis.set_ylim(0, 1.02)
    axis.legend()
    return figure


def _recall_at_k(evaluations: Sequence[Evaluation], colours: Colours) -> Figure:
    figure, axis = _one("Recall of the first k", "k", "R@k")
    for number, each in enumerate(evaluations):
        axis.plot(each.depths, each.depth_recall, label=label(each), **_look(number, colours))
    axis.set_xscale("log")
    axis.set_ylim(bottom=0)
    axis.legend()
    return figure


def _distances(evaluations: Sequence[Evaluation], colours: Colours) -> Figure | None:
    shown = _with_codes(evaluations)[:PANELS]
    if not shown:
        return None
    n_columns = min(3, len(shown))
    n_rows = -(-len(shown) // n_columns)
    figure, axes = _subplots(n_columns, n_rows, (9.4 if n_columns > 1 else 4.6, 0.5 + 2.4 * n_rows))
    for axis, (_, each, codes) in zip(axes.flat, shown, strict=False):
        for pairs, colour, name in (
            (codes.other_pairs, colours.soft, "others"),
            (codes.relevant_pairs, colours.series[0], "relevant"),
        ):
            shares = np.array(pairs) / max(1, sum(pairs))
            axis.fill_between(range(len(pairs)), shares, step="mid", color=colour, alpha=0.22, linewidth=0)
            axis.step(range(len(pairs)), shares, where="mid", color=colour, linewidth=1.1, label=name)
        edge = codes.n_bits * 0.03  # room for the first and the last tick's number
        ticks = [codes.n_bits * quarter // 4 for quarter in range(5)]
        axis.set(title=label(each), xlim=(-edge, codes.n_bits + edge), xticks=ticks, yticks=[])
        axis.grid(False)
        axis.spines["left"].set_visible(False)
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    axes.flat[0].legend()
    figure.supxlabel("bits that differ", color=colours.soft, fontsize=9)
    return figure


def _bits(evaluations: Sequence[Evaluation], colours: Colours) -> Figure | None:
    if not _with_codes(evaluations):
        return None
    figure, axis = _one("Balance of the bits", "bits, from the rarest 1 to the commonest", "share of ones")
    axis.axhline(0.5, color=colours.soft, linewidth=0.8, linestyle=":")
    for number, each, codes in _with_codes(evaluations):
        ones = np.sort(codes.diagnostics.ones)
        axis.plot(np.linspace(0, 1, len(ones)), ones, label=label(each), **_look(number, colours))
    axis.set(ylim=(0, 1), xlim=(0, 1), xticks=[])
    axis.legend()
    return figure
