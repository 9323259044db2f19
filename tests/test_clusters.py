"""Groups are those of the slow, obvious reference at any number of threads; bad input says so."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from grouping import codes_around, gallery_of
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from grainhash import Encoder, Gallery
from grainhash.clusters import ClusterSettings, Group, k_majority
from grainhash.clusters.choice import choose_k, silhouette
from grainhash.clusters.density import NOISE, density_groups
from grainhash.clusters.graph import neighbour_graph
from grainhash.clusters.majority import majority_of
from grainhash.clusters.map import map_of
from grainhash.clusters.middle import from_the_middle, sums_to_members
from grainhash.clusters.names import names_of
from grainhash.codes import hamming
from grainhash.errors import CodesError, InputError, MetadataError
from grainhash.index import has_native, kernels, reference


@pytest.fixture(autouse=True)
def the_kernel_before() -> Iterator[None]:
    before = kernels.kernel()
    yield
    kernels.use_kernel(before)


@pytest.mark.skipif(not has_native(), reason="grainhash._native is not built: the kernels are NOT tested")
@settings(deadline=None, max_examples=150)
@given(
    width=st.integers(1, 128),
    n=st.integers(0, 700),
    k=st.integers(1, 1200),
    flips=st.sampled_from([0.0, 0.03, 0.5]),
    n_threads=st.integers(1, 4),
    seed=st.integers(0, 2**31),
)
def test_kernels_find_the_nearest_centres_and_count_bits(
    width: int, n: int, k: int, flips: float, n_threads: int, seed: int
) -> None:
    codes = codes_around(n, min(k, 7), 8 * width, flips, seed)
    centres = codes_around(k, 7, 8 * width, flips, seed)  # many equal ones: ties are what goes wrong
    labels, distances = reference.nearest_centres(codes, centres, 1)
    some = np.where(np.arange(n) % 5 == 3, -1, labels).astype(np.int32)
    ones = reference.count_bits(codes, some, k, 1)
    for name in kernels.kernels():
        kernels.use_kernel(name)
        for found, expected in zip(
            kernels.nearest_centres(codes, centres, n_threads), (labels, distances), strict=True
        ):
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected, name)
        np.testing.assert_array_equal(kernels.count_bits(codes, some, k, n_threads), ones, name)


def test_kernels_count_more_codes_than_a_byte_holds_on_several_threads() -> None:
    codes = codes_around(200_000, 3, 64, 0.3)
    labels = (np.arange(len(codes)) % 3).astype(np.int32)
    ones = kernels.count_bits(codes, labels, 3, 3)
    for group in range(3):
        np.testing.assert_array_equal(ones[group], np.unpackbits(codes[group::3], axis=1).sum(axis=0))


@pytest.mark.parametrize("module", [kernels, reference])
def test_kernels_refuse_what_does_not_fit(module) -> None:
    codes = codes_around(10, 2, 64, 0.1)
    with pytest.raises(ValueError, match="centre"):
        module.nearest_centres(codes, codes[:0], 1)
    with pytest.raises(ValueError, match="centre"):
        module.nearest_centres(codes, codes[:3, :4].copy(), 1)
    with pytest.raises(ValueError, match="labels"):
        module.count_bits(codes, np.full(10, 2, np.int32), 2, 1)
    with pytest.raises(ValueError, match="labels"):
        module.count_bits(codes, np.zeros(9, np.int32), 2, 1)


def lloyd(codes: NDArray[np.uint8], centres: NDArray[np.uint8]) -> NDArray[np.int64]:
    """k-majority as it is written down, without short cuts, from given centres; no group may become empty."""
    labels = hamming(codes, centres).argmin(axis=1)
    while True:
        bits, was = np.unpackbits(codes, axis=1), np.unpackbits(centres, axis=1)
        for group in range(len(centres)):
            members = bits[labels == group]
            assert len(members)
            share = members.mean(axis=0)
            centres[group] = np.packbits(np.where(share == 0.5, was[group], share > 0.5))
        new = hamming(codes, centres).argmin(axis=1)
        if (new == labels).all():
            return labels
        labels = new


@pytest.mark.parametrize("seed", range(5))
def test_k_majority_is_lloyds_iteration(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = codes_around(900, 12, 64, 0.25, seed)
    start = codes[np.random.default_rng(seed).choice(len(codes), 9, replace=False)]
    monkeypatch.setattr("grainhash.clusters.majority._seeds", lambda *_: start.copy())
    found = k_majority(codes, 9)
    assert found.converged
    assert found.n_iterations > 2
    np.testing.assert_array_equal(found.labels, lloyd(codes, start.copy()))


def test_groups_do_not_depend_on_threads_or_kernels_but_on_the_seed() -> None:
    codes = codes_around(60_000, 40, 64, 0.3)
    one = k_majority(codes, 50, seed=3, n_threads=1)
    for name in kernels.kernels():
        kernels.use_kernel(name)
        again = k_majority(codes, 50, seed=3, n_threads=4)
        np.testing.assert_array_equal(again.labels, one.labels)
        np.testing.assert_array_equal(again.centres, one.centres)
    assert (k_majority(codes, 50, seed=4).labels != one.labels).any()


def test_groups_that_are_there_are_found() -> None:
    codes = codes_around(5000, 20, 128, 0.1)
    found = k_majority(codes, 20, restarts=3)
    assert all(len(set(found.labels[group::20].tolist())) == 1 for group in range(20))
    assert len(set(found.labels[:20].tolist())) == 20
    assert found.cost <= min(k_majority(codes, 20, seed=seed).cost for seed in range(1))


def test_a_tied_bit_stays_as_it_was() -> None:
    before = np.array([[0b10100000]], np.uint8)
    ones = np.array([[2, 2, 3, 1, 4, 0, 0, 0]])
    assert majority_of(ones, np.array([4]), before)[0, 0] == 0b10101000


def test_an_empty_group_goes_to_the_farthest_code(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = np.array([[0], [0], [0], [1], [0xFF], [0x3F]], np.uint8)
    start = np.array([[0], [0], [0]], np.uint8)  # the second and third can get no code
    monkeypatch.setattr("grainhash.clusters.majority._seeds", lambda *_: start.copy())
    found = k_majority(codes, 3)
    assert len(set(found.labels.tolist())) == 3
    assert found.labels[4] == 1


def test_codes_that_are_all_equal_are_one_group() -> None:
    found = k_majority(np.zeros((50, 8), np.uint8), 5)
    assert len(found.centres) == 1
    assert found.cost == 0
    assert found.converged


def test_what_cannot_be_grouped_says_so() -> None:
    codes = codes_around(10, 2, 64, 0.1)
    with pytest.raises(InputError, match="11 groups of 10 codes"):
        k_majority(codes, 11)
    with pytest.raises(InputError, match="1 groups of 0 codes"):
        k_majority(codes[:0], 1)
    with pytest.raises(CodesError, match="at least 1"):
        k_majority(codes, 0)
    with pytest.raises(CodesError, match="uint8"):
        k_majority(codes.astype(np.int16), 2)  # type: ignore[arg-type]


def test_the_number_of_groups_that_are_there_is_chosen() -> None:
    codes = codes_around(2000, 9, 128, 0.1)
    k, tried = choose_k(codes, restarts=4)
    assert k == 9
    assert dict(tried)[9] == max(value for _, value in tried)
    assert choose_k(np.zeros((30, 8), np.uint8)) == (1, [])
    assert choose_k(codes[:1]) == (1, [])


def test_the_silhouette_is_that_of_its_definition() -> None:
    codes = codes_around(300, 5, 64, 0.2)
    found = k_majority(codes, 6)
    values = []
    for code, label in zip(codes, found.labels, strict=True):
        bits = hamming(code[np.newaxis], found.centres)[0].astype(float)
        own, other = bits[label], np.delete(bits, label).min()
        alone = (found.labels == label).sum() == 1
        values.append(0 if alone or not other else (other - own) / max(own, other))
    assert silhouette(codes, found) == pytest.approx(np.mean(values))


def test_the_medoid_is_nearest_to_all_others() -> None:
    codes = codes_around(200, 3, 64, 0.3)
    expected = hamming(codes, codes).sum(axis=1)
    np.testing.assert_array_equal(sums_to_members(codes), expected)
    np.testing.assert_array_equal(from_the_middle(codes), np.argsort(expected, kind="stable"))


@pytest.mark.parametrize("flips", [0.0, 0.1, 0.5])
def test_neighbours_are_the_nearest_others(flips: float) -> None:
    codes = codes_around(300, 4, 64, flips)
    graph = neighbour_graph(codes, 12)
    distances = hamming(codes, codes)
    np.fill_diagonal(distances, 99)
    np.testing.assert_array_equal(graph.distances, np.sort(distances, axis=1)[:, :12])
    for i in range(len(codes)):
        assert i not in graph.neighbours[i]
        assert len(set(graph.neighbours[i].tolist())) == 12
        np.testing.assert_array_equal(distances[i, graph.neighbours[i]], graph.distances[i])
    assert neighbour_graph(codes[:1], 5).neighbours.shape == (1, 0)


def test_dense_groups_are_those_of_hdbscan_on_all_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    sklearn = pytest.importorskip("sklearn.cluster")
    codes = np.concatenate([codes_around(240, 4, 64, 0.08), codes_around(30, 30, 64, 0.5, seed=1)])
    distances = hamming(codes, codes) + 1.0
    np.fill_diagonal(distances, 0)
    expected = sklearn.HDBSCAN(
        min_cluster_size=8, min_samples=8, metric="precomputed", copy=True
    ).fit_predict(distances)
    monkeypatch.setattr("grainhash.clusters.density.NEIGHBOURS", len(codes))
    found = density_groups(codes, 8)
    pairs = set(zip(found.tolist(), expected.tolist(), strict=True))
    assert len(pairs) == len(set(found.tolist())) == len(set(expected.tolist())) >= 5
    assert (NOISE, NOISE) in pairs


def test_dense_groups_need_no_connected_graph_and_take_copies() -> None:
    pytest.importorskip("sklearn")
    apart = np.concatenate([np.zeros((40, 8), np.uint8), np.full((40, 8), 255, np.uint8)])
    found = density_groups(apart, 5)
    assert len(set(found[:40].tolist())) == len(set(found[40:].tolist())) == 1
    assert found[0] != found[40]
    assert not density_groups(apart[:40], 5).any()
    assert (density_groups(apart[:2], 5) == NOISE).all()
    with pytest.raises(InputError, match="min_size"):
        density_groups(apart, 1)


def test_the_map_keeps_groups_together_and_is_the_same_again() -> None:
    pytest.importorskip("sklearn")
    codes = codes_around(120, 3, 64, 0.1)
    places = map_of(codes, n_threads=1)
    assert places.shape == (120, 2)
    assert places.min() >= 0
    assert places.max() <= 1
    middles = np.stack([places[group::3].mean(axis=0) for group in range(3)])
    nearest = np.linalg.norm(places[:, np.newaxis] - middles, axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest, np.arange(120) % 3)
    np.testing.assert_array_equal(map_of(codes, n_threads=2), places)
    for few in (codes[:1], codes[:5], np.zeros((40, 8), np.uint8)):
        assert np.isfinite(map_of(few)).all()


def test_names_are_the_most_telling_values() -> None:
    metas = [{"label": "cat", "camera": "a"}] * 30 + [{"label": "dog", "camera": "a"}] * 30 + [{}] * 5
    labels = [0] * 29 + [1] * 31 + [2] * 5
    cat, dog, none = names_of(metas, labels, 3)
    assert cat is not None
    assert (cat.key, cat.value, cat.share) == ("label", "cat", 1.0)
    assert cat.lift == pytest.approx(65 / 30)
    assert dog is not None
    assert (dog.value, round(dog.share, 3)) == ("dog", round(30 / 31, 3))
    assert none is None
    assert names_of(metas, labels, 3, leave_out="label")[0] is None


def test_names_take_lists_and_leave_out_what_is_no_value() -> None:
    metas = [{"tags": ["sea", "sun"], "box": {"x": 1}, "f": 0.25}] * 20 + [{"tags": ["sun"]}] * 20
    named = names_of(metas, [0] * 20 + [1] * 20, 2)[0]
    assert named is not None
    assert (named.key, named.value) == ("tags", "sea")


def _members(groups: list[Group]) -> list[set[int]]:
    return [{member.id for member in group.members} for group in groups]


@pytest.fixture
def grouped(tmp_path: Path, encoder: Encoder) -> Iterator[Gallery]:
    codes = codes_around(120, 4, encoder.n_bits, 0.1)
    metas = [{"label": "abcd"[number % 4], "n": number} for number in range(120)]
    with gallery_of(tmp_path / "gallery", encoder, codes, metas) as gallery:
        yield gallery


def test_a_gallery_is_grouped_named_and_nothing_is_stored(grouped: Gallery) -> None:
    before = grouped.browse(limit=1000)
    found = grouped.cluster()
    assert len(found.groups) == 4
    assert found.converged
    assert {group.title for group in found.groups} == set("abcd")
    ids = [row.id for row in before]
    assert sorted(map(sorted, _members(found.groups))) == sorted(ids[number::4] for number in range(4))
    for group in found.groups:
        distances = [member.distance for member in group.members]
        assert distances[0] == 0
        assert group.spread == pytest.approx(sum(d for d in distances if d is not None) / 29)
    assert grouped.browse(limit=1000) == before
    assert json.loads(json.dumps(found.to_json()))["groups"][0]["size"] == 30


def test_groups_are_stored_only_where_told_and_others_see_it(grouped: Gallery) -> None:
    before = {row.id: row.meta for row in grouped.browse(limit=1000)}
    found = grouped.cluster(k=4, store="look", where="n < 100")
    assert found.n_pictures == 100
    with Gallery.open(grouped.path) as other:
        rows = {row.id: row.meta for row in other.browse(limit=1000)}
        for group in found.groups:
            name = group.number
            assert {row.id for row in other.browse(limit=1000, where=f"look = {name}")} == {
                member.id for member in group.members
            }
    assert {id: {k: v for k, v in meta.items() if k != "look"} for id, meta in rows.items()} == before
    assert sum("look" in meta for meta in rows.values()) == 100
    with pytest.raises(MetadataError, match="'look' already"):
        grouped.cluster(k=4, store="look")
    again = grouped.cluster(k=2, store="look", replace=True)
    assert _members(again.groups)[0] == {row.id for row in grouped.browse(limit=1000, where="look = 1")}


def test_pictures_in_no_group_lose_the_number_they_had(tmp_path: Path, encoder: Encoder) -> None:
    pytest.importorskip("sklearn")
    codes = np.concatenate(
        [codes_around(60, 2, encoder.n_bits, 0.05), codes_around(6, 6, encoder.n_bits, 0.5, seed=2)]
    )
    with gallery_of(tmp_path / "gallery", encoder, codes) as gallery:
        gallery.cluster(k=3, store="look")
        found = gallery.cluster(method="density", store="look", replace=True)
        assert len(found.groups) == 2
        assert {member.id for member in found.alone} >= set(range(62, 67))
        assert {row.id for row in gallery.browse(limit=100, where="not exists look")} == {
            member.id for member in found.alone
        }


def test_bad_input_to_cluster_is_one_clear_error_and_changes_nothing(
    grouped: Gallery, tmp_path: Path, encoder: Encoder
) -> None:
    before = grouped.browse(limit=1000)
    with pytest.raises(InputError, match="k = 121 groups of 120 pictures"):
        grouped.cluster(k=121, store="look")
    with pytest.raises(InputError, match="none passes the filter"):
        grouped.cluster(where="n > 1000", store="look")
    with pytest.raises(MetadataError, match="every picture has a field"):
        grouped.cluster(store="width")
    with pytest.raises(MetadataError, match="'label' already"):
        grouped.cluster(store="label")
    for wrong in ({"k": 0}, {"method": "other"}, {"method": "density", "k": 3}, {"seed": -1}):
        with pytest.raises(InputError):
            ClusterSettings(**wrong)  # type: ignore[arg-type]
    assert grouped.browse(limit=1000) == before
    with (
        Gallery.open(tmp_path / "empty", create=True, encoder=encoder) as empty,
        pytest.raises(InputError, match="the gallery is empty"),
    ):
        empty.cluster()


def test_pictures_that_are_all_equal_are_one_group(tmp_path: Path, encoder: Encoder) -> None:
    with gallery_of(tmp_path / "gallery", encoder, np.zeros((20, encoder.n_bits // 8), np.uint8)) as gallery:
        assert len(gallery.cluster().groups) == 1
        found = gallery.cluster(k=5)
        assert len(found.groups) == 1
        assert "Only 1 of 5 groups" in found.notes[0]


def test_the_page_and_the_table_show_every_group(grouped: Gallery) -> None:
    pytest.importorskip("sklearn")
    from grainhash.groups_report import clusters_csv, clusters_page

    found = grouped.cluster(with_map=True)
    assert len(found.places) == 120
    page = clusters_page(found)
    assert page.count("<section") == 4
    assert page.count("<circle") == 120
    assert "<script" not in page
    assert "the file is gone" in page
    rows = list(csv.DictReader(io.StringIO(clusters_csv(found))))
    assert len(rows) == 120
    assert {row["name"] for row in rows} == set("abcd")
