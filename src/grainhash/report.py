"""How an answer looks: a contact sheet in the terminal, a JSON object, a self-contained page.

All three say the same of a hit: which picture, how many bits differ, where in it, and whether the whole or
a part matched. Pictures are read again for their thumbnails; one that has gone since is shown as gone.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import zip_longest
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grainhash.errors import InputError, PictureError
from grainhash.types import WHOLE, Box, Granularity, Hit, Stage

if TYPE_CHECKING:
    from jinja2 import Template
    from rich.console import Console
    from rich.text import Text

    from grainhash.images import Rgb

PAGE_THUMBNAIL = 224
"""Pixels of the longer side on the page."""
TERMINAL_THUMBNAIL = 18
"""Pixels of the longer side in the terminal, where a pixel is half a character."""
MAP_COLUMNS = 4
"""Characters across the map of where a match is."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a search found, and what it was asked."""

    query: str
    """Path or name of the query picture."""
    query_box: Box | None
    """The part of the query that was searched for; `None` for all of it."""
    hits: Sequence[Hit]
    """Nearest first."""
    n_bits: int
    """Length of the codes."""
    granularity: Granularity
    n_pictures: int
    """Pictures in the gallery."""
    stages: Sequence[Stage] = ()
    """What the search did, step by step."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Time of each stage; they add up to the whole."""
    where: str | None = None
    """The filter, as it was written."""


def reason(hit: Hit, n_bits: int) -> str:
    """Say why a hit is one: `a part matched: 31 of 256 bits differ; the whole differs by 92`."""
    why = _reason_of_codes(hit, n_bits)
    return why if hit.match is None else f"{hit.match.n_places} points match; {why}"


def _reason_of_codes(hit: Hit, n_bits: int) -> str:
    # The box of a hit whose points match bounds those; its distance is still that of codes.
    of_whole = hit.box == WHOLE if hit.match is None else hit.distance == hit.whole_distance
    if of_whole:
        if hit.part_distance is None:
            return f"the whole matched: {hit.distance} of {n_bits} bits differ"
        return (
            f"the whole matched: {hit.distance} of {n_bits} bits differ; "
            f"parts differ by {hit.part_distance} or more"
        )
    return (
        f"a part matched: {hit.distance} of {n_bits} bits differ; the whole differs by {hit.whole_distance}"
    )


def to_json(answer: Answer) -> dict[str, Any]:
    """An answer as plain values for `json.dumps`. These keys are stable:

    `query`, `query_box` (null for all of it), `where` (null without a filter), `granularity`, `n_bits`,
    `n_pictures`, `seconds` (an object of stages), `plan` (a list of what each step of the search did: `name`,
    `what`, `n` pictures that came out of it, `seconds`) and `hits`, best first, each with `rank` (from 1),
    `id`, `uri`, `score` (0..1), `false_matches`, `distance`, `whole_distance`, `part_distance` (null where
    the picture has no regions), `box`, `query_box`, `width`, `height`, `meta` and `points` (null where no
    local points were looked for or none match; else `places`, how many match, and `outline`, a polygon in the
    hit). Distances are in bits; a box is `[x0, y0, x1, y1]`, a point `[x, y]`, as fractions.
    """
    return {
        "query": answer.query,
        "query_box": answer.query_box and answer.query_box.corners,
        "where": answer.where,
        "granularity": answer.granularity,
        "n_bits": answer.n_bits,
        "n_pictures": answer.n_pictures,
        "seconds": dict(answer.seconds),
        "plan": [
            {"name": stage.name, "what": stage.what, "n": stage.n, "seconds": stage.seconds}
            for stage in answer.stages
        ],
        "hits": [
            {
                "rank": rank,
                "id": hit.id,
                "uri": hit.uri,
                "score": round(hit.score, 4),
                "false_matches": float(f"{hit.false_matches:.3g}"),
                "distance": hit.distance,
                "whole_distance": hit.whole_distance,
                "part_distance": hit.part_distance,
                "box": hit.box.corners,
                "query_box": hit.query_box.corners,
                "width": hit.width,
                "height": hit.height,
                "meta": dict(hit.meta),
                "points": points_to_json(hit),
            }
            for rank, hit in enumerate(answer.hits, 1)
        ],
    }


def points_to_json(hit: Hit) -> dict[str, Any] | None:
    """The local points of a hit; see `to_json`."""
    match = hit.match
    if match is None:
        return None
    return {"places": match.n_places, "outline": match.outline.round(4).tolist()}


def plan(answer: Answer) -> str:
    """A table of what the search did: a line a step, the pictures that came out of it, milliseconds."""
    width = max(len(stage.what) for stage in answer.stages)
    lines = [f"{'step':<12}{'what':<{width}}  {'pictures':>9}  {'ms':>8}"]
    lines += [
        f"{stage.name:<12}{stage.what:<{width}}  {stage.n:>9,}  {1e3 * stage.seconds:>8.1f}"
        for stage in answer.stages
    ]
    return "\n".join(lines)


# The terminal.


def terminal(answer: Answer, console: Console, *, thumbnails: bool) -> None:
    """Print an answer: a block a hit on a terminal, one plain line a hit into a file or a pipe.

    Args:
        answer: what to print.
        console: where to; its width, colours and encoding are respected.
        thumbnails: draw each picture in half blocks where the terminal has colours; otherwise a small map
            shows where in the picture the match is.
    """
    _print(console, _query_line(answer, console), style="bold")
    _print(console, _summary(answer))
    if not answer.hits:
        _print(console, _nothing_found(answer))
        return
    if console.is_terminal:
        _print_blocks(answer, console, thumbnails and _can_draw(console))
    else:
        _print_rows(answer, console)


def _can_draw(console: Console) -> bool:
    """Whether half blocks in two colours work here and leave room for words beside them."""
    has_colours = console.color_system is not None and not console.no_color
    return has_colours and not console.options.ascii_only and console.width >= 3 * TERMINAL_THUMBNAIL


def _print_rows(answer: Answer, console: Console) -> None:
    """One line a hit, aligned, with nothing cut off: for `grep`, a file or a pipe."""
    labels = [printable(_label(hit)) for hit in answer.hits]
    label_width = max(5, *map(len, labels))
    box_width = 2 + max(len(str(hit.box)) for hit in answer.hits)
    with_map = not console.options.ascii_only
    where = f"{'where':<8}" if with_map else ""
    _print(
        console, f"rank  score  bits  whole  part  {where}{'box':<{box_width}}{'label':<{label_width}}  path"
    )
    for rank, (hit, label) in enumerate(zip(answer.hits, labels, strict=True), 1):
        part = "-" if hit.part_distance is None else hit.part_distance
        where = f"{_braille_map(hit.box, MAP_COLUMNS, 1)[0]}  " if with_map else ""
        problem = _missing(hit.uri)
        remark = f"  ({problem})" if problem else ""
        _print(
            console,
            f"{rank:>4}  {hit.score:>5.3f}  {hit.distance:>4}  {hit.whole_distance:>5}  {part:>4}  {where}"
            f"{hit.box!s:<{box_width}}{label:<{label_width}}  {hit.uri}{remark}",
        )


def _print_blocks(answer: Answer, console: Console, thumbnails: bool) -> None:
    """A few lines a hit beside its picture, or beside a map of where the match is."""
    from rich.text import Text

    rank_width = len(str(len(answer.hits)))
    with_map = not console.options.ascii_only
    picture_width = TERMINAL_THUMBNAIL if thumbnails else MAP_COLUMNS + 2 if with_map else 0
    left_width = rank_width + 1 + picture_width + 2
    _print(console, "")
    for rank, hit in enumerate(answer.hits, 1):
        picture: list[Text] = []
        problem = _missing(hit.uri)
        if thumbnails:
            rgb = _thumbnail(hit.uri, TERMINAL_THUMBNAIL)
            problem, picture = (rgb, []) if isinstance(rgb, str) else ("", list(_half_blocks(rgb, hit.box)))
        elif with_map:
            picture = [Text(row) for row in _braille_map(hit.box, MAP_COLUMNS, 2)]
        caption = _caption(hit, answer.n_bits, console.width - left_width, problem)
        for row, (drawn, said) in enumerate(zip_longest(picture, caption, fillvalue=Text())):
            line = Text(f"{rank if row == 0 else '':>{rank_width}} ") + drawn
            line.pad_right(left_width - line.cell_len)
            _print(console, line + said)
        if thumbnails:
            _print(console, "")


def _caption(hit: Hit, n_bits: int, width: int, problem: str) -> list[Text]:
    from rich.text import Text

    remark = f"  ({problem})" if problem else ""
    path = _shorten_left(printable(hit.uri), width - len(remark))
    why = reason(hit, n_bits)
    lines = [Text.assemble((path, "bold"), (remark, "red"))]
    lines += map(Text, [why] if len(why) <= width else why.split("; "))
    details = [f"score {hit.score:.3f}"]
    if hit.box != WHOLE:
        details.append(f"box {hit.box}")
    if label := printable(_label(hit)):
        details.append(f"label {label}")
    lines.append(Text(" · ".join(details), style="dim"))
    return lines


def _half_blocks(rgb: Rgb, box: Box) -> Iterator[Text]:
    """Draw a picture with two pixels a character, the box outlined: a row of text for two of pixels."""
    from rich.text import Text

    rgb = _outline(rgb, box)
    if len(rgb) % 2:
        rgb = np.concatenate([rgb, rgb[-1:]])
    for upper, lower in zip(rgb[::2].tolist(), rgb[1::2].tolist(), strict=True):
        row = Text()
        for (r, g, b), (r2, g2, b2) in zip(upper, lower, strict=True):
            row.append("▀", style=f"rgb({r},{g},{b}) on rgb({r2},{g2},{b2})")
        yield row


def _outline(rgb: Rgb, box: Box, colour: tuple[int, int, int] = (255, 90, 54)) -> Rgb:
    """A copy with the border of `box` one pixel wide, or the picture itself for the whole."""
    if box == WHOLE:
        return rgb
    height, width = rgb.shape[:2]
    x0, y0, x1, y1 = (round(v) for v in box.pixels(width, height))
    x0, y0 = min(x0, width - 1), min(y0, height - 1)
    x1, y1 = max(x0, x1 - 1), max(y0, y1 - 1)
    rgb = rgb.copy()
    rgb[[y0, y1], x0 : x1 + 1] = colour
    rgb[y0 : y1 + 1, [x0, x1]] = colour
    return rgb


_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
"""The bit of each dot of a braille character, by row and column, in Unicode's order."""


def _braille_map(box: Box, columns: int, rows: int) -> list[str]:
    """Where the box lies, as raised dots: 2 x 4 a character, between bars."""
    x = (np.arange(columns * 2) + 0.5) / (columns * 2)
    y = (np.arange(rows * 4) + 0.5) / (rows * 4)
    in_x, in_y = _within(x, box.x0, box.x1), _within(y, box.y0, box.y1)
    dots = np.outer(in_y, in_x).reshape(rows, 4, columns, 2)
    cells = (dots * _DOTS[:, None, :]).sum(axis=(1, 3)) + 0x2800
    return [f"▕{''.join(map(chr, row))}▏" for row in cells.tolist()]


def _within(centres: NDArray[np.float64], low: float, high: float) -> NDArray[np.bool_]:
    """Which centres the interval covers; the nearest one where it is too narrow to cover any."""
    inside = (centres >= low) & (centres <= high)
    if not inside.any():
        inside[np.abs(centres - (low + high) / 2).argmin()] = True
    return inside


def _print(console: Console, line: str | Text, style: str = "") -> None:
    """Print one line as it is: no markup, no highlighting, cut at the edge of a terminal, whole in a pipe."""
    from rich.text import Text

    text = Text(printable(line), style=style) if isinstance(line, str) else line
    if console.options.ascii_only:
        plain = text.plain.replace("…", "~").replace("·", "-")
        text = Text(plain.encode("ascii", "replace").decode(), style=style)
    if console.is_terminal:
        console.print(text, no_wrap=True, overflow="crop" if console.options.ascii_only else "ellipsis")
    else:
        console.print(text, soft_wrap=True)


def _shorten_left(path: str, width: int) -> str:
    """The end of a path, which says most, in at most `width` cells of a terminal."""
    from rich.cells import cell_len

    if cell_len(path) <= width:
        return path
    while path and cell_len(path) > width - 1:
        path = path[1:]
    return f"…{path}"


# The page.


@dataclass(frozen=True, slots=True)
class _Thumbnail:
    """A picture on the page: a data URI, or the words that stand in its place."""

    src: str
    problem: str
    width: int = 1
    height: int = 1


@dataclass(frozen=True, slots=True)
class _Card:
    """A hit on the page."""

    rank: int
    hit: Hit
    name: str
    label: str
    thumbnail: _Thumbnail
    box: str
    reason: str
    is_right: bool


@dataclass(frozen=True, slots=True)
class _Section:
    """An answer on the page."""

    number: int
    answer: Answer
    name: str
    thumbnail: _Thumbnail
    box: str
    summary: str
    cards: Sequence[_Card]
    is_judged: bool
    """Whether the right answer is known."""
    place: int | None
    """Rank of the right answer; `None` where it is not among the hits."""


def html_page(
    answers: Sequence[Answer],
    *,
    title: str = "What grainhash found",
    notes: Sequence[str] = (),
    expectations: Sequence[int | str | None] | None = None,
) -> str:
    """Show answers on one page that needs nothing else: no script, no other file, no network.

    Args:
        answers: a section each.
        title: the heading.
        notes: paragraphs below it, as plain text.
        expectations: for each answer the id or the uri of the right hit, or `None` where nobody knows. The
            page then marks it and says how many came first.

    Raises:
        InputError: another number of expectations than of answers.
    """
    if expectations is None:
        expectations = [None] * len(answers)
    if len(expectations) != len(answers):
        raise InputError(f"{len(expectations)} expectations for {len(answers)} answers; give one for each")
    load = cache(page_thumbnail)  # a picture is often in several answers
    sections = [
        _section(number, answer, right, load(answer.query), [load(hit.uri) for hit in answer.hits])
        for number, (answer, right) in enumerate(zip(answers, expectations, strict=True), 1)
    ]
    judged = [section for section in sections if section.is_judged]
    return template("report.html.jinja").render(
        title=printable(title),
        notes=[printable(note) for note in notes],
        sections=sections,
        n_judged=len(judged),
        n_first=sum(section.place == 1 for section in judged),
    )


def write_html(path: Path | str, page: str) -> None:
    """Write a page all at once: a reader, or a full disk, never finds half of it.

    Raises:
        InputError: the folder is missing or cannot be written.
    """
    write_file(path, page.encode("utf-8", "replace"))  # a name may hold bytes that are no text


def write_file(path: Path | str, content: bytes) -> None:
    """Write a file all at once; see `write_html`."""
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; create it first")
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    except OSError as error:
        problem = error.strerror or "cannot be written"
        raise InputError(f"{path}: {problem}; choose a file in a folder you may write to") from None
    finally:
        with suppress(OSError):  # it is in place already, or was never made
            draft.unlink()


@cache
def template(name: str) -> Template:
    """A page of the package; what is filled in is escaped, and what is missing is an error."""
    from importlib.resources import files

    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(lambda part: files("grainhash").joinpath(part).read_text(encoding="utf-8")),
    )
    return environment.get_template(name)


def _section(
    number: int,
    answer: Answer,
    right: int | str | None,
    query: _Thumbnail,
    thumbnails: Sequence[_Thumbnail],
) -> _Section:
    cards = [
        _Card(
            rank=rank,
            hit=hit,
            name=_name(hit.uri),
            label=printable(_label(hit)),
            thumbnail=thumbnail,
            box=box_style(hit.box),
            reason=reason(hit, answer.n_bits),
            is_right=right is not None and right in (hit.id, hit.uri),
        )
        for rank, (hit, thumbnail) in enumerate(zip(answer.hits, thumbnails, strict=True), 1)
    ]
    return _Section(
        number=number,
        answer=answer,
        name=_name(answer.query),
        thumbnail=query,
        box=box_style(answer.query_box or WHOLE),
        summary=_summary(answer) if cards else _nothing_found(answer),
        cards=cards,
        is_judged=right is not None,
        place=next((card.rank for card in cards if card.is_right), None),
    )


def page_thumbnail(uri: str) -> _Thumbnail:
    """A picture for a page, or why there is none."""
    from grainhash.images import encode_jpeg

    rgb = _thumbnail(uri, PAGE_THUMBNAIL)
    if isinstance(rgb, str):
        return _Thumbnail("", rgb)
    data = base64.b64encode(encode_jpeg(rgb, quality=85)).decode()
    return _Thumbnail(f"data:image/jpeg;base64,{data}", "", rgb.shape[1], rgb.shape[0])


def box_style(box: Box) -> str:
    """The box as a CSS position within its picture; empty for the whole."""
    if box == WHOLE:
        return ""
    sides = {"left": box.x0, "top": box.y0, "width": box.x1 - box.x0, "height": box.y1 - box.y0}
    return ";".join(f"{side}:{100 * value:.2f}%" for side, value in sides.items())


# What all of them say.


def _thumbnail(uri: str, side: int) -> Rgb | str:
    """A picture whose longer side has at most `side` pixels, or why there is none."""
    from grainhash.images import decode, fit

    if problem := _missing(uri):
        return problem
    try:
        return fit(decode(uri, min_side=side).rgb, side)
    except PictureError as error:
        return error.reason


def _missing(uri: str) -> str:
    return "" if os.access(uri, os.F_OK) else "the file is gone"


def _query_line(answer: Answer, console: Console) -> str:
    box = "" if answer.query_box is None else f"  region {answer.query_box}"
    query = printable(answer.query)
    if console.is_terminal:
        query = _shorten_left(query, console.width - len("query  ") - len(box))
    return f"query  {query}{box}"


def _summary(answer: Answer) -> str:
    """The circumstances of an answer in one line."""
    kind = {"whole": "whole pictures", "part": "parts", "both": "wholes and parts"}[answer.granularity]
    facts = [f"{len(answer.hits)} of {answer.n_pictures:,} pictures", f"{kind} in {answer.n_bits} bits"]
    if answer.where:
        facts.append(f"where {answer.where}")
    if answer.seconds:
        facts.append(f"{1000 * sum(answer.seconds.values()):.3g} ms")
    return printable(" · ".join(facts))


def _nothing_found(answer: Answer) -> str:
    if not answer.n_pictures:
        return "No hits: the gallery has no pictures yet."
    if answer.where:
        return f"No hits: no picture passes the filter {printable(answer.where)}"
    return "No hits."


def _label(hit: Hit) -> str:
    label = hit.meta.get("label")
    if isinstance(label, list | tuple):
        return ", ".join(map(str, label))
    return "" if label is None else str(label)


def _name(uri: str) -> str:
    return printable(PurePath(uri).name or uri)


def printable(text: str) -> str:
    """Text without control characters, which a file name may hold to play tricks on a terminal."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
