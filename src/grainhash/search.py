"""Search: the codes of one query against the wholes and the regions of a gallery, coarse to fine.

Every granule passes through the same hash function, so a query can be compared with wholes and with regions
alike. Codes pick candidates; every part of the query is compared with every granule of those again, by what
the query's real numbers say if these are given; each distance, of whatever kind, becomes the number of
matches as good to expect by chance. Pictures are ordered by the mean of what their wholes and their regions
say. Wholes have the more say in it the more of them are like the query: where many are, a region that is
alike too tells little more; where none is, what is sought may lie in a part of pictures of something else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from grainhash.chance import LEAST, SAMPLE, Chance, log_shares, together
from grainhash.codes import hamming
from grainhash.errors import InputError
from grainhash.index import AsymmetricQueries, Index, Neighbours
from grainhash.types import Codes, Granularity, Stage

T = TypeVar("T", bound=np.generic)

WHOLE_PICTURE = -1
"""The region number of a match with the picture as a whole."""

DEPTH = 10
"""Candidates a picture of the answer, where they are ordered by more than one distance."""

LEAST_DEPTH = 100
"""Candidates at least, then. Among so many of the nearest wholes those are counted that are alike."""

MOST, HALFWAY = 3.0, 6
"""What a whole counts against a region: as much where no whole is alike, `MOST` times as much where many are,
and half of the way from one to the other where `HALFWAY` are. Tuned on splits of our own: Caltech-101's
database pictures, which asked for each other, scenes of another seed than the benchmark's, and altered copies
of photographs that are in no test split."""

ROOM = 100_000
"""Candidates of all parts of the questions that are ranked at once, at most, unless one alone has more."""

TINY = np.finfo(np.float64).tiny
"""In place of 0, to divide by."""


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """The codes of a query: of one granule, or of several parts of one picture."""

    codes: Codes
    """`(n_parts, n_bytes)`; of fewer bytes than the gallery's codes, to compare their first bits alone."""
    projections: NDArray[np.float64] | None = None
    """`(n_parts, n_bits)`: the real numbers whose signs the bits are. Where they are given, candidates are
    ordered by them: bits that the query is not sure of count for less."""

    @property
    def n_bits(self) -> int:
        """Length of the codes."""
        return 8 * int(self.codes.shape[1])

    def first(self, n_bits: int) -> Question:
        """The same question, of the first bits alone."""
        projections = None if self.projections is None else self.projections[:, :n_bits]
        return Question(np.ascontiguousarray(self.codes[:, : n_bits // 8]), projections)


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The nearest pictures of one query: fewest expected false matches first, equal ones by ascending id."""

    ids: NDArray[np.int64]
    """`(n,)`."""
    expected: NDArray[np.float64]
    """`(n,)`: matches as good as this one to expect by chance; what the order is by."""
    distances: NDArray[np.int32]
    """`(n,)`: in bits, of the granule that is nearest to the part of the query that scores best."""
    whole: NDArray[np.int32]
    """`(n,)`: to the picture as a whole, of the part of the query that is nearest to it."""
    part: NDArray[np.int32]
    """`(n,)`: to the best region; more than the number of bits where there are no regions."""
    regions: NDArray[np.int64]
    """`(n,)`: the region that `distances` was found at, or `WHOLE_PICTURE`."""
    parts: NDArray[np.int64]
    """`(n,)`: the part of the query that matched."""
    stages: list[Stage] = field(default_factory=list)


def rank(
    wholes: Index,
    regions: Index,
    question: Question,
    k: int,
    granularity: Granularity = "both",
    *,
    allow: NDArray[np.int64] | None = None,
    as_of_all: bool = False,
) -> Ranking:
    """Find the `k` best pictures: those that match as well by chance most seldom.

    Without projections this is exact, as expected false matches grow with the distance. Of one kind of
    granule, the first `k` of each list by distance hold the first `k` of their order. Of both, a picture in
    no list is no better than one that is last in all of them: the lists grow until that tells the first `k`
    from the rest (the threshold algorithm; Fagin, Lotem, Naor, JCSS 2003). With projections the candidates
    are the nearest by distance, `DEPTH` times as many as asked for.

    Args:
        wholes: one code a picture.
        regions: the codes of each picture's regions, under the same ids.
        question: the codes of the query.
        k: how many pictures, at most.
        granularity: `"whole"`, `"part"` or `"both"`.
        allow: ids that a filter lets through, ascending; all by default.
        as_of_all: expect as many matches by chance as if all were let through.
    """
    (ranking,) = rank_all(wholes, regions, [question], k, granularity, allow=allow, as_of_all=as_of_all)
    return ranking


def rank_all(
    wholes: Index,
    regions: Index,
    questions: Sequence[Question],
    k: int,
    granularity: Granularity = "both",
    *,
    allow: NDArray[np.int64] | None = None,
    as_of_all: bool = False,
) -> list[Ranking]:
    """Find the `k` best pictures for each of several questions: `rank` of each, in less time.

    The seconds of a stage are those of all questions that were ranked at once with one of them.
    """
    if granularity == "both" and not regions.n_codes:
        granularity = "whole"
    kinds = {"whole": [wholes], "part": [regions], "both": [wholes, regions]}.get(granularity)
    if kinds is None:
        raise InputError(f"granularity {granularity!r}: choose whole, part or both")
    alike: dict[tuple[tuple[int, ...], bool], list[int]] = {}
    for place, question in enumerate(questions):
        if not len(question.codes):
            raise InputError("a question has no parts; it has one at least")
        alike.setdefault((question.codes.shape, question.projections is None), []).append(place)
    rankings: dict[int, Ranking] = {}
    for (shape, _), places in alike.items():
        at_once = max(ROOM // (shape[0] * max(DEPTH * k, LEAST_DEPTH)), 1)
        for start in range(0, len(places), at_once):
            some = places[start : start + at_once]
            asked = _Questions.of([questions[place] for place in some])
            found = _ranked(wholes, regions, kinds, asked, k, allow, as_of_all)
            rankings.update(zip(some, found, strict=True))
    return [rankings[place] for place in range(len(questions))]


def _ranked(
    wholes: Index,
    regions: Index,
    kinds: Sequence[Index],
    asked: _Questions,
    k: int,
    allow: NDArray[np.int64] | None,
    as_of_all: bool,
) -> list[Ranking]:
    """Every array has a row a question; those of the parts of questions `(n, n_parts, ...)`."""
    watch = _Watch()
    granularity = "both" if len(kinds) > 1 else "whole" if kinds[0] is wholes else "part"
    share = 1.0 if allow is None or as_of_all else len(allow) / max(len(wholes), 1)
    one_list_tells = asked.sure is None and len(kinds) == 1
    depth = k if one_list_tells else max(DEPTH * k, LEAST_DEPTH if k else 0)
    chance: _ByChance | None = None
    of_all: NDArray[np.int64] | None = None
    if as_of_all and len(kinds) > 1:
        of_all = wholes.search(asked.codes, LEAST_DEPTH, prefix_bits=asked.n_bits).ids
    while True:
        with watch("candidates", f"the nearest {depth:,} by {_GRANULES[granularity]}"):
            found = [
                index.search(asked.codes, depth, allow=allow, prefix_bits=asked.n_bits) for index in kinds
            ]
            lists = [answer.ids for answer in found]
            if of_all is None:
                near, lists[0] = lists[0][:, :LEAST_DEPTH], lists[0][:, LEAST_DEPTH:]
            else:
                near = of_all
            ids, is_near, is_spare = _distinct(asked.of_each(near), *map(asked.of_each, lists))
        how = "Hamming" if asked.sure is None else "asymmetric"
        with watch("order", f"{asked.n_parts} of the query with every granule, by {how} distance"):
            whole, part = asked.matches(wholes, ids), asked.matches(regions, ids)
        with watch("score", "matches as good to expect by chance"):
            chance = chance or _ByChance.of(kinds, asked, share)
            values = np.stack([whole.values if index is wholes else part.values for index in kinds])
            expected = chance.log_expected(values)
            of_kind = expected.min(axis=2)
            is_alike = is_near & (of_kind[0] < 0) & ~is_spare
            weights = weights_of_kinds(np.count_nonzero(is_alike, axis=1))[:, :, None]
            least = together(of_kind, weights)
            least[is_spare] = np.inf
            if of_all is not None and allow is not None:
                least[~np.isin(ids, allow)] = np.inf
            rows, order = np.arange(len(ids))[:, None], np.lexsort((ids, least), axis=1)[:, :k]
            best = least[rows, order]
            if one_list_tells or asked.sure is not None:
                break
            last = np.stack([asked.of_parts(_last(answer, depth)) for answer in found])
            if np.all((best < together(chance.log_expected(last).min(axis=2), weights)) | np.isinf(best)):
                break
        depth *= DEPTH
    n_found = np.count_nonzero(np.isfinite(best), axis=1).tolist()
    n_candidates = np.count_nonzero(~is_spare, axis=1).tolist()
    # The part that matches best, by the kind of granule that does.
    parts = expected.argmin(axis=2)[of_kind.argmin(axis=0)[rows, order], rows, order]

    def of_best(array: NDArray[T]) -> NDArray[T]:
        """`(n, n_parts, n_ids)`: of what was found, each with its part."""
        taken: NDArray[T] = array[rows, parts, order]
        return taken

    # Where the likeness is: what scores best may be the whole though a region is as near, or nearer. Only a
    # whole of the query's very code is itself, whatever its parts are.
    value = of_best(part.values)
    of_region = np.isfinite(value) & (granularity != "whole")
    if granularity == "both":
        of_region &= (value <= of_best(whole.values)) & (of_best(whole.bits) > 0)
    columns = {
        "ids": ids[rows, order],
        "expected": np.exp(best),
        "distances": np.where(of_region, of_best(part.bits), of_best(whole.bits)),
        "whole": whole.bits.min(axis=1)[rows, order],
        "part": part.bits.min(axis=1)[rows, order],
        "regions": np.where(of_region, of_best(part.members), WHOLE_PICTURE),
        "parts": parts,
    }
    return [
        Ranking(
            **{name: column[at, :n] for name, column in columns.items()},
            stages=watch.stages(candidates=n_candidates[at], order=n_candidates[at], score=n),
        )
        for at, n in enumerate(n_found)
    ]


def weights_of_kinds(n_alike: NDArray[np.integer] | int) -> NDArray[np.float64]:
    """What the whole of a picture and its best region count, `(2, ...)`.

    Args:
        n_alike: of the `LEAST_DEPTH` nearest wholes, those as near as less than one would be by chance.
    """
    odds = 1 + (MOST - 1) * np.asarray(n_alike) / (np.asarray(n_alike) + HALFWAY)
    weights: NDArray[np.float64] = np.stack([odds, np.ones_like(odds)]) / (odds + 1)
    return weights


_GRANULES = {"whole": "wholes", "part": "regions", "both": "wholes and by regions"}


def _distinct(
    near: NDArray[np.int64], *others: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Each id in some lists once.

    Args:
        near: `(n, n_near)`.
        others: `(n, any)` each.

    Returns:
        The ids of each row, ascending; which of them are `near`; and which come after all as they are there
        already, in rows of fewer ids than others.
    """
    listed = np.concatenate([near, *others], axis=1)
    rows, order = np.arange(len(listed))[:, None], listed.argsort(axis=1, kind="stable")
    ids = listed[rows, order]
    is_spare = np.zeros(ids.shape, np.bool_)
    is_spare[:, 1:] = ids[:, 1:] == ids[:, :-1]
    width = np.count_nonzero(~is_spare, axis=1).max(initial=0)
    kept = is_spare.argsort(axis=1, kind="stable")[:, :width]
    of_near = order < near.shape[1]  # of equal ids the first is near if any is
    return ids[rows, kept], of_near[rows, kept], is_spare[rows, kept]


@dataclass(frozen=True, slots=True, eq=False)
class _Matches:
    """The best granule of each candidate for each part of the query, all `(n, n_parts, n_ids)`."""

    values: NDArray[np.float64]
    """What it is judged by: bits, weighed if the question says so; infinite where there is no granule."""
    bits: NDArray[np.int32]
    members: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Questions:
    """Several questions of as many parts each, made ready to be compared with many codes.

    Where there are projections, a bit that the query is as sure of as of others on average counts 1.
    """

    codes: Codes
    """`(n * n_parts, n_bytes)`: the parts of one question after those of another."""
    n_parts: int
    sure: AsymmetricQueries | None
    sizes: NDArray[np.float64]
    """`(n * n_parts, 1)`: what a bit counts on average."""

    @classmethod
    def of(cls, questions: Sequence[Question]) -> Self:
        """Questions of equal shape, all with projections or all without."""
        n_parts = len(questions[0].codes)
        codes = np.concatenate([question.codes for question in questions])
        projections = [each.projections for each in questions if each.projections is not None]
        if not projections:
            return cls(codes, n_parts, None, np.ones((len(codes), 1)))
        reals = np.concatenate(projections)
        sizes = np.abs(reals).mean(axis=1, keepdims=True)
        return cls(codes, n_parts, AsymmetricQueries.of(codes, reals), np.maximum(sizes, TINY))

    @property
    def n_bits(self) -> int:
        return 8 * int(self.codes.shape[1])

    def of_each(self, rows: NDArray[T]) -> NDArray[T]:
        """A row a part, `(n * n_parts, m)`, as a row a question, `(n, n_parts * m)`."""
        return rows.reshape(len(rows) // self.n_parts, -1)

    def of_parts(self, rows: NDArray[T]) -> NDArray[T]:
        """The same as `(n, n_parts, m)`."""
        return rows.reshape(len(rows) // self.n_parts, self.n_parts, -1)

    def distances(self, codes: Codes) -> NDArray[np.float64]:
        """From every part to `(m, n_bytes)` codes, `(n * n_parts, m)`, in bits."""
        if self.sure is not None:
            return self.sure.distances(codes) / self.sizes
        own = self.codes
        return hamming(own, np.ascontiguousarray(codes[:, : own.shape[1]])).astype(np.float64)

    def matches(self, index: Index, ids: NDArray[np.int64]) -> _Matches:
        """The best granule of each question's own pictures `(n, n_ids)`."""
        own = np.repeat(ids, self.n_parts, axis=0)
        if self.sure is not None:
            nearest = index.asymmetric_distances_to(self.sure, own)
            values, bits, members = nearest.distances / self.sizes, nearest.bits, nearest.members
        else:
            bits, members = np.empty(own.shape, np.int32), np.empty(own.shape, np.int64)
            for row, code in enumerate(self.codes):
                bits[row], members[row] = index.distances_to(code, own[row], prefix_bits=self.n_bits)
            values = np.where(members >= 0, bits.astype(np.float64), np.inf)
        return _Matches(self.of_parts(values), self.of_parts(bits), self.of_parts(members))


def _last(found: Neighbours, depth: int) -> NDArray[np.float64]:
    """The greatest distance in each list, `(n_lists, 1)`; infinite where it has all there is."""
    if depth and found.ids.shape[1] == depth:
        return found.distances[:, -1:].astype(np.float64)
    return np.full((len(found.ids), 1), np.inf)


@dataclass(frozen=True, slots=True, eq=False)
class _ByChance:
    """What is to expect by chance, of each kind of granule and each part of each question."""

    median: NDArray[np.float64]
    """`(n_kinds, n, n_parts, 1)` or `(1, n, n_parts, 1)`, of the distances by chance."""
    spread: NDArray[np.float64]
    log_trials: NDArray[np.float64]
    """`(n_kinds, 1, n_parts, 1)`: what the chance of one match is multiplied by, its logarithm."""

    @classmethod
    def of(cls, kinds: Sequence[Index], asked: _Questions, share: float) -> Self:
        """Of a search that compares with a `share` of what the indexes hold.

        Distances are judged by each kind where a gallery has enough of each, else by all together. What is
        asked for has half of all that is expected, and all parts of it together the other half: a match
        counts for less where there are many of its like to match (a weighted Bonferroni correction;
        Genovese, Roeder, Wasserman, Biometrika 2006).
        """
        samples = [asked.distances(index.sample(SAMPLE)) for index in kinds]
        if any(sampled.shape[1] < LEAST for sampled in samples):
            samples = [np.concatenate(samples, axis=1)]
        chances = [Chance.of(sampled, asked.n_bits) for sampled in samples]
        shares = np.full(asked.n_parts, 1 / (2 * max(asked.n_parts - 1, 1)))
        shares[0] = 1 / 2 if asked.n_parts > 1 else 1
        n_compared = np.array([max(index.n_codes * share, 1.0) for index in kinds])
        return cls(
            np.stack([asked.of_parts(chance.median[:, None]) for chance in chances]),
            np.stack([asked.of_parts(chance.spread[:, None]) for chance in chances]),
            np.log(n_compared[:, None, None, None] / shares[:, None]),
        )

    def log_expected(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Matches as near to expect, of `(n_kinds, n, n_parts, m)` distances: their logarithms."""
        return log_shares(values, self.median, self.spread) + self.log_trials


class _Watch:
    """Times stages as they go by; one that comes by again takes the time of both."""

    def __init__(self) -> None:
        self._stages: dict[str, Stage] = {}

    def stages(self, **n: int) -> list[Stage]:
        """In the order in which they first came by, with the pictures that came out of each."""
        return [replace(stage, n=n[name]) for name, stage in self._stages.items()]

    @contextmanager
    def __call__(self, name: str, what: str) -> Iterator[None]:
        stage = self._stages.setdefault(name, Stage(name, what))
        stage.what = what
        started = perf_counter()
        try:
            yield
        finally:
            stage.seconds += perf_counter() - started
