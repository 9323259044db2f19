from __future__ import annotations

import numpy as np
import pytest

from grainhash.errors import CodesError, InputError, LabelsError
from grainhash.hashing.function import HashFunction
from grainhash.hashing.itq import ITQ
from grainhash.hashing.knnh import KNNH
from grainhash.hashing.lsh import LSH
from grainhash.hashing.spectral import SpectralHashing
from grainhash.joint import Joint, Part
from grainhash.methods import load_method

FEATURES = np.random.default_rng(5).standard_normal((120, 24)).astype(np.float32)
PARTS = (
    Part("itq", 8, columns=(0, 12), settings={"whitening": 0.5}),
    Part("spectral", 16),
    Part("knnh", 8, columns=(8, 24), settings={"seed": 9, "n_neighbours": 5}),
)


def test_a_joint_code_is_the_codes_of_its_parts():
    joint = Joint(32, parts=PARTS, seed=3).fit(FEATURES)
    itq = ITQ(8, whitening=0.5, seed=3).fit(FEATURES[:, :12])
    spectral = SpectralHashing(16, seed=4).fit(FEATURES)
    knnh = KNNH(8, n_neighbours=5, seed=9).fit(FEATURES[:, 8:])
    expected = np.hstack(
        [itq.encode(FEATURES[:, :12]), spectral.encode(FEATURES), knnh.encode(FEATURES[:, 8:])]
    )
    np.testing.assert_array_equal(joint.encode(FEATURES), expected)


def test_parts_of_one_method_differ_by_their_seed():
    codes = Joint(16, parts=(Part("lsh", 8), Part("lsh", 8))).fit(FEATURES).encode(FEATURES)
    assert (codes[:, 0] != codes[:, 1]).any()
    np.testing.assert_array_equal(codes[:, 1:], LSH(8, seed=1).fit(FEATURES).encode(FEATURES))


def test_linear_parts_cost_one_affine_step():
    steps = Joint(16, parts=(Part("lsh", 8), Part("itq", 8))).fit(FEATURES).function.steps
    assert [type(step).__name__ for step in steps] == ["L2Norm", "Affine"]


def test_a_joint_function_comes_back_from_its_file_with_its_parts(tmp_path):
    joint = Joint(32, parts=PARTS).fit(FEATURES)
    joint.save(tmp_path / "hash.safetensors")
    loaded = load_method(tmp_path / "hash.safetensors")
    assert loaded == joint
    assert loaded.parts == PARTS
    np.testing.assert_array_equal(loaded.encode(FEATURES), joint.encode(FEATURES))
    again = loaded.fit(FEATURES)
    assert again.function.fingerprint == joint.function.fingerprint
    assert HashFunction.load(tmp_path / "hash.safetensors").n_features == 24


def test_labels_go_to_the_parts_that_need_them():
    joint = Joint(16, parts=(Part("itq", 8), Part("cca-itq", 8)))
    with pytest.raises(LabelsError, match="learns from labels"):
        joint.fit(FEATURES)
    labels = np.arange(120) % 3
    assert joint.fit(FEATURES, labels).encode(FEATURES).shape == (120, 2)


def test_columns_that_are_no_range_are_refused():
    with pytest.raises(InputError, match="give the first"):
        Part("itq", 8, columns=(0, 8, 16))


@pytest.mark.parametrize(
    ("n_bits", "parts", "error", "message"),
    [
        (16, (), InputError, "0 bits together, not 16"),
        (16, (Part("itq", 8),), InputError, "8 bits together, not 16"),
        (16, (Part("itq", 4), Part("itq", 12)), CodesError, "multiple of 8"),
        (8, (Part("nonsense", 8),), InputError, "'nonsense'"),
        (8, (Part("itq", 8, settings={"colour": 1}),), InputError, "joint part itq: .*colour"),
        (8, (Part("itq", 8, columns=(20, 30)),), InputError, "columns 20 to 30 of features that have 24"),
        (8, (Part("itq", 8, columns=(9, 9)),), InputError, "columns 9 to 9"),
    ],
)
def test_parts_that_make_no_code_are_refused(n_bits, parts, error, message):
    with pytest.raises(error, match=message):
        Joint(n_bits, parts=parts).fit(FEATURES)
