from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from grainhash.errors import InputError
from grainhash.report import Answer, html_page, plan, reason, terminal, to_json, write_html
from grainhash.types import WHOLE, Box, Hit, Match, Stage

NAMES = ["wide.jpg", "tall.png", "漢字 été.png", "<script>alert('x')</script>.jpg", "[red]not markup[!].png"]


@pytest.fixture
def uris(tmp_path: Path) -> list[str]:
    """Real picture files with names that ask for care."""
    folder = tmp_path / "a folder & more"
    for i, name in enumerate(NAMES):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        size = (60, 400) if "tall" in name else (400, 300)
        Image.new("RGB", size, (40 * i, 90, 200)).save(path)
    return [str(folder / name) for name in NAMES]


def _answer(*hits: Hit, **changes: Any) -> Answer:
    answer = Answer(
        query="query.jpg",
        query_box=None,
        hits=hits,
        n_bits=256,
        granularity="both",
        n_pictures=1234,
        seconds={"encode": 0.012, "search": 0.001},
    )
    return replace(answer, **changes)


def _hit(uri: str, id: int = 1, **changes: Any) -> Hit:
    hit = Hit(
        id,
        uri,
        score=0.99,
        false_matches=0.0101,
        distance=31,
        whole_distance=92,
        part_distance=31,
        box=Box(0.5, 0, 1, 0.5),
        query_box=WHOLE,
        width=400,
        height=300,
        meta={"label": "cat"},
    )
    return replace(hit, **changes)


def _print(
    answer: Answer, *, width: int = 80, tty: bool = False, thumbnails: bool = True, **options: Any
) -> str:
    stream = io.StringIO()
    colours = "truecolor" if tty else None
    options = {"color_system": colours, "force_terminal": tty, "legacy_windows": False, **options}
    terminal(answer, Console(file=stream, width=width, _environ={}, **options), thumbnails=thumbnails)
    return stream.getvalue()


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


# The reason in words.


def test_reason_names_what_matched() -> None:
    part = _hit("x")
    assert reason(part, 256) == "a part matched: 31 of 256 bits differ; the whole differs by 92"
    whole = _hit("x", box=WHOLE, distance=92, part_distance=95)
    assert reason(whole, 256) == "the whole matched: 92 of 256 bits differ; parts differ by 95 or more"
    corners = np.array([[0, 0], [1, 0], [1, 0.9]])
    match = Match(corners, corners, corners, 7, -20.0, np.eye(3)[:2])
    verified = _hit("x", box=match.box, distance=92, part_distance=95, match=match)
    assert reason(verified, 256).startswith("7 points match; the whole matched: 92 of 256 bits differ")
    alone = _hit("x", box=WHOLE, distance=92, part_distance=None)
    assert reason(alone, 64) == "the whole matched: 92 of 64 bits differ"


# JSON.


def test_json_keys_are_stable_and_plain() -> None:
    stages = [Stage("candidates", "the nearest 10", 7, 0.5)]
    answer = _answer(_hit("/a.jpg"), query_box=Box(0, 0, 0.5, 1), where="label = cat", stages=stages)
    assert json.loads(json.dumps(to_json(answer))) == {
        "query": "query.jpg",
        "query_box": [0, 0, 0.5, 1],
        "where": "label = cat",
        "granularity": "both",
        "n_bits": 256,
        "n_pictures": 1234,
        "seconds": {"encode": 0.012, "search": 0.001},
        "plan": [{"name": "candidates", "what": "the nearest 10", "n": 7, "seconds": 0.5}],
        "hits": [
            {
                "rank": 1,
                "id": 1,
                "uri": "/a.jpg",
                "score": 0.99,
                "false_matches": 0.0101,
                "distance": 31,
                "whole_distance": 92,
                "part_distance": 31,
                "box": [0.5, 0, 1, 0.5],
                "query_box": [0, 0, 1, 1],
                "width": 400,
                "height": 300,
                "meta": {"label": "cat"},
                "points": None,
            }
        ],
    }


def test_json_of_no_hits_and_no_regions() -> None:
    assert to_json(_answer())["hits"] == []
    assert to_json(_answer())["query_box"] is None
    assert to_json(_answer(_hit("x", part_distance=None)))["hits"][0]["part_distance"] is None


def test_json_documents_every_key() -> None:
    answer = to_json(_answer(_hit("x")))
    assert all(f"`{key}`" in (to_json.__doc__ or "") for key in [*answer, *answer["hits"][0]])


# The terminal.


@pytest.mark.parametrize("width", [80, 200])
def test_a_pipe_gets_one_plain_line_a_hit(uris: list[str], width: int) -> None:
    deep = "/photos/" + "deep/" * 60 + "a.jpg"
    hits = [_hit(uri, i) for i, uri in enumerate([*uris, deep])]
    printed = _print(_answer(*hits), width=width)
    assert "\x1b" not in printed
    *header, heading = printed.splitlines()[:3]
    assert header == ["query  query.jpg", "6 of 1,234 pictures · wholes and parts in 256 bits · 13 ms"]
    assert heading.split() == ["rank", "score", "bits", "whole", "part", "where", "box", "label", "path"]
    rows = printed.splitlines()[3:]
    assert len(rows) == len(hits)
    for rank, (row, hit) in enumerate(zip(rows, hits, strict=True), 1):
        assert row.split()[:5] == [str(rank), "0.990", "31", "92", "31"]
        assert "0.5,0,1,0.5" in row
        assert "cat" in row
        assert hit.uri in row
    assert rows[-1].endswith("(the file is gone)")


@pytest.mark.parametrize("thumbnails", [True, False])
@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_terminal_is_never_overrun(uris: list[str], width: int, thumbnails: bool) -> None:
    from rich.cells import cell_len

    hits = [_hit(uri, i) for i, uri in enumerate([*uris, "/gone/" + "漢" * 90 + ".jpg"])]
    printed = _plain(_print(_answer(*hits), width=width, tty=True, thumbnails=thumbnails))
    assert all(cell_len(line) <= width for line in printed.splitlines())
    for hit in hits[:-1]:
        assert hit.uri[-8:] in printed, "the end of a path says most"
    assert printed.count("a part matched: 31 of") == len(hits)
    assert "box 0.5,0,1,0.5" in printed
    assert printed.count("the file is gone") == 1


def test_thumbnails_are_drawn_with_the_box_outlined(uris: list[str]) -> None:
    printed = _print(_answer(_hit(uris[0])), tty=True)
    assert _plain(printed).count("▀") == 18 * 7  # 18 x 14 pixels, two a character
    assert "255;90;54" in printed
    whole = _print(_answer(_hit(uris[0], box=WHOLE)), tty=True)
    assert "▀" in whole
    assert "255;90;54" not in whole


@pytest.mark.parametrize(
    "options",
    [{"thumbnails": False}, {"color_system": None}, {"no_color": True}],
    ids=["not asked for", "no colours", "NO_COLOR"],
)
def test_without_thumbnails_a_map_shows_the_place(uris: list[str], options: dict[str, Any]) -> None:
    printed = _plain(_print(_answer(_hit(uris[0])), **{"tty": True, **options}))
    assert "▀" not in printed
    assert "▕⠀⠀⣿⣿▏" in printed  # the top right quarter
    assert "▕⠀⠀⠀⠀▏" in printed


def test_the_map_shows_the_smallest_box(uris: list[str]) -> None:
    speck = _hit(uris[0], box=Box(0.999, 0.999, 1, 1))
    assert "▕⠀⠀⠀⢀▏" not in _print(_answer(_hit(uris[0])))
    assert "▕⠀⠀⠀⢀▏" in _print(_answer(speck))


def test_the_plan_says_what_each_step_did() -> None:
    stages = [Stage("candidates", "the nearest 100 by wholes", 1234, 0.0021), Stage("order", "all", 12, 1.5)]
    heading, *rows = plan(_answer(stages=stages)).splitlines()
    assert heading.split() == ["step", "what", "pictures", "ms"]
    assert [row.split()[0] for row in rows] == ["candidates", "order"]
    assert [row.split()[-2:] for row in rows] == [["1,234", "2.1"], ["12", "1500.0"]]
    assert len({len(row) for row in [heading, *rows]}) == 1


def test_no_hits_say_why() -> None:
    assert _print(_answer(n_pictures=0)).endswith("No hits: the gallery has no pictures yet.\n")
    assert _print(_answer(where="label = x")).endswith("No hits: no picture passes the filter label = x\n")
    assert _print(_answer(), tty=True).endswith("No hits.\n")


def test_a_picture_without_regions(uris: list[str]) -> None:
    hit = _hit(uris[0], box=WHOLE, distance=92, part_distance=None, meta={})
    assert _print(_answer(hit)).splitlines()[-1].split()[:5] == ["1", "0.990", "92", "92", "-"]
    assert "the whole matched: 92 of 256 bits differ" in _print(_answer(hit), tty=True)


def test_control_characters_of_a_name_never_reach_the_terminal() -> None:
    hit = _hit("/p/\x1b[2Jwiped\r\n.jpg", meta={"label": ["cat", "\x07bell"]})
    for tty in (True, False):
        printed = _print(_answer(hit, query="q\x1b[31m.jpg"), tty=tty, thumbnails=False, color_system=None)
        assert not set("\x1b\r\x07") & set(_plain(printed))
        assert "cat, \ufffdbell" in printed


def test_a_terminal_that_knows_only_ascii(uris: list[str]) -> None:
    for tty in (True, False):
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, encoding="ascii")
        console = Console(file=stream, width=60, force_terminal=tty, color_system=None, _environ={})
        terminal(_answer(*(_hit(uri) for uri in uris)), console, thumbnails=True)
        stream.flush()
        assert b"wide.jpg" in raw.getvalue()
        assert b"5 of 1,234 pictures - wholes and parts" in raw.getvalue()


def test_a_damaged_picture_is_told_from_a_missing_one(tmp_path: Path) -> None:
    path = tmp_path / "damaged.jpg"
    path.write_bytes(b"no picture")
    printed = _plain(_print(_answer(_hit(str(path))), tty=True, width=200))
    assert "damaged.jpg  (" in printed
    assert "gone" not in printed


# The page.


class _Page(HTMLParser):
    """What a browser would make of the page: tags with attributes, balanced, and the text."""

    VOID = frozenset({"meta", "img", "link", "br", "input"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def test_the_page_needs_nothing_else(uris: list[str]) -> None:
    page = html_page([_answer(*map(_hit, uris), query=uris[0])])
    parsed = _Page(page)
    assert "http://" not in page
    assert "https://" not in page
    assert not parsed.all("script")
    assert not parsed.all("link")
    assert "url(" not in page
    assert all(str(image["src"]).startswith("data:image/jpeg;base64,") for image in parsed.all("img"))
    assert len(parsed.all("img")) == 1 + len(uris)


def test_the_page_is_accessible(uris: list[str]) -> None:
    page = _Page(html_page([_answer(*map(_hit, uris), query=uris[0])], title="Found", notes=["One.", "Two."]))
    assert page.all("html") == [{"lang": "en"}]
    assert "width=device-width" in str(page.all("meta"))
    assert [tag for tag, _ in page.tags if tag in ("h1", "h2", "h3")] == ["h1", "h2"]
    assert all(image["alt"] for image in page.all("img"))
    assert "Hit 2: tall.png" in [image["alt"] for image in page.all("img")]
    assert "Found One. Two." in page.text


def test_thumbnails_on_the_page_are_small_jpegs_of_the_picture(uris: list[str]) -> None:
    images = _Page(html_page([_answer(_hit(uris[1]))])).all("img")
    data = str(images[0]["src"]).removeprefix("data:image/jpeg;base64,")
    with Image.open(io.BytesIO(base64.b64decode(data))) as thumbnail:
        assert thumbnail.format == "JPEG"
        assert thumbnail.height == 224
        assert images[0]["height"] == "224"
        np.testing.assert_allclose(thumbnail.getpixel((10, 100)), (40, 90, 200), atol=6)


def test_boxes_are_drawn_in_percent(uris: list[str]) -> None:
    answer = _answer(
        _hit(uris[0], box=Box(0.25, 0.5, 0.75, 1)),
        _hit(uris[1], box=WHOLE),
        query=uris[0],
        query_box=Box(0, 0, 0.125, 1),
    )
    boxes = [span["style"] for span in _Page(html_page([answer])).all("span") if span.get("class") == "box"]
    assert boxes == [
        "left:0.00%;top:0.00%;width:12.50%;height:100.00%",
        "left:25.00%;top:50.00%;width:50.00%;height:50.00%",
    ]


def test_a_hostile_name_comes_out_harmless(uris: list[str]) -> None:
    evil = "<script>x</script>.jpg"
    attribute = '" onerror="alert(1)'
    hits = [_hit(evil), _hit(attribute, meta={"label": "<b>{{ 7 * 7 }}</b>"}), _hit(uris[3])]
    answer = _answer(*hits, query=evil, where="<i>")
    page = html_page([answer, replace(answer, hits=[])], title=evil, notes=[evil])
    parsed = _Page(page)
    assert not {"script", "b", "i"} & {tag for tag, _ in parsed.tags}
    assert "&lt;script&gt;x" in page
    assert not any("onerror" in attributes for _, attributes in parsed.tags)
    assert "{{ 7 * 7 }}" in parsed.text


def test_the_page_says_why_and_when_a_file_is_gone(uris: list[str]) -> None:
    page = _Page(html_page([_answer(_hit(uris[2]), _hit("/nowhere/gone.jpg"))]))
    assert "A part matched: 31 of 256 bits differ; the whole differs by 92." in page.text
    assert "漢字 été.png" in page.text
    assert len(page.all("img")) == 1
    assert page.text.count("the file is gone") == 2, "the hit and the query"


def test_expectations_are_judged(uris: list[str]) -> None:
    answers = [_answer(*(_hit(uri, id=i) for i, uri in enumerate(uris)))] * 5
    page = _Page(html_page(answers, expectations=[0, uris[0], 2, "elsewhere.jpg", None]))
    assert "2 of 4 came first" in page.text
    assert page.text.count("The right answer came first.") == 2
    assert "The right answer came at place 3." in page.text
    assert "The right answer is not among these hits." in page.text
    assert sum(item.get("class") == "right" for item in page.all("li")) == 3
    places = [a["href"] for a in page.all("a")]
    assert places == ["#query-1", "#query-2", "#query-3", "#query-4"]
    assert {f"query-{i}" for i in range(1, 6)} == {section["id"] for section in page.all("section")}


def test_nothing_is_judged_without_expectations(uris: list[str]) -> None:
    assert "came first" not in html_page([_answer(_hit(uris[0]))])


def test_expectations_must_match_the_answers() -> None:
    with pytest.raises(InputError, match="2 expectations for 1 answers"):
        html_page([_answer()], expectations=[1, 2])


def test_a_page_of_no_hits_and_of_no_answers() -> None:
    page = _Page(html_page([_answer(where="label = x")]))
    assert "No hits: no picture passes the filter label = x" in page.text
    assert not page.all("ol")
    assert _Page(html_page([])).all("h1")


# Writing it.


def test_writing_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    write_html(path, "<p>漢字</p>")
    assert path.read_text(encoding="utf-8") == "<p>漢字</p>"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no folder .*missing; create it"):
        write_html(tmp_path / "missing" / "report.html", "x")
    (tmp_path / "taken").mkdir()
    with pytest.raises(InputError, match=r"taken: .*choose a file"):
        write_html(str(tmp_path / "taken"), "x")
    with pytest.raises(InputError, match=r"choose a file"):
        write_html(tmp_path / ("long" * 100), "x")
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]


def test_a_folder_one_may_not_write_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, data: bytes) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(InputError, match="Permission denied; choose a file in a folder you may write to"):
        write_html(tmp_path / "report.html", "x")
