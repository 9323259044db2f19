"""A plan chooses by what a search would cost on these codes; nothing here looks at a clock."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from grainhash.errors import CodesError
from grainhash.index import kernels, reference
from grainhash.index import plan as plan_module
from grainhash.index.multi_index import MultiIndex, default_n_tables
from grainhash.index.plan import MIN_CODES, Choice, Plan

N_CODES = 200_000


@pytest.fixture(autouse=True)
def fast_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Estimates are for one processor, so that they are the same on any."""
    monkeypatch.setattr(kernels, "kernel", lambda: "avx512")
    monkeypatch.setattr(
        kernels,
        "multi_index_cost",
        lambda lookups, candidates, reads=0.0: 2000.0 + 26.0 * lookups + 4.0 * candidates + 14.0 * reads,
    )


def clustered(n: int, n_bytes: int, n_centres: int, flips: float, seed: int = 0) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 256, (n_centres, n_bytes), np.uint8)
    noise = np.packbits(rng.random((n, n_bytes * 8), np.float32) < flips, axis=1)
    return centres[rng.integers(0, n_centres, n)] ^ noise


@pytest.fixture(scope="module")
def clustered_codes() -> NDArray[np.uint8]:
    return clustered(N_CODES, 8, 2000, 0.04)


@pytest.fixture(scope="module")
def uniform_codes() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (N_CODES, 8), np.uint8)


def test_the_data_decides_and_not_its_size(
    clustered_codes: NDArray[np.uint8], uniform_codes: NDArray[np.uint8]
) -> None:
    near, far = Plan.estimate(clustered_codes, None), Plan.estimate(uniform_codes, None)
    assert near.wants_tables
    assert not far.wants_tables
    assert near.choose(k=10).way == "multi-index"
    assert far.choose(k=10).way == "scan"
    assert near.choose(k=10).multi_index_ns < 0.2 * near.choose(k=10).scan_ns


def test_copies_of_one_code_are_scanned() -> None:
    plan = Plan.estimate(np.full((N_CODES, 8), 3, np.uint8), None)
    assert not plan.wants_tables
    assert plan.choose(k=10).candidates == pytest.approx(N_CODES, rel=0.01)


def test_few_codes_never_have_tables() -> None:
    plan = Plan.estimate(clustered(MIN_CODES - 1, 8, 10, 0.01), None)
    assert not plan.wants_tables
    assert plan.choose(k=1).way == "scan"
    assert "fewer than 20,000 codes" in plan.explain(k=1)


def test_the_reference_never_has_tables(
    clustered_codes: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan.estimate(clustered_codes, None)
    monkeypatch.setattr(kernels, "kernel", lambda: "numpy")
    assert not plan.wants_tables
    assert not Plan.estimate(clustered_codes, None).wants_tables


def test_more_neighbours_cost_more(clustered_codes: NDArray[np.uint8]) -> None:
    plan = Plan.estimate(clustered_codes, None)
    distances = [plan.choose(k=k).distance for k in (1, 10, 90, 1000, 10_000)]
    assert distances == sorted(distances)
    assert distances[0] < distances[-1]
    assert plan.choose(k=N_CODES).way == "scan"
    assert math.isinf(plan.choose(k=N_CODES).distance)


def test_a_larger_radius_costs_more(clustered_codes: NDArray[np.uint8]) -> None:
    plan = Plan.estimate(clustered_codes, None)
    choices = [plan.choose(radius=radius) for radius in range(12)]
    lookups = [choice.lookups for choice in choices]
    assert lookups[: plan.n_tables] == list(range(1, plan.n_tables + 1))
    assert lookups == sorted(lookups)
    assert [choice.distance for choice in choices] == list(range(12))
    assert choices[0].way == "multi-index"
    assert plan.choose(radius=64).way == "scan"


def test_fewer_allowed_items_are_farther_away(clustered_codes: NDArray[np.uint8]) -> None:
    plan = Plan.estimate(clustered_codes, None)
    assert plan.choose(k=10, allowed=0.05).distance > plan.choose(k=10).distance
    assert plan.choose(k=10, allowed=0.5).distance == plan.choose(k=20).distance
    assert plan.choose(k=10, allowed=0.0).way == "scan"


def test_many_queries_at_once_make_the_scan_cheaper(clustered_codes: NDArray[np.uint8]) -> None:
    plan = Plan.estimate(clustered_codes, None)
    scans = [plan.choose(k=10, n_queries=n).scan_ns for n in (1, 2, 8, 16, 256)]
    assert scans == sorted(scans, reverse=True)
    assert plan.choose(k=10, n_threads=2).scan_ns == plan.choose(k=10).scan_ns / 2
    # One query runs on one thread through the tables, so a second one helps the scan only.
    assert plan.choose(k=10, n_threads=2).multi_index_ns >= plan.choose(k=10).multi_index_ns
    half = plan.choose(k=10, n_queries=64, n_threads=2).multi_index_ns
    assert half == pytest.approx(plan.choose(k=10, n_queries=64).multi_index_ns / 2)


def test_what_a_bad_query_wastes_is_a_small_share_of_a_scan(
    clustered_codes: NDArray[np.uint8], uniform_codes: NDArray[np.uint8]
) -> None:
    for codes in (clustered_codes, uniform_codes):
        plan = Plan.estimate(codes, None)
        for n_queries in (1, 5, 16, 500):
            for n_threads in (1, 2, 8):
                choice = plan.choose(k=10, n_queries=n_queries, n_threads=n_threads)
                wasted = choice.budget_ns / min(n_threads, n_queries)
                assert 0 < wasted <= 0.05 * choice.scan_ns


def test_estimates_are_near_the_truth(clustered_codes: NDArray[np.uint8]) -> None:
    plan = Plan.estimate(clustered_codes, None)
    rng = np.random.default_rng(5)
    queries = clustered_codes[rng.integers(0, N_CODES, 100)]
    distances, _, _ = kernels.knn(clustered_codes, 8, None, queries, 11, None, 1)
    assert abs(float(np.median(distances[:, 10])) - plan.choose(k=10).distance) <= 1

    tables = MultiIndex.build(clustered_codes)
    first_key = queries.astype(np.int64) @ (256 ** np.arange(8)[::-1]) >> (64 - int(tables.bounds[1]))
    first_key &= (1 << int(tables.bounds[1])) - 1
    sizes = np.diff(tables.starts[: (1 << int(tables.bounds[1])) + 1].astype(np.int64))[first_key]
    estimated = plan.candidates[:, 0].mean() / plan.n_tables
    assert estimated == pytest.approx(sizes.mean(), rel=0.5)


def test_items_of_many_codes_are_farther_away(clustered_codes: NDArray[np.uint8]) -> None:
    offsets = np.arange(0, N_CODES + 1, 20)
    plan = Plan.estimate(clustered_codes, offsets)
    assert plan.n_items == N_CODES // 20
    assert plan.choose(k=50).distance >= Plan.estimate(clustered_codes, None).choose(k=50).distance
    lonely = Plan.estimate(clustered_codes, np.array([0, N_CODES]))
    assert not lonely.wants_tables


def test_the_same_codes_make_the_same_plan(clustered_codes: NDArray[np.uint8]) -> None:
    one, two = Plan.estimate(clustered_codes, None), Plan.estimate(clustered_codes, None, n_threads=2)
    assert one.as_json() == two.as_json()


def test_json_keeps_a_plan(clustered_codes: NDArray[np.uint8]) -> None:
    plan = Plan.estimate(clustered_codes, None, n_tables=5)
    text = json.dumps(plan.as_json())
    again = Plan.from_json(json.loads(text))
    assert again.n_tables == 5
    assert again.choose(k=10) == plan.choose(k=10)
    assert again.explain(radius=3) == plan.explain(radius=3)
    assert len(text) < 50_000
    small = Plan.estimate(clustered_codes[:10], None)
    assert Plan.from_json(small.as_json()).choose(k=1) == small.choose(k=1)


def damages() -> Iterator[tuple[str, Any]]:
    yield "n_codes", -1
    yield "n_codes", "many"
    yield "n_bits", 63
    yield "n_bits", 10**15
    yield "n_tables", 0
    yield "n_tables", None
    yield "ranks", []
    yield "ranks", [1, 2]
    yield "ranks", ["a"]
    yield "distances", []
    yield "distances", [[1], [1, 2]]
    yield "distances", 5
    yield "candidates", [[2**70]]
    yield "candidates", {"a": 1}


@pytest.mark.parametrize(("name", "value"), list(damages()))
def test_a_damaged_plan_is_refused(clustered_codes: NDArray[np.uint8], name: str, value: object) -> None:
    state = Plan.estimate(clustered_codes[:30_000], None).as_json()
    with pytest.raises(CodesError, match="not a plan"):
        Plan.from_json({**state, name: value})
    del state[name]
    with pytest.raises(CodesError, match="not a plan"):
        Plan.from_json(state)


def test_the_explanation_gives_the_numbers(clustered_codes: NDArray[np.uint8]) -> None:
    plan = Plan.estimate(clustered_codes, None)
    text = plan.explain(k=10)
    tables = MultiIndex.build(clustered_codes)
    assert f"{plan.n_tables} tables of 16 bits, {tables.nbytes / 1e6:.1f} MB" in text
    assert "the 10 nearest of 200,000 items" in text
    assert "scan: 1.6 MB of codes" in text
    assert "look-ups" in text
    assert "candidates" in text
    assert text.endswith("as fast as the scan")
    assert "as there are no tables" in plan.explain(k=10, has_tables=False)
    assert "not clearly" not in text
    assert "would not be clearly cheaper" in plan.explain(radius=40)
    assert "all within 40 bits" in plan.explain(radius=40)


def test_choices_are_remembered_but_not_for_ever(clustered_codes: NDArray[np.uint8]) -> None:
    plan = Plan.estimate(clustered_codes, None)
    assert plan.choose(k=10) is plan.choose(k=10)
    assert plan.choose(k=10, n_queries=300) is plan.choose(k=10, n_queries=400)
    for k in range(2 * plan_module.MAX_CHOICES):
        assert isinstance(plan.choose(k=k), Choice)
    assert len(plan._choices) <= plan_module.MAX_CHOICES


def test_either_neighbours_or_a_radius(clustered_codes: NDArray[np.uint8]) -> None:
    plan = Plan.estimate(clustered_codes[:10], None)
    with pytest.raises(CodesError, match="give one of them"):
        plan.choose()
    with pytest.raises(CodesError, match="give one of them"):
        plan.choose(k=1, radius=1)


def test_an_impossible_number_of_tables_is_refused(clustered_codes: NDArray[np.uint8]) -> None:
    with pytest.raises(CodesError, match="it takes 3 to 64"):
        Plan.estimate(clustered_codes, None, n_tables=2)


def test_any_width_has_a_plan() -> None:
    for n_bytes in (1, 3, 16, 128):
        codes = clustered(MIN_CODES, n_bytes, 100, 0.05)
        plan = Plan.estimate(codes, None)
        assert plan.n_tables == default_n_tables(MIN_CODES, n_bytes * 8)
        assert plan.choose(k=10).way in ("scan", "multi-index")
        assert plan.explain(k=10)


def test_the_constants_are_those_of_the_native_module() -> None:
    native = pytest.importorskip("grainhash._native", reason="grainhash._native is not built: NOT tested")
    for counts in ((0, 0), (1, 0), (0, 1), (0, 0, 1), (3, 50, 7)):
        assert native.multi_index_cost(*counts) == reference.multi_index_cost(*counts)
