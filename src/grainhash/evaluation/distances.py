"""From every query to every item of the database: Hamming, asymmetric or cosine, a block at a time.

A block is at most `BLOCK` numbers, so memory stays bounded whatever the size of the database. Lower is
nearer, always.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from grainhash.codes import check_codes, unpack
from grainhash.errors import CodesError, InputError
from grainhash.types import Codes

BLOCK = 2**21
"""Distances, or counts by distance, that a block has: some tens of bytes of working memory each."""


class Distances(Protocol):
    """What is judged: queries against a database."""

    @property
    def n_bits(self) -> int | None:
        """Length of the codes; `None` for vectors."""

    @property
    def n_queries(self) -> int:
        """How many queries there are."""

    @property
    def n_database(self) -> int:
        """How many items each is compared with."""

    @property
    def n_levels(self) -> int | None:
        """Distances are whole numbers below this; `None` for real numbers."""

    def block(self, rows: slice) -> NDArray[Any]:
        """`(n_rows, n_database)`: the distances of some queries."""


@dataclass(frozen=True, eq=False)
class Hamming:
    """Bits that differ between packed codes: uint8, or uint16 from 256 bits on.

    Raises:
        CodesError: no codes, or of two widths.
    """

    queries: Codes
    database: Codes

    def __post_init__(self) -> None:
        queries = check_codes(self.queries)
        check_codes(self.database, n_bits=queries.shape[1] * 8)

    @property
    def n_bits(self) -> int:
        """Length of the codes."""
        return int(self.queries.shape[1]) * 8

    @property
    def n_queries(self) -> int:
        """How many queries there are."""
        return len(self.queries)

    @property
    def n_database(self) -> int:
        """How many codes each is compared with."""
        return len(self.database)

    @property
    def n_levels(self) -> int:
        """From 0 to all bits."""
        return self.n_bits + 1

    def block(self, rows: slice) -> NDArray[Any]:
        """`(n_rows, n_database)` Hamming distances."""
        queries = _words(self.queries[rows])
        dtype = np.uint8 if self.n_bits < 256 else np.uint16
        distances = np.zeros((queries.shape[1], self.n_database), dtype)
        for asked, stored in zip(queries, self._database_words, strict=True):
            for row, word in zip(distances, asked, strict=True):
                row += np.bitwise_count(stored ^ word)
        return distances

    @cached_property
    def _database_words(self) -> NDArray[np.uint64]:
        return _words(self.database)


@dataclass(frozen=True, eq=False)
class Asymmetric:
    """Queries as real numbers before the sign against codes: the sum of |number| over bits that differ.

    As `grainhash.index` orders by `projections` (asymmetric distance; Gordo, Perronnin, CVPR 2011).

    Raises:
        InputError: projections of another width, or not finite.
    """

    projections: NDArray[Any]
    """`(n_queries, n_bits)`."""
    database: Codes

    def __post_init__(self) -> None:
        n_bits = check_codes(self.database).shape[1] * 8
        _check_rows("projections", self.projections, n_bits)

    @property
    def n_bits(self) -> int:
        """Length of the codes."""
        return int(self.database.shape[1]) * 8

    @property
    def n_queries(self) -> int:
        """How many queries there are."""
        return len(self.projections)

    @property
    def n_database(self) -> int:
        """How many codes each is compared with."""
        return len(self.database)

    @property
    def n_levels(self) -> None:
        """Real numbers have no levels."""
        return None

    def block(self, rows: slice) -> NDArray[Any]:
        """`(n_rows, n_database)` float32."""
        asked = np.asarray(self.projections[rows], np.float32)
        distances = asked @ self._signs.T
        np.subtract(np.abs(asked).sum(axis=1, keepdims=True), distances, out=distances)
        distances *= 0.5
        return distances

    @cached_property
    def _signs(self) -> NDArray[np.float32]:
        return np.where(unpack(self.database), np.float32(1), np.float32(-1))


@dataclass(frozen=True, eq=False)
class Cosine:
    """One minus the cosine of real vectors: the float baseline that codes are compared with.

    Raises:
        InputError: vectors of two widths, or not finite.
    """

    queries: NDArray[Any]
    """`(n_queries, n_features)`."""
    database: NDArray[Any]
    """`(n_database, n_features)`."""

    def __post_init__(self) -> None:
        width = np.shape(self.queries)[-1] if np.ndim(self.queries) else 0
        _check_rows("query features", self.queries, width)
        _check_rows("database features", self.database, width)

    @property
    def n_bits(self) -> None:
        """Vectors have none."""
        return None

    @property
    def n_queries(self) -> int:
        """How many queries there are."""
        return len(self.queries)

    @property
    def n_database(self) -> int:
        """How many vectors each is compared with."""
        return len(self.database)

    @property
    def n_levels(self) -> None:
        """Real numbers have no levels."""
        return None

    def block(self, rows: slice) -> NDArray[Any]:
        """`(n_rows, n_database)` float32."""
        distances = _unit(self.queries[rows]) @ self._unit_database.T
        np.subtract(np.float32(1), distances, out=distances)
        return distances

    @cached_property
    def _unit_database(self) -> NDArray[np.float32]:
        return _unit(self.database)


def of_arrays(queries: NDArray[Any], database: NDArray[Any]) -> Hamming | Cosine:
    """Hamming for packed codes (uint8), cosine for real numbers.

    Raises:
        CodesError: codes on one side only, or neither codes nor real numbers.
    """
    kinds = {np.asarray(queries).dtype.kind, np.asarray(database).dtype.kind}
    if kinds == {"u"}:
        return Hamming(queries, database)
    if kinds == {"f"}:
        return Cosine(queries, database)
    raise CodesError(
        f"queries of {np.asarray(queries).dtype} against {np.asarray(database).dtype}: "
        "both are packed codes (uint8) or both are real numbers"
    )


def blocks(distances: Distances) -> Iterator[slice]:
    """All queries, as slices of so many that their distances, and counts by distance, fit in a block."""
    step = max(1, BLOCK // max(1, distances.n_database, distances.n_levels or 0))
    for start in range(0, distances.n_queries, step):
        yield slice(start, min(start + step, distances.n_queries))


def _words(codes: Codes) -> NDArray[np.uint64]:
    """Codes as `(n_words, n)` words of 64 bits, zeros at the end: eight bytes are compared at once."""
    padding = -codes.shape[1] % 8
    padded = np.pad(codes, ((0, 0), (0, padding))) if padding else codes
    return np.ascontiguousarray(np.ascontiguousarray(padded).view(np.uint64).T)


def _unit(rows: NDArray[Any]) -> NDArray[np.float32]:
    rows = np.asarray(rows, np.float32)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(norms > 0, norms, 1)).astype(np.float32, copy=False)


def _check_rows(what: str, rows: NDArray[Any], width: int) -> None:
    array = np.asarray(rows)
    if array.ndim != 2 or array.shape[1] != width:
        raise InputError(f"{what} of shape {array.shape} where (n, {width}) is expected")
    if not np.isfinite(array).all():
        raise InputError(f"{what} hold NaN or infinity")
