from __future__ import annotations

import fnmatch
import json
import operator
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from grainhash.errors import WhereError
from grainhash.where import BUILT_IN, MAX_LENGTH, MAX_PATH, Where, compile_where

GUIDE = (Path(__file__).parents[1] / "docs" / "where.md").read_text(encoding="utf-8")


class Pictures:
    """The table that a filter runs on, in memory."""

    def __init__(self, rows: Mapping[str, Mapping[str, Any]]) -> None:
        self.connection = sqlite3.connect(":memory:")
        self.connection.execute(
            "CREATE TABLE pictures (id INTEGER PRIMARY KEY, uri TEXT, sha256 TEXT, "
            "width INTEGER, height INTEGER, added_at TEXT, meta TEXT)"
        )
        for uri, meta in rows.items():
            self.add(uri, meta)

    def add(self, uri: str, meta: Mapping[str, Any], width: int = 640, height: int = 480) -> None:
        self.connection.execute(
            "INSERT INTO pictures (uri, width, height, added_at, meta) VALUES (?, ?, ?, ?, ?)",
            (uri, width, height, "2026-11-22T12:00:00+00:00", json.dumps(meta)),
        )

    def find(self, text: str) -> list[str]:
        where = compile_where(text)
        sql = f"SELECT p.uri, {where.sql} FROM pictures AS p ORDER BY p.id"
        rows = self.connection.execute(sql, where.parameters).fetchall()
        assert {truth for _, truth in rows} <= {0, 1}, "a filter is true or false, never NULL"
        return [uri for uri, truth in rows if truth]


@pytest.fixture
def pictures() -> Iterator[Callable[..., Pictures]]:
    """Make tables that are closed after the test."""
    made: list[Pictures] = []

    def make(rows: Mapping[str, Mapping[str, Any]]) -> Pictures:
        made.append(Pictures(rows))
        return made[-1]

    yield make
    for table in made:
        table.connection.close()


def _table(heading: str) -> list[tuple[str, str]]:
    """The rows of the guide's table under a heading, as (left cell, right cell)."""
    section = GUIDE.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (.+) \| (.+) \|$", section, re.MULTILINE)
    return [(_code(left)[0], right) for left, right in rows[1:]]


def _code(cell: str) -> list[str]:
    """What a Markdown cell holds between backquotes, single or double."""
    return [double.strip() or single for double, single in re.findall(r"``(.+?)``(?!`)|`([^`]+)`", cell)]


EXAMPLES = _table("Examples")
SAMPLE = json.loads(GUIDE.split("```json\n")[1].split("```")[0])


def test_the_guide_has_examples() -> None:
    assert len(EXAMPLES) >= 15
    assert all(_code(right) for _, right in EXAMPLES)


@pytest.mark.parametrize(("text", "finds"), EXAMPLES)
def test_examples_of_the_guide(text: str, finds: str, pictures: Callable[..., Pictures]) -> None:
    assert pictures(SAMPLE).find(text) == _code(finds)


@pytest.mark.parametrize(("text", "answer"), _table("What an error looks like"))
def test_errors_of_the_guide(text: str, answer: str) -> None:
    with pytest.raises(WhereError) as caught:
        compile_where(text)
    assert str(caught.value) == _code(answer)[0]


def test_the_guide_names_every_built_in_field() -> None:
    assert all(f"`{name}`" in GUIDE for name in BUILT_IN)


@pytest.mark.parametrize(
    ("text", "finds"),
    [
        ("id = 2", ["a/a/b.png"]),
        ("uri = a/a/b.png", ["a/a/b.png"]),
        ("name = b.png", ["a/a/b.png"]),
        ("name = top.jpg", ["top.jpg"]),
        ("width > 1000", ["a/a/b.png"]),
        ("height <= 480", ["top.jpg"]),
        ("pixels >= 1e6", ["a/a/b.png"]),
        ("added >= 2026-11-22 and added < 2026-11-23", ["top.jpg", "a/a/b.png"]),
        ("width in (640, big, null)", ["top.jpg"]),
        ('width > ""', []),
        ('width != "640"', ["top.jpg", "a/a/b.png"]),
        ("exists width and id != null", ["top.jpg", "a/a/b.png"]),
        ("`width` = 7", ["top.jpg"]),
    ],
)
def test_fields_every_picture_has(text: str, finds: list[str], pictures: Callable[..., Pictures]) -> None:
    table = pictures({"top.jpg": {"width": 7}})
    table.add("a/a/b.png", {}, width=2000, height=1000)
    assert table.find(text) == finds


@pytest.mark.parametrize(
    "meta",
    [{}, {"x": None}, {"x": True}, {"x": [5]}, {"x": {"5": 5}}, {"X": 5}],
    ids=str,
)
def test_other_types_and_missing_keys_compare_false(
    meta: dict[str, Any], pictures: Callable[..., Pictures]
) -> None:
    table = pictures({"p": meta})
    for sign in ("=", "==", "<", "<=", ">", ">=", "in"):
        assert table.find(f"x {sign} (5)" if sign == "in" else f"x {sign} 5") == [], sign
    assert table.find("x != 5") == ["p"]
    assert table.find("x not in (5, 6)") == ["p"]
    assert table.find("not x = 5") == ["p"]


def test_null_is_a_missing_key(pictures: Callable[..., Pictures]) -> None:
    table = pictures({"none": {}, "null": {"x": None}, "list": {"x": []}, "text": {"x": ""}})
    assert table.find("x = null") == ["none", "null"]
    assert table.find("x != null") == table.find("exists x") == ["list", "text"]
    assert table.find("x in (null, '')") == ["none", "null", "text"]


def test_digits_without_quotes_are_text_beside_text(pictures: Callable[..., Pictures]) -> None:
    table = pictures(
        {"text": {"x": "5"}, "number": {"x": 5}, "date": {"x": "2024-05-01"}, "zeros": {"x": "05"}}
    )
    assert table.find("x = 5") == ["text", "number"]
    assert table.find("x in (5, 6)") == ["text", "number"]
    assert table.find('x = "5"') == ["text"]
    assert table.find("x = 05") == ["number", "zeros"]
    assert table.find("x >= 2024 and x < 2025") == ["date"]


def test_truths_are_no_numbers(pictures: Callable[..., Pictures]) -> None:
    table = pictures({"one": {"x": 1}, "yes": {"x": True}, "no": {"x": False}, "text": {"x": "true"}})
    assert table.find("x = 1") == table.find("x in (1)") == ["one"]
    assert table.find("x = TRUE") == table.find("x in (true, 7)") == ["yes"]
    assert table.find("x = false") == ["no"]
    assert table.find("x = 'true'") == ["text"]


def test_dots_go_down_and_stop_at_what_is_no_object(pictures: Callable[..., Pictures]) -> None:
    table = pictures({"deep": {"a": {"b": {"c": 1}}}, "text": {"a": '{"b": 1}'}, "list": {"a": [{"b": 1}]}})
    assert table.find("a.b.c = 1") == ["deep"]
    assert table.find("a . `b` = 1") == []
    assert table.find("exists a.b") == ["deep"]


ODD_KEYS = [
    "a.b",
    'say "hi"',
    "it's",
    "é",
    "漢字",
    "$",
    "$.x",
    "back\\slash",
    "new\nline",
    "0",
    " ",
    "and",
    "🙂",
]


@pytest.mark.parametrize("key", ODD_KEYS)
def test_any_text_can_be_a_key(key: str, pictures: Callable[..., Pictures]) -> None:
    assert pictures({"yes": {key: "v"}, "no": {}}).find(f"`{key}` = v") == ["yes"]


@pytest.mark.parametrize(
    "evil",
    [
        "'; DROP TABLE pictures; --",
        '" OR 1=1 --',
        "%",
        "_",
        "\\",
        "?",
        "$.x",
        "') OR (1=1",
        "x\ny",
        "🙂",
        "*'",
    ],
)
def test_no_text_of_the_user_reaches_the_sql(evil: str, pictures: Callable[..., Pictures]) -> None:
    quoted = '"' + evil.replace("\\", "\\\\").replace('"', '\\"') + '"'
    table = pictures({"evil": {"x": evil, evil: 1}, "other": {"x": "other"}})
    assert table.find(f"x = {quoted}") == ["evil"]
    assert table.find(f"x contains {quoted}") == ["evil"]
    assert table.find(f"`{evil}` = 1") == ["evil"]
    for form in ("{} = {}", "{} in ({})", "{} like {}", "{} not contains {}"):
        text = form.format("`" + evil + "`", quoted)
        harmless = compile_where(form.format("`key`", '"value"'))
        assert compile_where(text).sql == harmless.sql
    assert table.find("exists x") == ["evil", "other"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "label",
        "= 3",
        "5 = 5",
        "a = 1 or",
        "a = 1)",
        "a..b = 1",
        "a in ()",
        "a in cat",
        "a in (b c)",
        "a not 3",
        "a = and",
        "not",
        "exists 5",
        'a = "b" "c"',
        r'a = "\p"',
        "a <= null",
        "a = 1e999",
        "a = \0",
        "a = '\ud800'",
        "``= 1",
        "a = 1; DROP TABLE pictures",
        "x" * (MAX_LENGTH + 1),
        "not " * 500 + "a = 1",
        "(a=1 or " * 300 + "a=1" + ")" * 300,
        ".".join("a" * (MAX_PATH + 1)) + " = 1",
    ],
)
def test_what_does_not_parse_is_one_clear_line(text: str) -> None:
    with pytest.raises(WhereError) as caught:
        compile_where(text)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 200


@pytest.mark.parametrize(
    "text",
    [
        " or ".join(["a=1"] * (MAX_LENGTH // 7)),
        f"a in ({','.join('1' * 2000)})",
        "(" * 2000 + "a=1" + ")" * 2000,
        "not (a = 2 or " * 8 + "a = 1" + ")" * 8,
        ".".join("a" * MAX_PATH) + " = null and a = 1",
    ],
    ids=["wide", "list", "parentheses", "deep", "dots"],
)
def test_sqlite_takes_whatever_the_limits_allow(text: str, pictures: Callable[..., Pictures]) -> None:
    assert pictures({"p": {"a": 1}}).find(text) == ["p"]


@pytest.mark.parametrize("leaf", ["a = 1", "a.b.c in (1, x)", "name in (x, 3)", "name contains x"])
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("not ", ""),
        ("(a = 2 or ", ")"),
        ("(a = 2 and ", ")"),
        ("not (a = 2 or ", ")"),
        ("(a = 2 or a = 2 and ", ")"),
        ("(width > 2 and (width < 3 or not ", "))"),
    ],
)
def test_sqlite_takes_the_deepest_filter_that_compiles(
    left: str, right: str, leaf: str, pictures: Callable[..., Pictures]
) -> None:
    def compile_at(depth: int) -> Where | None:
        try:
            return compile_where(left * depth + leaf + right * depth)
        except WhereError:
            return None

    depth = max(d for d in range(40) if compile_at(d))
    assert depth >= 4
    where = compile_at(depth)
    assert where is not None
    inner = f"SELECT id FROM pictures AS p WHERE p.id > 0 AND {where.sql}"
    outer = f"SELECT 1 FROM (SELECT id FROM pictures WHERE id > 0 AND id IN ({inner}))"
    pictures({"p": {"a": 1}}).connection.execute(outer, where.parameters).fetchall()


# Random filters, judged by the same filter in Python.

Filter = tuple[str, Callable[[Mapping[str, Any]], bool]]
KEYS = ["a", "b", "label"]
WORDS = st.text(alphabet="ab12AB_%*?'\"\\ é", max_size=4)
NUMBERS = st.integers(-3, 3) | st.integers(-12, 12).map(lambda n: n / 4)
VALUES = st.one_of(WORDS, NUMBERS, st.booleans(), st.none())
METAS = st.dictionaries(st.sampled_from(KEYS), VALUES | st.just([1]))
ORDERS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def _kind(value: Any) -> str:
    return (
        "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
    )


def _beside(x: Any, value: Any) -> Any:
    """An unquoted number is text beside text."""
    return _write(value) if isinstance(x, str) and _kind(value) == "number" else value


def _same(x: Any, value: Any) -> bool:
    value = _beside(x, value)
    return _kind(x) == _kind(value) and bool(x == value)


def _in_order(sign: str, x: Any, value: Any) -> bool:
    value = _beside(x, value)
    return _kind(x) == _kind(value) and bool(ORDERS[sign](x, value))


def _write(value: Any) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return "null" if value is None else str(value)


def _lower(text: str) -> str:
    """Only a to z have another case in SQLite's LIKE."""
    return re.sub("[A-Z]", lambda match: match[0].lower(), text)


@st.composite
def _comparisons(draw: st.DrawFn) -> Filter:
    key = draw(st.sampled_from(KEYS))
    sign = draw(st.sampled_from(["=", "!=", "in", "not in", "like", "contains", "exists", *ORDERS]))
    if sign == "exists":
        return f"exists {key}", lambda meta: meta.get(key) is not None
    if sign in ("in", "not in"):
        values = draw(st.lists(VALUES, min_size=1, max_size=4))
        text = f"{key} {sign} ({', '.join(map(_write, values))})"
        return text, lambda meta: any(_same(meta.get(key), v) for v in values) == (sign == "in")
    if sign == "like":
        pattern = draw(WORDS)
        regex = re.compile(fnmatch.translate(_lower(pattern)))
        return (
            f"{key} like {_write(pattern)}",
            lambda meta: isinstance(meta.get(key), str) and bool(regex.match(_lower(meta[key]))),
        )
    if sign == "contains":
        part = draw(WORDS)
        return (
            f"{key} contains {_write(part)}",
            lambda meta: isinstance(meta.get(key), str) and _lower(part) in _lower(meta[key]),
        )
    if sign in ORDERS:
        value = draw(WORDS | NUMBERS)
        return (
            f"{key} {sign} {_write(value)}",
            lambda meta: _in_order(sign, meta.get(key), value),
        )
    value = draw(VALUES)
    return f"{key} {sign} {_write(value)}", lambda meta: _same(meta.get(key), value) == (sign == "=")


def _combine(filters: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    def both(x: Filter, y: Filter) -> Filter:
        return f"({x[0]}) AND ({y[0]})", lambda meta: x[1](meta) and y[1](meta)

    def either(x: Filter, y: Filter) -> Filter:
        return f"(({x[0]}) or ({y[0]}))", lambda meta: x[1](meta) or y[1](meta)

    def negate(x: Filter) -> Filter:
        return f"not ({x[0]})", lambda meta: not x[1](meta)

    return (
        st.builds(both, filters, filters) | st.builds(either, filters, filters) | st.builds(negate, filters)
    )


@settings(deadline=None, max_examples=300)
@given(st.recursive(_comparisons(), _combine, max_leaves=6), st.lists(METAS, min_size=1, max_size=5))
def test_sqlite_agrees_with_python(condition: Filter, metas: list[dict[str, Any]]) -> None:
    text, predicate = condition
    table = Pictures({str(i): meta for i, meta in enumerate(metas)})
    try:
        assert table.find(text) == [str(i) for i, meta in enumerate(metas) if predicate(meta)]
    finally:
        table.connection.close()


TOKENS = [
    "and ",
    "or ",
    "not ",
    "in ",
    "like ",
    "exists ",
    "a",
    ".",
    "`",
    "(",
    ")",
    ",",
    "=",
    "<",
    "'",
    '"',
    "\\",
    "1",
    " ",
]


@settings(deadline=None, max_examples=500)
@given(st.text() | st.lists(st.sampled_from(TOKENS)).map("".join))
@example("a=1 and\n")
def test_random_text_is_a_filter_or_a_where_error(text: str) -> None:
    try:
        where = compile_where(text)
    except WhereError as error:
        assert "\n" not in str(error)  # noqa: PT017 - both outcomes are right
        return
    with sqlite3.connect(":memory:") as connection:
        connection.execute("CREATE TABLE pictures (id, uri, sha256, width, height, added_at, meta)")
        connection.execute("INSERT INTO pictures VALUES (1, 'u', 's', 1, 1, '2026', '{\"a\": 1}')")
        rows = connection.execute(f"SELECT {where.sql} FROM pictures AS p", where.parameters).fetchall()
    connection.close()
    assert rows[0][0] in (0, 1)
