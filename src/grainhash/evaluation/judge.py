"""One pass over the queries, and everything that the measures say of it: an `Evaluation`.

hamming = Hamming(query_codes, database_codes)
evaluation = judge(hamming, query_labels, database_labels, name="itq", at=1000)
evaluation.mean_average_precision["found"].expected
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from grainhash.encoder.pipeline import in_order
from grainhash.errors import InputError, LabelsError
from grainhash.evaluation import metrics
from grainhash.evaluation.average_precision import (
    DENOMINATORS,
    Denominator,
    average_precision,
    average_precision_bounds,
    expected_average_precision,
)
from grainhash.evaluation.diagnostics import CodeDiagnostics, diagnose
from grainhash.evaluation.distances import Distances, Hamming, blocks, of_arrays
from grainhash.evaluation.ties import Floats, Ints, Ties, count_ties, expected_gain, expected_relevance
from grainhash.labels import Labels, grades, relevant
from grainhash.types import Progress, silent

RADIUS = 2
"""The Hamming radius of look-up that the field reports."""

KS = (1, 10, 100, 1000)
"""The k of P@k, R@k, nDCG@k and mAHP@k, as far as the database reaches."""

CURVE_POINTS = 24
"""Points of the curves of P@k and R@k, spread evenly over the logarithm of k."""

CURVE_END = 5000
"""Where those curves end at the latest."""

AnyLabels = Labels | Sequence[object] | NDArray[Any]

TieOrder = Literal["id", "expected", "worst", "best"]
TIE_ORDERS: tuple[TieOrder, ...] = ("id", "expected", "worst", "best")


@dataclass(frozen=True, slots=True)
class TieValues:
    """One measure under each way to order ties."""

    id: float
    """Ties by ascending position in the database, the order of `grainhash.Index`; shuffling moves it."""
    expected: float
    """The mean over all orders of ties."""
    worst: float
    best: float


@dataclass(frozen=True, slots=True)
class CodeFacts:
    """What can be said where distances count bits. `radius_...` and `..._pairs` are by radius 0, 1, ..."""

    n_bits: int
    precision_in_radius: float
    """Within `RADIUS` bits; an empty ball counts as 0."""
    recall_in_radius: float
    empty_balls: float
    """The share of queries with nothing within `RADIUS` bits."""
    radius_precision: tuple[float, ...]
    """Precision of look-up within each radius, over all pairs together."""
    radius_recall: tuple[float, ...]
    relevant_pairs: tuple[int, ...]
    """Pairs of a query and a relevant item at each distance."""
    other_pairs: tuple[int, ...]
    """Pairs of a query and an item that is not relevant. Both leave out queries with nothing to find."""
    diagnostics: CodeDiagnostics
    """Of the database's codes."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How good one set of codes, or of float vectors, is. All measures are means over the answerable queries.

    Measures at k and curves are expectations over all orders of ties.
    """

    name: str
    n_bits: int | None
    """Length of the codes; `None` where vectors are compared."""
    n_queries: int
    n_unanswerable: int
    """Queries with nothing relevant in the database; they are left out of every mean."""
    n_database: int
    at: int
    """R of average precision."""
    mean_average_precision: dict[Denominator, TieValues]
    standard_error: float
    """Of the expected mean average precision (`found`), over queries."""
    precision_at: dict[int, float]
    recall_at: dict[int, float]
    ndcg_at: dict[int, float] | None
    """With linear gain; `None` where labels are not graded."""
    mahp_at: dict[int, float] | None
    """`None` where labels are not graded."""
    depths: tuple[int, ...]
    """The k of the curves below."""
    depth_precision: tuple[float, ...]
    depth_recall: tuple[float, ...]
    codes: CodeFacts | None
    """What only whole numbers of bits have; `None` where distances are real numbers."""

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`; keys are the fields of this class."""
        return asdict(self)


def judge(
    distances: Distances,
    query_labels: AnyLabels,
    database_labels: AnyLabels,
    *,
    name: str = "codes",
    at: int | None = None,
    ks: Sequence[int] = KS,
    progress: Callable[[Progress], None] = silent,
) -> Evaluation:
    """Judge every query against the whole database, exactly, on all cores and in bounded memory.

    Args:
        distances: what is compared with what, and how.
        query_labels: one a query: `Labels`, `(n,)` names or numbers, or a 0/1 matrix `(n, n_classes)`.
        database_labels: one an item of the database, in the same form.
        name: what the evaluation is called in reports.
        at: R of average precision; `None` for the whole database.
        ks: the k of measures at k; those past the end of the database are left out.
        progress: told of the queries done.

    Raises:
        InputError: no queries, no database, or R or k below 1.
        LabelsError: labels that do not fit, or no query has anything relevant in the database.
    """
    n_queries, n_database = distances.n_queries, distances.n_database
    asked, stored = _labels(distances, query_labels, database_labels)
    at = n_database if at is None else min(at, n_database)
    if min([at, *ks]) < 1:
        raise InputError("the k of a measure and the R of average precision are at least 1")
    block = _Block(distances, asked, stored, at, _depths(ks, n_database))
    parts: list[_Part] = []
    done = 0
    for part in in_order(lambda chunk: block.judge(chunk[0]), blocks(distances), 1):
        parts.append(part)
        done += len(part.n_relevant)
        progress(Progress("judge", done, n_queries, 0))
    return _evaluation(name, block, parts, [k for k in ks if k <= n_database])


def mean_average_precision(
    queries: NDArray[Any],
    database: NDArray[Any],
    query_labels: AnyLabels,
    database_labels: AnyLabels,
    *,
    at: int | None = None,
    denominator: Denominator = "found",
    ties: TieOrder = "expected",
) -> float:
    """mAP@R of packed codes (Hamming) or float vectors (cosine).

    Args:
        queries: `(n_queries, n_bytes)` uint8 codes, or `(n_queries, n_features)` real numbers.
        database: the same for the items that are searched.
        query_labels: one a query: `Labels`, `(n,)` names or numbers, or a 0/1 matrix `(n, n_classes)`.
        database_labels: one an item, in the same form.
        at: R; `None` for the whole database, where all denominators agree.
        denominator: of AP@R; see `grainhash.evaluation.average_precision`.
        ties: in which order; `expected` is the mean over all orders.

    Returns:
        The mean over the queries that have anything relevant in the database.

    Raises:
        CodesError: neither codes nor vectors, or of two widths.
        InputError: as `judge`, or no such denominator or order.
        LabelsError: as `judge`.
    """
    if at is not None and at < 1:
        raise InputError(f"average precision at {at}: the number of ranks is at least 1")
    for value, known in ((denominator, DENOMINATORS), (ties, TIE_ORDERS)):
        if value not in known:
            raise InputError(f"no {value!r}; there are {', '.join(known)}")
    distances = of_arrays(queries, database)
    asked, stored = _labels(distances, query_labels, database_labels)
    total, n = 0.0, 0
    for rows in blocks(distances):
        nearness = distances.block(rows)
        right = relevant(asked.take(rows), stored)
        answerable = right.any(axis=1)
        nearness, right = nearness[answerable], right[answerable]
        if len(right):
            total += float(_average_precision(nearness, right, distances, at, denominator, ties).sum())
            n += len(right)
    if not n:
        raise LabelsError("no query has anything relevant in the database")
    return total / n


def _average_precision(
    nearness: NDArray[Any],
    right: NDArray[np.bool_],
    distances: Distances,
    at: int | None,
    denominator: Denominator,
    order: TieOrder,
) -> Floats:
    if order == "id":
        ranked = np.take_along_axis(right, np.argsort(nearness, axis=1, kind="stable")[:, :at], axis=1)
        return average_precision(ranked, right.sum(axis=1), denominator)
    ties = count_ties(nearness, right, n_levels=distances.n_levels, depth=at)
    if order == "expected":
        return expected_average_precision(ties, at, denominator)
    worst, best = average_precision_bounds(ties, at, denominator)
    return worst if order == "worst" else best


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """What a block of queries gives: values a query, and counts of pairs."""

    n_relevant: Ints
    average_precisions: dict[tuple[str, str], Floats]
    precisions: Floats
    """`(n_queries, n_depths)`, as the two below."""
    recalls: Floats
    ndcgs: Floats | None
    ahps: Floats | None
    in_radius: Floats
    """`(n_queries, 3)`: precision, recall, and whether the ball is empty."""
    items: Ints
    """`(n_levels,)`: pairs at each distance, of the queries that have anything relevant."""
    relevant: Ints
    """`(n_levels,)`: the relevant ones."""


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """What the judging of every block of queries needs."""

    distances: Distances
    query_labels: Labels
    database_labels: Labels
    at: int
    depths: tuple[int, ...]

    @property
    def is_graded(self) -> bool:
        return self.query_labels.kind != "single"

    def judge(self, rows: slice) -> _Part:
        nearness = self.distances.block(rows)
        asked = self.query_labels.take(rows)
        right = relevant(asked, self.database_labels)
        gains = grades(asked, self.database_labels) if self.is_graded else None
        depth = max(self.at, self.depths[-1])
        order = np.argsort(nearness, axis=1, kind="stable")
        ties = count_ties(nearness, right, gains, n_levels=self.distances.n_levels, depth=depth, order=order)
        ranked = expected_relevance(ties, self.depths[-1])
        graded = self._graded(ties, gains) if gains is not None else (None, None)
        return _Part(
            n_relevant=ties.n_relevant,
            average_precisions=self._average_precisions(order, right, ties),
            precisions=np.stack([metrics.precision_at(ranked, k) for k in self.depths], axis=1),
            recalls=np.stack([metrics.recall_at(ranked, ties.n_relevant, k) for k in self.depths], axis=1),
            ndcgs=graded[0],
            ahps=graded[1],
            in_radius=_in_radius(ties),
            items=ties.items[ties.n_relevant > 0].sum(axis=0),
            relevant=ties.relevant.sum(axis=0),
        )

    def _average_precisions(
        self, order: Ints, right: NDArray[np.bool_], ties: Ties
    ) -> dict[tuple[str, str], Floats]:
        ranked = np.take_along_axis(right, order[:, : self.at], axis=1)
        values: dict[tuple[str, str], Floats] = {}
        for name in DENOMINATORS:
            values[name, "id"] = average_precision(ranked, ties.n_relevant, name)
            values[name, "expected"] = expected_average_precision(ties, self.at, name)
            values[name, "worst"], values[name, "best"] = average_precision_bounds(ties, self.at, name)
        return values

    def _graded(self, ties: Ties, gains: NDArray[Any]) -> tuple[Floats, Floats]:
        ranked, ideal = expected_gain(ties, self.depths[-1]), metrics.ideal_gains(gains, self.depths[-1])
        ndcgs = [metrics.ndcg_at(ranked, ideal, k) for k in self.depths]
        ahps = [metrics.ahp_at(ranked, ideal, k) for k in self.depths]
        return np.stack(ndcgs, axis=1), np.stack(ahps, axis=1)


def _in_radius(ties: Ties) -> Floats:
    items, _ = metrics.within(ties, RADIUS)
    precision, recall = metrics.precision_within(ties, RADIUS), metrics.recall_within(ties, RADIUS)
    return np.stack([precision, recall, (items == 0).astype(np.float64)], axis=1)


def _evaluation(name: str, block: _Block, parts: list[_Part], ks: list[int]) -> Evaluation:
    distances, depths = block.distances, block.depths
    answerable = np.concatenate([part.n_relevant for part in parts]) > 0
    if not answerable.any():
        raise LabelsError("no query has anything relevant in the database")

    def mean(values: list[Floats]) -> Floats:
        means: Floats = np.concatenate(values)[answerable].mean(axis=0)
        return means

    def at_ks(values: Floats) -> dict[int, float]:
        return {k: float(values[depths.index(k)]) for k in ks}

    scored = {
        key: float(mean([part.average_precisions[key] for part in parts]))
        for key in parts[0].average_precisions
    }
    expected = np.concatenate([part.average_precisions["found", "expected"] for part in parts])[answerable]
    ndcgs = [part.ndcgs for part in parts if part.ndcgs is not None]
    ahps = [part.ahps for part in parts if part.ahps is not None]
    precisions, recalls = (mean([part.precisions for part in parts]), mean([part.recalls for part in parts]))
    return Evaluation(
        name=name,
        n_bits=distances.n_bits,
        n_queries=distances.n_queries,
        n_unanswerable=int((~answerable).sum()),
        n_database=distances.n_database,
        at=block.at,
        mean_average_precision={
            which: TieValues(**{order: scored[which, order] for order in TIE_ORDERS})
            for which in DENOMINATORS
        },
        standard_error=float(expected.std() / np.sqrt(len(expected))),
        precision_at=at_ks(precisions),
        recall_at=at_ks(recalls),
        ndcg_at=at_ks(mean(ndcgs)) if ndcgs else None,
        mahp_at=at_ks(mean(ahps)) if ahps else None,
        depths=depths,
        depth_precision=tuple(precisions.tolist()),
        depth_recall=tuple(recalls.tolist()),
        codes=_code_facts(distances, parts, mean) if isinstance(distances, Hamming) else None,
    )


def _code_facts(distances: Hamming, parts: list[_Part], mean: Callable[[list[Floats]], Floats]) -> CodeFacts:
    items = np.sum([part.items for part in parts], axis=0)
    right = np.sum([part.relevant for part in parts], axis=0)
    precision, recall = metrics.precision_recall(items, right)
    ball = mean([part.in_radius for part in parts])
    return CodeFacts(
        n_bits=distances.n_bits,
        precision_in_radius=float(ball[0]),
        recall_in_radius=float(ball[1]),
        empty_balls=float(ball[2]),
        radius_precision=tuple(precision.tolist()),
        radius_recall=tuple(recall.tolist()),
        relevant_pairs=tuple(right.tolist()),
        other_pairs=tuple((items - right).tolist()),
        diagnostics=diagnose(distances.database),
    )


def _labels(distances: Distances, of_queries: AnyLabels, of_database: AnyLabels) -> tuple[Labels, Labels]:
    """The labels, once they are found to fit what is compared."""
    n_queries, n_database = distances.n_queries, distances.n_database
    if not n_queries or not n_database:
        raise InputError(f"{n_queries} queries against a database of {n_database}; both need at least one")
    asked, stored = Labels.together(of_queries, of_database)
    for what, n, labels in (("queries", n_queries, asked), ("items", n_database, stored)):
        if len(labels) != n:
            raise LabelsError(f"{len(labels)} labels for {n} {what}; give one each")
    return asked, stored


def _depths(ks: Sequence[int], n_database: int) -> tuple[int, ...]:
    """The k at which everything is measured: those asked for and those of the curves, ascending."""
    end = min(n_database, CURVE_END)
    curve = np.unique(np.geomspace(1, end, CURVE_POINTS).round().astype(np.int64))
    return tuple(sorted({*curve.tolist(), *(k for k in ks if k <= n_database)}))
