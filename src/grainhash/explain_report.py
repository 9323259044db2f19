"""How an explanation looks: one picture (PNG), a self-contained page, a JSON object, a few lines of text.

All of them show two pictures side by side: the query and the hit. Over the part of each that was compared
lies a heat map, dark where a place counts for nothing, bright where it speaks for the match, blue where it
speaks against it. Below are the network's own activations there, what a transformer attended to, and the bits
of the two codes.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from grainhash.explain import Explanation, Heat, Side
from grainhash.images import Rgb
from grainhash.report import points_to_json, printable, template
from grainhash.types import WHOLE, Box

Colour = tuple[int, int, int]

METHODS = {
    "exact": "exact: the shares of all cells add up to the agreement of the two codes",
    "occlusion": "occlusion: what the agreement loses while a patch hides a place",
}
"""What each method says of a heat map."""

WIDTH, HEIGHT, GAP = 520, 420, 32
"""Pixels that a picture fits into, and those between two."""
PAIR = 2 * WIDTH + GAP
MARGIN = 40
BITS_A_ROW = 64

PAPER, INK, SOFT, ACCENT, AGREE = (
    (251, 250, 248),
    (29, 28, 26),
    (107, 104, 98),
    (255, 106, 69),
    (79, 157, 120),
)

HEAT: tuple[Colour, ...] = (
    *((222, 240, 255), (110, 185, 255), (40, 110, 220), (20, 50, 120)),
    (0, 0, 4),
    *((87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)),
)
"""Colours from -1 to 1: blue, black at 0, then as matplotlib's inferno."""
ENERGY: tuple[Colour, ...] = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
"""Colours from 0 to 1, as matplotlib's viridis."""
COVER = 0.68
"""How much of a picture its colours hide."""


def lines(explanation: Explanation) -> list[tuple[str, str]]:
    """What an explanation says, as pairs of a word and a line."""
    query, hit = explanation.query, explanation.hit
    pairs = [
        ("matched", f"{_part(query.box, 'query')} and {_part(hit.box, 'hit')}"),
        ("bits", f"{explanation.distance} of {explanation.n_bits} differ"),
    ]
    if explanation.found is not None:
        chance = explanation.found.false_matches
        pairs.append(
            ("score", f"{explanation.found.score:.3f}, {chance:.2g} matches as good to expect by chance")
        )
        if explanation.found.match is not None:
            pairs.append(("points", f"{explanation.found.match.n_places} match and lie alike"))
    pairs.append(("heat maps", METHODS[explanation.method]))
    for name, side in (("query", query), ("hit", hit)):
        core = side.core()
        if core is not None:
            share, box = core
            where = f"{share:.0%} of what was compared of the {name}, within the box {box}"
            pairs.append(("", f"half of what agrees is in {where}"))
    return pairs


def to_json(explanation: Explanation, query: str) -> dict[str, Any]:
    """An explanation as plain values for `json.dumps`. These keys are stable:

    `query`, `n_bits`, `distance` in bits, `differing` (positions of the bits that differ), `method` (`exact`
    or `occlusion`), `hit` (null without a gallery: `id`, `uri`, `score`, `false_matches`, and `points` as in
    the answer of a search, with `pairs` of places that match: `x, y` in the query, `x, y` in the hit), and
    `sides`, an object of `query` and `hit`, each with `box`, `heat` (rows of cells over that box) and `core`
    (null if nothing agrees: the `share` of the cells that half of what agrees is in, and the `box` around
    them). A box is `[x0, y0, x1, y1]` as fractions of the whole picture.
    """
    found = explanation.found
    points = found and points_to_json(found)
    if found and found.match and points:
        points["pairs"] = np.hstack([found.match.query, found.match.hit]).round(4).tolist()
    return {
        "query": query,
        "n_bits": explanation.n_bits,
        "distance": explanation.distance,
        "differing": np.flatnonzero(~explanation.agree).tolist(),
        "method": explanation.method,
        "hit": found
        and {
            "id": found.id,
            "uri": found.uri,
            "score": round(found.score, 4),
            "false_matches": float(f"{found.false_matches:.3g}"),
            "points": points,
        },
        "sides": {"query": _side(explanation.query), "hit": _side(explanation.hit)},
    }


def _side(side: Side) -> dict[str, Any]:
    core = side.core()
    return {
        "box": side.box.corners,
        "heat": [[float(f"{share:.6g}") for share in row] for row in side.heat.tolist()],
        "core": core and {"share": core[0], "box": core[1].corners},
    }


def _part(box: Box, name: str) -> str:
    return f"all of the {name}" if box == WHOLE else f"the box {box} of the {name}"


# The picture.


def png(explanation: Explanation, *, names: tuple[str, str] = ("query", "hit")) -> bytes:
    """An explanation as the bytes of a PNG.

    Args:
        explanation: what to draw.
        names: of the query and of the hit; of a path, the last part is shown.
    """
    shown = [_shown(name) for name in names]
    views = [
        _captioned(
            _view_pair(explanation, view), [f"what the network {view.verb} in the query", "and in the hit"]
        )
        for view in _views(explanation)
    ]
    rows = [
        _facts(f"Why {shown[1]} matches {shown[0]}", lines(explanation)),
        _captioned(_heat_pair(explanation), shown),
        _scale(),
        *views,
        _bits(explanation),
    ]
    canvas = Image.new("RGB", (PAIR + 2 * MARGIN, MARGIN + sum(row.height + MARGIN for row in rows)), PAPER)
    top = MARGIN
    for row in rows:
        canvas.paste(row, (MARGIN, top), row)
        top += row.height + MARGIN
    return _encoded(canvas, "PNG")


def _heat_pair(explanation: Explanation) -> Image.Image:
    """Both pictures with their heat maps, points that match joined, and the query's outline in the hit."""
    sides = explanation.query, explanation.hit
    pictures = [_with_heat(side) for side in sides]
    pair, corners = _beside(pictures)
    draw = ImageDraw.Draw(pair)
    match = None if explanation.found is None else explanation.found.match
    if match is None:
        return pair
    in_query, in_hit = (
        [(left + x * picture.width, top + y * picture.height) for x, y in places.tolist()]
        for (left, top), picture, places in zip(corners, pictures, (match.query, match.hit), strict=True)
    )
    for ends in zip(in_query, in_hit, strict=True):
        draw.line(ends, fill=ACCENT, width=1)
        for x, y in ends:
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=ACCENT, outline="white")
    (left, top), picture = corners[1], pictures[1]
    outline = [(left + x * picture.width, top + y * picture.height) for x, y in match.outline.tolist()]
    draw.polygon(outline, outline=ACCENT, width=2)
    return pair


@dataclass(frozen=True, slots=True)
class _View:
    """Something that the network tells of each cell of a picture."""

    verb: str
    what: str
    of: Callable[[Side], Heat | None]


VIEWS = (
    _View(
        "saw",
        "The strength of all its features in each cell of its map of the part that was compared: yellow "
        "much, violet little.",
        lambda side: side.activations,
    ),
    _View(
        "attended to",
        "How much its last layer took from each cell of the part that was compared, the mean of its heads: "
        "yellow much, violet little.",
        lambda side: side.attention,
    ),
)


def _views(explanation: Explanation) -> list[_View]:
    """Those that there are of both pictures."""
    sides = explanation.query, explanation.hit
    return [view for view in VIEWS if all(view.of(side) is not None for side in sides)]


def _view_pair(explanation: Explanation, view: _View) -> Image.Image:
    """The parts that were compared with what the network tells of them."""
    pictures = []
    for side in (explanation.query, explanation.hit):
        seen = view.of(side)
        assert seen is not None  # or it would be no view
        left, top, right, bottom = side.box.whole_pixels(*side.rgb.shape[1::-1])
        picture = _enlarged(side.rgb[top:bottom, left:right])
        low, high = seen.min(), seen.max()
        levels = (seen - low) / max(high - low, np.finfo(np.float64).tiny)
        cells = np.asarray(_resized(levels, picture.size, Image.Resampling.NEAREST))
        pictures.append(_covered(picture, _coloured(cells, ENERGY)))
    return _beside(pictures)[0]


def _with_heat(side: Side) -> Image.Image:
    """A picture, dim but for the part that was compared, which is grey under its heat map and outlined."""
    picture = _enlarged(side.rgb)
    left, top, right, bottom = side.box.whole_pixels(*picture.size)
    largest = max(np.abs(side.heat).max(), np.finfo(np.float64).tiny)
    levels = _resized(side.heat / largest, (right - left, bottom - top), Image.Resampling.BICUBIC)
    part = _covered(picture.crop((left, top, right, bottom)), _coloured((levels + 1) / 2, HEAT))
    dim = picture.point(lambda level: round(0.5 * level))
    dim.paste(part, (left, top))
    draw = ImageDraw.Draw(dim)
    if side.box != WHOLE:
        draw.rectangle((left - 1, top - 1, right, bottom), outline="white", width=2)
    return dim


def _enlarged(rgb: Rgb) -> Image.Image:
    """A picture as large as fits."""
    height, width = rgb.shape[:2]
    scale = min(WIDTH / width, HEIGHT / height)
    size = max(round(scale * width), 1), max(round(scale * height), 1)
    return Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS)


def _resized(
    values: NDArray[np.float64], size: tuple[int, int], resampling: Image.Resampling
) -> NDArray[np.float64]:
    """A number a cell to a number a pixel."""
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize(size, resampling), np.float64)


def _coloured(levels: NDArray[np.float64], colours: Sequence[Colour]) -> Image.Image:
    """Levels from 0 to 1 as colours, those between the given ones mixed from their neighbours."""
    stops = np.linspace(0, 1, len(colours))
    channels = [np.interp(levels, stops, channel) for channel in np.array(colours).T]
    return Image.fromarray(np.stack(channels, axis=-1).round().astype(np.uint8))


def _covered(picture: Image.Image, colours: Image.Image) -> Image.Image:
    """A picture in grey under colours."""
    return Image.blend(picture.convert("L").convert("RGB"), colours, COVER)


def _beside(pictures: Sequence[Image.Image]) -> tuple[Image.Image, list[tuple[int, int]]]:
    """Two pictures side by side on one ground, each in its half, and where their corners are."""
    height = max(picture.height for picture in pictures)
    pair = Image.new("RGBA", (PAIR, height))
    corners = [
        (column * (WIDTH + GAP) + (WIDTH - picture.width) // 2, height - picture.height)
        for column, picture in enumerate(pictures)
    ]
    for picture, corner in zip(pictures, corners, strict=True):
        pair.paste(picture, corner)
    return pair, corners


def _captioned(pair: Image.Image, captions: Sequence[str]) -> Image.Image:
    row = Image.new("RGBA", (pair.width, pair.height + 28))
    row.paste(pair)
    draw = ImageDraw.Draw(row)
    for column, caption in enumerate(captions):
        middle = column * (WIDTH + GAP) + WIDTH / 2
        draw.text((middle, pair.height + 8), caption, INK, font=_font(16), anchor="ma")
    return row


def _facts(title: str, facts: Sequence[tuple[str, str]]) -> Image.Image:
    row = Image.new("RGBA", (PAIR, 44 + 22 * len(facts)))
    draw = ImageDraw.Draw(row)
    draw.text((0, 0), title, INK, font=_font(24))
    for number, (word, line) in enumerate(facts):
        draw.text((0, 44 + 22 * number), word, SOFT, font=_font(15))
        draw.text((90, 44 + 22 * number), line, INK, font=_font(15))
    return row


def _scale() -> Image.Image:
    """What the colours of heat maps mean."""
    row = Image.new("RGBA", (PAIR, 20))
    draw = ImageDraw.Draw(row)
    left, length = PAIR // 2 - 150, 300
    row.paste(_coloured(np.tile(np.linspace(0, 1, length), (12, 1)), HEAT), (left, 4))
    draw.text((left - 12, 10), "against the match", SOFT, font=_font(15), anchor="rm")
    draw.text((left + length + 12, 10), "for the match", SOFT, font=_font(15), anchor="lm")
    return row


def _bits(explanation: Explanation) -> Image.Image:
    """A square a bit."""
    step = PAIR / BITS_A_ROW
    n_rows = -(-explanation.n_bits // BITS_A_ROW)
    row = Image.new("RGBA", (PAIR, round(n_rows * step) + 28))
    draw = ImageDraw.Draw(row)
    for bit, same in enumerate(explanation.agree.tolist()):
        down, across = divmod(bit, BITS_A_ROW)
        left, top = across * step, down * step
        draw.rectangle((left, top, left + step - 3, top + step - 3), fill=AGREE if same else ACCENT)
    n_same = explanation.n_bits - explanation.distance
    caption = f"{n_same} bits agree (green), {explanation.distance} differ (orange)"
    draw.text((0, n_rows * step + 8), caption, INK, font=_font(15))
    return row


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _shown(name: str) -> str:
    """The last part of a path, as far as Pillow's own font has its letters."""
    last = printable(PurePath(name).name or name)
    short = last if len(last) <= 60 else f"{last[:40]}...{last[-17:]}"
    return short.encode("latin-1", "replace").decode("latin-1")


def _encoded(image: Image.Image, format: str) -> bytes:
    file = io.BytesIO()
    image.save(file, format, quality=90)
    return file.getvalue()


# The page.


def html_page(explanation: Explanation, *, names: tuple[str, str] = ("query", "hit")) -> str:
    """Show an explanation on one page that needs nothing else: no script, no other file, no network.

    Args:
        explanation: what to show.
        names: of the query and of the hit.
    """
    return template("explain_report.html.jinja").render(
        names=[printable(name) for name in names],
        short=[printable(PurePath(name).name or name) for name in names],
        explanation=explanation,
        facts=lines(explanation),
        heat=_data_uri(_heat_pair(explanation)),
        views=[(view, _data_uri(_view_pair(explanation, view))) for view in _views(explanation)],
        agree=explanation.agree.tolist(),
        colours=HEAT,
        width=PAIR,
    )


def _data_uri(image: Image.Image) -> str:
    return f"data:image/webp;base64,{base64.b64encode(_encoded(image, 'WEBP')).decode()}"
