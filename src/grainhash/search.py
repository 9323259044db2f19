"""Search: the codes of one query against the wholes and the regions of a gallery, coarse to fine.

Every granule passes through the same hash function, so a query can be compared with wholes and with regions
alike. Codes pick candidates; every part of the query is compared with every granule of those again, by what
the query's real numbers say if these are given; each distance, of whatever kind, becomes the number of
matches as good to expect by chance. Pictures are ordered by the mean of what their wholes and their regions
say. Wholes have the more say in it the more of them are like the query: where many are, a region that is
alike too tells little more; where none is, what is sought may lie in a part of pictures of something else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Self

import numpy as np
from numpy.typing import NDArray

from grainhash.chance import LEAST, SAMPLE, Chance, log_shares, together
from grainhash.codes import hamming
from grainhash.errors import InputError
from grainhash.index import AsymmetricQueries, Index, Neighbours
from grainhash.types import Codes, Granularity, Stage

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

    def prepared(self) -> Prepared:
        """The question, made ready to be compared with many codes."""
        if self.projections is None:
            return Prepared(self, None, np.ones((len(self.codes), 1)))
        sizes = np.abs(self.projections).mean(axis=1, keepdims=True)
        sure = AsymmetricQueries.of(self.codes, self.projections)
        return Prepared(self, sure, np.maximum(sizes, TINY))


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A question beside the codes that it is compared with.

    Where there are projections, a bit that the query is as sure of as of others on average counts 1.
    """

    question: Question
    sure: AsymmetricQueries | None
    sizes: NDArray[np.float64]
    """`(n_parts, 1)`: what a bit counts on average."""

    def distances(self, codes: Codes) -> NDArray[np.float64]:
        """From every part to `(n, n_bytes)` codes, `(n_parts, n)`, in bits."""
        if self.sure is not None:
            return self.sure.distances(codes) / self.sizes
        own = self.question.codes
        return hamming(own, np.ascontiguousarray(codes[:, : own.shape[1]])).astype(np.float64)

    def matches(self, index: Index, ids: NDArray[np.int64]) -> _Matches:
        """The best granule of each of some pictures for every part."""
        if self.sure is None:
            codes, n_bits = self.question.codes, self.question.n_bits
            bits = np.empty((len(codes), len(ids)), np.int32)
            members = np.empty(bits.shape, np.int64)
            for row, code in enumerate(codes):
                bits[row], members[row] = index.distances_to(code, ids, prefix_bits=n_bits)
            return _Matches(np.where(members >= 0, bits.astype(np.float64), np.inf), bits, members)
        nearest = index.asymmetric_distances_to(self.sure, ids)
        return _Matches(nearest.distances / self.sizes, nearest.bits, nearest.members)


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
    if granularity == "both" and not regions.n_codes:
        granularity = "whole"
    kinds = {"whole": [wholes], "part": [regions], "both": [wholes, regions]}.get(granularity)
    if kinds is None:
        raise InputError(f"granularity {granularity!r}: choose whole, part or both")
    watch = _Watch()
    n_parts = len(question.codes)
    share = 1.0 if allow is None or as_of_all else len(allow) / max(len(wholes), 1)
    one_list_tells = question.projections is None and len(kinds) == 1
    depth = k if one_list_tells else max(DEPTH * k, LEAST_DEPTH if k else 0)
    chance: _ByChance | None = None
    prepared = question.prepared()
    of_all: NDArray[np.int64] | None = None
    if as_of_all and granularity == "both":
        of_all = wholes.search(question.codes, LEAST_DEPTH, prefix_bits=question.n_bits).ids
    while True:
        with watch("candidates", f"the nearest {depth:,} by {_GRANULES[granularity]}") as stage:
            found = [
                index.search(question.codes, depth, allow=allow, prefix_bits=question.n_bits)
                for index in kinds
            ]
            listed = np.concatenate([answer.ids.ravel() for answer in found])
            nearest = found[0].ids[:, :LEAST_DEPTH] if of_all is None else of_all
            ids = np.unique(listed if of_all is None else np.concatenate([listed, of_all.ravel()]))
            stage.n = len(ids)
        how = "Hamming" if question.projections is None else "asymmetric"
        with watch("order", f"{n_parts} of the query with every granule, by {how} distance") as stage:
            whole, part = prepared.matches(wholes, ids), prepared.matches(regions, ids)
            stage.n = len(ids)
        with watch("score", "matches as good to expect by chance") as stage:
            chance = chance or _ByChance.of(kinds, prepared, share)
            values = np.stack([whole.values if index is wholes else part.values for index in kinds])
            expected = chance.log_expected(values)
            of_kind, at = expected.min(axis=1), np.arange(len(ids))
            asked = expected.argmin(axis=1)[of_kind.argmin(axis=0), at]
            is_near = np.zeros(len(ids), np.bool_)
            is_near[np.searchsorted(ids, nearest.ravel())] = True
            weights = weights_of_kinds(int(np.count_nonzero(is_near & (of_kind[0] < 0))))
            least = together(of_kind, weights)
            if of_all is not None:
                least[~np.isin(ids, listed)] = np.inf
            order = np.lexsort((ids, least))[:k]
            order = order[np.isfinite(least[order])]
            stage.n = len(order)
            if one_list_tells or question.projections is not None:
                break
            beyond = together(chance.log_expected(_last(found, depth)).min(axis=1), weights)
            if np.all(least[order] < beyond):
                break
        depth *= DEPTH
    # Where the likeness is: what scores best may be the whole though a region is as near, or nearer.
    nearer = part.values[asked, at] <= whole.values[asked, at]
    of_region = (
        nearer & np.isfinite(part.values[asked, at]) if granularity == "both" else granularity == "part"
    )
    return Ranking(
        ids=ids[order],
        expected=np.exp(least[order]),
        distances=np.where(of_region, part.bits[asked, at], whole.bits[asked, at])[order],
        whole=whole.bits.min(axis=0)[order],
        part=part.bits.min(axis=0)[order],
        regions=np.where(of_region, part.members[asked, at], WHOLE_PICTURE)[order],
        parts=asked[order],
        stages=watch.stages,
    )


def weights_of_kinds(n_alike: int) -> NDArray[np.float64]:
    """What the whole of a picture and its best region count, `(2,)`.

    Args:
        n_alike: of the `LEAST_DEPTH` nearest wholes, those as near as less than one would be by chance.
    """
    odds = 1 + (MOST - 1) * n_alike / (n_alike + HALFWAY)
    return np.array([odds, 1]) / (odds + 1)


_GRANULES = {"whole": "wholes", "part": "regions", "both": "wholes and by regions"}


@dataclass(frozen=True, slots=True, eq=False)
class _Matches:
    """The best granule of each candidate for each part of the query, all `(n_parts, n_ids)`."""

    values: NDArray[np.float64]
    """What it is judged by: bits, weighed if the question says so; infinite where there is no granule."""
    bits: NDArray[np.int32]
    members: NDArray[np.int64]


def _last(found: list[Neighbours], depth: int) -> NDArray[np.float64]:
    """The greatest distance in each list, `(n_kinds, n_parts, 1)`; infinite where it has all there is."""
    return np.stack(
        [
            answer.distances[:, -1:].astype(np.float64)
            if depth and answer.ids.shape[1] == depth
            else np.full((len(answer.ids), 1), np.inf)
            for answer in found
        ]
    )


@dataclass(frozen=True, slots=True, eq=False)
class _ByChance:
    """What is to expect by chance, of each kind of granule and each part of the query."""

    median: NDArray[np.float64]
    """`(n_kinds, n_parts, 1)` or `(1, n_parts, 1)`, of the distances by chance."""
    spread: NDArray[np.float64]
    log_trials: NDArray[np.float64]
    """`(n_kinds, n_parts, 1)`: what the chance of one match is multiplied by, its logarithm."""

    @classmethod
    def of(cls, kinds: list[Index], prepared: Prepared, share: float) -> Self:
        """Of a search that compares with a `share` of what the indexes hold.

        Distances are judged by each kind where a gallery has enough of each, else by all together. What is
        asked for has half of all that is expected, and all parts of it together the other half: a match
        counts for less where there are many of its like to match (a weighted Bonferroni correction;
        Genovese, Roeder, Wasserman, Biometrika 2006).
        """
        samples = [prepared.distances(index.sample(SAMPLE)) for index in kinds]
        if any(sampled.shape[1] < LEAST for sampled in samples):
            samples = [np.concatenate(samples, axis=1)]
        n_bits = prepared.question.n_bits
        chances = [[Chance.of(row, n_bits) for row in sampled] for sampled in samples]
        n_parts = len(prepared.question.codes)
        shares = np.full(n_parts, 1 / (2 * max(n_parts - 1, 1)))
        shares[0] = 1 / 2 if n_parts > 1 else 1
        n_compared = np.array([max(index.n_codes * share, 1.0) for index in kinds])
        return cls(
            np.array([[[chance.median] for chance in of_kind] for of_kind in chances]),
            np.array([[[chance.spread] for chance in of_kind] for of_kind in chances]),
            np.log(n_compared[:, None, None] / shares[:, None]),
        )

    def log_expected(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Matches as near to expect, of `(n_kinds, n_parts, n)` distances: their logarithms."""
        return log_shares(values, self.median, self.spread) + self.log_trials


class _Watch:
    """Times stages as they go by; one that comes by again takes the time of both."""

    def __init__(self) -> None:
        self._stages: dict[str, Stage] = {}

    @property
    def stages(self) -> list[Stage]:
        """In the order in which they first came by."""
        return list(self._stages.values())

    @contextmanager
    def __call__(self, name: str, what: str) -> Iterator[Stage]:
        stage = self._stages.setdefault(name, Stage(name, what))
        stage.what = what
        started = perf_counter()
        try:
            yield stage
        finally:
            stage.seconds += perf_counter() - started
