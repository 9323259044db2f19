"""How advice looks: two tables and a sentence in the terminal, and one self-contained page."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import TYPE_CHECKING

from grainhash.advise.goal import brief, decimals, milliseconds
from grainhash.advise.lengths import Estimate
from grainhash.advise.plot import inline_plot
from grainhash.advise.quality import MEASURES
from grainhash.advise.result import Advice

if TYPE_CHECKING:
    from jinja2 import Template
    from rich.console import Console

WIDE, NARROW = 112, 72
"""Characters from which a terminal shows the intervals of every measure, and of the leading one."""

Columns = dict[str, list[str]]
"""A table: heading to cells from top to bottom, the first column telling the rows."""


def circumstances(advice: Advice) -> str:
    """What was measured on what, in a line."""
    return (
        f"{advice.n_queries:,} queries, {advice.n_database:,} pictures searched; {advice.codes}; "
        f"{advice.n_granules:.3g} codes a picture; seed {advice.seed}"
    )


def remarks(advice: Advice) -> list[str]:
    """What a reader should know of the numbers."""
    lines = [*advice.notes]
    lines += [f"{n_bits} bits left out: {why}" for n_bits, why in advice.left_out.items()]
    if advice.skipped:
        lines.append(f"{len(advice.skipped):,} pictures cannot be used and are left out")
    return lines


def quality_table(advice: Advice, *, intervals: Collection[str] | None = None) -> Columns:
    """Every measure at every length, the leading one first; the last row is the features themselves.

    Args:
        advice: what to show.
        intervals: measures shown with their intervals; all by default.
    """
    table = {"bits": [*(str(length.n_bits) for length in advice.lengths), "features"]}
    for name in sorted(advice.lengths[0].quality, key=lambda name: name != advice.measure):
        shown = intervals is None or name in intervals
        table[_title(advice, name)] = [
            *(_cell(length.quality[name], shown) for length in advice.lengths),
            _cell(advice.floats[name], shown) if name in advice.floats else "",
        ]
    return table


def cost_table(advice: Advice) -> Columns:
    """What every length takes, and how surely it is as good as the best."""
    sureness = advice.recommendation.sureness
    shares = [sureness.get(length.n_bits) for length in advice.lengths]
    return {
        "bits": [str(length.n_bits) for length in advice.lengths],
        "bytes": [f"{length.storage.disk:,.0f}" for length in advice.lengths],
        "of codes": [f"{length.storage.codes:,.0f}" for length in advice.lengths],
        "search": [milliseconds(length.search.median) for length in advice.lengths],
        f"within {brief(advice.goal.tolerance)}": [
            "over limit" if share is None else f"{share:.0%}" for share in shares
        ],
    }


def says(advice: Advice) -> list[str]:
    """What the columns mean, a line each."""
    return [
        *(f"{_title(advice, name)}: {MEASURES[name].says}" for name in advice.lengths[0].quality),
        "Intervals are 95 % bootstrap intervals over the queries.",
        "Bytes: of a picture on disk, all included, by writing a gallery of pictures like these. A gallery "
        "of many pictures keeps its codes twice, once to be searched.",
        f"Search: the median of comparing one query with the codes of {advice.n_pictures:,} pictures. Codes "
        "of regions, and of pictures that there are not, are real codes with as many bits flipped as a query "
        "and its nearest code differ in.",
        "Within: in which share of resamplings of the queries the length is so close to the best one that "
        "keeps the limits.",
    ]


def terminal(advice: Advice, console: Console) -> None:
    """Print the tables, and last the sentence."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if not console.is_terminal:
        console.width = max(console.width, WIDE)  # a pipe has no edge to keep to
    console.print(Text(f"{advice.title} · {circumstances(advice)}", style="bold"), soft_wrap=True)
    for remark in remarks(advice):
        console.print(Text(remark, style="yellow"), soft_wrap=True)
    for found in (quality_table(advice, intervals=_intervals(advice, console)), cost_table(advice)):
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for title in found:
            table.add_column(title, justify="right", no_wrap=True)
        for row in zip(*found.values(), strict=True):
            chosen = row[0] == str(advice.recommendation.n_bits)
            table.add_row(*row, style="bold green" if chosen else "" if row[0].isdecimal() else "dim")
        console.print(table)
    console.print(Text(advice.recommendation.reason, style="bold"), soft_wrap=True)


def html_page(advice: Advice) -> str:
    """Everything on one page that needs nothing else: no script, no other file, no network.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    found = [quality_table(advice), cost_table(advice)]
    return _template().render(
        advice=advice,
        circumstances=circumstances(advice),
        remarks=remarks(advice),
        tables=[(list(table), list(zip(*table.values(), strict=True))) for table in found],
        chosen=str(advice.recommendation.n_bits),
        says=says(advice),
        plot=inline_plot(advice),
    )


def _intervals(advice: Advice, console: Console) -> Collection[str]:
    """The measures whose intervals there is room for."""
    if not console.is_terminal or console.width >= WIDE:
        return advice.lengths[0].quality
    return [advice.measure] if console.width >= NARROW else []


def _title(advice: Advice, name: str) -> str:
    title = MEASURES[name].title
    return f"{title}@{advice.at:,}" if name == "mAP" and advice.at is not None else title


def _cell(estimate: Estimate, interval: bool) -> str:
    if not interval:
        return decimals(estimate.mean)
    return f"{decimals(estimate.mean)} ({decimals(estimate.low)} to {decimals(estimate.high)})"


@cache
def _template() -> Template:
    from importlib.resources import files

    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = files("grainhash.advise").joinpath("page.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(source)
