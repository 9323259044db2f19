"""Average precision at R, of one definite order of a ranking or over all orders of its ties.

AP@R has three denominators in the literature, so a name without one says too little:

- `found` divides by the relevant items among the first R,
- `capped` by `min(R, all relevant)`,
- `all` by all relevant items of the database.

They agree where R is the whole database.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from grainhash.errors import InputError
from grainhash.evaluation.ties import Floats, Ints, Ties, ratio

Denominator = Literal["found", "capped", "all"]
"""What the precisions at relevant ranks are divided by."""

DENOMINATORS: tuple[Denominator, ...] = ("found", "capped", "all")


def average_precision(ranked: NDArray[np.bool_], n_relevant: Ints, denominator: Denominator) -> Floats:
    """AP@R of one definite order.

        AP@R = 1/D * sum over ranks i <= R of relevant(i) * (relevant among the first i) / i

    Args:
        ranked: `(n_queries, R)`: whether each rank is relevant.
        n_relevant: `(n_queries,)`: relevant items of the whole database.
        denominator: which D; see the top of this module.

    Returns:
        `(n_queries,)`; 0 where nothing relevant was found.
    """
    found = ranked.sum(axis=1)
    query, rank = np.nonzero(ranked)
    nth = np.arange(len(query)) - (np.cumsum(found) - found)[query]
    total = np.bincount(query, weights=(nth + 1) / (rank + 1), minlength=len(ranked))
    if denominator == "found":
        return ratio(total, found)
    return ratio(total, _fixed_divisor(n_relevant, ranked.shape[1], denominator))


def expected_average_precision(ties: Ties, at: int | None, denominator: Denominator) -> Floats:
    """AP@R averaged over every order of ties: exact, no order is drawn.

    Let n items be at one distance, r of them relevant, after s nearer items with c relevant ones. Rank
    s + j holds a relevant item with probability r/n, and then (j - 1)(r - 1)/(n - 1) relevant ones of the
    same distance are to be expected before it (McSherry, Najork 2008). Where R cuts through a distance,
    the divisor `found` is random too: how many relevant items make the cut is hypergeometric, and the mean
    is taken over that number.

    Args:
        ties: of a block of queries.
        at: R; `None` for the whole database.
        denominator: which D; see the top of this module.

    Returns:
        `(n_queries,)`.

    Raises:
        InputError: R below 1.
    """
    at = _depth(ties, at)
    groups = _Groups.of(ties, at)
    if denominator != "found":
        total = groups.expected(groups.relevant, groups.items).sum(axis=1)
        return ratio(total, _fixed_divisor(ties.n_relevant, at, denominator))
    whole, cut = groups.whole(), groups.cut()
    hits, _, chance = cut.ways()
    total = whole.expected(whole.relevant, whole.items).sum(axis=1, keepdims=True)
    mean: Floats = (chance * ratio(total + cut.expected(hits, cut.room), cut.found + hits)).sum(axis=1)
    return mean


def average_precision_bounds(ties: Ties, at: int | None, denominator: Denominator) -> tuple[Floats, Floats]:
    """AP@R under the worst and the best order of ties: no order gives less or more.

    Relevant items come last within their distance, or first. Where R cuts through a distance and the
    divisor is `found`, one more relevant item that makes the cut may lower the mean, so every number of
    them that is possible is looked at.

    Returns:
        Worst and best, `(n_queries,)` each.

    Raises:
        InputError: R below 1.
    """
    at = _depth(ties, at)
    groups = _Groups.of(ties, at)
    whole, cut = groups.whole(), groups.cut()
    hits, possible, _ = cut.ways()
    worst = whole.worst(whole.relevant).sum(axis=1, keepdims=True) + cut.worst(hits)
    best = whole.best(whole.relevant).sum(axis=1, keepdims=True) + cut.best(hits)
    if denominator == "found":
        worst, best = ratio(worst, cut.found + hits), ratio(best, cut.found + hits)
    low = np.where(possible, worst, np.inf).min(axis=1)
    high = np.where(possible, best, -np.inf).max(axis=1)
    if denominator == "found":
        return low, high
    divisor = _fixed_divisor(ties.n_relevant, at, denominator)
    return ratio(low, divisor), ratio(high, divisor)


@dataclass(frozen=True, slots=True, eq=False)
class _Groups:
    """Items of one distance each, `(n_queries, n_groups)`, and what is ranked before them."""

    items: Ints
    relevant: Ints
    before: Ints
    """All items that are nearer."""
    found: Ints
    """The relevant ones of them."""
    room: Ints
    """How many of the group's items are among the first R."""
    tables: _Tables

    @classmethod
    def of(cls, ties: Ties, at: int) -> _Groups:
        before = np.cumsum(ties.items, axis=1) - ties.items
        found = np.cumsum(ties.relevant, axis=1) - ties.relevant
        room = np.clip(at - before, 0, ties.items)
        return cls(ties.items, ties.relevant, before, found, room, _tables(ties.n_database))

    def whole(self) -> _Groups:
        """Only the groups that lie whole within R; the others are empty."""
        inside = self.room == self.items
        return self._map(lambda values: values * inside)

    def cut(self) -> _Groups:
        """Only the group that R cuts through, `(n_queries, 1)`; empty where there is none."""
        is_cut = (self.room > 0) & (self.room < self.items)
        cut = self._map(lambda values: (values * is_cut).sum(axis=1, keepdims=True))
        found = self.whole().relevant.sum(axis=1, keepdims=True)  # also where nothing is cut
        return replace(cut, found=found)

    def _map(self, change: Callable[[Ints], Ints]) -> _Groups:
        arrays = (self.items, self.relevant, self.before, self.found, self.room)
        items, relevant, before, found, room = map(change, arrays)
        return _Groups(items, relevant, before, found, room, self.tables)

    def ways(self) -> tuple[Ints, NDArray[np.bool_], Floats]:
        """How many relevant items of a cut group may make the cut.

        Returns:
            `(n_queries, n_ways)` each: the numbers, whether they are possible, and their hypergeometric
            chances.
        """
        n, r, m = self.items, self.relevant, self.room
        fewest, most = np.maximum(0, m - (n - r)), np.minimum(r, m)
        numbers = np.arange(int(most.max(initial=0)) + 1)
        possible = (fewest <= numbers) & (numbers <= most)
        hits = np.clip(numbers, fewest, most)
        log = self.tables.log_choose(r, hits) + self.tables.log_choose(n - r, m - hits)
        chance = np.where(possible, np.exp(log - log.max(axis=1, keepdims=True)), 0.0)
        return hits, possible, chance / chance.sum(axis=1, keepdims=True)

    # Sums of the precision at relevant ranks, `(n_queries, n_groups)`, with so many hits in the room.

    def expected(self, hits: Ints, among: Ints) -> Floats:
        """Where `hits` of `among` items are relevant and every order is as likely."""
        share = self.tables.harmonic(self.before, self.room)
        others = ratio(hits - 1, among - 1)
        total: Floats = (self.found + 1) * share + others * (self.room - (self.before + 1) * share)
        return ratio(hits, among) * total

    def best(self, hits: Ints) -> Floats:
        """Where the hits come first."""
        total: Floats = hits + (self.found - self.before) * self.tables.harmonic(self.before, hits)
        return total

    def worst(self, hits: Ints) -> Floats:
        """Where the hits come last of those that have room."""
        before = self.before + self.room - hits
        total: Floats = hits + (self.found - before) * self.tables.harmonic(before, hits)
        return total


@dataclass(frozen=True, slots=True, eq=False)
class _Tables:
    """Sums of 1/i and of log i from 1 on, up to the size of the database."""

    reciprocals: Floats
    logarithms: Floats

    def harmonic(self, start: Ints, n: Ints) -> Floats:
        """`1/(start + 1) + ... + 1/(start + n)`."""
        total: Floats = self.reciprocals[start + n] - self.reciprocals[start]
        return total

    def log_choose(self, n: Ints, k: Ints) -> Floats:
        """The logarithm of the number of ways to choose k of n."""
        log: Floats = self.logarithms[n] - self.logarithms[k] - self.logarithms[n - k]
        return log


@lru_cache(maxsize=2)
def _tables(n: int) -> _Tables:
    i = np.arange(1, n + 1, dtype=np.longdouble)  # rounding of long sums would show in their differences
    return _Tables(_sums(1 / i), _sums(np.log(i)))


def _sums(terms: NDArray[np.longdouble]) -> Floats:
    """Sums of the first 0, 1, ... terms."""
    return np.concatenate([np.zeros(1), np.cumsum(terms).astype(np.float64)])


def _fixed_divisor(n_relevant: Ints, at: int, denominator: Denominator) -> Ints:
    return np.minimum(n_relevant, at) if denominator == "capped" else n_relevant


def _depth(ties: Ties, at: int | None) -> int:
    if at is not None and at < 1:
        raise InputError(f"average precision at {at}: the number of ranks is at least 1")
    return ties.n_database if at is None else min(at, ties.n_database)
