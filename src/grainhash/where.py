"""The filter language: `label = cat and taken >= 2024-05-01`, compiled to parameterised SQL.

One language for the command line, Python and HTTP; `docs/where.md` explains it to its users. A filter
becomes a boolean SQL expression over the table `pictures` under the alias `p`, whose column `meta` holds
a JSON object. The expression is made of fixed pieces only: every key and every value of the user travels
as a parameter.

The logic has two values. A comparison is true or false, never SQL's unknown: it is false where the types
differ and where there is nothing to compare, and `!=` and every `not` mean exactly the opposite.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from grainhash.errors import WhereError

if TYPE_CHECKING:
    from lark import Lark, Token
    from lark.exceptions import UnexpectedInput

MAX_LENGTH = 4096
"""Characters in a filter."""
MAX_NESTING = 20
"""Parentheses within parentheses in the SQL; SQLite's own parser gives up at 23 inside two more queries."""
MAX_PATH = 16
"""Names in a dotted field; each is a table in a join, and SQLite joins at most 64."""

Parameter = str | int | float

GRAMMAR = r"""
?start: either
either: both (_OR both)*
both: unary (_AND unary)*
?unary: comparison
    | _NOT unary                                    -> negate
    | "(" either ")"
?comparison: field COMPARE value                    -> compare
    | field _IN "(" value ("," value)* ")"          -> member
    | field _NOT _IN "(" value ("," value)* ")"     -> not_member
    | field _LIKE text                              -> like
    | field _NOT _LIKE text                         -> not_like
    | field _CONTAINS text                          -> contains
    | field _NOT _CONTAINS text                     -> not_contains
    | _EXISTS field                                 -> exists
field: (NAME | BACKQUOTED) ("." (NAME | BACKQUOTED))*
value: QUOTED | WORD
text: QUOTED | WORD

COMPARE: "==" | "=" | "!=" | "<=" | "<" | ">=" | ">"
NAME: /(?!(and|or|not|in|like|contains|exists)(?![\w-]))[^\W\d][\w-]*/i
BACKQUOTED: /`[^`]+`/
QUOTED: /"(\\.|[^"\\])*"|'(\\.|[^'\\])*'/s
WORD: /(?!(and|or|not|in|like|contains|exists)(?![^\s(),=<>!"'`]))[^\s(),=<>!"'`]+/i

_AND: /and(?![\w-])/i
_OR: /or(?![\w-])/i
_NOT: /not(?![\w-])/i
_IN: /in(?![\w-])/i
_LIKE: /like(?![\w-])/i
_CONTAINS: /contains(?![\w-])/i
_EXISTS: /exists(?![\w-])/i
%ignore /\s+/
"""


@dataclass(frozen=True, slots=True)
class Where:
    """A compiled filter: `SELECT ... FROM pictures AS p WHERE {sql}` with `parameters`."""

    sql: str
    """A boolean expression over `p`, 0 or 1 and never NULL; it holds no text of the user."""
    parameters: tuple[Parameter, ...] = ()
    """One value for each `?`, in order."""


def compile_where(text: str) -> Where:
    """Compile a filter such as `label = cat and width >= 800`.

    Raises:
        WhereError: the filter does not parse, or is too long or too deep. The message is one line and
            says what was expected at which column.
    """
    from lark.exceptions import UnexpectedInput

    _check_characters(text)
    try:
        where: Where = _parser().parse(text)
    except UnexpectedInput as error:
        raise _syntax_error(text, error) from None
    if _nesting(where.sql) > MAX_NESTING:
        raise WhereError(f"{_shorten(text)}: nested too deeply; join filters with fewer parentheses and nots")
    return where


@dataclass(frozen=True, slots=True)
class _Test:
    """What a value of one type must pass."""

    kind: str
    sql: str
    """What follows the value, such as `> ?`."""
    values: tuple[Parameter, ...]


@dataclass(frozen=True, slots=True)
class _Column:
    """A field that every picture has: an SQL expression and the one type of its values."""

    sql: str
    kind: str

    def holds(self, *tests: _Test) -> Where:
        """Whether the value passes the test for its type."""
        clauses = [
            Where(f"({self.sql} {test.sql}) IS TRUE", test.values) for test in tests if test.kind == self.kind
        ]
        return _join(" OR ", clauses) if clauses else Where("0")

    def is_known(self) -> Where:
        """Whether there is a value at all, other than null."""
        return Where(f"({self.sql}) IS NOT NULL")


@dataclass(frozen=True, slots=True)
class _Key:
    """A field of the metadata: the keys that lead to it from the top of the JSON object.

    `json_each` with the key as a parameter, for a JSON path takes no quotes in a key, and before
    SQLite 3.45 misses keys that the JSON writes with escapes.
    """

    path: tuple[str, ...]

    def holds(self, *tests: _Test) -> Where:
        """Whether the value passes the test for its type."""
        last = f"k{len(self.path) - 1}"
        clauses = [
            Where(f"{last}.type {_JSON_TYPES[test.kind]} AND {last}.atom {test.sql}", test.values)
            for test in tests
        ]
        either = _join(" OR ", clauses)
        return self._exists(either.sql, either.parameters)

    def is_known(self) -> Where:
        """Whether there is a value at all, other than null."""
        return self._exists(f"k{len(self.path) - 1}.type <> 'null'", ())

    def _exists(self, condition: str, values: tuple[Parameter, ...]) -> Where:
        tables = ["json_each(p.meta) AS k0"] + [
            f"json_each(CASE k{i}.type WHEN 'object' THEN k{i}.value ELSE '{{}}' END) AS k{i + 1}"
            for i in range(len(self.path) - 1)
        ]
        keys = " AND ".join(f"k{i}.key = ?" for i in range(len(self.path)))
        rows = f"FROM {', '.join(tables)} WHERE {keys} AND {condition}"
        return Where(f"EXISTS (SELECT 1 {rows})", self.path + values)


_JSON_TYPES = {
    "text": "= 'text'",
    "number": "IN ('integer', 'real')",
    "truth": "IN ('true', 'false')",
}

_NAME = "substr(p.uri, 1 + length(rtrim(p.uri, replace(p.uri, '/', ''))))"
"""What follows the last slash: trim everything else off the end, and skip as much as is left."""

BUILT_IN = {
    "id": _Column("p.id", "number"),
    "uri": _Column("p.uri", "text"),
    "path": _Column("p.uri", "text"),
    "name": _Column(_NAME, "text"),
    "width": _Column("p.width", "number"),
    "height": _Column("p.height", "number"),
    "pixels": _Column("p.width * p.height", "number"),
    "added": _Column("p.added_at", "text"),
}
"""Fields that every picture has; any other name, and any `backquoted` one, is a key of its metadata."""


def asks_for_paths(where: Where) -> bool:
    """Whether a filter looks at where files are, rather than at their names alone."""
    return "p.uri" in where.sql.replace(_NAME, "")


_Field = _Column | _Key


@dataclass(frozen=True, slots=True)
class _Digits:
    """A number without quotes: a number beside numbers, and what was written beside text."""

    number: int | float
    written: str


_Value = str | _Digits | bool | None


class _Compiler:
    """Turns each rule of the grammar into SQL as soon as the parser has it, without a tree to descend."""

    def field(self, parts: Sequence[Token]) -> _Field:
        if len(parts) > MAX_PATH:
            raise WhereError(f"field at column {parts[0].column}: at most {MAX_PATH} names joined by dots")
        if len(parts) == 1 and parts[0] in BUILT_IN:
            return BUILT_IN[parts[0]]
        return _Key(tuple(part.strip("`") for part in parts))

    def value(self, tokens: Sequence[Token]) -> _Value:
        (token,) = tokens
        return _unquote(token) if token.type == "QUOTED" else _read_word(token)

    def text(self, tokens: Sequence[Token]) -> str:
        (token,) = tokens
        return _unquote(token) if token.type == "QUOTED" else str(token)

    def compare(self, children: tuple[_Field, Token, _Value]) -> Where:
        field, operator, value = children
        if operator in ("=", "=="):
            return _equal(field, value)
        if operator == "!=":
            return _negate(_equal(field, value))
        if value is None or isinstance(value, bool):
            word = "null" if value is None else str(value).lower()
            raise WhereError(
                f"{operator} {word} at column {operator.column}: {word} has no order; use = or !="
            )
        return field.holds(*_tests(value, f"{operator} ?"))

    def member(self, children: Sequence[Any]) -> Where:
        field, *values = children
        return _one_of(field, values)

    def not_member(self, children: Sequence[Any]) -> Where:
        return _negate(self.member(children))

    def like(self, children: tuple[_Field, str]) -> Where:
        field, pattern = children
        glob = _escape_like(pattern).replace("*", "%").replace("?", "_")
        return field.holds(_Test("text", r"LIKE ? ESCAPE '\'", (glob,)))

    def not_like(self, children: tuple[_Field, str]) -> Where:
        return _negate(self.like(children))

    def contains(self, children: tuple[_Field, str]) -> Where:
        field, part = children
        return field.holds(_Test("text", r"LIKE ? ESCAPE '\'", (f"%{_escape_like(part)}%",)))

    def not_contains(self, children: tuple[_Field, str]) -> Where:
        return _negate(self.contains(children))

    def exists(self, children: tuple[_Field]) -> Where:
        return children[0].is_known()

    def negate(self, children: tuple[Where]) -> Where:
        return _negate(children[0])

    def both(self, children: Sequence[Where]) -> Where:
        return _join(" AND ", children)

    def either(self, children: Sequence[Where]) -> Where:
        return _join(" OR ", children)


@cache
def _parser() -> Lark:
    from lark import Lark

    return Lark(GRAMMAR, parser="lalr", transformer=_Compiler(), maybe_placeholders=False)


def _tests(value: str | _Digits | bool, sql: str) -> list[_Test]:
    """The test of a value by each type that it can be compared with."""
    if isinstance(value, bool):
        return [_Test("truth", sql, (value,))]
    if isinstance(value, str):
        return [_Test("text", sql, (value,))]
    return [_Test("number", sql, (value.number,)), _Test("text", sql, (value.written,))]


def _equal(field: _Field, value: _Value) -> Where:
    if value is None:
        return _negate(field.is_known())
    return field.holds(*_tests(value, "= ?"))


def _one_of(field: _Field, values: Sequence[_Value]) -> Where:
    """`in (...)`: one SQL `IN` for the values of each type."""
    by_kind: dict[str, list[Parameter]] = {}
    for value in values:
        for test in _tests(value, "= ?") if value is not None else ():
            by_kind.setdefault(test.kind, []).extend(test.values)
    tests = [_Test(kind, f"IN ({', '.join('?' * len(of))})", tuple(of)) for kind, of in by_kind.items()]
    clauses = [field.holds(*tests)] if tests else []
    if None in values:
        clauses.append(_equal(field, None))
    return _join(" OR ", clauses)


def _negate(where: Where) -> Where:
    return Where(f"NOT ({where.sql})", where.parameters)


def _join(operator: str, clauses: Sequence[Where]) -> Where:
    if len(clauses) == 1:
        return clauses[0]
    sql = operator.join(clause.sql for clause in clauses)
    return Where(f"({sql})", tuple(p for clause in clauses for p in clause.parameters))


def _nesting(sql: str) -> int:
    """How deep the parentheses go. They are all ours: no text of the user is in the SQL."""
    return max(accumulate((c == "(") - (c == ")") for c in sql))


_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
_LITERALS: dict[str, bool | None] = {"true": True, "false": False, "null": None}


def _read_word(word: Token) -> _Value:
    """What an unquoted word on the right of a comparison means: a number, a literal, or text."""
    if word.lower() in _LITERALS:
        return _LITERALS[word.lower()]
    if not _NUMBER.fullmatch(word):
        return str(word)
    number = float(word)
    if not math.isfinite(number):
        raise WhereError(f"{_shorten(word)} at column {word.column}: the number is too large")
    is_sqlite_integer = word.lstrip("+-").isdigit() and -(2**63) <= int(word) < 2**63
    return _Digits(int(word) if is_sqlite_integer else number, str(word))


_ESCAPES = {"\\": "\\", '"': '"', "'": "'", "n": "\n", "t": "\t"}


def _unquote(token: Token) -> str:
    """The text between the quotes, its backslash escapes resolved."""

    def resolve(match: re.Match[str]) -> str:
        if match[1] not in _ESCAPES:
            column = token.column + 1 + match.start()
            raise WhereError(rf"\{match[1]} at column {column}: no such escape; write \\ for a backslash")
        return _ESCAPES[match[1]]

    return re.sub(r"\\(.)", resolve, token[1:-1], flags=re.DOTALL)


def _escape_like(text: str) -> str:
    return re.sub(r"([\\%_])", r"\\\1", text)


def _check_characters(text: str) -> None:
    if len(text) > MAX_LENGTH:
        raise WhereError(f"{_shorten(text)}: {len(text)} characters; a filter has at most {MAX_LENGTH}")
    for position, character in enumerate(text):
        if character == "\0" or "\ud800" <= character <= "\udfff":
            raise WhereError(f"{_shorten(text)}: U+{ord(character):04X} at column {position + 1} is no text")


_EXPECTED = {
    "WORD": "a value",
    "COMPARE": "a comparison such as =, <, in, like or contains",
    "_IN": "in, like or contains",
    "NAME": "a field",
    "LPAR": "a list in parentheses",
    "COMMA": "a comma or a closing parenthesis",
    "RPAR": "and, or, or a closing parenthesis",
    "_AND": "and, or, or the end (text with spaces needs quotes)",
    "$END": "and, or, or the end",
}
"""What to say when the parser would take a terminal; the first that it would take is said."""


def _syntax_error(text: str, error: UnexpectedInput) -> WhereError:
    """Say in words what the parser expected, and at which column, counted from 1."""
    from lark.exceptions import UnexpectedCharacters

    at_end = getattr(getattr(error, "token", None), "type", None) == "$END"
    position = len(text) if at_end else error.pos_in_stream
    expected: Iterable[str] = error.allowed if isinstance(error, UnexpectedCharacters) else error.accepts
    what = next((words for name, words in _EXPECTED.items() if name in expected), "something else")
    problem = f"expected {what}"
    if isinstance(error, UnexpectedCharacters) and text[position] in "\"'`":
        problem = "quote without an end"
    shown = _shorten(text) if text.strip() else "empty filter"
    return WhereError(f"{shown}: {problem} at column {position + 1}; see docs/where.md")


def _shorten(text: str, limit: int = 60) -> str:
    """The filter on one printable line of a message."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return line if len(line) <= limit else line[: limit - 1] + "…"
