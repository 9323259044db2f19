"""One contract for the native kernels and the NumPy reference, judged by sorting (distance, id)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from grainhash import _reference
from grainhash import index as index_module
from grainhash.errors import CodesError
from grainhash.index import Index, Neighbours, has_native


@pytest.fixture(scope="module", params=["native", "reference"], autouse=True)
def kernel(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every test of this file runs once on each implementation."""
    if request.param == "native" and not has_native():
        pytest.skip("grainhash._native is not built: the native kernels are NOT tested")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "reference":
            patch.setattr(index_module, "_knn", _reference.knn)
        yield request.param


def as_rows(found: Neighbours) -> list[list[tuple[int, int, int]]]:
    assert found.distances.dtype == np.int32
    assert found.ids.dtype == found.members.dtype == np.int64
    assert found.distances.shape == found.ids.shape == found.members.shape
    columns = found.distances.tolist(), found.ids.tolist(), found.members.tolist()
    return [list(zip(*row, strict=True)) for row in zip(*columns, strict=True)]


def random_codes(
    rng: np.random.Generator, n: int, n_bytes: int, n_distinct: int | None = None
) -> NDArray[np.uint8]:
    pool = rng.integers(0, 256, (n_distinct or n, n_bytes), np.uint8)
    return pool if n_distinct is None else pool[rng.integers(0, n_distinct, n)]


def index_of(codes: NDArray[np.uint8], offsets: NDArray[np.int64] | None = None) -> Index:
    index = Index(codes.shape[1] * 8)
    index.add(codes, np.arange(len(codes) if offsets is None else len(offsets) - 1), offsets)
    return index


@dataclass
class Case:
    """An index, what a dictionary says is in it, and a search."""

    index: Index
    items: dict[int, list[bytes]]
    queries: NDArray[np.uint8]
    k: int
    allow: list[int] | None
    n_threads: int

    def expected(self) -> list[list[tuple[int, int, int]]]:
        allowed = [i for i in self.items if self.items[i] and (self.allow is None or i in self.allow)]
        answers = []
        for query in self.queries:
            hits = []
            for item in allowed:
                distances = [hamming(query.tobytes(), code) for code in self.items[item]]
                hits.append((min(distances), item, distances.index(min(distances))))
            answers.append(sorted(hits)[: self.k])
        return answers


def hamming(a: bytes, b: bytes) -> int:
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).bit_count()


@st.composite
def cases(draw: st.DrawFn) -> Case:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n_bytes = draw(st.integers(1, 20) | st.sampled_from([24, 32, 33, 64, 100, 127, 128]))
    n_distinct = draw(st.sampled_from([1, 3, 50]))
    index, items, last_id = Index(n_bytes * 8), {}, draw(st.integers(-5, 5))
    for n_items in draw(st.lists(st.integers(0, 12), max_size=5)):
        ids = last_id + np.cumsum(rng.integers(1, 4, n_items))
        lengths = rng.integers(0, 4, n_items) if draw(st.booleans()) else None
        offsets = None if lengths is None else np.concatenate([[0], np.cumsum(lengths)])
        codes = random_codes(rng, n_items if lengths is None else int(offsets[-1]), n_bytes, n_distinct)
        codes.flags.writeable = draw(st.booleans())
        index.add(codes, ids, offsets)
        bounds = np.arange(n_items + 1) if offsets is None else offsets
        for item, start, stop in zip(ids.tolist(), bounds[:-1], bounds[1:], strict=True):
            items[item] = [code.tobytes() for code in codes[start:stop]]
        last_id = max(items, default=last_id)

    some_ids = st.lists(st.sampled_from([*items, 10**6]), max_size=20)
    removed = draw(some_ids)
    assert index.remove(np.array(removed, np.int64)) == len(set(removed) & set(items))
    return Case(
        index,
        {item: codes for item, codes in items.items() if item not in removed},
        random_codes(rng, draw(st.integers(0, 3)), n_bytes, n_distinct),
        draw(st.integers(0, 40)),
        draw(st.none() | some_ids),
        draw(st.sampled_from([1, 2, 5])),
    )


@settings(max_examples=300, deadline=None)
@given(cases())
def test_search_is_exact(case: Case) -> None:
    found = case.index.search(case.queries, case.k, allow=case.allow, n_threads=case.n_threads)
    assert as_rows(found) == case.expected()


@settings(max_examples=100, deadline=None)
@given(cases())
def test_an_index_knows_its_items(case: Case) -> None:
    assert len(case.index) == len(case.items)
    assert case.index.ids.tolist() == sorted(case.items)
    for item, codes in case.items.items():
        assert [code.tobytes() for code in case.index.codes_of(item)] == codes

    ids = np.array(list(case.items)[::-1], np.int64)
    for query in case.queries:
        distances, members = case.index.distances_to(query, ids)
        assert (distances.dtype, members.dtype) == (np.int32, np.int64)
        for item, distance, member in zip(ids.tolist(), distances.tolist(), members.tolist(), strict=True):
            expected = [hamming(query.tobytes(), code) for code in case.items[item]]
            best = min(expected, default=case.index.n_bits + 1)
            assert (distance, member) == (best, expected.index(best) if expected else -1)


@pytest.mark.parametrize("n_bytes", [8, 12, 32])
@pytest.mark.parametrize("grouped", [False, True], ids=["codes", "groups"])
@pytest.mark.parametrize("k", [1, 10, 1000, 10**30])
def test_threads_change_nothing(n_bytes: int, grouped: bool, k: int) -> None:
    """Enough work for several threads, several blocks and several rounds of queries; many ties."""
    rng = np.random.default_rng(n_bytes)
    lengths = rng.integers(0, 9, 3000) if grouped else np.ones(12_000, np.int64)
    lengths[1234] = 5000 if grouped else 1
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    codes = random_codes(rng, int(offsets[-1]), n_bytes, 200)
    queries = random_codes(rng, 70, n_bytes)
    index = index_of(codes, offsets if grouped else None)
    removed = rng.choice(len(lengths), 500, replace=False)
    index.remove(removed)
    live = np.setdiff1d(np.flatnonzero(lengths), removed)

    found = {n: index.search(queries, k, n_threads=n) for n in (1, 2, 5)}
    for answer in found.values():
        assert np.array_equal(answer.distances, found[1].distances)
        assert np.array_equal(answer.ids, found[1].ids)
        assert np.array_equal(answer.members, found[1].members)
    for row in (0, 63, 64, 69):
        distances = np.unpackbits(codes ^ queries[row], axis=1).sum(axis=1)
        best = np.array([distances[offsets[i] : offsets[i + 1]].min() for i in live])
        nearest = np.lexsort((live, best))[:k]
        assert found[5].distances[row].tolist() == best[nearest].tolist()
        assert found[5].ids[row].tolist() == live[nearest].tolist()
        members = [distances[offsets[i] : offsets[i + 1]].argmin() for i in live[nearest]]
        assert found[5].members[row].tolist() == members


def test_a_million_copies_of_one_code() -> None:
    codes = np.full((1_000_000, 32), 0xA5, np.uint8)
    codes.flags.writeable = False
    index = index_of(codes)
    start = time.perf_counter()
    found = index.search(codes[:1], 10)
    assert time.perf_counter() - start < 5
    assert as_rows(found) == [[(0, i, 0) for i in range(10)]]


def test_nearer_and_nearer_codes() -> None:
    """The worst order for a search: each code displaces another from the k best."""
    n = 20_000
    distances = np.sort(np.random.default_rng(0).integers(0, 129, n))[::-1]
    codes = np.packbits(np.arange(128) < distances[:, np.newaxis], axis=1)
    found = index_of(codes).search(np.zeros((1, 16), np.uint8), 300)
    nearest = np.argsort(distances, kind="stable")[:300]
    assert found.ids[0].tolist() == nearest.tolist()


def test_edges_of_k() -> None:
    empty = Index(64)
    queries = np.zeros((2, 8), np.uint8)
    assert as_rows(empty.search(queries, 5)) == [[], []]
    assert empty.ids.dtype == np.int64
    index = index_of(np.zeros((3, 8), np.uint8))
    assert as_rows(index.search(queries, 0)) == [[], []]
    assert as_rows(index.search(queries, np.int64(2))) == [[(0, 0, 0), (0, 1, 0)]] * 2
    assert index.search(queries, 10**30).ids.shape == (2, 3)
    assert index.search(queries[:0], 2).ids.shape == (0, 2)
    assert index.search(queries, 2, allow=[]).ids.shape == (2, 0)
    index.add(np.zeros((0, 8), np.uint8), np.arange(3, 5), np.zeros(3, np.int64))
    assert len(index) == 5
    assert index.search(queries, 10).ids.shape == (2, 3), "items without codes are never found"


def test_an_allow_list_is_no_post_filter() -> None:
    codes = np.packbits(np.tri(64, dtype=np.uint8), axis=1)
    found = index_of(codes).search(np.zeros((1, 8), np.uint8), 2, allow=[63, 60, 62, 60, 999])
    assert as_rows(found) == [[(61, 60, 0), (63, 62, 0)]]


def test_removed_ids_never_come_back() -> None:
    index = index_of(np.zeros((4, 8), np.uint8))
    assert index.remove([3, 1, 3, 99]) == 2
    assert index.remove([3]) == 0
    assert index.ids.tolist() == [0, 2]
    assert index.search(np.zeros((1, 8), np.uint8), 9, allow=[1, 2, 3]).ids.tolist() == [[2]]
    with pytest.raises(CodesError, match="id 3 is not above 3"):
        index.add(np.zeros((1, 8), np.uint8), np.array([3]))
    with pytest.raises(CodesError, match="no item has the id 1"):
        index.codes_of(1)
    with pytest.raises(CodesError, match="no item has the id 3"):
        index.distances_to(np.zeros(8, np.uint8), [0, 3])


def test_a_mapped_base_grows_and_is_never_copied(tmp_path) -> None:
    codes = random_codes(np.random.default_rng(0), 500, 24)
    np.save(tmp_path / "codes.npy", codes)
    base = np.load(tmp_path / "codes.npy", mmap_mode="r")
    index = index_of(base)
    index.remove([7])
    for i in range(500, 520):
        index.add(codes[i - 500 : i - 499], np.array([i]))
    assert np.shares_memory(index._segments[0].codes, base)
    assert len(index._segments) <= 7, "copied segments are joined"
    assert index.nbytes < 2 * codes.nbytes + 9 * 520
    assert as_rows(index.search(base[7:8], 1)) == [[(0, 507, 0)]]
    assert as_rows(index.search(base[8:9], 2)) == [[(0, 8, 0), (0, 508, 0)]]


def test_a_writeable_array_is_copied() -> None:
    codes, ids = np.zeros((2, 8), np.uint8), np.arange(2)
    index = Index(64)
    index.add(codes, ids)
    codes[:], ids[:] = 255, 9
    assert as_rows(index.search(np.zeros((1, 8), np.uint8), 5)) == [[(0, 0, 0), (0, 1, 0)]]


ONE = np.zeros((1, 8), np.uint8)
TWO = np.zeros((2, 8), np.uint8)


@pytest.mark.parametrize(
    ("codes", "ids", "offsets", "message"),
    [
        (ONE.astype(np.int8), [1], None, "int8"),
        (ONE[0], [1], None, "1 dimension"),
        (np.zeros((1, 9), np.uint8), [1], None, "72 bits where 64 are expected"),
        (TWO, [1], None, "2 codes for 1 ids"),
        (ONE, [1.0], None, "ids are float64"),
        (ONE, [[1]], None, "2 dimension"),
        (TWO, [1, 1], None, "id 1 comes after 1"),
        (TWO, [2, 1], None, "id 1 comes after 2"),
        (ONE, [0], None, "id 0 is not above 0"),
        (TWO, [1], [0, 1], "ascend from 0 to the number of codes, 2"),
        (TWO, [1], [1, 2], "ascend from 0"),
        (TWO, [1, 2, 3], [0, 2, 1, 2], "ascend from 0"),
        (TWO, [1], [0, 1, 2], r"int64 \(2,\)"),
        (TWO, [1], [0.0, 2.0], "float64"),
    ],
)
def test_what_cannot_be_added(codes, ids, offsets, message) -> None:
    index = index_of(ONE)
    with pytest.raises(CodesError, match=message):
        index.add(codes, np.array(ids), None if offsets is None else np.array(offsets))
    assert index.ids.tolist() == [0]
    index.add(ONE, np.array([1]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": -1}, "k is -1"),
        ({"k": 1.0}, "k is 1.0"),
        ({"k": True}, "k is True"),
        ({"k": None}, "k is None"),
        ({"n_threads": 0}, "n_threads is 0"),
        ({"n_threads": "two"}, "n_threads is 'two'"),
        ({"allow": [0.5]}, "ids are float64"),
        ({"queries": ONE[0]}, "1 dimension"),
        ({"queries": ONE.astype(float)}, "float64"),
        ({"queries": np.zeros((1, 16), np.uint8)}, "128 bits where 64"),
    ],
)
def test_what_cannot_be_searched(arguments, message) -> None:
    with pytest.raises(CodesError, match=message):
        index_of(ONE).search(**{"queries": ONE, "k": 1, **arguments})


def test_other_bad_input() -> None:
    with pytest.raises(CodesError, match="12 bits"):
        Index(12)
    index = index_of(ONE)
    with pytest.raises(CodesError, match="2 dimension"):
        index.distances_to(ONE, [0])
    with pytest.raises(CodesError, match="16 bits where 64"):
        index.distances_to(np.zeros(2, np.uint8), [0])
    with pytest.raises(CodesError, match="ids are float64"):
        index.remove([0.0])
    with pytest.raises(CodesError, match="the id 5"):
        index.codes_of(5)


@pytest.mark.parametrize(
    ("position", "argument", "error"),
    [
        (0, TWO.astype(np.int8), TypeError),
        (0, np.zeros((4, 8), np.uint8)[::2], TypeError),
        (0, np.zeros((2, 16), np.uint8), ValueError),
        (1, np.array([0, 3]), ValueError),
        (1, np.array([0, 5, 2]), ValueError),
        (1, np.array([-1, 2]), ValueError),
        (1, np.array([], np.int64), ValueError),
        (3, -1, TypeError),
        (4, np.ones(3, np.bool_), ValueError),
        (4, np.ones(2, np.uint8), TypeError),
        (5, 0, ValueError),
    ],
)
@pytest.mark.parametrize("kernel", ["native"], indirect=True)
def test_the_native_module_guards_itself(position: int, argument: object, error: type) -> None:
    """Whatever a caller hands over, the kernel reads no memory that is not its own."""
    arguments: list[object] = [TWO, None, ONE, 1, None, 1]
    arguments[position] = argument
    with pytest.raises(error):
        index_module._native.knn(*arguments)
