"""What callers of an index pass in, checked once and in the form that the kernels take."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from grainhash.codes import check_codes
from grainhash.cores import default_threads
from grainhash.errors import CodesError
from grainhash.types import Codes

Ids = NDArray[np.int64]
Mask = NDArray[np.bool_]

_MOST_THREADS = 1024


def contiguous_codes(codes: Codes, n_bits: int | None = None) -> Codes:
    """Codes `(n, n_bytes)` as they are, or what is wrong with them.

    Raises:
        CodesError: wrong dtype, width, shape or memory layout.
    """
    array = np.asarray(codes)
    checked = check_codes(array, n_bits)
    if not array.flags.c_contiguous:
        raise CodesError(f"codes {array.shape} are not C-contiguous; pass numpy.ascontiguousarray(codes)")
    return checked


def query_codes(queries: Codes, n_bits: int, prefix_bits: int | None) -> Codes:
    """Queries cut to the bits that are compared.

    Raises:
        CodesError: no such prefix, or queries of neither its width nor that of the codes.
    """
    queries = contiguous_codes(queries)
    if prefix_bits is None:
        return check_codes(queries, n_bits)
    prefix_bits = count("prefix_bits", prefix_bits, at_least=8)
    if prefix_bits % 8 or prefix_bits > n_bits:
        raise CodesError(f"prefix_bits is {prefix_bits}; it is a multiple of 8 from 8 to {n_bits}")
    if queries.shape[1] * 8 != prefix_bits:
        queries = check_codes(queries, n_bits)
    return np.ascontiguousarray(queries[:, : prefix_bits // 8])


def one_query(query: NDArray[np.uint8], n_bits: int, prefix_bits: int | None = None) -> Codes:
    """One code `(n_bytes,)` as a row of its own, cut to the bits that are compared.

    Raises:
        CodesError: wrong dtype, width or shape.
    """
    array = np.asarray(query)
    if array.ndim != 1:
        raise CodesError(f"the query has {array.ndim} dimensions; this takes one code, (n_bytes,)")
    return query_codes(array[np.newaxis], n_bits, prefix_bits)


def id_array(ids: ArrayLike) -> Ids:
    """Ids in any order, `(n,)`; an empty list of any kind is no ids.

    Raises:
        CodesError: not one dimension of int64.
    """
    array = np.asarray(ids)
    if array.shape == (0,):
        return np.empty(0, np.int64)
    if array.dtype != np.int64 or array.ndim != 1:
        raise CodesError(f"ids are {array.dtype} with {array.ndim} dimension(s); they are int64 (n,)")
    return np.require(array, requirements=("C", "A"))


def id_rows(ids: ArrayLike, n_queries: int) -> Ids:
    """Ids in any order, the same for every query, `(1, n)`, or others for each, `(n_queries, n)`.

    Raises:
        CodesError: not int64, or neither of the two shapes.
    """
    array = np.asarray(ids)
    if array.ndim != 2:
        return id_array(array)[np.newaxis]
    if array.dtype != np.int64 or len(array) != n_queries:
        raise CodesError(
            f"ids are {array.dtype} {array.shape}; for these queries int64 ({n_queries}, n) or (n,)"
        )
    return np.require(array, requirements=("C", "A"))


def ascending(ids: Ids) -> Ids:
    """Ids that may name items.

    Raises:
        CodesError: they are not strictly ascending.
    """
    wrong = np.flatnonzero(ids[1:] <= ids[:-1])
    if len(wrong):
        before, after = ids[wrong[0] : wrong[0] + 2]
        raise CodesError(f"id {after} comes after {before}; ids must be strictly ascending")
    return ids


def offset_array(offsets: NDArray[np.int64], n_items: int | None, n_codes: int) -> NDArray[np.int64]:
    """Offsets of `n_items` items, or of any number of them.

    Raises:
        CodesError: wrong dtype or shape, or not ascending from 0 to the number of codes.
    """
    array = np.asarray(offsets)
    fits = array.ndim == 1 and len(array) > 0 and n_items in (None, len(array) - 1)
    if array.dtype != np.int64 or not fits:
        expected = "(n_items + 1,)" if n_items is None else f"({n_items + 1},)"
        raise CodesError(f"offsets are {array.dtype} {array.shape}; for these ids they are int64 {expected}")
    if array[0] != 0 or array[-1] != n_codes or (array[1:] < array[:-1]).any():
        raise CodesError(f"offsets must ascend from 0 to the number of codes, {n_codes}")
    return np.require(array, requirements=("C", "A"))


def allowed(allow: ArrayLike | None) -> tuple[Ids | None, Mask | None]:
    """An allow-list, ascending and without repetitions, or a bitmap; or neither, where all is allowed.

    Raises:
        CodesError: neither int64 ids nor a bitmap of one dimension.
    """
    if allow is None:
        return None, None
    array = np.asarray(allow)
    if array.dtype == np.bool_ and array.ndim == 1:
        bitmap = np.ascontiguousarray(array)
        if bitmap.view(np.uint8).max(initial=0) > 1:
            raise CodesError("the bitmap holds bytes that are neither 0 nor 1, as no array of booleans does")
        return None, bitmap
    ids = id_array(array)
    if not (ids[1:] > ids[:-1]).all():
        ids = np.sort(ids)
        ids = ids[np.concatenate([[True], ids[1:] > ids[:-1]])]
    return ids, None


def count(name: str, value: int, *, at_least: int) -> int:
    """A whole number of any size.

    Raises:
        CodesError: not a whole number, or below `at_least`.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise CodesError(f"{name} is {value!r}; it is a whole number of at least {at_least}") from None
    if isinstance(value, bool) or number < at_least:
        raise CodesError(f"{name} is {value!r}; it is a whole number of at least {at_least}")
    return number


def thread_count(n_threads: int | None) -> int:
    """`None` for as many as this process may use, or this thread within a `cores.thread_limit`.

    Raises:
        CodesError: not a whole number, or below 1.
    """
    if n_threads is not None:
        return min(count("n_threads", n_threads, at_least=1), _MOST_THREADS)
    return default_threads()


def one_of(name: str, value: str | None, choices: tuple[str | None, ...]) -> str | None:
    """One of a few words.

    Raises:
        CodesError: another.
    """
    if value not in choices:
        words = ", ".join(repr(choice) for choice in choices)
        raise CodesError(f"{name} is {value!r}; it is one of {words}")
    return value


def is_fixed(array: ArrayLike) -> bool:
    """Whether no one changes the array by mistake: it is read-only, or maps a file."""
    return isinstance(array, np.memmap) or (isinstance(array, np.ndarray) and not array.flags.writeable)


def fixed(array: NDArray[Any], given: ArrayLike) -> NDArray[Any]:
    """A checked array itself where what was given is fixed, else a copy."""
    return array if is_fixed(given) else array.copy()
