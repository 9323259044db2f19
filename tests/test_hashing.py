from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

from grainhash.codes import unpack
from grainhash.errors import EncoderError, InputError
from grainhash.hashing.function import Affine, HashFunction, L2Norm, ReLU, Tanh
from grainhash.hashing.itq import fit_itq

rng = np.random.default_rng(7)


def affine(n_in, n_out):
    return Affine(
        rng.standard_normal((n_in, n_out)).astype(np.float32), rng.standard_normal(n_out).astype(np.float32)
    )


def clustered(n, dim=32, n_clusters=8, noise=0.3):
    centres = rng.standard_normal((n_clusters, dim))
    labels = rng.integers(n_clusters, size=n)
    return centres[labels] + noise * rng.standard_normal((n, dim)), labels


def test_a_chain_is_the_formula_it_stands_for():
    first, second = affine(6, 10), affine(10, 16)
    features = rng.standard_normal((5, 6))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    expected = np.maximum(unit @ first.weight + first.bias, 0) @ second.weight + second.bias
    function = HashFunction([L2Norm(), first, ReLU(), second], "by hand")
    np.testing.assert_allclose(function.project(features), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(unpack(function.encode(features)), expected > 0)
    assert (function.n_features, function.n_bits) == (6, 16)


def test_a_picture_gets_the_same_bits_alone_and_among_others():
    function = HashFunction([L2Norm(), affine(1280, 256)], "random")
    features = rng.standard_normal((64, 1280)).astype(np.float32)
    alone = np.concatenate([function.encode(row[None]) for row in features])
    np.testing.assert_array_equal(function.encode(features), alone)


def test_what_is_saved_is_what_is_loaded(tmp_path):
    function = HashFunction([L2Norm(), affine(6, 10), Tanh(), affine(10, 24)], "two-layer")
    function.save(tmp_path / "hash.safetensors")
    loaded = HashFunction.load(tmp_path / "hash.safetensors")
    features = rng.standard_normal((9, 6))
    np.testing.assert_array_equal(loaded.project(features), function.project(features))
    assert (loaded.fingerprint, loaded.method) == (function.fingerprint, "two-layer")


def test_another_number_is_another_fingerprint():
    step = affine(4, 8)
    changed = Affine(step.weight, step.bias + np.float32(1e-6))
    assert HashFunction([step], "a").fingerprint != HashFunction([changed], "a").fingerprint
    assert HashFunction([step], "a").fingerprint != HashFunction([L2Norm(), step], "a").fingerprint


def test_files_of_others_are_refused(tmp_path):
    path = tmp_path / "hash.safetensors"
    with pytest.raises(EncoderError, match="no hash function there"):
        HashFunction.load(path)
    path.write_bytes(b"not safetensors at all")
    with pytest.raises(EncoderError, match="not a grainhash hash function"):
        HashFunction.load(path)
    save_file({"x": np.zeros(3, np.float32)}, path)
    with pytest.raises(EncoderError, match="not a grainhash hash function"):
        HashFunction.load(path)


@pytest.mark.parametrize(
    "steps", [[], [L2Norm()], [affine(4, 8), ReLU()], [affine(4, 8), affine(9, 8)]], ids=str
)
def test_chains_that_make_no_bits_are_refused(steps):
    with pytest.raises(InputError):
        HashFunction(steps, "wrong")


@pytest.mark.parametrize("features", [np.zeros((2, 5)), np.zeros(4), np.full((1, 4), np.nan)])
def test_features_that_cannot_be_hashed_are_refused(features):
    with pytest.raises(InputError):
        HashFunction([affine(4, 8)], "x").encode(features)


def test_itq_keeps_clusters_together():
    features, labels = clustered(600)
    codes = fit_itq(features[:400], 16).encode(features)
    distances = (unpack(codes)[400:, None] != unpack(codes)[None, :400]).sum(axis=2)
    nearest = labels[:400][distances.argmin(axis=1)]
    assert (nearest == labels[400:]).mean() > 0.95


def test_itq_loses_less_than_the_unrotated_components():
    features, _ = clustered(500)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)

    def loss(n_iter):
        projected = fit_itq(features, 16, n_iter=n_iter).project(features)
        return np.square(np.sign(projected) * np.abs(projected).mean() - projected).mean()

    assert loss(50) < loss(0)
    assert np.isfinite(unit).all()


def test_whitening_brings_the_bits_to_equal_variance():
    features = rng.standard_normal((4000, 16)) * np.logspace(0, -1, 16)
    spread = [fit_itq(features, 8, whitening=w, n_iter=0).project(features).std(axis=0) for w in (0.0, 1.0)]
    assert spread[1].max() / spread[1].min() < 1.01 < spread[0].max() / spread[0].min()


def test_itq_is_the_same_for_the_same_seed():
    features, _ = clustered(300)
    assert fit_itq(features, 16, seed=3).fingerprint == fit_itq(features, 16, seed=3).fingerprint


@pytest.mark.parametrize(
    ("features", "n_bits", "message"),
    [
        (np.zeros((10, 32)), 16, "more than 16 rows"),
        (np.zeros((100, 8)), 16, "8 dimensions"),
        (np.full((100, 32), np.inf), 16, "finite"),
    ],
)
def test_itq_refuses_what_it_cannot_fit(features, n_bits, message):
    with pytest.raises(InputError, match=message):
        fit_itq(features, n_bits)
