"""Hash centres: shape, distances between classes, at every prefix."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grainhash.errors import CodesError, InputError
from grainhash.labels import Labels
from grainhash.learning.centres import (
    KINDS,
    hadamard_centres,
    hierarchy_centres,
    make_centres,
    nested_centres,
    prefix_lengths,
    random_centres,
)


def distances(centres):
    """Hamming distances of all pairs of classes."""
    n, n_bits = centres.shape
    return ((n_bits - centres @ centres.T) / 2)[np.triu_indices(n, 1)]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None)
@given(n_classes=st.integers(2, 40), n_bytes=st.integers(1, 12), seed=st.integers(0, 3))
def test_any_number_of_classes_and_any_length(kind, n_classes, n_bytes, seed):
    centres = make_centres(kind, n_classes, 8 * n_bytes, seed=seed)
    assert centres.shape == (n_classes, 8 * n_bytes)
    assert centres.dtype == np.float32
    assert np.isin(centres, (-1, 1)).all()
    np.testing.assert_array_equal(centres, make_centres(kind, n_classes, 8 * n_bytes, seed=seed))


@pytest.mark.parametrize(
    ("n_bits", "lengths"),
    [(8, (8,)), (16, (16,)), (24, (16, 24)), (64, (16, 32, 64)), (200, (16, 32, 64, 128, 200))],
)
def test_prefixes_double_up_to_the_whole_code(n_bits, lengths):
    assert prefix_lengths(n_bits) == lengths


def test_prefixes_of_no_code_are_refused():
    with pytest.raises(CodesError):
        prefix_lengths(12)


@pytest.mark.parametrize("n_classes", [10, 32, 64])
def test_rows_of_a_hadamard_matrix_differ_in_half_or_all_of_the_bits(n_classes):
    assert np.isin(distances(hadamard_centres(n_classes, 32)), (16, 32)).all()


@pytest.mark.parametrize(("n_classes", "n_bits"), [(10, 24), (65, 32)])
def test_where_there_is_no_hadamard_matrix_centres_are_nested_ones(n_classes, n_bits):
    np.testing.assert_array_equal(hadamard_centres(n_classes, n_bits), nested_centres(n_classes, n_bits))


@pytest.mark.parametrize("n_classes", [10, 21, 100])
def test_nested_centres_are_well_separated_at_every_prefix(n_classes):
    centres = nested_centres(n_classes, 128, seed=1)
    for length in prefix_lengths(128):
        nested = distances(centres[:, :length])
        at_random = max(distances(random_centres(n_classes, length, seed=s)).min() for s in range(20))
        assert nested.min() >= at_random, length
        assert nested.mean() > length / 2


def test_ten_nested_centres_are_as_far_apart_as_a_hadamard_matrix_has_them():
    centres = nested_centres(10, 64)
    assert distances(centres).min() >= 32
    assert distances(centres[:, :32]).min() >= 16


def test_nested_centres_have_balanced_bits_that_seldom_repeat():
    centres = nested_centres(20, 64)
    assert np.abs(centres.mean(axis=0)).max() <= 0.2
    assert len(np.unique(centres, axis=1).T) > 60


@pytest.mark.parametrize(("n_classes", "least"), [(50, (6, 15, 32)), (101, (6, 13, 32)), (5000, (2, 9, 22))])
def test_centres_of_many_classes_are_words_of_a_good_linear_code(n_classes, least):
    centres = nested_centres(n_classes, 64)
    for length, at_least in zip(prefix_lengths(64), least, strict=True):
        common = centres[:, :length] @ centres[:, :length].T
        np.fill_diagonal(common, -length)
        assert (length - common.max()) / 2 >= at_least
    assert np.abs(centres.mean(axis=0)).max() < 0.5


def test_with_as_many_classes_as_codewords_products_of_centres_are_centres():
    centres = nested_centres(128, 64)
    known = {row.tobytes() for row in centres}
    assert len(known) == 128
    for a, b, c in np.random.default_rng(0).integers(128, size=(50, 3)):
        assert (centres[a] * centres[b] * centres[c]).tobytes() in known


def test_parities_do_not_repeat_as_long_as_there_are_others():
    for n_classes in (101, 200):
        columns = nested_centres(n_classes, 64).T
        assert len(np.unique(columns * columns[:, :1], axis=0)) == 64


def test_leaves_of_one_parent_are_nearer_than_others():
    labels = Labels.hierarchy([f"{top}/{low}" for top in "abcd" for low in "wxyz"])
    centres = hierarchy_centres(labels, nested_centres(labels.n_classes, 64))
    leaves = [row for row, name in enumerate(labels.classes) if "/" in name]
    parents = [name[0] for name in labels.classes if "/" in name]
    product = centres[leaves] @ centres[leaves].T
    siblings = np.equal.outer(parents, parents) & ~np.eye(len(leaves), dtype=bool)
    others = ~np.equal.outer(parents, parents)
    assert product[siblings].min() > product[others].max()
    assert product[siblings].max() < 64


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_bits", [64, 128])
def test_no_two_leaves_of_a_hierarchy_share_a_centre(kind, n_bits):
    labels = Labels.hierarchy([f"{a:02}/{b}" for a in range(20) for b in range(5)])
    leaves = [row for row, name in enumerate(labels.classes) if "/" in name]
    for seed in range(3):
        centres = hierarchy_centres(labels, make_centres(kind, labels.n_classes, n_bits, seed=seed))
        assert distances(centres[leaves]).min() >= n_bits / 16


@pytest.mark.parametrize(("kind", "n_classes"), [("round", 4), ("nested", 1), ("random", 0)])
def test_centres_that_cannot_be_made_are_refused(kind, n_classes):
    with pytest.raises(InputError):
        make_centres(kind, n_classes, 16)
