"""Every kernel that this machine runs finds exactly what NumPy finds, and none is harmed by bad arguments."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from grainhash.index import Index, has_native, kernels, reference
from grainhash.index.multi_index import MultiIndex

pytestmark = pytest.mark.skipif(
    not has_native(), reason="grainhash._native is not built: the kernels are NOT tested"
)

SIZES = [0, 1, 63, 64, 65, 256, 257, 511, 512, 513, 767, 769, 1300]
BATCHES = [0, 1, 3, 11, 12, 16, 17, 33, 40]


@pytest.fixture(autouse=True)
def the_kernel_before() -> Iterator[None]:
    before = kernels.kernel()
    yield
    kernels.use_kernel(before)


@dataclass
class Case:
    """A search, in the order of the arguments of `knn` and `range_search`."""

    codes: NDArray[np.uint8]
    n_bytes: int
    offsets: NDArray[np.int64] | None
    queries: NDArray[np.uint8]
    allow: NDArray[np.bool_] | None

    def search(self, function: Callable[..., Any], k_or_radius: int, n_threads: int) -> Any:
        return function(
            self.codes, self.n_bytes, self.offsets, self.queries, k_or_radius, self.allow, n_threads
        )


def at_an_odd_address(array: NDArray[Any]) -> NDArray[Any]:
    """A copy that nobody may write to, at an address that suits no vector."""
    memory = np.empty(array.nbytes + 2, np.uint8)
    start = 1 - memory.ctypes.data % 2
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    copy.flags.writeable = False
    assert copy.ctypes.data % 2 == 1 or not copy.size
    return copy


def some_codes(rng: np.random.Generator, n: int, width: int) -> NDArray[np.uint8]:
    """All alike, a few with many copies, near to a few, or anything: ties are what goes wrong."""
    centres = np.random.default_rng(7).integers(0, 256, (int(rng.choice([1, 5, 2000])), width), np.uint8)
    noise = np.packbits(rng.random((n, width * 8)) < rng.choice([0, 0.02, 0.5]), axis=1)
    return centres[rng.integers(0, len(centres), n)] ^ noise


def some_offsets(rng: np.random.Generator, n_codes: int) -> NDArray[np.int64] | None:
    """One code an item, a few, items longer than a block, or all in one; and many items without codes."""
    n_items = {"none": 0, "few": n_codes // 3, "long": n_codes // 600, "one": 1}[
        rng.choice(["none", "none", "few", "long", "one"])
    ]
    if not n_items:
        return None
    inner = np.repeat(rng.integers(0, n_codes + 1, n_items - 1), rng.integers(1, 4, n_items - 1))
    return np.concatenate([[0], np.sort(inner), [n_codes]]).astype(np.int64)


def some_case(width: int, seed: int, sizes: list[int], batches: list[int]) -> Case:
    rng = np.random.default_rng([width, seed])
    n_bytes = int(rng.integers(1, width + 1)) if rng.random() < 0.2 else width
    codes = some_codes(rng, int(rng.choice(sizes)), width)
    queries = some_codes(rng, int(rng.choice(batches)), width)[:, :n_bytes].copy()
    if len(codes):
        queries[::2] = codes[rng.integers(0, len(codes), len(queries[::2])), :n_bytes]
    offsets = some_offsets(rng, len(codes))
    n_items = len(codes) if offsets is None else len(offsets) - 1
    allow = rng.random(n_items) < rng.choice([0, 0.02, 0.5]) if rng.random() < 0.5 else None
    if rng.random() < 0.5:
        codes, queries = at_an_odd_address(codes), at_an_odd_address(queries)
    return Case(codes, n_bytes, offsets, queries, allow)


def check(case: Case, k_of_all: int = 5000) -> None:
    """Compares every kernel's answers with those of the reference."""
    n_bits = case.n_bytes * 8
    columns = case.search(reference.knn, k_of_all, 1)
    ranges = {radius: case.search(reference.range_search, radius, 1) for radius in (0, n_bits // 3, n_bits)}
    for name in kernels.kernels():
        kernels.use_kernel(name)
        for n_threads in (1, 3):
            for k in (0, 1, 10, k_of_all):
                for column, judged in zip(case.search(kernels.knn, k, n_threads), columns, strict=True):
                    assert column.dtype == judged.dtype
                    np.testing.assert_array_equal(column, judged[:, :k], f"{name}, {k=}, {n_threads=}")
            for radius, expected in ranges.items():
                found = case.search(kernels.range_search, radius, n_threads)
                for column, judged in zip(found, expected, strict=True):
                    assert column.dtype == judged.dtype
                    np.testing.assert_array_equal(column, judged, f"{name}, {radius=}, {n_threads=}")


@pytest.mark.parametrize("width", range(1, 129))
def test_codes_of_every_width(width: int) -> None:
    check(some_case(width, 0, SIZES, BATCHES))
    check(some_case(width, 1, [513, 700, 1300], [12, 16, 17, 40]))


@pytest.mark.parametrize("n_codes", SIZES)
@pytest.mark.parametrize("n_queries", BATCHES)
def test_every_size_and_number_of_queries(n_codes: int, n_queries: int) -> None:
    check(some_case([8, 16, 32, 33, 64][(n_codes + n_queries) % 5], 2, [n_codes], [n_queries]))


@pytest.mark.parametrize("n_bytes", [8, 16, 24, 32, 128])
def test_work_that_is_worth_several_threads(n_bytes: int) -> None:
    check(some_case(n_bytes, 3, [3000], [300]))


@pytest.mark.parametrize("n_bytes", [1, 8, 16, 21, 32])
def test_every_radius(n_bytes: int) -> None:
    case = some_case(n_bytes, 4, [700], [17])
    *columns, _ = case.search(reference.knn, 700, 1)
    distances = columns[0]
    for name in kernels.kernels():
        kernels.use_kernel(name)
        for radius in [*range(n_bytes * 8 + 2), 2**31 - 1]:
            limits, found, _, _ = case.search(kernels.range_search, radius, 1)
            np.testing.assert_array_equal(np.diff(limits), np.sum(distances <= radius, axis=1), name)
            np.testing.assert_array_equal(found, distances[distances <= radius], name)


@pytest.mark.parametrize("k", [2**31, 2**63])
def test_k_of_any_size(k: int) -> None:
    case = some_case(8, 5, [1300], [16])
    expected = case.search(reference.knn, 1300, 1)
    for name in kernels.kernels():
        kernels.use_kernel(name)
        for column, judged in zip(case.search(kernels.knn, k, 2), expected, strict=True):
            np.testing.assert_array_equal(column, judged)


@pytest.mark.parametrize("n_bytes", [3, 8, 16, 21, 32, 64, 128])
def test_multi_index_and_asymmetric_with_every_kernel(n_bytes: int) -> None:
    rng = np.random.default_rng(n_bytes)
    for offsets in (None, np.sort(np.concatenate([[0, 0], rng.integers(0, 501, 200), [500]]))):
        n_items = 500 if offsets is None else len(offsets) - 1
        codes, queries = some_codes(rng, 500, n_bytes), some_codes(rng, 5, n_bytes)
        allow = rng.random(n_items) < 0.7
        tables = MultiIndex.build(codes)
        weights = rng.integers(0, 2**20 + 1, (5, n_bytes * 8), np.int32)
        positions = rng.integers(-1, n_items, (5, 30))
        nearest = reference.knn(codes, n_bytes, offsets, queries, 7, allow, 1)
        within = reference.range_search(codes, n_bytes, offsets, queries, n_bytes, allow, 1)
        sums = reference.asymmetric(codes, offsets, queries, weights, positions)
        for name in kernels.kernels():
            kernels.use_kernel(name)
            *by_tables, finished = tables.search(codes, offsets, queries, 7, allow, 2)
            *range_by_tables, in_time = tables.range_search(codes, offsets, queries, n_bytes, allow, 2)
            assert finished.all()
            assert in_time.all()
            found = (
                *by_tables,
                *range_by_tables,
                *kernels.asymmetric(codes, offsets, queries, weights, positions),
            )
            for column, judged in zip(found, (*nearest, *within, *sums), strict=True):
                np.testing.assert_array_equal(column, judged, name)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_find_is_a_dictionary(data: st.DataObject) -> None:
    numbers = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 50)
    ids = sorted(data.draw(st.sets(numbers, max_size=60)))
    wanted = data.draw(st.lists(numbers | st.sampled_from(ids or [0]), max_size=60))
    if data.draw(st.booleans()):
        wanted.sort()
    dictionary = {id: position for position, id in enumerate(ids)}
    found = kernels.find(np.array(ids, np.int64), np.array(wanted, np.int64))
    assert found.dtype == np.int64
    assert found.tolist() == [dictionary.get(id, -1) for id in wanted]


def test_a_kernel_that_is_not_there_is_refused() -> None:
    before = kernels.kernel()
    with pytest.raises(ValueError, match="no kernel sparc"):
        kernels.use_kernel("sparc")
    assert kernels.kernel() == before
    assert kernels.kernels()[-1] == "portable"


# What a damaged file or a careless caller may hand over.

CODES = np.arange(48, dtype=np.uint8).reshape(6, 8)
TABLES = MultiIndex.build(CODES, n_tables=4) if has_native() else None
CALLS: dict[str, dict[str, Any]] = {
    "knn": {"codes": CODES, "n_bytes": 8, "offsets": np.arange(7), "queries": CODES, "k": 3}
    | {"allow": np.ones(6, np.bool_), "n_threads": 1},
    "range_search": {"codes": CODES, "n_bytes": 8, "offsets": np.arange(7), "queries": CODES, "radius": 3}
    | {"allow": np.ones(6, np.bool_), "n_threads": 1},
    "find": {"ids": np.arange(6), "wanted": np.arange(6)},
    "asymmetric": {"codes": CODES, "offsets": np.arange(7), "queries": CODES}
    | {"weights": np.ones((6, 64), np.int32), "positions": np.zeros((6, 2), np.int64)},
}
if TABLES is not None:
    of_tables = {"codes": CODES, "offsets": np.arange(7), **TABLES.arrays(), "queries": CODES}
    at_the_end = {"allow": np.ones(6, np.bool_), "budget": math.inf, "n_threads": 1}
    CALLS["multi_index_build"] = {"codes": CODES, "bounds": TABLES.bounds, "n_threads": 1}
    CALLS["multi_index_knn"] = {**of_tables, "k": 3, **at_the_end}
    CALLS["multi_index_range"] = {**of_tables, "radius": 3, **at_the_end}
ARRAYS = [(call, name) for call, all in CALLS.items() for name in all if isinstance(all[name], np.ndarray)]
COUNTS = [(call, name) for call, all in CALLS.items() for name in all if type(all[name]) is int]


@pytest.mark.parametrize(("call", "name"), ARRAYS)
def test_arrays_of_another_kind_are_refused(call: str, name: str) -> None:
    arguments, array = CALLS[call], CALLS[call][name]
    getattr(kernels, call)(**arguments)
    others = [
        array.astype(np.float64),
        array.astype(np.int8),
        array.astype(array.dtype.newbyteorder()) if array.itemsize > 1 else array.astype(np.uint16),
        np.repeat(array, 2, axis=0)[::2],
        array[::-1],
        array[np.newaxis],
        array[..., np.newaxis],
        array.tolist(),
        array.tobytes(),
        "array",
    ]
    if array.ndim == 2:
        others += [np.asfortranarray(array), array[:, :-1], array.ravel()]
    for other in others:
        with pytest.raises((TypeError, ValueError)):
            getattr(kernels, call)(**{**arguments, name: other})


@pytest.mark.parametrize(("call", "name"), COUNTS)
def test_counts_of_another_kind_are_refused(call: str, name: str) -> None:
    for other in (-1, 2**64, 1.5, "1", None):
        with pytest.raises((TypeError, ValueError)):
            getattr(kernels, call)(**{**CALLS[call], name: other})


@pytest.mark.parametrize(("call", "name"), ARRAYS)
def test_integers_at_an_odd_address_are_refused_and_bytes_are_read(call: str, name: str) -> None:
    arguments = CALLS[call]
    odd = {**arguments, name: at_an_odd_address(arguments[name])}
    if arguments[name].itemsize > 1:
        with pytest.raises(ValueError, match="aligned"):
            getattr(kernels, call)(**odd)
        return
    expected = getattr(kernels, call)(**arguments)
    for column, judged in zip(getattr(kernels, call)(**odd), expected, strict=True):
        np.testing.assert_array_equal(column, judged)


def test_an_index_takes_ids_and_offsets_at_an_odd_address() -> None:
    index = Index(64)
    codes = np.arange(48, dtype=np.uint8).reshape(6, 8)
    ids, offsets = np.array([3, 5, 9]), np.array([0, 1, 4, 6])
    index.add(codes, at_an_odd_address(ids), at_an_odd_address(offsets))
    found = index.search(codes[2:3], 1, allow=at_an_odd_address(np.array([5, 9])))
    assert (found.ids.tolist(), found.members.tolist()) == ([[5]], [[1]])


def damaged(rng: np.random.Generator, array: NDArray[Any], plausible: int) -> NDArray[Any]:
    """A copy with other numbers at some places or all, often the last: near what is right, or anything."""
    copy = array.copy()
    flat = copy.reshape(-1)
    for at in rng.choice([0, len(flat) - 1, *rng.integers(0, len(flat), 3)], rng.integers(1, 6)):
        if rng.random() < 0.6:
            flat[at] = rng.integers(0, plausible + 2)
        else:
            flat[at] = rng.integers(0, 2**63).view(np.uint64).astype(flat.dtype)
    return copy


def test_codes_of_no_item_are_not_counted_as_hits() -> None:
    """Codes after the last offset look like those of the last item, which is farther than they are."""
    codes = np.zeros((1000, 8), np.uint8)
    codes[0], codes[1] = 1, 255
    offsets = np.array([0, 1, 2])
    for name in kernels.kernels():
        kernels.use_kernel(name)
        for n_queries in (1, 20):
            distances, positions, _ = kernels.knn(
                codes, 8, offsets, np.zeros((n_queries, 8), np.uint8), 1, None, 1
            )
            assert distances.tolist() == [[8]] * n_queries
            assert positions.tolist() == [[0]] * n_queries


@pytest.mark.parametrize("seed", range(20))
def test_damaged_offsets_and_tables_do_no_harm(seed: int) -> None:
    """Answers may be wrong, but nothing crashes; `test_native_fuzz` sees that nothing is read outside."""
    rng = np.random.default_rng(seed)
    n = int(rng.choice([3, 100, 1300]))
    codes, queries = some_codes(rng, n, 8), some_codes(rng, 20, 8)
    sound = np.sort(np.concatenate([[0], rng.integers(0, n + 1, n // 4), [n]]))
    tables = MultiIndex.build(codes)
    items = rng.integers(0, len(sound) - 1, (20, 5))
    weights = np.ones((20, 64), np.int32)
    for name in kernels.kernels():
        kernels.use_kernel(name)
        for k in (1, 2, 10, n):
            offsets = damaged(rng, sound, n)
            if rng.random() < 0.2:
                offsets = rng.integers(-(2**63), 2**63, len(sound))
            starts, entries = damaged(rng, tables.starts, n), damaged(rng, tables.entries, n)
            with suppress(ValueError):  # queries do not agree on how many items there are
                distances, _, _ = kernels.knn(codes, 8, offsets, queries, k, None, 1)
                assert len(distances) == len(queries)
            limits, distances, positions, members = kernels.range_search(
                codes, 8, offsets, queries, k, None, 1
            )
            assert len(distances) == len(positions) == len(members) == limits[-1]
            kernels.asymmetric(codes, offsets, queries, weights, items)
            by_tables = codes, offsets, tables.bounds, starts, entries, queries
            kernels.multi_index_knn(*by_tables, k, None, 1e5, 1)
            kernels.multi_index_range(*by_tables, k, None, 1e5, 1)
            kernels.find(offsets, damaged(rng, sound, n))
