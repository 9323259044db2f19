"""Metrics against their definitions, over every order of ties, and against torchmetrics."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grainhash.codes import hamming
from grainhash.errors import CodesError, InputError, LabelsError
from grainhash.evaluation import Asymmetric, Cosine, Hamming, metrics
from grainhash.evaluation import distances as distances_module
from grainhash.evaluation.average_precision import (
    DENOMINATORS,
    average_precision,
    average_precision_bounds,
    expected_average_precision,
)
from grainhash.evaluation.distances import blocks, of_arrays
from grainhash.evaluation.judge import TIE_ORDERS, judge, mean_average_precision
from grainhash.evaluation.ties import count_ties, expected_gain, expected_relevance
from grainhash.index import Index
from grainhash.labels import Labels


def _ap(relevant: np.ndarray, at: int, n_relevant: int, denominator: str) -> float:
    """Average precision as a paper would write it."""
    total = sum(relevant[: i + 1].mean() for i in range(at) if relevant[i])
    divisor = {"found": relevant[:at].sum(), "capped": min(at, n_relevant), "all": n_relevant}[denominator]
    return float(total / divisor) if divisor else 0.0


def _orders(distances: np.ndarray) -> list[list[int]]:
    """Every ranking that ascends in distance."""
    return [list(p) for p in permutations(range(len(distances))) if (np.diff(distances[list(p)]) >= 0).all()]


@st.composite
def _small(draw: Any, max_size: int = 6) -> tuple[np.ndarray, np.ndarray, int]:
    n = draw(st.integers(1, max_size))
    distances = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    relevant = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    return np.array(distances), np.array(relevant), draw(st.integers(1, n))


# Average precision


@given(_small())
@settings(deadline=None, max_examples=80)
def test_ties_are_averaged_and_bounded_as_over_every_order(case: tuple[np.ndarray, np.ndarray, int]):
    distances, relevant, at = case
    ties = count_ties(distances[None], relevant[None], n_levels=4)
    for denominator in DENOMINATORS:
        values = [_ap(relevant[order], at, relevant.sum(), denominator) for order in _orders(distances)]
        worst, best = average_precision_bounds(ties, at, denominator)
        expected = expected_average_precision(ties, at, denominator)
        np.testing.assert_allclose(
            [expected[0], worst[0], best[0]], [np.mean(values), min(values), max(values)], atol=1e-12
        )


@given(_small(30))
@settings(deadline=None)
def test_a_definite_order_is_the_definition(case: tuple[np.ndarray, np.ndarray, int]):
    _, relevant, at = case
    for denominator in DENOMINATORS:
        value = average_precision(relevant[None, :at], relevant.sum(keepdims=True), denominator)
        assert value[0] == pytest.approx(_ap(relevant, at, relevant.sum(), denominator))


def test_the_three_denominators_differ_and_agree_over_the_whole_database():
    ranked = np.array([[True, False, True, False, True, True]])
    n_relevant = ranked.sum(axis=1)
    at_3 = [average_precision(ranked[:, :3], n_relevant, d)[0] for d in DENOMINATORS]
    assert at_3 == pytest.approx([5 / 3 / 2, 5 / 3 / 3, 5 / 3 / 4])
    at_all = {round(average_precision(ranked, n_relevant, d)[0], 12) for d in DENOMINATORS}
    assert len(at_all) == 1


def test_one_more_hit_at_the_cut_may_lower_the_mean():
    """Why the bounds of `found` look at every number of hits: rank 1 alone gives 1, with rank 11 .59."""
    distances = np.array([0, *[1] * 9, 2, 2])
    relevant = np.array([True, *[False] * 9, True, False])
    worst, best = average_precision_bounds(count_ties(distances[None], relevant[None]), 11, "found")
    assert best[0] == 1
    assert worst[0] == pytest.approx((1 + 2 / 11) / 2)


def test_large_groups_stay_exact():
    """All of a database at one distance: the mean over orders, drawn, agrees with the formula."""
    rng = np.random.default_rng(0)
    relevant = rng.random(20_000) < 0.1
    ties = count_ties(np.zeros((1, 20_000), np.int64), relevant[None], n_levels=1)
    for denominator in DENOMINATORS:
        drawn = [
            average_precision(rng.permutation(relevant)[None, :100], relevant.sum(keepdims=True), denominator)
            for _ in range(2000)
        ]
        expected = expected_average_precision(ties, 100, denominator)[0]
        assert abs(np.mean(drawn) - expected) < 4 * np.std(drawn) / np.sqrt(2000)


# Measures at k and within a radius


@given(_small())
@settings(deadline=None, max_examples=60)
def test_measures_at_k_are_means_over_every_order(case: tuple[np.ndarray, np.ndarray, int]):
    distances, relevant, k = case
    gains = np.where(relevant, np.arange(1.0, len(relevant) + 1), 0.0)
    ties = count_ties(distances[None], relevant[None], gains[None], n_levels=4)
    orders = _orders(distances)
    n_relevant = ties.n_relevant
    ideal = metrics.ideal_gains(gains[None], k)
    ranked, ranked_gains = expected_relevance(ties, k), expected_gain(ties, k)
    assert metrics.precision_at(ranked, k)[0] == pytest.approx(
        np.mean([relevant[o][:k].mean() for o in orders])
    )
    recalls = [relevant[order][:k].sum() / max(1, n_relevant[0]) for order in orders]
    assert metrics.recall_at(ranked, n_relevant, k)[0] == pytest.approx(np.mean(recalls))
    for measure in (metrics.ndcg_at, metrics.ahp_at):
        values = [measure(gains[order][None], ideal, k)[0] for order in orders]
        assert measure(ranked_gains, ideal, k)[0] == pytest.approx(np.mean(values))


def test_ndcg_and_hierarchical_precision_are_their_formulas():
    gains = np.array([[0.5, 1.0, 0.0, 1.0]])
    ideal = metrics.ideal_gains(gains, 4)
    assert ideal.tolist() == [[1, 1, 0.5, 0]]
    dcg = 0.5 / 1 + 1 / np.log2(3) + 1 / np.log2(5)
    best = 1 + 1 / np.log2(3) + 0.5 / 2
    assert metrics.ndcg_at(gains, ideal, 4)[0] == pytest.approx(dcg / best)
    precisions = [0.5 / 1, 1.5 / 2, 1.5 / 2.5, 2.5 / 2.5]
    np.testing.assert_allclose(metrics.hierarchical_precision(gains, ideal, 4), [precisions])
    assert metrics.ahp_at(gains, ideal, 3)[0] == pytest.approx(np.mean(precisions[:3]))
    assert metrics.ahp_at(ideal, ideal, 4)[0] == 1


def test_within_a_radius():
    distances = np.array([[0, 2, 2, 3], [5, 5, 5, 5]])
    relevant = np.array([[True, False, True, True], [True, True, False, False]])
    ties = count_ties(distances, relevant, n_levels=9)
    assert metrics.precision_within(ties, 2).tolist() == [2 / 3, 0]
    assert metrics.recall_within(ties, 2).tolist() == [2 / 3, 0]
    precision, recall = metrics.precision_recall(ties.items.sum(axis=0), ties.relevant.sum(axis=0))
    assert precision.tolist() == [1, 1, 2 / 3, 3 / 4, 3 / 4, 5 / 8, 5 / 8, 5 / 8, 5 / 8]
    assert recall[-1] == 1


def test_asking_past_the_end_is_an_error():
    ties = count_ties(np.zeros((1, 3), np.int64), np.ones((1, 3), np.bool_))
    with pytest.raises(InputError, match="at 4 of a ranking of 3"):
        metrics.precision_at(np.ones((1, 3)), 4)
    with pytest.raises(InputError, match="4 ranks of a database of 3"):
        expected_relevance(ties, 4)
    with pytest.raises(InputError, match="at least 1"):
        expected_average_precision(ties, 0, "found")


# Distances


@pytest.mark.parametrize("n_bits", [8, 16, 64, 72, 256, 512])
def test_hamming_is_the_reference(n_bits: int):
    rng = np.random.default_rng(n_bits)
    queries, database = (rng.integers(0, 256, (n, n_bits // 8), np.uint8) for n in (5, 40))
    queries[0], database[0] = 0, 255
    np.testing.assert_array_equal(Hamming(queries, database).block(slice(0, 5)), hamming(queries, database))
    assert Hamming(queries, database).n_levels == n_bits + 1


def test_asymmetric_and_cosine_are_their_formulas():
    rng = np.random.default_rng(0)
    projections = rng.normal(size=(3, 16))
    codes = rng.integers(0, 256, (7, 2), np.uint8)
    differs = (projections > 0)[:, None] != np.unpackbits(codes, axis=1).astype(bool)[None]
    expected = (np.abs(projections)[:, None] * differs).sum(axis=2)
    np.testing.assert_allclose(Asymmetric(projections, codes).block(slice(0, 3)), expected, atol=1e-5)
    rows = rng.normal(size=(7, 16))
    cosine = (
        projections @ rows.T / np.outer(np.linalg.norm(projections, axis=1), np.linalg.norm(rows, axis=1))
    )
    np.testing.assert_allclose(Cosine(projections, rows).block(slice(0, 3)), 1 - cosine, atol=1e-5)


def test_arrays_that_cannot_be_compared_are_refused():
    codes, floats = np.zeros((2, 4), np.uint8), np.zeros((2, 4), np.float32)
    with pytest.raises(CodesError, match="both are packed codes"):
        of_arrays(codes, floats)
    with pytest.raises(CodesError, match="32 are expected"):
        of_arrays(codes, codes[:, :2])
    with pytest.raises(InputError, match="NaN"):
        of_arrays(floats, np.full((2, 4), np.nan, np.float32))
    with pytest.raises(InputError, match=r"\(n, 4\) is expected"):
        of_arrays(floats, floats[:, :2])


# From codes to an evaluation


@pytest.fixture
def case() -> tuple[np.ndarray, np.ndarray, Labels, Labels]:
    rng = np.random.default_rng(1)
    labels = Labels.single(rng.integers(0, 5, 230))
    return (
        rng.integers(0, 4, (30, 2), np.uint8),
        rng.integers(0, 4, (200, 2), np.uint8),
        labels.take(slice(0, 30)),
        labels.take(slice(30, None)),
    )


def test_the_order_by_id_is_that_of_the_index(case: tuple[np.ndarray, np.ndarray, Labels, Labels]):
    queries, database, asked, stored = case
    ids = Index.from_codes(database).search(queries, 20).ids
    ranked = asked.ids[:, None] == stored.ids[ids]
    n_relevant = (asked.ids[:, None] == stored.ids).sum(axis=1)
    expected = average_precision(ranked, n_relevant, "found").mean()
    assert mean_average_precision(*case, at=20, ties="id") == pytest.approx(expected)


def test_labels_may_be_plain_arrays(case: tuple[np.ndarray, np.ndarray, Labels, Labels]):
    queries, database, asked, stored = case
    expected = mean_average_precision(*case, at=20)
    assert mean_average_precision(queries, database, asked.ids, stored.ids, at=20) == expected
    names = [[f"class {number}" for number in labels.ids] for labels in (asked, stored)]
    assert mean_average_precision(queries, database, *names, at=20) == expected
    matrices = asked.indicator(), stored.indicator()
    evaluation = judge(Hamming(queries, database), *matrices, at=20)
    assert evaluation.mean_average_precision["found"].expected == pytest.approx(expected)


def test_shuffling_the_database_moves_the_order_by_id_only(
    case: tuple[np.ndarray, np.ndarray, Labels, Labels],
):
    queries, database, asked, stored = case
    order = np.random.default_rng(2).permutation(200)
    shuffled = (queries, database[order], asked, stored.take(order))
    for ties in TIE_ORDERS:
        before, after = (mean_average_precision(*c, at=20, ties=ties) for c in (case, shuffled))
        assert (before == pytest.approx(after, abs=1e-12)) == (ties != "id")


@pytest.mark.parametrize("block", [200, 450, 2**21])
def test_an_evaluation_agrees_with_its_parts_at_any_block(
    case: tuple[np.ndarray, np.ndarray, Labels, Labels], block: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(distances_module, "BLOCK", block)
    queries, database, asked, stored = case
    evaluation = judge(Hamming(queries, database), asked, stored, at=20, ks=(1, 10, 1000))
    for denominator in DENOMINATORS:
        for ties in TIE_ORDERS:
            value = getattr(evaluation.mean_average_precision[denominator], ties)
            same = mean_average_precision(*case, at=20, denominator=denominator, ties=ties)
            assert value == pytest.approx(same)
    assert list(evaluation.precision_at) == [1, 10], "there are no 1000 items"
    nearness, relevant = hamming(queries, database), asked.ids[:, None] == stored.ids
    ties = count_ties(nearness, relevant, n_levels=17)
    assert evaluation.recall_at[10] == pytest.approx(
        metrics.recall_at(expected_relevance(ties, 10), ties.n_relevant, 10).mean()
    )
    assert evaluation.codes is not None
    assert evaluation.codes.precision_in_radius == pytest.approx(metrics.precision_within(ties, 2).mean())
    assert evaluation.codes.empty_balls == pytest.approx((nearness.min(axis=1) > 2).mean())
    assert sum(evaluation.codes.relevant_pairs) == relevant.sum()
    assert sum(evaluation.codes.other_pairs) == (~relevant).sum()


def test_floats_are_judged_by_the_same_measures():
    """Distances without ties: all orders are one, with the depth cut or not."""
    rng = np.random.default_rng(3)
    rows, labels = rng.normal(size=(60, 8)), Labels.single(rng.integers(0, 3, 60))
    asked, stored = labels.take(slice(0, 10)), labels.take(slice(10, None))
    for at in (5, None):
        value = judge(Cosine(rows[:10], rows[10:]), asked, stored, at=at).mean_average_precision["found"]
        assert value.id == pytest.approx(value.expected)
        assert value.worst == pytest.approx(value.best)
    same = np.zeros((60, 8)) + 1.0
    tied = judge(Cosine(same[:10], same[10:]), asked, stored, at=5).mean_average_precision["found"]
    assert tied.worst < tied.expected < tied.best


def test_graded_labels_have_graded_measures():
    rng = np.random.default_rng(4)
    names = ["animal/cat", "animal/dog", "vehicle/car"]
    labels = Labels.hierarchy([names[i] for i in rng.integers(0, 3, 50)])
    codes = rng.integers(0, 256, (50, 1), np.uint8)
    parts = labels.take(slice(0, 10)), labels.take(slice(10, None))
    evaluation = judge(Hamming(codes[:10], codes[10:]), *parts, ks=(5,))
    assert evaluation.ndcg_at is not None
    assert evaluation.mahp_at is not None
    assert evaluation.precision_at[5] < evaluation.mahp_at[5] < 1, "half right counts for something"
    single = Labels.single(rng.integers(0, 3, 50))
    plain = judge(Hamming(codes[:10], codes[10:]), single.take(slice(0, 10)), single.take(slice(10, None)))
    assert plain.ndcg_at is plain.mahp_at is None


def test_queries_with_nothing_to_find_are_counted_and_left_out():
    labels = Labels.single(["a", "alone", "a", "b"])
    codes = np.array([[0], [0], [0], [255]], np.uint8)
    parts = codes[:2], codes[2:], labels.take(slice(0, 2)), labels.take(slice(2, None))
    evaluation = judge(Hamming(*parts[:2]), *parts[2:])
    assert (evaluation.n_queries, evaluation.n_unanswerable) == (2, 1)
    assert evaluation.mean_average_precision["found"].id == 1 == mean_average_precision(*parts)
    assert evaluation.codes is not None
    assert sum(evaluation.codes.relevant_pairs) == sum(evaluation.codes.other_pairs) == 1
    assert evaluation.codes.radius_precision == (1,) * 8 + (0.5,)
    with pytest.raises(LabelsError, match="no query has anything relevant"):
        mean_average_precision(parts[0][1:], parts[1], parts[2].take([1]), parts[3])


def test_what_does_not_fit_is_refused_before_any_work(case: tuple[np.ndarray, np.ndarray, Labels, Labels]):
    queries, database, asked, stored = case
    with pytest.raises(LabelsError, match="30 labels for 29 queries"):
        mean_average_precision(queries[:-1], database, asked, stored)
    with pytest.raises(InputError, match="0 queries"):
        judge(Hamming(queries[:0], database), asked.take([]), stored)
    with pytest.raises(InputError, match="at least 1"):
        judge(Hamming(queries, database), asked, stored, at=0)
    with pytest.raises(InputError, match="at least 1"):
        judge(Hamming(queries, database), asked, stored, ks=(0,))
    assert judge(Hamming(queries, database), asked, stored, ks=()).precision_at == {}


@pytest.mark.parametrize(
    "wrong", [{"at": 0}, {"at": -1, "ties": "id"}, {"denominator": "relevant"}, {"ties": "mean"}]
)
def test_a_wrong_name_or_depth_is_no_other_measure(
    case: tuple[np.ndarray, np.ndarray, Labels, Labels], wrong: dict[str, Any]
):
    with pytest.raises(InputError, match=r"at least 1|there are"):
        mean_average_precision(*case, **wrong)


def test_blocks_cover_all_queries_once(monkeypatch: pytest.MonkeyPatch):
    queries = np.zeros((7, 1), np.uint8)
    hamming = Hamming(queries, np.zeros((distances_module.BLOCK // 3, 1), np.uint8))
    assert [(rows.start, rows.stop) for rows in blocks(hamming)] == [(0, 3), (3, 6), (6, 7)]
    monkeypatch.setattr(distances_module, "BLOCK", 36)
    few = Hamming(queries, queries[:1])  # nine possible distances take more room than one
    assert [(rows.start, rows.stop) for rows in blocks(few)] == [(0, 4), (4, 7)]


# A public tool


@pytest.mark.filterwarnings("ignore")
def test_torchmetrics_agrees_where_it_defines_the_same():
    """Untied AP@R by the items found (its denominator), P@k, R@k, and nDCG with ties averaged."""
    functional = pytest.importorskip("torchmetrics.functional.retrieval", reason="torchmetrics is missing")
    torch = pytest.importorskip("torch", reason="torch is missing")
    rng = np.random.default_rng(5)
    for _ in range(20):
        distances, relevant = rng.permutation(40), rng.random(40) < 0.3
        relevant[0] = True
        tied = rng.integers(0, 5, 40)
        grade = rng.integers(0, 4, 40)
        grade[0] = 1
        nearness, target = torch.tensor(100.0 - distances), torch.tensor(relevant)
        ties = count_ties(distances[None], relevant[None])
        k = int(rng.integers(1, 40))
        for theirs, ours in (
            (functional.retrieval_average_precision, expected_average_precision(ties, k, "found")),
            (functional.retrieval_precision, metrics.precision_at(expected_relevance(ties, k), k)),
            (functional.retrieval_recall, metrics.recall_at(expected_relevance(ties, k), ties.n_relevant, k)),
        ):
            assert float(theirs(nearness, target, top_k=k)) == pytest.approx(ours[0], abs=1e-6)
        graded = count_ties(tied[None], grade[None] > 0, grade[None], n_levels=5)
        ours = metrics.ndcg_at(expected_gain(graded, k), metrics.ideal_gains(grade[None], k), k)[0]
        theirs = functional.retrieval_normalized_dcg(torch.tensor(100.0 - tied), torch.tensor(grade), top_k=k)
        assert float(theirs) == pytest.approx(ours, abs=1e-6)
