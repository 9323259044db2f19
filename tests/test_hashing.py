from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from grainhash.codes import unpack
from grainhash.errors import CodesError, EncoderError, InputError
from grainhash.hashing.function import (
    Affine,
    BlockNorm,
    Branch,
    Cosine,
    Gates,
    HashFunction,
    L2Norm,
    Parallel,
    ReLU,
    Tanh,
)
from grainhash.hashing.side_by_side import side_by_side

rng = np.random.default_rng(7)

SHIPPED = "d9e50bf9dd369402d114f2659ba23d82d677930d472e7a6898e61b45992203df"
"""Fingerprint of the shipped hash function: changed only together with its file."""


def affine(n_in, n_out):
    return Affine(
        rng.standard_normal((n_in, n_out)).astype(np.float32), rng.standard_normal(n_out).astype(np.float32)
    )


def block_norm(sizes):
    return BlockNorm(sizes, rng.uniform(0.5, 2, len(sizes)).astype(np.float32))


def gates(sizes):
    weight = rng.standard_normal((sum(sizes), len(sizes))).astype(np.float32)
    return Gates(sizes, weight, rng.standard_normal(len(sizes)).astype(np.float32))


def every_step():
    """A chain with every kind of step, a parallel one within a parallel one too; of 9 features, 24 bits."""
    inner = Parallel(4, (Branch(0, 2, (affine(2, 4),)), Branch(1, 4, (L2Norm(), affine(3, 4), Cosine()))))
    branches = (
        Branch(0, 4, (inner,)),
        Branch(2, 9, (block_norm((3, 4)), affine(7, 5), Tanh(), affine(5, 16))),
    )
    return HashFunction([block_norm((4, 5)), gates((4, 5)), ReLU(), Parallel(9, branches)], "all")


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
    "steps",
    [
        [],
        [L2Norm()],
        [Cosine()],
        [affine(4, 8), ReLU()],
        [affine(4, 8), affine(9, 8)],
        [affine(4, 8), gates((4, 5)), affine(9, 8)],
        [block_norm((2, 3)), affine(4, 8)],
        [affine(4, 12)],
    ],
    ids=str,
)
def test_chains_that_make_no_bits_are_refused(steps):
    with pytest.raises(InputError):
        HashFunction(steps, "wrong")


@pytest.mark.parametrize("features", [np.zeros((2, 5)), np.zeros(4), np.full((1, 4), np.nan)])
def test_features_that_cannot_be_hashed_are_refused(features):
    with pytest.raises(InputError):
        HashFunction([affine(4, 8)], "x").encode(features)


def test_block_norm_gives_each_block_the_length_of_its_weight():
    features = np.hstack([rng.standard_normal((5, 4)) * 100, rng.standard_normal((5, 3))])
    features[2, :4] = 0
    rows = BlockNorm((4, 3), np.array([2.0, 0.5], np.float32))(features)
    np.testing.assert_allclose(np.linalg.norm(rows[:, :4], axis=1), [2, 2, 0, 2, 2])
    np.testing.assert_allclose(np.linalg.norm(rows[:, 4:], axis=1), 0.5)
    np.testing.assert_allclose(rows[0, :4] * np.linalg.norm(features[0, :4]) / 2, features[0, :4])


def test_gates_open_and_close_blocks_by_the_picture():
    step = gates((4, 3))
    features = rng.standard_normal((5, 7))
    opened = 1 / (1 + np.exp(-(features @ step.weight + step.bias)))
    expected = np.hstack([features[:, :4] * opened[:, :1], features[:, 4:] * opened[:, 1:]])
    np.testing.assert_allclose(step(features), expected)
    np.testing.assert_array_equal(np.isfinite(step(features * 1e6)), True)


def test_a_parallel_step_is_its_branches_side_by_side():
    left, right = affine(4, 8), affine(6, 16)
    step = Parallel(9, (Branch(0, 4, (L2Norm(), left)), Branch(3, 9, (right, Cosine()))))
    features = rng.standard_normal((5, 9))
    expected = np.hstack([left(L2Norm()(features[:, :4])), np.cos(right(features[:, 3:]))])
    np.testing.assert_array_equal(step(features), expected)
    function = HashFunction([step], "two")
    assert (function.n_features, function.n_bits) == (9, 24)


def test_every_step_survives_a_file(tmp_path):
    function = every_step()
    function.save(tmp_path / "hash.safetensors", settings={"a": 1})
    loaded, settings = HashFunction.load_with_settings(tmp_path / "hash.safetensors")
    features = rng.standard_normal((9, 9))
    np.testing.assert_array_equal(loaded.project(features), function.project(features))
    assert (loaded.fingerprint, loaded.method, settings) == (function.fingerprint, "all", {"a": 1})


def test_every_step_gives_a_picture_the_same_bits_alone_and_among_others():
    function = every_step()
    features = rng.standard_normal((64, 9)).astype(np.float32)
    alone = np.concatenate([function.encode(row[None]) for row in features])
    np.testing.assert_array_equal(function.encode(features), alone)


def test_where_a_branch_begins_is_in_the_fingerprint():
    step = affine(4, 8)
    starts = [HashFunction([Parallel(9, (Branch(i, i + 4, (step,)),))], "x").fingerprint for i in (0, 3)]
    assert starts[0] != starts[1]


def file_of(path, format_version, steps, tensors):
    chain = {"format_version": format_version, "method": "x", "steps": steps}
    save_file(tensors, path, metadata={"hash_function": json.dumps(chain)})


def test_a_file_of_the_first_format_is_read_and_keeps_its_fingerprint(tmp_path):
    step, path = affine(6, 8), tmp_path / "hash.safetensors"
    file_of(path, 1, ["l2", "affine"], {"1.weight": step.weight, "1.bias": step.bias})
    loaded = HashFunction.load(path)
    digest = hashlib.sha256(b"l2affine" + step.weight.tobytes() + step.bias.tobytes())
    assert loaded.fingerprint == digest.hexdigest()
    np.testing.assert_array_equal(loaded.steps[1].weight, step.weight)


@pytest.mark.parametrize(("function", "version"), [(HashFunction([affine(4, 8)], "x"), 1), (every_step(), 2)])
def test_the_first_format_is_written_where_it_suffices(function, version, tmp_path):
    function.save(tmp_path / "hash.safetensors")
    with safe_open(tmp_path / "hash.safetensors", framework="numpy") as file:
        assert json.loads(file.metadata()["hash_function"])["format_version"] == version


def test_the_shipped_hash_function_is_what_it_was(encoder):
    function = encoder.hash_function
    assert (function.method, function.n_features, function.n_bits) == ("itq", 1280, 256)
    assert function.fingerprint == SHIPPED


@pytest.mark.parametrize(
    ("version", "steps"),
    [
        (3, ["affine"]),
        (1, ["softmax", "affine"]),
        (2, [["parallel", {"n_in": 4, "branches": []}]]),
        (2, [["parallel", {"n_in": 4, "branches": [{"start": 2, "stop": 6, "steps": ["l2"]}]}]]),
        (2, [["parallel", {"n_in": "4", "branches": [{"start": 0, "stop": 4, "steps": ["l2"]}]}]]),
        (2, [["block-norm", {"sizes": [2, 2]}], "affine"]),
        (2, [["gates", {}], "affine"]),
        (2, [3]),
    ],
)
def test_chains_that_no_one_wrote_are_refused(tmp_path, version, steps):
    step = affine(4, 8)
    file_of(tmp_path / "x", version, steps, {"0.weight": step.weight, "0.bias": step.bias})
    with pytest.raises(EncoderError, match=r"format 3|not a grainhash hash function"):
        HashFunction.load(tmp_path / "x")


@pytest.mark.parametrize("wrong", [{"start": 0.0}, {"stop": 4.0}, {"stop": 5}])
def test_branches_over_columns_that_are_not_there_are_refused(tmp_path, wrong):
    step, branch = affine(4, 8), {"start": 0, "stop": 4, "steps": ["affine"]}
    tensors = {"0.0.0.weight": step.weight, "0.0.0.bias": step.bias}
    file_of(tmp_path / "right", 2, [["parallel", {"n_in": 4, "branches": [branch]}]], tensors)
    assert HashFunction.load(tmp_path / "right").n_bits == 8
    file_of(tmp_path / "x", 2, [["parallel", {"n_in": 4, "branches": [branch | wrong]}]], tensors)
    with pytest.raises(EncoderError, match="not a grainhash hash function"):
        HashFunction.load(tmp_path / "x")


@pytest.mark.parametrize(
    "make",
    [
        lambda: BlockNorm((), np.ones(0, np.float32)),
        lambda: BlockNorm((2, 0), np.ones(2, np.float32)),
        lambda: BlockNorm((2, 3), np.ones(3, np.float32)),
        lambda: Gates((2, 3), np.ones((4, 2), np.float32), np.ones(2, np.float32)),
        lambda: Gates((2, 3), np.ones((5, 2), np.float32), np.ones(3, np.float32)),
        lambda: Parallel(4, ()),
        lambda: Parallel(4, (Branch(2, 6, (affine(4, 8),)),)),
        lambda: Parallel(4, (Branch(0, 4, (affine(3, 8),)),)),
    ],
)
def test_steps_that_do_not_fit_themselves_are_refused(make):
    with pytest.raises(InputError):
        make()


def test_linear_functions_side_by_side_are_one_affine_step():
    first, second = (HashFunction([L2Norm(), affine(6, n)], "x") for n in (8, 16))
    joint = side_by_side([first, second])
    assert [type(step) for step in joint.steps] == [L2Norm, Affine]
    features = rng.standard_normal((20, 6))
    expected = np.hstack([first.encode(features), second.encode(features)])
    np.testing.assert_array_equal(joint.encode(features), expected)


def test_functions_over_columns_of_their_own_run_side_by_side():
    first, second = HashFunction([L2Norm(), affine(6, 8)], "x"), HashFunction([affine(4, 8), Cosine()], "y")
    joint = side_by_side([first, second], columns=[None, (2, 6)])
    features = rng.standard_normal((20, 6))
    expected = np.hstack([first.encode(features), second.encode(features[:, 2:6])])
    np.testing.assert_array_equal(joint.encode(features), expected)
    assert (joint.method, joint.n_features, joint.n_bits) == ("joint", 6, 16)


@pytest.mark.parametrize(
    ("widths", "columns", "message"),
    [
        ([], None, "one function"),
        ([6, 4], None, "columns 0 to 6"),
        ([6], [(0, 4)], "columns 0 to 4"),
        ([6], [None, None], "2 of 1"),
    ],
)
def test_functions_that_do_not_fit_side_by_side_are_refused(widths, columns, message):
    functions = [HashFunction([affine(width, 8)], "x") for width in widths]
    with pytest.raises(InputError, match=message):
        side_by_side(functions, columns=columns)


def test_more_bits_together_than_a_code_has_are_refused():
    with pytest.raises(CodesError, match="1040 bits"):
        side_by_side([HashFunction([affine(4, 520)], "x")] * 2)
