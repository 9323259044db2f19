"""The contract of every method in the registry, shallow and deep, and the registry itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from grainhash.codes import hamming, unpack
from grainhash.errors import (
    EncoderError,
    GrainhashError,
    InputError,
    LabelsError,
    MissingExtra,
    NotFitted,
)
from grainhash.hashing.function import HashFunction
from grainhash.hashing.itq import ITQ
from grainhash.hashing.method import HashMethod
from grainhash.joint import Part
from grainhash.labels import Labels
from grainhash.methods import METHODS, load_method, method

N_BITS, DIM, N_CLASSES = 16, 24, 8


def clusters(n, seed=0):
    """Rows about eight centres, none of which is the origin, and the number of the centre of each."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((N_CLASSES, DIM)) + 1.0
    labels = np.arange(n) % N_CLASSES
    features = (centres[labels] + 0.5 * rng.standard_normal((n, DIM))).astype(np.float32)
    features.flags.writeable = False
    return features, labels


FEATURES, LABELS = clusters(240)


def make(name, n_bits=N_BITS, **settings):
    try:
        kind = method(name)
    except MissingExtra as error:
        pytest.skip(f"{name}: {error}")
    if name == "joint":
        settings["parts"] = (Part("itq", n_bits // 2), Part("lsh", n_bits - n_bits // 2))
    return kind(n_bits, **settings)


def fit(unfitted, features=FEATURES, labels=LABELS, **how):
    return unfitted.fit(features, labels if unfitted.needs_labels else None, **how)


@pytest.fixture(scope="module", params=METHODS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def fitted(name):
    return fit(make(name))


def test_a_method_goes_by_its_name_in_the_registry(name, fitted):
    assert isinstance(fitted, HashMethod)
    assert (fitted.name, fitted.function.method) == (name, name)


def test_codes_are_the_signs_of_the_projections(fitted):
    features, _ = clusters(30, seed=1)
    projected = fitted.project(features)
    assert projected.shape == (30, N_BITS)
    assert projected.dtype == np.float64
    np.testing.assert_array_equal(unpack(fitted.encode(features)), projected > 0)


def test_a_picture_gets_the_same_code_alone_and_among_others(fitted):
    features, _ = clusters(50, seed=2)
    alone = np.concatenate([fitted.encode(row[None]) for row in features])
    np.testing.assert_array_equal(fitted.encode(features), alone)


def test_neighbours_share_more_bits_than_strangers(fitted):
    features, labels = clusters(80, seed=3)
    distances = hamming(fitted.encode(features), fitted.encode(features))
    same = labels[:, None] == labels
    others = ~np.eye(len(labels), dtype=bool)
    assert distances[same & others].mean() < 0.8 * distances[~same].mean()


def test_what_is_saved_is_what_is_loaded(fitted, tmp_path):
    path = tmp_path / "hash.safetensors"
    fitted.save(path)
    for loaded in (type(fitted).load(path), load_method(path)):
        assert loaded == fitted
        assert loaded.settings == fitted.settings
        assert loaded.function.fingerprint == fitted.function.fingerprint
    np.testing.assert_array_equal(loaded.project(FEATURES), fitted.project(FEATURES))
    np.testing.assert_array_equal(HashFunction.load(path).encode(FEATURES), fitted.encode(FEATURES))


def test_the_seed_decides(name, fitted):
    assert fit(make(name)).function.fingerprint == fitted.function.fingerprint
    other = fit(replace(make(name), seed=1)).function.fingerprint
    deterministic = name in ("pca-sign", "spectral")
    assert (other == fitted.function.fingerprint) == deterministic


def test_progress_never_passes_its_end(name):
    seen = []
    fit(make(name), progress=seen.append)
    assert all(0 <= step.done <= step.total for step in seen)


def test_before_fit_there_are_no_codes(name, tmp_path):
    with pytest.raises(NotFitted, match=name):
        make(name).encode(FEATURES)
    with pytest.raises(NotFitted):
        make(name).save(tmp_path / "hash.safetensors")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(name, fitted, bad):
    broken = FEATURES.copy()
    broken[7, 3] = bad
    with pytest.raises(InputError, match="row 7"):
        fit(make(name), broken)
    with pytest.raises(InputError, match="NaN or infinity"):
        fitted.encode(broken)


@pytest.mark.parametrize("shape", [(240,), (0, DIM), (240, 0), (2, 2, 60, DIM)])
def test_features_that_are_no_rows_are_refused(name, shape):
    with pytest.raises(InputError):
        fit(make(name), np.zeros(shape, np.float32))


def test_features_of_another_width_are_refused(fitted):
    with pytest.raises(InputError, match=f"n, {DIM}"):
        fitted.encode(np.zeros((3, DIM + 1)))


def test_too_few_rows_are_refused(name):
    n = 1 if name == "lsh" else N_BITS // 2
    with pytest.raises(InputError, match="rows"):
        fit(make(name), FEATURES[:n], LABELS[:n] % 2)


@pytest.mark.parametrize("n_bits", [0, 12, -8, 2048])
def test_lengths_that_no_code_has_are_refused(name, n_bits):
    with pytest.raises(InputError):
        make(name, n_bits)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "learns from labels"),
        (LABELS[:-1], "239 labels for 240"),
        (np.zeros(240, int), "two classes"),
        (np.arange(240) // 239, "one picture only"),
        (Labels.hierarchy(["animal/cat"] * 240), "all have the same 2"),
        (np.ones((240, 3), int), "all have the same 3"),
    ],
    ids=["none", "too few", "one class", "a class of one", "one leaf", "the same labels"],
)
def test_labels_that_nothing_can_be_learned_from_are_refused(name, labels, message):
    unfitted = make(name)
    if not unfitted.needs_labels:
        pytest.skip(f"{name} needs no labels")
    with pytest.raises(LabelsError, match=message):
        unfitted.fit(FEATURES, labels)


def test_features_that_are_no_numbers_are_refused(name):
    with pytest.raises(InputError, match="real numbers"):
        fit(make(name), np.full((240, DIM), "many"))


def test_settings_that_do_not_exist_are_refused(name):
    with pytest.raises(TypeError):
        make(name, no_such_setting=1)


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("lsh", "seed", -1),
        ("itq", "whitening", np.nan),
        ("itq", "n_iter", -1),
        ("knnh", "n_neighbours", 0),
        ("knnh", "n_shrinkages", -1),
        ("knnh", "n_iter", -1),
        ("cca-itq", "regularisation", -0.1),
        ("cca-itq", "n_iter", -1),
        ("hashnet", "stages", 0),
        ("nested", "scale", 0.0),
        ("orthohash", "scale", -8.0),
        ("nested", "smoothing", 1.0),
        ("nested", "greedy", -1.0),
        ("cibhash", "temperature", 0.0),
        ("nested-neighbours", "temperature", -1.0),
    ],
)
def test_settings_that_cannot_be_are_refused_at_once(name, setting, value):
    with pytest.raises(InputError, match=f"{setting}={value} cannot be"):
        make(name, **{setting: value})


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError, match=r"'nonsense'; there are lsh, .*itq"):
        method("nonsense")


@pytest.mark.parametrize("target", METHODS.values(), ids=METHODS)
def test_every_name_leads_to_a_class(target):
    module, _, class_name = target.partition(":")
    tree = ast.parse(Path(find_spec(module).origin).read_text(encoding="utf-8"))
    assert class_name in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}


def test_a_method_is_imported_when_asked_for():
    script = (
        "import sys; from grainhash.methods import method; method('itq'); "
        "assert not {'torch', 'grainhash.hashing.knnh', 'grainhash.learning'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_without_torch_a_deep_method_names_the_extra(monkeypatch):
    for loaded in [key for key in sys.modules if key.startswith("grainhash.learning")]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"grainhash\[train\]"):
        method("dpsh")


def test_a_file_of_an_unknown_method_is_refused(tmp_path):
    function = HashFunction(ITQ(N_BITS).fit(FEATURES).function.steps, "of tomorrow")
    function.save(tmp_path / "hash.safetensors")
    with pytest.raises(InputError, match="of tomorrow"):
        load_method(tmp_path / "hash.safetensors")


def test_a_file_of_another_method_or_of_unknown_settings_is_refused(tmp_path):
    path = tmp_path / "hash.safetensors"
    itq = ITQ(N_BITS).fit(FEATURES)
    itq.save(path)
    with pytest.raises(EncoderError, match="fitted by itq, not by lsh"):
        method("lsh").load(path)
    itq.function.save(path, settings={"n_bits": N_BITS, "temperature": 3})
    with pytest.raises(EncoderError, match="temperature"):
        load_method(path)
    itq.function.save(path, settings={"n_bits": N_BITS, "n_iter": -3})
    with pytest.raises(EncoderError, match="n_iter=-3"):
        load_method(path)
    itq.function.save(path, settings={"n_bits": 2 * N_BITS})
    with pytest.raises(EncoderError, match="settings for 32 bits and a function of 16"):
        load_method(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(GrainhashError, match="not a grainhash hash function"):
        load_method(path)
