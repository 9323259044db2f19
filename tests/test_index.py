"""One contract for the native kernels and the NumPy reference, judged by sorting (distance, id)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from grainhash import codes as packed
from grainhash.errors import CodesError
from grainhash.index import AsymmetricQueries, Index, Neighbours, Ranges, has_native, kernels, reference
from grainhash.index import index as index_module
from grainhash.index import segment as segment_module
from grainhash.index.plan import Choice, Plan

Row = list[tuple[int, int, int]]


@pytest.fixture(scope="module", params=["native", "reference"], autouse=True)
def implementation(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every test of this file runs once on each implementation, with every way of a search within reach."""
    if request.param == "native" and not has_native():
        pytest.skip("grainhash._native is not built: the native kernels are NOT tested")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "reference":
            for name in set(kernels.__all__) - {"has_native"}:
                patch.setattr(kernels, name, getattr(reference, name))
        patch.setattr(segment_module, "FEW", 3)
        patch.setattr(index_module, "GROWN", 8)
        yield request.param


def as_rows(found: Neighbours | Ranges) -> list[Row]:
    assert found.distances.dtype == np.int32
    assert found.ids.dtype == found.members.dtype == np.int64
    assert found.distances.shape == found.ids.shape == found.members.shape
    columns = found.distances, found.ids, found.members
    if isinstance(found, Ranges):
        assert found.limits.dtype == np.int64
        columns = tuple(np.split(column, found.limits[1:-1]) for column in columns)
        if len(found.limits) == 1:
            return []
    return [
        [tuple(hit) for hit in zip(*(column.tolist() for column in row), strict=True)]
        for row in zip(*columns, strict=True)
    ]


def random_codes(
    rng: np.random.Generator, n: int, n_bytes: int, n_distinct: int | None = None
) -> NDArray[np.uint8]:
    pool = rng.integers(0, 256, (n_distinct or n, n_bytes), np.uint8)
    return pool if n_distinct is None else pool[rng.integers(0, n_distinct, n)]


def index_of(codes: NDArray[np.uint8], offsets: NDArray[np.int64] | None = None) -> Index:
    return Index.from_codes(codes, offsets=offsets)


def built(codes: NDArray[np.uint8], offsets: NDArray[np.int64] | None = None, n_tables: int = 4) -> Index:
    index = index_of(codes, offsets)
    index.build("multi-index", n_tables=n_tables)
    return index


def hamming(a: bytes, b: bytes) -> int:
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).bit_count()


@dataclass
class Case:
    """An index, what a dictionary says is in it, and the arguments of a search."""

    index: Index
    items: dict[int, list[bytes]]
    queries: NDArray[np.uint8]
    n_bytes: int
    allow: Any
    plan: str | None
    n_threads: int
    removed: set[int] = field(default_factory=set)

    @property
    def arguments(self) -> dict[str, Any]:
        prefix = None if self.n_bytes * 8 == self.index.n_bits else self.n_bytes * 8
        return {
            "queries": self.queries,
            "allow": self.allow,
            "prefix_bits": prefix,
            "plan": self.plan,
            "n_threads": self.n_threads,
        }

    def ranked(self) -> list[Row]:
        """Everything that may be found, for each query, in order."""
        answers = []
        for query in self.queries[:, : self.n_bytes]:
            hits = []
            for item, codes in self.items.items():
                distances = [hamming(query.tobytes(), code[: self.n_bytes]) for code in codes]
                if distances and self._allows(item):
                    hits.append((min(distances), item, distances.index(min(distances))))
            answers.append(sorted(hits))
        return answers

    def _allows(self, item: int) -> bool:
        if isinstance(self.allow, np.ndarray):
            return 0 <= item < len(self.allow) and bool(self.allow[item])
        return self.allow is None or item in self.allow


@st.composite
def cases(draw: st.DrawFn) -> Case:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n_bytes = draw(st.integers(1, 20) | st.sampled_from([24, 32, 33, 64, 100, 127, 128]))
    n_distinct = draw(st.sampled_from([1, 3, 50]))
    index, items, ever = Index(n_bytes * 8), {}, set()
    some_ids = st.lists(st.integers(-3, 60) | st.just(10**6), max_size=20)
    verbs = st.sampled_from(["add", "add", "add", "remove", "build"])
    for verb in draw(st.lists(verbs, max_size=8)):
        if verb == "add":
            n_items = draw(st.integers(0, 12))
            last_id = max(ever, default=draw(st.integers(-5, 5)))
            ids = last_id + np.cumsum(rng.integers(1, draw(st.sampled_from([2, 4])), n_items))
            if not ever and draw(st.booleans()):
                ids = np.arange(n_items)
            lengths = rng.integers(0, 4, n_items) if draw(st.booleans()) else None
            offsets = None if lengths is None else np.concatenate([[0], np.cumsum(lengths)])
            codes = random_codes(rng, n_items if lengths is None else int(offsets[-1]), n_bytes, n_distinct)
            codes.flags.writeable = draw(st.booleans())
            gap_free = ids.tolist() == [(max(ever) + 1 if ever else 0) + i for i in range(n_items)]
            index.add(codes, None if gap_free else ids, offsets)
            bounds = np.arange(n_items + 1) if offsets is None else offsets
            for item, start, stop in zip(ids.tolist(), bounds[:-1], bounds[1:], strict=True):
                items[item] = [code.tobytes() for code in codes[start:stop]]
            ever.update(ids.tolist())
        elif verb == "remove":
            removed = draw(some_ids)
            assert index.remove_ids(np.array(removed, np.int64)) == len(set(removed) & set(items))
            items = {item: codes for item, codes in items.items() if item not in removed}
        else:
            index.build(draw(st.sampled_from(["auto", "multi-index", "scan"])), n_tables=n_bytes)
    plan = draw(st.sampled_from([None, "scan", "multi-index"]))
    if plan == "multi-index" and all(segment.tables is None for segment in index._segments):
        plan = None
    prefix = draw(st.none() | st.integers(1, n_bytes)) if plan != "multi-index" else None
    bitmap = st.lists(st.booleans(), max_size=70).map(lambda bits: np.array(bits, np.bool_))
    return Case(
        index,
        items,
        random_codes(rng, draw(st.integers(0, 3)), n_bytes, n_distinct),
        n_bytes if prefix is None else prefix,
        draw(st.none() | some_ids | bitmap),
        plan,
        draw(st.sampled_from([1, 2, 5])),
    )


@settings(max_examples=300, deadline=None)
@given(cases(), st.integers(0, 40))
def test_search_is_exact(case: Case, k: int) -> None:
    found = case.index.search(k=k, **case.arguments)
    assert as_rows(found) == [row[:k] for row in case.ranked()]
    assert found.asymmetric is None


@settings(max_examples=200, deadline=None)
@given(cases(), st.integers(0, 1100) | st.integers(0, 20))
def test_range_search_is_exact(case: Case, radius: int) -> None:
    found = case.index.range_search(radius=radius, **case.arguments)
    assert as_rows(found) == [[hit for hit in row if hit[0] <= radius] for row in case.ranked()]
    assert len(found.limits) == len(case.queries) + 1
    assert found.limits[-1] == len(found.ids)


@settings(max_examples=100, deadline=None)
@given(cases(), st.integers(0, 6), st.integers(0, 20), st.integers(0, 2**32))
def test_asymmetric_order_is_that_of_whole_numbers(case: Case, k: int, more: int, seed: int) -> None:
    index, n_bits = case.index, case.index.n_bits
    rng = np.random.default_rng(seed)
    sizes = rng.choice([1e-30, 0.1, 0.25, 1.0, 7.0], (len(case.queries), n_bits)).astype(np.float32)
    reals = np.where(packed.unpack(case.queries), sizes, -sizes)
    found = index.search(
        case.queries, k, projections=reals, depth=k + more, allow=case.allow, n_threads=case.n_threads
    )
    assert found.asymmetric is not None
    assert found.asymmetric.dtype == np.float32
    assert found.asymmetric.shape == found.ids.shape
    weights = np.rint(sizes.astype(np.float64) / sizes.max(axis=1, keepdims=True, initial=0) * 2**20)
    case.n_bytes = n_bits // 8
    for i, row in enumerate(case.ranked()):
        expected = []
        for distance, item, _ in row[: k + more]:
            codes = np.frombuffer(b"".join(case.items[item]), np.uint8).reshape(-1, n_bits // 8)
            sums = (packed.unpack(codes ^ case.queries[i]) @ weights[i]).tolist()
            expected.append((min(sums), item, distance, sums.index(min(sums))))
        expected = sorted(expected)[:k]
        assert found.ids[i].tolist() == [item for _, item, _, _ in expected]
        assert found.distances[i].tolist() == [distance for _, _, distance, _ in expected]
        assert found.members[i].tolist() == [member for _, _, _, member in expected]
        values = [total / 2**20 * float(sizes[i].max()) for total, _, _, _ in expected]
        assert found.asymmetric[i].tolist() == pytest.approx(values, rel=1e-6)

    ids = np.array(list(case.items)[::-1], np.int64)
    nearest = index.asymmetric_distances_to(AsymmetricQueries.of(case.queries, reals), ids)
    assert nearest.distances.shape == nearest.members.shape == nearest.bits.shape
    assert nearest.bits.shape == (len(case.queries), len(ids))
    for i, query in enumerate(case.queries):
        for item, distance, member, bits in zip(
            ids.tolist(),
            nearest.distances[i].tolist(),
            nearest.members[i].tolist(),
            nearest.bits[i].tolist(),
            strict=True,
        ):
            codes = np.frombuffer(b"".join(case.items[item]), np.uint8).reshape(-1, n_bits // 8)
            sums = (packed.unpack(codes ^ query) @ weights[i]).tolist()
            best = min(sums, default=float("inf"))
            assert distance == pytest.approx(best / 2**20 * float(sizes[i].max()), rel=1e-6)
            assert member == (sums.index(best) if sums else -1)
            assert bits == (hamming(query.tobytes(), codes[member].tobytes()) if sums else 2**31 - 1)

    rolled = [np.roll(ids, i) for i in range(len(case.queries))]
    own = np.array(rolled, np.int64).reshape(len(case.queries), len(ids))
    of_own = index.asymmetric_distances_to(AsymmetricQueries.of(case.queries, reals), own)
    for i in range(len(case.queries)):
        for name in ("distances", "members", "bits"):
            np.testing.assert_array_equal(
                getattr(of_own, name)[i], np.roll(getattr(nearest, name)[i], i), name
            )


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
    for item, codes in case.items.items():
        of_members = case.index.member_codes([item] * len(codes), list(range(len(codes))))
        assert [code.tobytes() for code in of_members] == codes
        with pytest.raises(CodesError, match=f"no item has the id {item} and a code {len(codes)}"):
            case.index.member_codes([item], [len(codes)])


@pytest.mark.parametrize("n_bytes", [8, 12, 32])
@pytest.mark.parametrize("grouped", [False, True], ids=["codes", "groups"])
@pytest.mark.parametrize("k", [1, 10, 10**30])
@pytest.mark.parametrize("plan", ["scan", "multi-index"])
def test_threads_change_nothing(n_bytes: int, grouped: bool, k: int, plan: str) -> None:
    """Enough work for several threads, several blocks and several rounds of queries; many ties."""
    rng = np.random.default_rng(n_bytes)
    lengths = rng.integers(0, 9, 3000) if grouped else np.ones(12_000, np.int64)
    lengths[1234] = 5000 if grouped else 1
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    codes = random_codes(rng, int(offsets[-1]), n_bytes, 200)
    queries = random_codes(rng, 70, n_bytes)
    index = built(codes, offsets if grouped else None, n_tables=n_bytes // 2)
    removed = rng.choice(len(lengths), 500, replace=False)
    index.remove_ids(removed)
    live = np.setdiff1d(np.flatnonzero(lengths), removed)

    found = {n: index.search(queries, k, n_threads=n, plan=plan) for n in (1, 2, 5)}
    radius = int(found[1].distances[0, -1])
    ranges = {n: index.range_search(queries[:5], radius, n_threads=n, plan=plan) for n in (1, 2, 5)}
    for n in (2, 5):
        assert np.array_equal(found[n].distances, found[1].distances)
        assert np.array_equal(found[n].ids, found[1].ids)
        assert np.array_equal(found[n].members, found[1].members)
        assert as_rows(ranges[n]) == as_rows(ranges[1])
    for row in (0, 63, 64, 69):
        distances = np.unpackbits(codes ^ queries[row], axis=1).sum(axis=1)
        best = np.array([distances[offsets[i] : offsets[i + 1]].min() for i in live])
        nearest = np.lexsort((live, best))
        within = int(np.count_nonzero(best <= radius))
        members = np.array([distances[offsets[i] : offsets[i + 1]].argmin() for i in live])[nearest]
        assert found[5].distances[row].tolist() == best[nearest][:k].tolist()
        assert found[5].ids[row].tolist() == live[nearest][:k].tolist()
        assert found[5].members[row].tolist() == members[:k].tolist()
        if row == 0:
            limit = ranges[5].limits[1]
            assert ranges[5].ids[:limit].tolist() == live[nearest][:within].tolist()
            assert ranges[5].members[:limit].tolist() == members[:within].tolist()


@pytest.mark.parametrize("plan", ["scan", "multi-index"])
def test_a_million_copies_of_one_code(plan: str) -> None:
    codes = np.full((1_000_000, 8), 0xA5, np.uint8)
    codes.flags.writeable = False
    index = built(codes) if plan == "multi-index" else index_of(codes)
    start = time.perf_counter()
    found = index.search(codes[:1], 10, plan=plan)
    assert as_rows(found) == [[(0, i, 0) for i in range(10)]]
    far = index.search(~codes[:1], 3, plan=plan)
    assert as_rows(far) == [[(64, i, 0) for i in range(3)]]
    everything = index.range_search(codes[:1], 0, plan=plan)
    assert np.array_equal(everything.ids, np.arange(1_000_000))
    assert time.perf_counter() - start < 5


def test_nearer_and_nearer_codes() -> None:
    """The worst order for a search: each code displaces another from the k best."""
    n = 20_000
    distances = np.sort(np.random.default_rng(0).integers(0, 129, n))[::-1]
    codes = np.packbits(np.arange(128) < distances[:, np.newaxis], axis=1)
    index = built(codes, n_tables=12)
    nearest = np.argsort(distances, kind="stable")[:300]
    for plan in ("scan", "multi-index"):
        found = index.search(np.zeros((1, 16), np.uint8), 300, plan=plan)
        assert found.ids[0].tolist() == nearest.tolist()


def test_edges_of_k_and_radius() -> None:
    empty = Index(64)
    queries = np.zeros((2, 8), np.uint8)
    assert as_rows(empty.search(queries, 5)) == [[], []]
    assert as_rows(empty.range_search(queries, 5)) == [[], []]
    assert empty.search(queries, 5, projections=np.zeros((2, 64), np.float32)).ids.shape == (2, 0)
    assert empty.ids.dtype == np.int64
    empty.build()
    assert as_rows(empty.search(queries, 5, plan="multi-index")) == [[], []]
    for index in (index_of(np.zeros((3, 8), np.uint8)), built(np.zeros((3, 8), np.uint8), n_tables=8)):
        assert as_rows(index.search(queries, 0)) == [[], []]
        assert as_rows(index.search(queries, np.int64(2))) == [[(0, 0, 0), (0, 1, 0)]] * 2
        assert index.search(queries, 10**30).ids.shape == (2, 3)
        assert index.search(queries[:0], 2).ids.shape == (0, 2)
        assert index.search(queries, 2, allow=[]).ids.shape == (2, 0)
        assert index.search(queries, 2, allow=np.zeros(0, np.bool_)).ids.shape == (2, 0)
        assert index.range_search(queries, 10**30).limits.tolist() == [0, 3, 6]
        assert index.range_search(queries[:0], 2).limits.tolist() == [0]
        assert index.range_search(~queries, 63).limits.tolist() == [0, 0, 0]
        index.add(np.zeros((0, 8), np.uint8), np.arange(3, 5), np.zeros(3, np.int64))
        assert len(index) == 5
        assert index.search(queries, 10).ids.shape == (2, 3), "items without codes are never found"


def test_all_codes_equal_and_all_codes_removed() -> None:
    codes = np.full((50, 4), 7, np.uint8)
    index = built(codes)
    assert index.search(codes[:1], 50).ids[0].tolist() == list(range(50))
    assert index.remove_ids(np.arange(50)) == 50
    assert len(index) == 0
    for plan in ("scan", "multi-index", None):
        assert index.search(codes[:1], 5, plan=plan).ids.shape == (1, 0)
        assert index.range_search(codes[:1], 32, plan=plan).limits.tolist() == [0, 0]


def test_an_allow_list_is_no_post_filter() -> None:
    index = index_of(np.packbits(np.tri(64, dtype=np.uint8), axis=1))
    bitmap = np.zeros(64, np.bool_)
    bitmap[[60, 62, 63]] = True
    query = np.zeros((1, 8), np.uint8)
    for allow in ([63, 60, 62, 60, 999], bitmap):
        assert as_rows(index.search(query, 2, allow=allow)) == [[(61, 60, 0), (63, 62, 0)]]
        assert as_rows(index.range_search(query, 63, allow=allow)) == [[(61, 60, 0), (63, 62, 0)]]


def test_a_prefix_is_a_shorter_code() -> None:
    rng = np.random.default_rng(0)
    codes, queries = random_codes(rng, 300, 32), random_codes(rng, 3, 32)
    index = index_of(codes)
    shorter = index_of(np.ascontiguousarray(codes[:, :4]))
    short_queries = np.ascontiguousarray(queries[:, :4])
    expected = as_rows(shorter.search(short_queries, 20))
    assert as_rows(index.search(queries, 20, prefix_bits=32)) == expected
    assert as_rows(index.search(short_queries, 20, prefix_bits=32)) == expected
    assert as_rows(index.search(queries, 20, prefix_bits=256)) == as_rows(index.search(queries, 20))


def test_ids_without_gaps_take_no_memory() -> None:
    codes = np.zeros((1000, 8), np.uint8)
    index = index_of(codes)
    assert index.nbytes == codes.nbytes
    index.add(codes)
    index.add(codes[:10], np.arange(2000, 2010))
    assert index.nbytes == 2010 * 8
    assert index.ids.tolist() == list(range(2010))
    assert index.search(codes[:1], 3000, n_threads=1).ids[0].tolist() == list(range(2010))
    index.add(codes[:2], np.array([3000, 3002]))
    assert index.nbytes == 2012 * 8 + 2 * 8
    assert index.remove_ids([2005, 3001, 3002, -1]) == 2
    assert index.search(codes[:1], 9, allow=[2004, 2005, 2010, 3000, 3001, 3002]).ids.tolist() == [
        [2004, 3000]
    ]


def test_ids_go_on_where_they_were() -> None:
    code = np.zeros((1, 8), np.uint8)
    index = Index(64)
    index.add(code)
    index.add(code, np.array([7]))
    index.remove_ids([7])
    index.add(code)
    assert index.ids.tolist() == [0, 8]
    index.add(code, np.array([2**63 - 1]))
    assert index.search(code, 9, allow=[2**63 - 1, -(2**63)]).ids.tolist() == [[2**63 - 1]]
    with pytest.raises(CodesError, match="no 1 ids left"):
        index.add(code)
    lowest = Index.from_codes(code, ids=np.array([-(2**63)]))
    assert lowest.search(code, 9, allow=[2**63 - 1, -(2**63)]).ids.tolist() == [[-(2**63)]]


@pytest.mark.parametrize("in_groups", [False, True])
def test_a_sample_is_of_what_was_not_removed(in_groups: bool) -> None:
    """As many codes as without removals, spread evenly, over segments too."""
    index, n_codes = Index(64), 6000
    offsets = np.append(np.arange(0, n_codes + 1, 3), [n_codes] * 500) if in_groups else None
    n_items = n_codes if offsets is None else len(offsets) - 1  # the last have no codes
    for part in range(2):
        codes = np.arange(part * n_codes, (part + 1) * n_codes, dtype=">u8").view(np.uint8)
        index.add(codes.reshape(-1, 8), np.arange(part * 10_000, part * 10_000 + n_items), offsets)
    index.remove_ids(index.ids[::2])
    index.remove_ids(np.arange(1000))
    live = {code.tobytes() for id in index.ids for code in index.codes_of(id)}
    sample = index.sample(1000)
    assert 1000 <= len(sample) <= 1002
    assert {code.tobytes() for code in sample} <= live
    assert len(index.sample(10**6)) == index.n_codes
    index.remove_ids(index.ids)
    assert index.sample(10).shape == (0, 8)


def test_removed_ids_never_come_back() -> None:
    index = index_of(np.zeros((4, 8), np.uint8))
    assert index.remove_ids([3, 1, 3, 99]) == 2
    assert index.remove_ids([3]) == 0
    assert index.ids.tolist() == [0, 2]
    assert index.search(np.zeros((1, 8), np.uint8), 9, allow=[1, 2, 3]).ids.tolist() == [[2]]
    with pytest.raises(CodesError, match="id 3 is not above 3"):
        index.add(np.zeros((1, 8), np.uint8), np.array([3]))
    with pytest.raises(CodesError, match="no item has the id 1"):
        index.codes_of(1)
    with pytest.raises(CodesError, match="no item has the id 3"):
        index.distances_to(np.zeros(8, np.uint8), [0, 3])
    with pytest.raises(CodesError, match="no item has the id 3"):
        index.asymmetric_distances_to(
            AsymmetricQueries.of(np.zeros((1, 8), np.uint8), np.full((1, 64), -1.0)), [0, 3]
        )
    two = AsymmetricQueries.of(np.zeros((2, 8), np.uint8), np.full((2, 64), -1.0))
    with pytest.raises(CodesError, match="no item has the id 3"):
        index.asymmetric_distances_to(two, np.array([[0, 2], [3, 0]]))
    with pytest.raises(CodesError, match=r"int64 \(2, n\) or \(n,\)"):
        index.asymmetric_distances_to(two, np.array([[0, 2]]))
    longer = AsymmetricQueries.of(np.zeros((1, 16), np.uint8), np.full((1, 128), -1.0))
    with pytest.raises(CodesError, match="queries have 128 bits, the codes 64"):
        index.asymmetric_distances_to(longer, [0])
    with pytest.raises(CodesError, match="no item has the id 3 and a code 0"):
        index.member_codes([0, 3], [0, 0])


def test_a_mapped_base_grows_and_is_never_copied(tmp_path) -> None:
    codes = random_codes(np.random.default_rng(0), 500, 24)
    np.save(tmp_path / "codes.npy", codes)
    base = np.load(tmp_path / "codes.npy", mmap_mode="r")
    index = index_of(base)
    index.build("multi-index", n_tables=16)
    tables = index._segments[0].tables
    index.remove_ids([7])
    for i in range(500, 520):
        index.add(codes[i - 500 : i - 499], np.array([i]))
    assert np.shares_memory(index._segments[0].codes, base)
    assert index._segments[0].tables is tables, "what was built is not built again"
    assert len(index._segments) <= 7, "copied segments are joined"
    for plan in ("scan", "multi-index", None):
        assert as_rows(index.search(base[7:8], 1, plan=plan)) == [[(0, 507, 0)]]
        assert as_rows(index.search(base[8:9], 2, plan=plan)) == [[(0, 8, 0), (0, 508, 0)]]


def test_what_is_appended_to_a_built_index_gets_a_plan_when_it_has_grown() -> None:
    codes = random_codes(np.random.default_rng(0), 64, 4)
    index = index_of(codes)
    for i in range(8):
        index.add(codes[i : i + 1])
    assert [segment.plan for segment in index._segments] == [None, None]
    index.build("multi-index", n_tables=4)
    for i in range(16):
        index.add(codes[i : i + 1])
    assert [len(segment.codes) for segment in index._segments] == [64, 16, 8]
    assert index._segments[1].plan is not None
    assert index._segments[0].tables is not None
    index.build("scan")
    assert [segment.tables for segment in index._segments] == [None, None, None]
    assert "scan" in index.explain_plan()


@pytest.mark.parametrize("budget", [1.0, 600.0, 1e12])
@pytest.mark.parametrize("grouped", [False, True], ids=["codes", "groups"])
def test_queries_that_the_tables_give_up_are_scanned(
    budget: float, grouped: bool, implementation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queries near many codes, near one and far from all; with no budget every second one is left."""
    rng = np.random.default_rng(0)
    codes = random_codes(rng, 3000, 8)
    codes[100:600] = codes[7]
    offsets = np.concatenate([[0], np.cumsum(rng.permutation([1, 2, 0] * 1000))]) if grouped else None
    index = built(codes, offsets, n_tables=6)
    index.remove_ids([7, 8, 101])
    queries = np.concatenate([codes[[7, 7, 50, 51, 900]], random_codes(rng, 8, 8)])
    unfinished = []
    search = kernels.multi_index_knn

    def half_finished(*arguments: Any) -> Any:
        *found, finished = search(*arguments)
        if budget == 1e12:
            finished = finished & (np.arange(len(finished)) % 2 > 0)
        unfinished.append(np.count_nonzero(~finished))
        return *found, finished

    monkeypatch.setattr(kernels, "multi_index_knn", half_finished)
    choice = Choice("multi-index", 1.0, 1.0, budget)
    monkeypatch.setattr(Plan, "choose", lambda *_, **__: choice)
    for n_threads in (1, 3):
        found = index.search(queries, 20, n_threads=n_threads)
        assert as_rows(found) == as_rows(index.search(queries, 20, plan="scan"))
        within = index.range_search(queries, 12, n_threads=n_threads)
        assert as_rows(within) == as_rows(index.range_search(queries, 12, plan="scan"))
    assert len(unfinished) == 2
    if budget == 1e12:
        assert unfinished == [7, 7]
    elif budget == 1.0:
        assert unfinished == ([13, 13] if implementation == "native" else [0, 0])


def test_a_plan_can_be_explained() -> None:
    index = built(random_codes(np.random.default_rng(0), 300, 8))
    index.remove_ids([3])
    index.add(np.zeros((1, 8), np.uint8), np.array([1000]))
    text = index.explain_plan(k=5, n_queries=3, n_threads=1)
    assert text.startswith("300 items in 2 segment(s), 64 bits, k = 5")
    assert "ids 0 to 299, 300 codes" in text
    assert "ids 1000 to 1000, 1 codes" in text


def test_a_writeable_array_is_copied() -> None:
    codes, ids, offsets = np.zeros((2, 8), np.uint8), np.array([0, 2]), np.array([0, 1, 2])
    index = Index(64)
    index.add(codes, ids, offsets)
    codes[:], ids[:], offsets[:] = 255, 9, 0
    assert as_rows(index.search(np.zeros((1, 8), np.uint8), 5)) == [[(0, 0, 0), (0, 2, 0)]]


def test_searches_see_one_moment_while_another_thread_writes() -> None:
    """Items come and go in pairs, so whoever finds one of a pair finds the other."""
    code = np.full((2, 8), 3, np.uint8)
    index = index_of(np.repeat(code, 50, axis=0))
    index.build("multi-index", n_tables=8)
    failures: list[object] = []
    done = threading.Event()

    def search() -> None:
        try:
            while not done.is_set():
                for plan in (None, "scan"):
                    found = index.search(code[:1], 10**6, n_threads=2, plan=plan)
                    ids = found.ids[0]
                    if (
                        (np.diff(ids) <= 0).any()
                        or (ids[::2] + 1 != ids[1::2]).any()
                        or found.distances.any()
                    ):
                        failures.append(ids)
                    ids = index.range_search(code[:1], 5, n_threads=1, plan=plan).ids
                    if (ids[::2] + 1 != ids[1::2]).any():
                        failures.append(ids)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(0, 200, 2):
        index.add(code)
        assert index.remove_ids([i, i + 1]) == 2
        if i % 50 == 0:
            index.build("multi-index", n_tables=8)
    done.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(index) == 100


def test_writers_in_several_threads_lose_nothing() -> None:
    index = Index(64)
    removed: list[int] = []

    def write() -> None:
        for _ in range(50):
            index.add(np.zeros((3, 8), np.uint8))
            removed.append(index.remove_ids(index.ids[:1]))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert index._last_id == 599
    assert len(index) == 600 - sum(removed)


ONE = np.zeros((1, 8), np.uint8)
TWO = np.zeros((2, 8), np.uint8)


@pytest.mark.parametrize(
    ("codes", "ids", "offsets", "message"),
    [
        (ONE.astype(np.int8), [1], None, "int8"),
        (ONE[0], [1], None, "1 dimension"),
        (np.zeros((1, 9), np.uint8), [1], None, "72 bits where 64 are expected"),
        (np.zeros((2, 16), np.uint8)[:, ::2], [1, 2], None, "not C-contiguous; pass numpy.ascontiguousarray"),
        (np.zeros((8, 2), np.uint8).T, [1, 2], None, "not C-contiguous"),
        ([[0] * 8], [1], None, "int64"),
        (TWO, [1], None, "2 codes for 1 ids"),
        (ONE, [1.0], None, "ids are float64"),
        (ONE, [[1]], None, "2 dimension"),
        (ONE, [2**70], None, "ids are object"),
        (TWO, [1, 1], None, "id 1 comes after 1"),
        (TWO, [2, 1], None, "id 1 comes after 2"),
        (ONE, [0], None, "id 0 is not above 0"),
        (TWO, [1], [0, 1], "ascend from 0 to the number of codes, 2"),
        (TWO, [1], [1, 2], "ascend from 0"),
        (TWO, [1, 2, 3], [0, 2, 1, 2], "ascend from 0"),
        (TWO, [1], [0, 1, 2], r"int64 \(2,\)"),
        (TWO, [1], [0.0, 2.0], "float64"),
        (TWO, None, [0, 1], "ascend from 0"),
        (TWO, None, [], "offsets are float64"),
        (TWO, None, [[0, 2]], r"\(n_items \+ 1,\)"),
    ],
)
def test_what_cannot_be_added(codes, ids, offsets, message) -> None:
    index = index_of(ONE)
    with pytest.raises(CodesError, match=message):
        index.add(
            codes, None if ids is None else np.array(ids), None if offsets is None else np.array(offsets)
        )
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
        ({"allow": np.array([2], np.uint8).view(np.bool_)}, "neither 0 nor 1"),
        ({"allow": np.ones((1, 1), np.bool_)}, "ids are bool with 2 dimension"),
        ({"queries": ONE[0]}, "1 dimension"),
        ({"queries": ONE.astype(float)}, "float64"),
        ({"queries": np.zeros((1, 16), np.uint8)}, "128 bits where 64"),
        ({"queries": np.zeros((2, 16), np.uint8)[:, ::2]}, "not C-contiguous"),
        ({"prefix_bits": 0}, "prefix_bits is 0"),
        ({"prefix_bits": 12}, "prefix_bits is 12"),
        ({"prefix_bits": 72}, "prefix_bits is 72"),
        ({"prefix_bits": 16, "queries": np.zeros((1, 3), np.uint8)}, "24 bits where 64"),
        ({"plan": "fastest"}, "plan is 'fastest'; it is one of"),
        ({"plan": "multi-index"}, "no tables were built"),
        ({"plan": "multi-index", "prefix_bits": 8}, "leave out prefix_bits"),
    ],
)
def test_what_cannot_be_searched(arguments, message) -> None:
    index = index_of(ONE)
    with pytest.raises(CodesError, match=message):
        index.search(**{"queries": ONE, "k": 1, **arguments})
    if "k" in arguments:
        arguments, message = {"radius": arguments["k"]}, message.replace("k is", "radius is")
    with pytest.raises(CodesError, match=message):
        index.range_search(**{"queries": ONE, "radius": 1, **arguments})


ZEROS = np.zeros((1, 64))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"projections": ZEROS[0]}, r"float64 \(64,\)"),
        ({"projections": ZEROS[:, 1:]}, r"\(1, 63\)"),
        ({"projections": ZEROS.astype(np.float16)}, "float16"),
        ({"projections": ZEROS.astype(int)}, "int64"),
        ({"projections": ZEROS * np.nan}, "query 0 hold NaN or infinity"),
        ({"projections": ZEROS - np.inf}, "NaN or infinity"),
        ({"projections": ZEROS + 1}, "signs of the projections of query 0"),
        ({"projections": ZEROS, "depth": 0}, "depth is 0; it is a whole number of at least 1"),
        ({"projections": ZEROS, "depth": 2.5}, "depth is 2.5"),
        ({"projections": ZEROS, "prefix_bits": 8}, "leave out prefix_bits"),
        ({"depth": 100}, "pass projections"),
    ],
)
def test_what_cannot_be_ordered_by_projections(arguments, message) -> None:
    with pytest.raises(CodesError, match=message):
        index_of(ONE).search(ONE, 1, **arguments)


def test_projections_of_any_size() -> None:
    codes = np.array([[0], [1], [128], [3]], np.uint8)
    index = index_of(codes)
    query = np.zeros((1, 1), np.uint8)
    for size in (5e-324, 1.0, 1e300):
        reals = -size * np.array([[1, 1, 1, 1, 1, 1, 1, 0]])
        found = index.search(query, 4, projections=reals)
        assert found.ids.tolist() == [[0, 1, 2, 3]]
        assert found.distances.tolist() == [[0, 1, 1, 2]]
    assert index.search(query, 4, projections=np.zeros((1, 8))).asymmetric.tolist() == [[0, 0, 0, 0]]


def test_other_bad_input() -> None:
    with pytest.raises(CodesError, match="12 bits"):
        Index(12)
    with pytest.raises(CodesError, match="float64"):
        Index.from_codes(np.zeros((2, 8)))
    index = index_of(ONE)
    with pytest.raises(CodesError, match="2 dimension"):
        index.distances_to(ONE, [0])
    with pytest.raises(CodesError, match="16 bits where 64"):
        index.distances_to(np.zeros(2, np.uint8), [0])
    with pytest.raises(CodesError, match="ids are float64"):
        index.remove_ids([0.0])
    with pytest.raises(CodesError, match="the id 5"):
        index.codes_of(5)
    with pytest.raises(CodesError, match="plan is 'best'; it is one of 'auto', 'scan', 'multi-index'"):
        index.build("best")
    with pytest.raises(CodesError, match="n_tables is 0"):
        index.build("multi-index", n_tables=0)
    with pytest.raises(CodesError):
        index.build("multi-index", n_tables=65)
    with pytest.raises(CodesError, match="k is 0"):
        index.explain_plan(k=0)


KNN = (TWO, 8, None, ONE, 1, None, 1)


@pytest.mark.parametrize(
    ("function", "arguments", "position", "argument", "error"),
    [
        *(
            (function, KNN, *row)
            for function in ("knn", "range_search")
            for row in (
                (0, TWO.astype(np.int8), TypeError),
                (0, np.zeros((4, 8), np.uint8)[::2], TypeError),
                (0, np.zeros((2, 7), np.uint8), ValueError),
                (1, 0, ValueError),
                (1, 9, ValueError),
                (1, 7, ValueError),
                (3, np.zeros((1, 9), np.uint8), ValueError),
                (4, -1, (TypeError, ValueError)),
                (5, np.ones(3, np.bool_), ValueError),
                (5, np.ones(2, np.uint8), TypeError),
                (6, 0, ValueError),
            )
        ),
        ("knn", KNN, 2, np.array([], np.int64), ValueError),
        ("find", (np.arange(3), np.arange(3)), 0, np.arange(3, dtype=np.int32), TypeError),
        ("find", (np.arange(3), np.arange(3)), 1, np.arange(6)[::2], TypeError),
        *(
            ("asymmetric", (TWO, None, ONE, np.ones((1, 64), np.int32), np.array([[0, 1]])), *row)
            for row in (
                (2, TWO, ValueError),
                (3, np.ones((1, 63), np.int32), ValueError),
                (3, np.ones((1, 64)), TypeError),
                (4, np.array([[2]]), ValueError),
                (4, np.array([[-2]]), ValueError),
                (4, np.array([[0], [0]]), ValueError),
            )
        ),
    ],
)
@pytest.mark.parametrize("implementation", ["native"], indirect=True)
def test_the_native_module_guards_itself(
    function: str, arguments: tuple[object, ...], position: int, argument: object, error: Any
) -> None:
    """Whatever a caller hands over, the kernel reads no memory that is not its own."""
    getattr(kernels, function)(*arguments)
    changed = [*arguments]
    changed[position] = argument
    with pytest.raises(error):
        getattr(kernels, function)(*changed)
