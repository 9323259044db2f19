"""Packed binary codes: the only place that knows the order of bits.

A code of `n_bits` bits is `n_bits / 8` bytes of `uint8`. Bit 0 of the code is the most
significant bit of byte 0 (`np.packbits`, big-endian), so that the first `m` bits of a code are
its first `m / 8` bytes: a prefix of a nested code is a shorter code.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from grainhash.errors import CodesError
from grainhash.types import Codes

MAX_BITS = 1024


def check_n_bits(n_bits: int) -> int:
    """Return `n_bits` if codes of that length are supported: a multiple of 8 in 8..1024."""
    if n_bits % 8 or not 8 <= n_bits <= MAX_BITS:
        raise CodesError(f"{n_bits} bits: the length of a code is a multiple of 8 from 8 to {MAX_BITS}")
    return n_bits


def check_codes(codes: NDArray[np.generic], n_bits: int | None = None) -> Codes:
    """Return `codes` as C-contiguous `uint8 (n, n_bytes)`, or say what is wrong with them.

    Raises:
        CodesError: another dtype, another number of dimensions, an unsupported or other width.
    """
    array = np.asarray(codes)
    if array.dtype != np.uint8:
        raise CodesError(f"codes are {array.dtype}; packed codes are uint8 (see grainhash.codes.pack)")
    if array.ndim != 2:
        raise CodesError(f"codes have {array.ndim} dimension(s); they are (n, n_bits / 8)")
    check_n_bits(array.shape[1] * 8)
    if n_bits is not None and array.shape[1] * 8 != n_bits:
        raise CodesError(f"codes have {array.shape[1] * 8} bits where {n_bits} are expected")
    return np.ascontiguousarray(array)


def pack(bits: NDArray[np.generic]) -> Codes:
    """Pack `(n, n_bits)` of 0/1 or booleans, or of real numbers by their sign, into codes.

    A real number becomes a 1 where it is `> 0`; zero and NaN-free negatives become 0.

    Raises:
        CodesError: NaN among the numbers, not two dimensions, or an unsupported width.
    """
    array = np.asarray(bits)
    if array.ndim != 2:
        raise CodesError(f"bits have {array.ndim} dimension(s); they are (n, n_bits)")
    check_n_bits(array.shape[1])
    if np.issubdtype(array.dtype, np.floating) and np.isnan(array).any():
        raise CodesError("NaN has no sign, so it makes no bit")
    return np.packbits(array > 0, axis=1)


def unpack(codes: Codes) -> NDArray[np.bool_]:
    """`(n, n_bytes)` codes to `(n, n_bits)` booleans, the inverse of `pack`."""
    return np.unpackbits(check_codes(codes), axis=1).astype(np.bool_)


def hamming(queries: Codes, codes: Codes) -> NDArray[np.int32]:
    """Hamming distances `(n_queries, n)`: the reference every kernel is held to."""
    queries = check_codes(queries)
    codes = check_codes(codes, n_bits=queries.shape[1] * 8)
    distances = np.empty((len(queries), len(codes)), np.int32)
    for row, query in zip(distances, queries, strict=True):
        row[:] = np.bitwise_count(codes ^ query).sum(axis=1, dtype=np.int32)
    return distances
