"""Voting over several hash tables: each has a hash function of its own, and the more tables find an item,
the earlier it comes.

Several tables: Gionis, Indyk, Motwani: Similarity Search in High Dimensions via Hashing, VLDB 1999. There
every item that one table finds is a candidate; here candidates are ordered by the number of tables first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from grainhash.errors import InputError
from grainhash.hashing.function import HashFunction
from grainhash.index import Index
from grainhash.index.checks import count
from grainhash.types import Codes

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Votes:
    """What the tables found, best first: by votes, most first, then total distance, then ascending id.

    Query `q` has the entries from `limits[q]` to before `limits[q + 1]`.
    """

    limits: Ids
    """`(n_queries + 1,)`."""
    ids: Ids
    votes: NDArray[np.int32]
    """Tables that found the item, 1 or more."""
    distances: NDArray[np.int32]
    """In bits, summed over all tables, those that did not find the item too: the Hamming distance of the
    joint code."""


class HashTables:
    """Items in several tables, each an exact Hamming index over the codes of one hash function.

    Args:
        functions: one a table, all for the same features. Over some of the columns only: a function of
            `grainhash.hashing.side_by_side`.

    Raises:
        InputError: no functions, or functions of different features.
    """

    def __init__(self, functions: Sequence[HashFunction]) -> None:
        widths = sorted({function.n_features for function in functions})
        if len(widths) != 1:
            raise InputError(f"hash tables need functions of the same features, not of {widths or 'none'}")
        self.functions = tuple(functions)
        self._tables = tuple(Index(function.n_bits) for function in functions)

    def __len__(self) -> int:
        return len(self._tables[0])

    def add(self, features: NDArray[np.floating], ids: Ids | None = None) -> None:
        """Append items, one a row.

        Args:
            features: `(n, n_features)`.
            ids: `(n,)`, strictly ascending and above those before; by default the next ones, from 0.

        Raises:
            InputError: features of another width, or not finite.
            CodesError: ids that do not fit. Nothing was added then.
        """
        for table, codes in zip(self._tables, self._encode(features), strict=True):
            table.add(codes, ids)

    def remove_ids(self, ids: ArrayLike) -> int:
        """Take items out of all answers and return how many there were; other ids are ignored."""
        removed = [table.remove_ids(ids) for table in self._tables]
        return removed[0]

    def search(
        self,
        features: NDArray[np.floating],
        k: int,
        *,
        radius: int | None = None,
        depth: int | None = None,
        n_threads: int | None = None,
    ) -> Votes:
        """Find up to `k` items of each query by the votes of the tables.

        A table votes for each item at most `radius` bits away or, without a radius, for its `depth`
        nearest, of equal distances those with the lowest ids.

        Args:
            features: `(n_queries, n_features)`.
            k: how many at most; fewer only where the tables found fewer.
            radius: in bits of one table.
            depth: by default `10 * k`, at least 100.
            n_threads: at most so many threads; `None` for as many as this process may use.

        Raises:
            InputError: features of another width or not finite, or both `radius` and `depth`.
            CodesError: `k`, `radius` or `depth` is no such number.
        """
        if radius is not None and depth is not None:
            raise InputError("tables vote within a radius or to a depth; give one of them")
        k = count("k", k, at_least=0)
        depth = max(10 * k, 100) if depth is None else depth
        queries = self._encode(features)
        found = []
        for table, codes in zip(self._tables, queries, strict=True):
            if radius is not None:
                ranges = table.range_search(codes, radius, n_threads=n_threads)
                found.append(np.split(ranges.ids, ranges.limits[1:-1]))
            else:
                nearest = table.search(codes, depth, n_threads=n_threads)
                found.append(list(nearest.ids))
        answers = [
            self._ordered([codes[row] for codes in queries], [ids[row] for ids in found], k)
            for row in range(len(features))
        ]
        return _together(answers)

    def _encode(self, features: NDArray[np.floating]) -> list[Codes]:
        return [function.encode(features) for function in self.functions]

    def _ordered(
        self, query: Sequence[Codes], found: Sequence[Ids], k: int
    ) -> tuple[Ids, NDArray[np.int64], NDArray[np.int32]]:
        """Ids, votes and distances of the first `k` of one query."""
        ids, votes = np.unique(np.concatenate(found), return_counts=True)
        distances = np.zeros(len(ids), np.int32)
        for table, code in zip(self._tables, query, strict=True):
            distances += table.distances_to(code, ids)[0]
        order = np.lexsort((ids, distances, -votes))[:k]
        return ids[order], votes[order], distances[order]


def _together(answers: Sequence[tuple[Ids, NDArray[np.int64], NDArray[np.int32]]]) -> Votes:
    sizes = [len(ids) for ids, _, _ in answers]
    empty = np.empty(0, np.int64)
    return Votes(
        limits=np.cumsum([0, *sizes]),
        ids=np.concatenate([empty, *(ids for ids, _, _ in answers)]),
        votes=np.concatenate([empty, *(votes for _, votes, _ in answers)]).astype(np.int32),
        distances=np.concatenate([empty, *(distances for _, _, distances in answers)]).astype(np.int32),
    )
