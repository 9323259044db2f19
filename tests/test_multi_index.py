"""Multi-index hashing finds what a scan finds, whatever the tables hold and however small the budget."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from grainhash.errors import CodesError
from grainhash.index import has_native, kernels, reference
from grainhash.index.multi_index import MultiIndex, default_n_tables, even_bounds

needs_native = pytest.mark.skipif(not has_native(), reason="grainhash._native is not built: NOT tested")
ROUNDS = settings(max_examples=150, deadline=None)


@pytest.fixture(params=["native", "reference"])
def functions(request: pytest.FixtureRequest) -> ModuleType:
    """Where a contract has two implementations, each is held to it."""
    if request.param == "reference":
        return reference
    if not has_native():
        pytest.skip("grainhash._native is not built: the native functions are NOT tested")
    from grainhash import _native

    return _native


@dataclass
class Case:
    """Codes that are near each other in clusters, some of them equal, and a search of them."""

    codes: NDArray[np.uint8]
    offsets: NDArray[np.int64] | None
    tables: MultiIndex
    queries: NDArray[np.uint8]
    allow: NDArray[np.bool_] | None
    n_threads: int

    @property
    def n_items(self) -> int:
        return len(self.codes) if self.offsets is None else len(self.offsets) - 1


def clustered(
    rng: np.random.Generator, n: int, n_bytes: int, n_centres: int, flips: float, centres_seed: int = 0
) -> NDArray[np.uint8]:
    centres = np.random.default_rng(centres_seed).integers(0, 256, (n_centres, n_bytes), np.uint8)
    noise = np.packbits(rng.random((n, n_bytes * 8)) < flips, axis=1)
    return centres[rng.integers(0, n_centres, n)] ^ noise


@st.composite
def cases(draw: st.DrawFn) -> Case:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n_bytes = draw(st.integers(1, 20) | st.sampled_from([24, 32, 33, 64, 100, 128]))
    n_centres, flips = draw(st.sampled_from([(1, 0.0), (3, 0.02), (20, 0.1), (200, 0.5)]))
    n_codes = draw(st.sampled_from([0, 1, 2, 7, 60, 300]))
    codes = clustered(rng, n_codes, n_bytes, n_centres, flips)
    offsets = None
    if draw(st.booleans()):
        inner = np.sort(rng.integers(0, n_codes + 1, n_codes // draw(st.integers(1, 5))))
        offsets = np.concatenate([[0], inner, [n_codes]]).astype(np.int64)
    n_items = n_codes if offsets is None else len(offsets) - 1
    # Short keys, since a k of all items makes a search look into every bucket.
    n_tables = math.ceil(n_bytes * 8 / draw(st.integers(3, 12)))
    tables = MultiIndex.build(codes, n_tables=n_tables, n_threads=draw(st.sampled_from([1, 2, 5])))
    queries = clustered(rng, draw(st.integers(0, 3)), n_bytes, n_centres, flips)
    allow = rng.random(n_items) < draw(st.sampled_from([0.0, 0.3, 1.0])) if draw(st.booleans()) else None
    return Case(codes, offsets, tables, queries, allow, draw(st.sampled_from([1, 2, 3])))


@ROUNDS
@given(cases(), st.sampled_from([0, 1, 2, 5, 30, 1000]))
def test_search_is_exact(case: Case, k: int) -> None:
    expected = reference.knn(
        case.codes, case.codes.shape[1], case.offsets, case.queries, k, case.allow, case.n_threads
    )
    *found, finished = case.tables.search(
        case.codes, case.offsets, case.queries, k, case.allow, case.n_threads
    )
    assert finished.all()
    assert finished.dtype == np.bool_
    for column, judged in zip(found, expected, strict=True):
        assert column.dtype == judged.dtype
        np.testing.assert_array_equal(column, judged)


@ROUNDS
@given(cases(), st.sampled_from([0, 1, 3, 9, 40, 2000]))
def test_range_search_is_exact(case: Case, radius: int) -> None:
    expected = reference.range_search(
        case.codes, case.codes.shape[1], case.offsets, case.queries, radius, case.allow, case.n_threads
    )
    *found, finished = case.tables.range_search(
        case.codes, case.offsets, case.queries, radius, case.allow, case.n_threads
    )
    assert finished.all()
    for column, judged in zip(found, expected, strict=True):
        assert column.dtype == judged.dtype
        np.testing.assert_array_equal(column, judged)


@needs_native
@ROUNDS
@given(cases())
def test_tables_are_those_of_the_reference(case: Case) -> None:
    starts, entries = reference.multi_index_build(case.codes, case.tables.bounds, 1)
    np.testing.assert_array_equal(case.tables.starts, starts)
    np.testing.assert_array_equal(case.tables.entries, entries)


def test_a_bucket_holds_the_codes_with_its_key(functions: ModuleType) -> None:
    """Worked out by hand: 16 bits in tables of 3, 5 and 8."""
    codes = np.array([[0b101_00001, 0x0F], [0b101_11111, 0xF0], [0b000_00001, 0x0F]], np.uint8)
    starts, entries = functions.multi_index_build(codes, np.array([0, 3, 8, 16]), 1)
    assert starts.dtype == np.uint32
    assert entries.dtype == np.uint64
    assert starts[:9].tolist() == [0, 1, 1, 1, 1, 1, 3, 3, 3]
    assert (entries & 0xFFFFFFFF).tolist() == [[2, 0, 1], [0, 2, 1], [0, 2, 1]]
    after_first_three = [0b00001_00001111, 0b00001_00001111, 0b11111_11110000]
    after_next_five, before_the_last_eight = [0x0F, 0x0F, 0xF0], [0b101_00001, 0b000_00001, 0b101_11111]
    assert (entries >> 32).tolist() == [after_first_three, after_next_five, before_the_last_eight]


@needs_native
@pytest.mark.parametrize("kernel", kernels.kernels())
def test_every_kernel_finds_the_same(kernel: str) -> None:
    rng = np.random.default_rng(1)
    before = kernels.kernel()
    try:
        kernels.use_kernel(kernel)
        for n_bytes in (3, 8, 16, 21, 32, 64):
            codes = clustered(rng, 500, n_bytes, 30, 0.05)
            queries = clustered(rng, 5, n_bytes, 30, 0.05)
            *found, _ = MultiIndex.build(codes).search(codes, None, queries, 5, None, 1)
            expected = reference.knn(codes, n_bytes, None, queries, 5, None, 1)
            for column, judged in zip(found, expected, strict=True):
                np.testing.assert_array_equal(column, judged)
    finally:
        kernels.use_kernel(before)


@needs_native
def test_a_million_copies_of_a_code() -> None:
    codes = np.full((1_000_000, 8), 7, np.uint8)
    codes[[10, 500_000]] = [[7] * 7 + [6], [0] * 8]
    tables = MultiIndex.build(codes, n_threads=2)
    distances, positions, _, finished = tables.search(codes, None, codes[:1], 3, None, 1)
    assert finished.all()
    assert distances.tolist() == [[0, 0, 0]]
    assert positions.tolist() == [[0, 1, 2]]
    distances, positions, _, _ = tables.search(codes, None, codes[500_000:500_001], 2, None, 1)
    assert distances.tolist() == [[0, 23]]
    assert positions.tolist() == [[500_000, 10]]

    # The size of its bucket ends a query before the bucket is read.
    arrays = tables.arrays().values()
    *_, finished = kernels.multi_index_knn(codes, None, *arrays, codes[:1], 3, None, 100_000.0, 1)
    assert not finished.any()


@needs_native
def test_a_query_over_budget_is_not_finished() -> None:
    rng = np.random.default_rng(2)
    codes = clustered(rng, 20_000, 8, 100, 0.05)
    tables = MultiIndex.build(codes)
    near = clustered(rng, 20, 8, 100, 0.05)
    far = rng.integers(0, 256, (20, 8), np.uint8)

    def finished(queries: NDArray[np.uint8], budget: float) -> NDArray[np.bool_]:
        *_, ended = kernels.multi_index_knn(
            codes, None, tables.bounds, tables.starts, tables.entries, queries, 5, None, budget, 1
        )
        return ended

    assert not finished(near, 0.0).any()
    assert not finished(far, 0.0).any()
    assert finished(near, 3_000.0).mean() > finished(far, 3_000.0).mean()
    assert finished(near, math.inf).all()
    assert finished(far, math.inf).all()


@needs_native
def test_what_is_finished_within_a_budget_is_exact() -> None:
    rng = np.random.default_rng(3)
    codes = clustered(rng, 5000, 8, 50, 0.1)
    queries = np.concatenate([clustered(rng, 100, 8, 50, 0.1), rng.integers(0, 256, (50, 8), np.uint8)])
    tables = MultiIndex.build(codes)
    expected = reference.knn(codes, 8, None, queries, 10, None, 1)
    some = 0
    for budget in (2_500.0, 5_000.0, 10_000.0):
        *found, finished = kernels.multi_index_knn(
            codes, None, tables.bounds, tables.starts, tables.entries, queries, 10, None, budget, 2
        )
        some += 0 < np.count_nonzero(finished) < len(queries)
        for column, judged in zip(found, expected, strict=True):
            np.testing.assert_array_equal(column[finished], judged[finished])
        limits, distances, positions, members, ended = kernels.multi_index_range(
            codes, None, tables.bounds, tables.starts, tables.entries, queries, 6, None, budget, 2
        )
        assert len(distances) == len(positions) == len(members) == limits[-1]
        assert not np.diff(limits)[~ended].any()
    assert some


def test_a_budget_counts_candidates_before_they_are_read() -> None:
    cost = kernels.multi_index_cost
    assert cost(2, 0) - cost(1, 0) > 0
    assert cost(0, 2) - cost(0, 1) > 0
    assert cost(10, 100) == pytest.approx(cost(10, 0) + cost(0, 100) - cost(0, 0))


@needs_native
@settings(max_examples=100, deadline=None)
@given(cases(), st.integers(0, 2**32), st.booleans())
def test_damaged_arrays_do_no_harm(case: Case, seed: int, all_of_them: bool) -> None:
    """Answers may be wrong, but the shapes hold, and nothing outside the arrays is read."""
    rng = np.random.default_rng(seed)
    starts, entries = case.tables.starts.copy(), case.tables.entries.copy()
    offsets = None if case.offsets is None else case.offsets.copy()
    for array in (starts, entries, offsets):
        if array is not None and array.size:
            n = array.size if all_of_them else min(array.size, 20)
            chosen = rng.integers(0, array.size, n)
            array.reshape(-1)[chosen] = (rng.integers(0, 2**63, n) >> rng.integers(0, 62)).astype(array.dtype)
    damaged = case.tables.bounds, starts, entries
    distances, positions, members, finished = kernels.multi_index_knn(
        case.codes, offsets, *damaged, case.queries, 5, case.allow, 1e7, case.n_threads
    )
    assert distances.shape == positions.shape == members.shape
    assert len(distances) == len(finished) == len(case.queries)
    assert ((positions >= 0) & (positions < max(case.n_items, 1))).all()
    limits, *columns, _ = kernels.multi_index_range(
        case.codes, offsets, *damaged, case.queries, 20, case.allow, 1e7, case.n_threads
    )
    assert [len(column) for column in columns] == [limits[-1]] * 3
    buckets = sum(2 ** int(width) for width in np.diff(case.tables.bounds))  # damaged, each may hold all
    assert (np.diff(limits) <= buckets * max(len(case.codes), 1)).all()


@needs_native
@pytest.mark.parametrize("n_threads", [1, 2, 7])
def test_answers_do_not_depend_on_threads(n_threads: int) -> None:
    rng = np.random.default_rng(4)
    codes, queries = clustered(rng, 3000, 16, 40, 0.05), clustered(rng, 40, 16, 40, 0.05)
    one = MultiIndex.build(codes)
    many = MultiIndex.build(codes, n_threads=n_threads)
    for a, b in zip(one.arrays().values(), many.arrays().values(), strict=True):
        np.testing.assert_array_equal(a, b)
    expected = one.search(codes, None, queries, 7, None, 1)
    for a, b in zip(expected, many.search(codes, None, queries, 7, None, n_threads), strict=True):
        np.testing.assert_array_equal(a, b)


def test_arrays_make_the_same_tables_again() -> None:
    codes = clustered(np.random.default_rng(5), 200, 8, 10, 0.05)
    tables = MultiIndex.build(codes)
    again = MultiIndex.from_arrays(tables.arrays(), 200, 64)
    assert again.starts is tables.starts
    assert (again.n_tables, again.n_codes, again.n_bits) == (8, 200, 64)
    assert again.nbytes == sum(array.nbytes for array in tables.arrays().values())


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("bounds", np.array([0, 8, 24], np.int64)),
        ("bounds", np.array([0, 8, 8, 16], np.int64)),
        ("bounds", np.array([[0, 8, 16]], np.int64)),
        ("bounds", np.array([], np.int64)),
        ("starts", np.zeros(513, np.uint32)),
        ("starts", np.zeros(514, np.int64)),
        ("entries", np.zeros((2, 10), np.uint64)),
        ("entries", np.zeros((11, 2), np.uint64).T),
        ("entries", None),
    ],
)
def test_arrays_that_do_not_fit_are_refused(name: str, array: NDArray[np.generic] | None) -> None:
    codes = clustered(np.random.default_rng(6), 11, 2, 3, 0.1)
    arrays = MultiIndex.build(codes, n_tables=2).arrays()
    MultiIndex.from_arrays(arrays, 11, 16)
    if array is None:
        del arrays[name]
    else:
        arrays[name] = array
    with pytest.raises(CodesError, match="tables have"):
        MultiIndex.from_arrays(arrays, 11, 16)


BAD_ARGUMENTS: list[tuple[str, dict[str, object]]] = [
    ("n_threads", {"n_threads": 0}),
    ("bounds", {"bounds": np.array([0, 30, 64])}),
    ("bounds", {"bounds": np.array([0, 20, 40])}),
    ("starts", {"starts": np.zeros(5, np.uint32)}),
    ("entries", {"entries": np.zeros((3, 4), np.uint64)}),
    ("queries", {"queries": np.zeros((1, 7), np.uint8)}),
    ("allow", {"allow": np.ones(3, np.bool_)}),
    ("offsets", {"offsets": np.zeros(0, np.int64)}),
]


@needs_native
@pytest.mark.parametrize(("what", "change"), BAD_ARGUMENTS)
def test_shapes_that_do_not_fit_are_refused(what: str, change: dict[str, object]) -> None:
    codes = np.zeros((5, 8), np.uint8)
    tables = MultiIndex.build(codes, n_tables=3)
    call: dict[str, object] = {
        "codes": codes,
        "offsets": None,
        **tables.arrays(),
        "queries": codes,
        "k": 2,
        "allow": None,
        "budget": math.inf,
        "n_threads": 1,
    }
    kernels.multi_index_knn(**call)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=what):
        kernels.multi_index_knn(**{**call, **change})  # type: ignore[arg-type]


@needs_native
def test_wrong_dtypes_and_layouts_are_refused() -> None:
    codes = np.zeros((6, 8), np.uint8)
    tables = MultiIndex.build(codes, n_tables=3)
    for name, array in tables.arrays().items():
        arrays = {**tables.arrays(), name: array.astype(np.float64)}
        with pytest.raises(TypeError):
            kernels.multi_index_knn(codes, None, *arrays.values(), codes, 1, None, math.inf, 1)
    with pytest.raises(TypeError):
        kernels.multi_index_knn(codes[::2], None, *tables.arrays().values(), codes, 1, None, math.inf, 1)


def test_the_number_of_tables_follows_that_of_codes() -> None:
    assert default_n_tables(10_000_000, 64) == 3
    assert default_n_tables(100_000_000, 64) == 3
    assert default_n_tables(1_000_000, 64) == 4
    assert default_n_tables(10_000_000, 128) == 6
    assert default_n_tables(0, 64) == 8
    for n_bits in range(8, 1025, 8):
        for n_codes in (0, 1, 1000, 10**6, 10**9):
            lengths = np.diff(even_bounds(n_bits, default_n_tables(n_codes, n_bits)))
            assert lengths.sum() == n_bits
            assert 1 <= lengths.min() <= lengths.max() <= 24
            assert lengths.max() - lengths.min() <= 1


@pytest.mark.parametrize("n_tables", [-1, 0, 2, 65])
def test_tables_of_too_short_or_long_substrings_are_refused(n_tables: int) -> None:
    with pytest.raises(CodesError, match="it takes 3 to 64"):
        MultiIndex.build(np.zeros((3, 8), np.uint8), n_tables=n_tables)


@st.composite
def weighted(draw: st.DrawFn) -> tuple[NDArray[np.generic] | None, ...]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n_bytes, n_queries, k = draw(st.sampled_from([1, 2, 7, 8, 16, 33, 128])), 3, draw(st.integers(0, 9))
    codes = clustered(rng, 40, n_bytes, draw(st.sampled_from([1, 30])), 0.1)
    offsets = np.concatenate([[0], np.sort(rng.integers(0, 41, 12)), [40]]) if draw(st.booleans()) else None
    compared = draw(st.integers(1, n_bytes))
    weights = rng.integers(0, 2**20 + 1, (n_queries, compared * 8), np.int32)
    n_rows = draw(st.sampled_from([1, n_queries]))
    positions = rng.integers(-1, 40 if offsets is None else 13, (n_rows, k))
    return codes, offsets, clustered(rng, n_queries, compared, 5, 0.1), weights, positions


@needs_native
@ROUNDS
@given(weighted())
def test_asymmetric_sums_are_those_of_the_reference(call: tuple[NDArray[np.generic], ...]) -> None:
    found, expected = kernels.asymmetric(*call), reference.asymmetric(*call)
    for column, judged in zip(found, expected, strict=True):
        assert column.dtype == judged.dtype
        np.testing.assert_array_equal(column, judged)


def test_asymmetric_sums_by_hand(functions: ModuleType) -> None:
    codes = np.array([[0b1010_0000], [0b0000_0011], [0b1000_0000]], np.uint8)
    weights = np.array([[1, 2, 4, 8, 16, 32, 64, 2**20]], np.int32)
    query = np.array([[0b1000_0000]], np.uint8)
    sums, members, bits = functions.asymmetric(codes, None, query, weights, np.array([[1, 0, 2]]))
    assert sums.tolist() == [[1 + 64 + 2**20, 4, 0]]
    assert members.tolist() == [[0, 0, 0]]
    assert bits.tolist() == [[3, 1, 0]]
    groups, none = np.array([0, 2, 2, 3]), 2**31 - 1
    sums, members, bits = functions.asymmetric(codes, groups, query, weights, np.array([[0, 1, 2, -1]]))
    assert sums.tolist() == [[4, none, 0, none]]
    assert members.tolist() == [[0, -1, 0, -1]]
    assert bits.tolist() == [[1, none, 0, none]]
    wide = np.concatenate([codes, 255 - codes], axis=1)
    queries, both = np.concatenate([query, query]), np.concatenate([weights, weights])
    sums, _, _ = functions.asymmetric(wide, None, queries, both, np.array([[2, 0]]))
    assert sums.tolist() == [[0, 4], [0, 4]], "the first byte alone, of the same items for each query"


@pytest.mark.parametrize("position", [-2, 3, 2**62])
def test_asymmetric_positions_outside_are_refused(functions: ModuleType, position: int) -> None:
    codes, weights = np.zeros((3, 1), np.uint8), np.zeros((1, 8), np.int32)
    with pytest.raises(ValueError, match="positions"):
        functions.asymmetric(codes, None, codes[:1], weights, np.array([[position]]))


@needs_native
@pytest.mark.parametrize("weight", [-1, 2**20 + 1])
def test_asymmetric_weights_that_could_overflow_are_refused(weight: int) -> None:
    codes, weights = np.zeros((3, 1), np.uint8), np.full((1, 8), weight, np.int32)
    with pytest.raises(ValueError, match="weights"):
        kernels.asymmetric(codes, None, codes[:1], weights, np.array([[0]]))
