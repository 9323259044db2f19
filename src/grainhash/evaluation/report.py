"""How evaluations look: tables in the terminal, JSON, one self-contained page with plots."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from grainhash.evaluation.judge import RADIUS, Evaluation
from grainhash.evaluation.plots import label, plots
from grainhash.evaluation.protocols import OWN
from grainhash.evaluation.run import Comparison

if TYPE_CHECKING:
    from jinja2 import Template
    from rich.console import Console
    from rich.text import Text

FORMAT_VERSION = 1

HEAD = 24
"""Characters of the terminal's first column."""
CELL = 14
"""Characters of every other column."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of words and numbers, as the terminal and the page both show them."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: tuple[int | None, ...]
    """The row of each column that is best, if one is."""
    says: str = ""
    """What the numbers mean, in a sentence or two."""


def to_json(comparison: Comparison) -> dict[str, Any]:
    """A comparison as plain values for `json.dumps`; keys are the fields of `Comparison` and `Evaluation`."""
    return {"format_version": FORMAT_VERSION, **asdict(comparison)}


def circumstances(comparison: Comparison) -> str:
    """What was asked of what, in a line."""
    facts = [f"{comparison.n_queries:,} queries", f"{comparison.n_database:,} searched"]
    if comparison.n_training:
        facts.append(f"{comparison.n_training:,} to train on")
    if comparison.seed is not None:
        facts.append(f"split drawn with seed {comparison.seed}")
    return f"protocol {comparison.protocol}: {', '.join(facts)}"


def remarks(comparison: Comparison) -> list[str]:
    """What a reader should know before comparing these numbers with others."""
    differs = "only " if comparison.protocol == OWN.name else "differs from the published protocol: "
    lines = [f"{differs}{note}" for note in comparison.notes]  # of `own`, how many of its queries
    unanswerable = max(each.n_unanswerable for each in comparison.evaluations)
    if unanswerable:
        lines.append(f"{unanswerable:,} queries have nothing relevant in the database and are left out")
    if comparison.skipped:
        lines.append(f"{len(comparison.skipped):,} pictures cannot be used and are left out")
    return lines


def terminal(comparison: Comparison, console: Console) -> None:
    """Print tables with a line a measure and a column an evaluation, as many beside each other as fit."""
    from rich.text import Text

    def say(line: str | Text, style: str = "") -> None:
        console.print(Text(line, style=style) if isinstance(line, str) else line, soft_wrap=True)

    say(f"{comparison.title} · {circumstances(comparison)}", "bold")
    for remark in remarks(comparison):
        say(remark, "yellow")
    n_beside = max(1, (console.width - HEAD) // CELL) if console.is_terminal else len(comparison.evaluations)
    for table in tables(comparison.evaluations):
        for start in range(0, len(table.rows), n_beside):
            say("")
            for line in _columns(table, range(start, min(start + n_beside, len(table.rows)))):
                say(line)


def _columns(table: Table, shown: range) -> Iterator[Text]:
    """Some rows of a table as columns: their names, their bits, and a line a measure."""
    from rich.text import Text

    rows = [table.rows[number] for number in shown]
    heads = [wrap(row[0], CELL - 2) for row in rows]
    for level in range(max(map(len, heads))):
        title = table.title if level == 0 else ""
        names = [head[level] if level < len(head) else "" for head in heads]
        yield Text(f"{title:<{HEAD}}" + "".join(f"{name:>{CELL}}" for name in names), style="dim")
    for measure, (name, best) in enumerate(zip(table.columns, table.best, strict=True)):
        if measure:
            cells = [
                (f"{row[measure]:>{CELL}}", "bold green" if best == n else "")
                for n, row in zip(shown, rows, strict=True)
            ]
            yield Text.assemble(f"{name:<{HEAD}}", *cells)


def html_page(comparison: Comparison) -> str:
    """Everything on one page that needs nothing else: no script, no other file, no network.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    return _template().render(
        comparison=comparison,
        circumstances=circumstances(comparison),
        remarks=remarks(comparison),
        tables=tables(comparison.evaluations),
        plots=plots(comparison.evaluations),
        n_panels=sum(each.codes is not None for each in comparison.evaluations),
        headline=headline(comparison.evaluations),
    )


def headline(evaluations: Sequence[Evaluation]) -> tuple[str, str]:
    """The best mean average precision, and of what it is."""
    codes = [each for each in evaluations if each.codes] or evaluations
    best = max(codes, key=lambda each: each.mean_average_precision["found"].expected)
    return f"{best.mean_average_precision['found'].expected:.4f}", f"mAP@{best.at:,} of {label(best)}"


def tables(evaluations: Sequence[Evaluation]) -> list[Table]:
    """Retrieval, the three denominators where they differ, graded measures, and the codes themselves."""
    made = [_retrieval(evaluations)]
    if any(each.at < each.n_database for each in evaluations):
        made.append(_denominators(evaluations))
    if any(each.ndcg_at for each in evaluations):
        made.append(_graded(evaluations))
    if any(each.codes for each in evaluations):
        made.append(_codes(evaluations))
    return made


Column = tuple[str, Callable[[Evaluation], float | None], str, int]
"""Heading, value, format, and whether more (1) or less (-1) is better or neither (0)."""


def _table(title: str, columns: Sequence[Column], evaluations: Sequence[Evaluation], says: str) -> Table:
    values = [[value(each) for _, value, _, _ in columns] for each in evaluations]
    rows = [
        (each.name, str(each.n_bits or "-"), *(_cell(v, c[2]) for v, c in zip(row, columns, strict=True)))
        for each, row in zip(evaluations, values, strict=True)
    ]
    best = [_best([row[n] for row in values], column[3]) for n, column in enumerate(columns)]
    headings = ("", "bits", *(column[0] for column in columns))
    return Table(title, headings, tuple(rows), (None, None, *best), says)


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _best(values: Sequence[float | None], sense: int) -> int | None:
    known = [(sense * value, -n) for n, value in enumerate(values) if value is not None]
    return -max(known)[1] if sense and len(known) > 1 else None


def _retrieval(evaluations: Sequence[Evaluation]) -> Table:
    def map_of(order: str) -> Callable[[Evaluation], float]:
        return lambda each: float(getattr(each.mean_average_precision["found"], order))

    columns: list[Column] = [
        (f"mAP@{evaluations[0].at:,}", map_of("expected"), ".4f", 1),
        ("worst", map_of("worst"), ".4f", 0),
        ("best", map_of("best"), ".4f", 0),
        ("by id", map_of("id"), ".4f", 0),
        *((f"P@{k:,}", _at("precision_at", k), ".4f", 1) for k in evaluations[0].precision_at),
        *((f"R@{k:,}", _at("recall_at", k), ".4f", 1) for k in list(evaluations[0].recall_at)[-1:]),
        (f"P r≤{RADIUS}", lambda each: each.codes.precision_in_radius if each.codes else None, ".4f", 1),
    ]
    error = max(each.standard_error for each in evaluations)
    says = (
        "mAP divides by the relevant items found in the first R and is the mean over all orders of ties; no "
        "order gives less than worst or more than best, and by id is the order of the index. Its standard "
        f"error over queries is at most {error:.4f}. P r≤{RADIUS}: precision within {RADIUS} bits, an empty "
        "ball counting as 0."
    )
    return _table("Retrieval", columns, evaluations, says)


def _at(name: str, k: int) -> Callable[[Evaluation], float | None]:
    return lambda each: (getattr(each, name) or {}).get(k)


def _denominators(evaluations: Sequence[Evaluation]) -> Table:
    at = f"{evaluations[0].at:,}"
    columns: list[Column] = [
        (f"AP@{at} / found", lambda each: each.mean_average_precision["found"].expected, ".4f", 1),
        (f"/ min({at}, relevant)", lambda each: each.mean_average_precision["capped"].expected, ".4f", 1),
        ("/ relevant", lambda each: each.mean_average_precision["all"].expected, ".4f", 1),
    ]
    says = "The same sums of precisions by the three denominators in use. Compare only within a column."
    return _table("mAP by denominator", columns, evaluations, says)


def _graded(evaluations: Sequence[Evaluation]) -> Table:
    ks = list(evaluations[0].ndcg_at or {})
    columns: list[Column] = [
        *((f"nDCG@{k:,}", _at("ndcg_at", k), ".4f", 1) for k in ks),
        *((f"mAHP@{k:,}", _at("mahp_at", k), ".4f", 1) for k in ks[1:]),
    ]
    return _table(
        "Graded relevance", columns, evaluations, "With linear gain; mAHP is the mean of HP@1 to HP@k."
    )


def _codes(evaluations: Sequence[Evaluation]) -> Table:
    own = [each for each in evaluations if each.codes]

    def of(value: Callable[[Any], float]) -> Callable[[Evaluation], float | None]:
        return lambda each: value(each.codes.diagnostics) if each.codes else None

    columns: list[Column] = [
        ("effective bits", of(lambda d: d.effective_bits), ".1f", 0),
        ("constant bits", of(lambda d: d.n_constant), "d", 0),
        ("off balance", of(lambda d: max(abs(share - 0.5) for share in d.ones)), ".3f", 0),
        ("mean |r|", of(lambda d: d.mean_correlation), ".3f", 0),
        ("max |r|", of(lambda d: d.max_correlation), ".3f", 0),
        ("distinct codes", of(lambda d: d.n_distinct), ",d", 0),
        ("share a code", of(lambda d: d.colliding), ".1%", 0),
        ("empty balls", lambda each: each.codes.empty_balls if each.codes else None, ".1%", 0),
    ]
    says = (
        "Effective bits: so many independent balanced bits would spread as much. Off balance: the farthest "
        "that any bit's share of ones lies from .5. |r|: absolute correlation of two bits. Share a code: "
        f"pictures whose code another has too. Empty balls: queries with nothing within {RADIUS} bits."
    )
    return _table("The codes of the database", columns, own, says)


@cache
def _template() -> Template:
    from importlib.resources import files

    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = files("grainhash.evaluation").joinpath("page.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(source)
