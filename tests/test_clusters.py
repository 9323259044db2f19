"""Groups are those of the slow, obvious reference, at any number of threads; what cannot be grouped says so."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from grainhash.clusters import k_majority
from grainhash.clusters.majority import majority_of
from grainhash.codes import hamming
from grainhash.errors import CodesError, InputError
from grainhash.index import has_native, kernels, reference


@pytest.fixture(autouse=True)
def the_kernel_before() -> Iterator[None]:
    before = kernels.kernel()
    yield
    kernels.use_kernel(before)


def codes_around(n: int, n_centres: int, n_bits: int, flips: float, seed: int = 0) -> NDArray[np.uint8]:
    """Codes of `n_centres` groups in turn, each with some bits of its centre flipped."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 256, (n_centres, n_bits // 8), np.uint8)
    return centres[np.arange(n) % n_centres] ^ np.packbits(rng.random((n, n_bits)) < flips, axis=1)


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
