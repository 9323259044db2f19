"""Quality, bytes and time against bits, side by side: as a PNG file, and as SVG that follows a page.

Needs matplotlib, of the extra `evaluate`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from grainhash.advise.quality import MEASURES
from grainhash.advise.result import Advice
from grainhash.errors import InputError
from grainhash.evaluation.plots import ON_PAPER, PLACES, Colours, style, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def write_plot(advice: Advice, path: Path) -> None:
    """Write the plot as a PNG file.

    Raises:
        InputError: the file cannot be written, or is not called .png.
        MissingExtra: matplotlib is not installed.
    """
    check_name(path)
    try:
        with style(ON_PAPER):
            _figure(advice, ON_PAPER, title=advice.title).savefig(path, dpi=200)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or 'cannot be written'}; choose another file") from None


def check_name(path: Path) -> None:
    """Refuse a file that is not called .png.

    Raises:
        InputError: it is not.
    """
    if path.suffix.lower() != ".png":
        raise InputError(f"{path}: the plot is a PNG file; call it {path.with_suffix('.png').name}")


def inline_plot(advice: Advice) -> str:
    """The plot as an SVG element for a page that defines `--paper --ink --soft --line --series-0 ...`.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    with style(PLACES):
        return svg(_figure(advice, PLACES), "advice")


def _figure(advice: Advice, colours: Colours, title: str = "") -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.1))
    quality, storage, search = figure.subplots(1, 3, width_ratios=(1.5, 1, 1))
    if title:
        figure.suptitle(title, x=0.006, ha="left", color=colours.ink, fontsize=12, fontweight="bold")
    _quality(quality, advice, colours)
    _storage(storage, advice, colours)
    _search(search, advice, colours)
    for axis in (quality, storage, search):
        _by_bits(axis, advice, colours)
    return figure


def _quality(axis: Axes, advice: Advice, colours: Colours) -> None:
    bits = _bits(advice)
    names = sorted(advice.lengths[0].quality, key=lambda name: name != advice.measure)
    axis.set_title("Quality")
    for number, name in enumerate(names):
        found = [length.quality[name] for length in advice.lengths]
        leads, colour = name == advice.measure, colours.series[number % len(colours.series)]
        axis.fill_between(
            bits,
            [each.low for each in found],
            [each.high for each in found],
            color=colour,
            alpha=0.16 if leads else 0.07,
            linewidth=0,
        )
        axis.plot(
            bits,
            [each.mean for each in found],
            color=colour,
            marker="o",
            markersize=5 if leads else 3,
            linewidth=2.2 if leads else 1.1,
            label=MEASURES[name].title,
            zorder=3 if leads else 2,
        )
    if advice.measure in advice.floats:
        axis.axhline(
            advice.floats[advice.measure].mean,
            color=colours.soft,
            linestyle=(0, (4, 3)),
            linewidth=1,
            label=f"{MEASURES[advice.measure].title}, features",
        )
    axis.set_ylim(max(0, min(axis.get_ylim()[0], 0.98)), min(1.02, axis.get_ylim()[1]))
    axis.legend(loc="lower right")


def _storage(axis: Axes, advice: Advice, colours: Colours) -> None:
    places = np.arange(len(advice.lengths))
    codes = np.array([length.storage.codes for length in advice.lengths])
    copies = np.array([length.storage.copy for length in advice.lengths])
    disk = np.array([length.storage.disk for length in advice.lengths])
    axis.set_title("Bytes a picture, on disk")
    axis.yaxis.set_major_formatter("{x:,.0f}")
    axis.bar(places, codes, 0.62, color=colours.series[0], label="codes")
    if copies.any():
        axis.bar(places, copies, 0.62, bottom=codes, color=colours.series[0], alpha=0.45, label="a copy")
    rest = disk - codes - copies
    axis.bar(places, rest, 0.62, bottom=codes + copies, color=colours.line, label="the rest")
    for place, total in zip(places, disk, strict=True):
        axis.annotate(
            f"{total:,.0f}",
            (place, total),
            (0, 3),
            textcoords="offset points",
            ha="center",
            color=colours.soft,
            fontsize=8,
        )
    _limit(axis, advice.goal.max_bytes, colours)
    axis.set_axisbelow(True)
    _from_nothing(axis, max(disk.max(), advice.goal.max_bytes or 0))


def _search(axis: Axes, advice: Advice, colours: Colours) -> None:
    bits = _bits(advice)
    times = [length.search for length in advice.lengths]
    axis.set_title(f"ms a search, {advice.n_pictures:,} pictures")
    axis.fill_between(
        bits,
        [time.low for time in times],
        [time.high for time in times],
        color=colours.series[1],
        alpha=0.14,
        linewidth=0,
        label="8 of 10 searches",
    )
    medians = [time.median for time in times]
    axis.plot(bits, medians, color=colours.series[1], marker="o", markersize=4, label="median")
    _limit(axis, advice.goal.max_ms, colours)
    top = max([time.high for time in times] + [advice.goal.max_ms or 0])
    _from_nothing(axis, top)


def _from_nothing(axis: Axes, top: float) -> None:
    """Begin at zero, and leave room above for the legend."""
    axis.set_ylim(0, 1.3 * top)
    axis.legend(loc="upper left", ncols=3, columnspacing=1.2, handlelength=1.4)


def _by_bits(axis: Axes, advice: Advice, colours: Colours) -> None:
    """Lengths along the axis, evenly by their logarithm; a line where the recommended one is."""
    bars = bool(axis.patches)
    bits = _bits(advice)
    labels = [str(n_bits) for n_bits in bits]
    if bars:
        axis.set_xticks(range(len(bits)), labels)
        axis.grid(False, axis="x")
    else:
        axis.set_xscale("log", base=2)
        axis.set_xticks(bits, labels)
        axis.minorticks_off()
        axis.set_xlim(bits[0] / 1.35, bits[-1] * 1.35)
    axis.set_xlabel("bits")
    chosen = advice.recommendation.n_bits
    if chosen is None:
        return
    if not bars:
        axis.axvline(chosen, color=colours.ink, linewidth=0.9, linestyle=":", zorder=1)
    label = axis.get_xticklabels()[bits.index(chosen)]
    label.set(color=colours.series[0], fontweight="bold")


def _limit(axis: Axes, value: float | None, colours: Colours) -> None:
    if value is not None:
        axis.axhline(value, color=colours.ink, linestyle="--", linewidth=1, label="allowed")


def _bits(advice: Advice) -> list[int]:
    return [length.n_bits for length in advice.lengths]
