from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from grainhash.codes import check_codes, hamming, pack, unpack
from grainhash.errors import CodesError

bit_rows = st.integers(1, 40).flatmap(
    lambda n_bytes: hnp.arrays(np.bool_, st.tuples(st.integers(0, 6), st.just(8 * n_bytes)))
)


@given(bit_rows)
def test_unpack_is_the_inverse_of_pack(bits):
    codes = pack(bits)
    assert codes.dtype == np.uint8
    assert codes.shape == (len(bits), bits.shape[1] // 8)
    np.testing.assert_array_equal(unpack(codes), bits)


@given(bit_rows)
def test_hamming_counts_the_bits_that_differ(bits):
    codes = pack(bits)
    expected = (bits[:, None, :] != bits[None, :, :]).sum(axis=2)
    np.testing.assert_array_equal(hamming(codes, codes), expected)
    assert hamming(codes, codes).dtype == np.int32


def test_bit_order_is_big_endian_so_that_a_prefix_is_a_shorter_code():
    bits = np.zeros((1, 16), bool)
    bits[0, 0] = True
    assert pack(bits).tolist() == [[128, 0]]
    assert pack(bits[:, :8]).tolist() == pack(bits)[:, :1].tolist()


def test_real_numbers_become_bits_by_their_sign():
    assert pack(np.array([[0.5, -0.5, 0.0, -0.0, 1e-30, -1e-30, np.inf, -np.inf]])).tolist() == [[0b10001010]]


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.zeros((2, 4), np.int8), "int8"),
        (np.zeros(4, np.uint8), "1 dimension"),
        (np.zeros((2, 0), np.uint8), "0 bits"),
        (np.zeros((2, 129), np.uint8), "1032 bits"),
    ],
)
def test_codes_of_another_form_are_refused(codes, message):
    with pytest.raises(CodesError, match=message):
        check_codes(codes)


def test_codes_of_another_width_are_refused():
    with pytest.raises(CodesError, match="32 bits where 64 are expected"):
        check_codes(np.zeros((2, 4), np.uint8), n_bits=64)


def test_nan_makes_no_bit():
    with pytest.raises(CodesError, match="NaN"):
        pack(np.full((1, 8), np.nan))
