"""What each shallow method promises beyond the contract of `test_methods.py`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grainhash.codes import hamming, unpack
from grainhash.errors import InputError
from grainhash.hashing import linear, neighbours
from grainhash.hashing.cca import CCAITQ
from grainhash.hashing.itq import ITQ, rotate
from grainhash.hashing.knnh import KNNH, shrunk
from grainhash.hashing.linear import covariance, mean_of, principal_components
from grainhash.hashing.lsh import LSH
from grainhash.hashing.neighbours import nearest_neighbours
from grainhash.hashing.pca import PCASign
from grainhash.hashing.spectral import SpectralHashing
from grainhash.labels import Labels

rng = np.random.default_rng(7)


def clustered(n, dim=32, n_clusters=8, noise=0.3):
    centres = rng.standard_normal((n_clusters, dim))
    labels = rng.integers(n_clusters, size=n)
    return centres[labels] + noise * rng.standard_normal((n, dim)), labels


def unit(features):
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def cosines(matrix):
    columns = matrix / np.linalg.norm(matrix, axis=0)
    return columns.T @ columns


def test_moments_are_those_of_all_rows_at_once(monkeypatch):
    features, _ = clustered(100)
    monkeypatch.setattr(linear, "BLOCK", 7)
    np.testing.assert_allclose(mean_of(features), unit(features).mean(axis=0), atol=1e-14)
    expected = np.cov(unit(features).T, bias=True)
    np.testing.assert_allclose(covariance(features, mean_of(features)), expected, atol=1e-14)


def test_principal_components_are_the_directions_of_most_variance():
    features = rng.standard_normal((500, 6)) * [5, 1, 4, 1e-3, 3, 1e-3]
    components = principal_components(np.cov(features.T), 3)
    assert np.abs(components).argmax(axis=0).tolist() == [0, 2, 4]
    np.testing.assert_allclose(components.T @ components, np.eye(3), atol=1e-12)


def test_bits_of_lsh_differ_as_often_as_the_angle_says():
    features = rng.standard_normal((200, 16))
    lsh = LSH(1024).fit(features)
    centred = unit(unit(features) - unit(features).mean(axis=0))
    expected = np.arccos(np.clip(centred @ centred.T, -1, 1)) / np.pi
    share = hamming(lsh.encode(features), lsh.encode(features)) / 1024
    assert np.abs(share - expected).max() < 0.08


def test_super_bits_are_orthogonal_in_groups():
    features = rng.standard_normal((50, 16))
    weight = LSH(24, orthogonal=True).fit(features).function.steps[1].weight.astype(float)
    np.testing.assert_allclose(cosines(weight[:, :16]), np.eye(16), atol=1e-6)
    np.testing.assert_allclose(cosines(weight[:, 16:]), np.eye(8), atol=1e-6)
    plain = LSH(24).fit(features).function.steps[1].weight.astype(float)
    assert np.abs(cosines(plain[:, :16]) - np.eye(16)).max() > 0.1


def test_pca_signs_are_uncorrelated_components_in_order_of_variance():
    features, _ = clustered(800)
    projected = PCASign(16).fit(features).project(features)
    variances = projected.var(axis=0)
    assert (np.diff(variances) < 1e-9).all()
    np.testing.assert_allclose(np.cov(projected.T, bias=True), np.diag(variances), atol=1e-6)


def test_spectral_hashing_is_the_formula_of_the_paper():
    features = rng.standard_normal((300, 12)) * np.logspace(0, -0.7, 12)
    spectral = SpectralHashing(16).fit(features)
    centred = unit(features) - unit(features).mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(centred.T))
    projected = centred @ vectors[:, np.argsort(values)[::-1]]
    low, high = projected.min(axis=0), projected.max(axis=0)
    waves = [(k / (high[j] - low[j]), k, j) for j in range(12) for k in range(1, 17)]
    expected = [
        np.cos(k * np.pi * (projected[:, j] - low[j]) / (high[j] - low[j])) for _, k, j in sorted(waves)[:16]
    ]
    found = spectral.project(features)
    assert max(k for _, k, _ in sorted(waves)[:16]) > 1
    for bit, wave in zip(found.T, expected, strict=True):
        flipped = abs(np.corrcoef(bit, wave)[0, 1])
        assert flipped > 0.999


def test_spectral_hashing_takes_more_bits_than_dimensions():
    features = rng.standard_normal((200, 4))
    bits = unpack(SpectralHashing(32).fit(features).encode(features))
    assert len(np.unique(bits, axis=1).T) > 20


def test_itq_keeps_clusters_together():
    features, labels = clustered(600)
    codes = ITQ(16).fit(features[:400]).encode(features)
    nearest = labels[:400][hamming(codes[400:], codes[:400]).argmin(axis=1)]
    assert (nearest == labels[400:]).mean() > 0.95


def test_itq_is_the_formula_of_the_paper():
    features, _ = clustered(300)
    centred = unit(features) - unit(features).mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    leading = np.argsort(values)[::-1][:16]
    projected = centred @ (vectors[:, leading] / values[leading] ** 0.25)
    rotation, _ = np.linalg.qr(np.random.default_rng(3).standard_normal((16, 16)))
    for _ in range(50):
        u, _, vt = np.linalg.svd(projected.T @ np.sign(projected @ rotation))
        rotation = u @ vt
    found = ITQ(16, whitening=0.5, seed=3).fit(features).project(features)
    np.testing.assert_allclose(found, projected @ rotation, atol=1e-5)


def test_itq_loses_less_than_the_unrotated_components():
    features, _ = clustered(500)

    def loss(n_iter):
        projected = ITQ(16, n_iter=n_iter).fit(features).project(features)
        return np.square(np.sign(projected) * np.abs(projected).mean() - projected).mean()

    assert loss(50) < loss(0)


def test_whitening_brings_the_bits_to_equal_variance():
    features = rng.standard_normal((4000, 16)) * np.logspace(0, -1, 16)
    spread = [ITQ(8, whitening=w, n_iter=0).fit(features).project(features).std(axis=0) for w in (0.0, 1.0)]
    assert spread[1].max() / spread[1].min() < 1.01 < spread[0].max() / spread[0].min()


@pytest.mark.parametrize("n_bits", [8, 24])
def test_a_rotation_keeps_lengths_into_as_many_bits_and_into_more(n_bits):
    projected = rng.standard_normal((100, 8))
    start = np.linalg.qr(rng.standard_normal((n_bits, n_bits)))[0][:8]
    done = []
    rotation = rotate(projected, start, 5, done.append)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(8), atol=1e-12)
    assert done == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("kind", [PCASign, ITQ, KNNH, CCAITQ])
def test_as_many_rows_as_bits_are_too_few(kind):
    with pytest.raises(InputError, match="more than 16 rows"):
        kind(16).fit(rng.standard_normal((16, 32)), [0, 1] * 8)


@pytest.mark.parametrize("kind", [PCASign, ITQ, KNNH])
def test_more_bits_than_dimensions_are_refused(kind):
    with pytest.raises(InputError, match="8 dimensions"):
        kind(16).fit(rng.standard_normal((100, 8)))


@pytest.mark.parametrize("kind", [PCASign, SpectralHashing, ITQ, KNNH, CCAITQ])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_rows_that_are_all_the_same_are_refused(kind, value):
    with pytest.raises(InputError, match="are the same"):
        kind(8).fit(np.full((100, 16), value), [0, 1] * 50)


@given(
    n=st.integers(2, 300),
    dim=st.integers(1, 6),
    seed=st.integers(0, 99),
    block=st.integers(1, 64),
    data=st.data(),
)
def test_nearest_neighbours_are_those_of_comparing_all(n, dim, seed, block, data):
    k = data.draw(st.integers(1, min(n - 1, 5)))
    rows = np.random.default_rng(seed).integers(-3, 4, (n, dim)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "BLOCK", block)
        found = nearest_neighbours(rows, k)
    distances = np.square(rows[:, None] - rows[None]).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    assert not (found == np.arange(n)[:, None]).any()
    assert all(len(set(row)) == k for row in found.tolist())
    np.testing.assert_array_equal(
        np.take_along_axis(distances, found, axis=1), np.sort(distances, axis=1)[:, :k]
    )


def test_nearest_neighbours_far_from_the_origin_are_found():
    rows = rng.standard_normal((3000, 8)) + 1000
    told = []
    found = nearest_neighbours(rows, 3, progress=told.append)
    centred = rows - rows.mean(axis=0)
    for row in range(0, 3000, 300):
        distances = np.square(centred - centred[row]).sum(axis=1)
        assert set(found[row]) == set(np.argsort(distances)[1:4])
    assert told[-1] == 3000


@pytest.mark.parametrize("k", [0, 5])
def test_neighbours_that_are_not_there_are_refused(k):
    with pytest.raises(InputError, match="4 others"):
        nearest_neighbours(np.zeros((5, 2)), k)


def test_shrinking_is_the_mean_of_the_neighbours():
    rows = rng.standard_normal((40, 3))
    chosen = rng.integers(0, 40, (40, 6))
    np.testing.assert_allclose(shrunk(rows, chosen), rows[chosen].mean(axis=1))


def test_knnh_without_shrinking_is_itq():
    features, _ = clustered(200)
    np.testing.assert_allclose(
        KNNH(16, n_shrinkages=0).fit(features).project(features), ITQ(16).fit(features).project(features)
    )


def test_neighbours_share_more_bits_by_knnh_than_by_itq():
    features, _ = clustered(1500, n_clusters=40, noise=0.6)
    pairs = nearest_neighbours(unit(features), 5)

    def distance(fitted):
        bits = unpack(fitted.encode(features))
        return np.mean([(bits != bits[column]).mean() for column in pairs.T])

    assert distance(KNNH(16).fit(features)) < distance(ITQ(16).fit(features))


def test_knnh_needs_more_rows_than_neighbours():
    with pytest.raises(InputError, match="more than 20 rows"):
        KNNH(8).fit(rng.standard_normal((20, 16)))


def test_cca_finds_what_goes_with_the_labels_and_leaves_louder_noise():
    labels = rng.integers(0, 3, 600)
    features = rng.standard_normal((600, 20))
    features[:, :10] *= 4.0
    features[:, 10:13] += 3.0 * np.eye(3)[labels]

    def accuracy(fitted):
        codes = fitted.encode(features)
        nearest = hamming(codes[400:], codes[:400]).argmin(axis=1)
        return (labels[:400][nearest] == labels[400:]).mean()

    supervised = accuracy(CCAITQ(16).fit(features, labels))
    assert supervised > 0.85
    assert supervised > accuracy(ITQ(16).fit(features)) + 0.2


@pytest.mark.parametrize(
    "labels",
    [
        Labels.multi([{"sea", "beach"}, {"sea"}, {"town"}, {"town", "night"}] * 50),
        Labels.hierarchy(["animal/cat", "animal/dog", "thing/car", "thing/bus"] * 50),
    ],
    ids=["multi", "hierarchy"],
)
def test_cca_learns_from_several_labels_and_from_hierarchies(labels):
    indicator = labels.indicator()
    features = indicator @ rng.standard_normal((labels.n_classes, 24)) + 0.3 * rng.standard_normal((200, 24))
    codes = CCAITQ(16).fit(features, labels).encode(features)
    distances = hamming(codes, codes)
    common = indicator.astype(int) @ indicator.T.astype(int)
    assert distances[common == common.max()].mean() < distances[common == 0].mean() - 3


@pytest.mark.parametrize("kind", [LSH, PCASign, SpectralHashing, ITQ, KNNH])
def test_several_views_of_a_row_are_refused(kind):
    with pytest.raises(InputError, match=r"where \(n, n_features\)"):
        kind(8).fit(np.zeros((2, 50, 16)))
