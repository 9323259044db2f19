"""Every native function in plain NumPy: the judge of `grainhash._native`, and its stand-in.

The names, arguments and answers are those of `_native.pyi`. What the native functions do cleverly,
these do plainly: a search compares everything with everything, at one thread and any budget.

Three words have one meaning throughout. An *item* is `codes[offsets[i]:offsets[i + 1]]`, or one
code where `offsets` is `None`; its distance is that of its best code. A *position* is the number
of an item. A *member* is the position of the best code inside its item, the lowest of equals; 0
without offsets.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from grainhash.codes import hamming
from grainhash.types import Codes

Offsets = NDArray[np.int64]
Mask = NDArray[np.bool_]
Found = tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]
"""Distances, positions and members."""


def kernels() -> list[str]:
    """Names of the kernels that this machine can run, best first."""
    return ["numpy"]


def kernel() -> str:
    """Name of the kernel in use."""
    return "numpy"


def use_kernel(name: str) -> None:
    """Use another of `kernels()`, in the whole process.

    Raises:
        ValueError: this machine has no such kernel.
    """
    if name not in kernels():
        raise ValueError(f"no kernel {name!r} here; there is {', '.join(kernels())}")


def knn(
    codes: Codes,
    n_bytes: int,
    offsets: Offsets | None,
    queries: Codes,
    k: int,
    allow: Mask | None,
    n_threads: int,
) -> Found:
    """Find the `k` items nearest to each query.

    Args:
        codes: `(n_codes, stride)`, of which the first `n_bytes` of each code are compared.
        n_bytes: at most `stride`.
        offsets: `(n_items + 1,)` ascending from 0 to `n_codes`, or `None`.
        queries: `(n_queries, n_bytes)`.
        k: at least 0; clamped to the number of eligible items, which are allowed and have a code.
        allow: `(n_items,)`, which items may be hits; `None` for all.
        n_threads: not used here.

    Returns:
        Distances, positions and members, `(n_queries, k)` each, in rows ordered by (distance, position).

    Raises:
        ValueError: widths, offsets or the mask do not fit the codes.
    """
    _check(codes, n_bytes, offsets, queries, allow)
    k = min(k, len(_eligible(len(codes), offsets, allow)))
    shape = len(queries), k
    found = np.empty(shape, np.int32), np.empty(shape, np.int64), np.empty(shape, np.int64)
    for row, (distances, positions, members) in enumerate(_ranked(codes, n_bytes, offsets, queries, allow)):
        found[0][row], found[1][row], found[2][row] = distances[:k], positions[:k], members[:k]
    return found


def range_search(
    codes: Codes,
    n_bytes: int,
    offsets: Offsets | None,
    queries: Codes,
    radius: int,
    allow: Mask | None,
    n_threads: int,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Find every item at most `radius` bits from each query.

    Args and errors are those of `knn`.

    Returns:
        Limits `(n_queries + 1,)`, and distances, positions and members, one after the other: query `q`
        has the entries from `limits[q]` to before `limits[q + 1]`, ordered by (distance, position).
    """
    _check(codes, n_bytes, offsets, queries, allow)
    limits = np.zeros(len(queries) + 1, np.int64)
    found: list[Found] = [(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int64))]
    for i, (distances, positions, members) in enumerate(_ranked(codes, n_bytes, offsets, queries, allow)):
        n = int(np.count_nonzero(distances <= radius))
        limits[i + 1] = limits[i] + n
        found.append((distances[:n], positions[:n], members[:n]))
    distances, positions, members = (np.concatenate(column) for column in zip(*found, strict=True))
    return limits, distances, positions, members


def find(ids: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where in `ids`, which ascend, each of `wanted` is; -1 where it is not."""
    if not len(ids):
        return np.full(len(wanted), -1, np.int64)
    positions = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    return np.where(ids[positions] == wanted, positions, -1)


def asymmetric(
    codes: Codes,
    offsets: Offsets | None,
    queries: Codes,
    weights: NDArray[np.int32],
    positions: NDArray[np.int64],
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int32]]:
    """Sum the weights of the bits in which items differ from a query: the least over an item's codes.

    Args:
        codes: `(n_codes, width)`, of which the first `n_bytes` are compared.
        offsets: `(n_items + 1,)`, or `None`.
        queries: `(n_queries, n_bytes)`.
        weights: `(n_queries, n_bits)` from 0 to 2**20, so that a sum fits into an int32.
        positions: `(n_queries, k)`, the items to compare with each query, or `(1, k)`, the same for all; -1
            for no item.

    Returns:
        Sums, members and the bits that differ there, `(n_queries, k)` each. Without an item, or where it has
        no codes, sum and bits are the largest int32 and the member is -1.

    Raises:
        ValueError: shapes that do not fit, or a position that no item has.
    """
    n_bytes = queries.shape[1]
    _check(codes, n_bytes, offsets, queries, None)
    bounds = np.arange(len(codes) + 1) if offsets is None else offsets
    if weights.shape != (len(queries), n_bytes * 8):
        raise ValueError("weights must have a row a query and a column a bit")
    if len(positions) not in (1, len(queries)):
        raise ValueError("positions must have a row a query, or one for all")
    if positions.size and (positions.min() < -1 or positions.max() >= len(bounds) - 1):
        raise ValueError("positions must be those of items, or -1")
    shape = len(queries), positions.shape[1]
    none = np.iinfo(np.int32).max
    sums, bits = np.full(shape, none, np.int32), np.full(shape, none, np.int32)
    members = np.full(shape, -1, np.int64)
    for i, items in enumerate(np.broadcast_to(positions, shape)):
        there = items >= 0
        rows, groups = rows_of(bounds, items[there])
        differ = np.unpackbits(codes[rows, :n_bytes] ^ queries[i], axis=1)
        sums[i, there], of_items = best_of_groups(differ @ weights[i], groups)
        found = of_items >= 0
        best = np.flatnonzero(there)[found]
        members[i, there], bits[i, best] = of_items, differ.sum(axis=1)[(groups[:-1] + of_items)[found]]
    return sums, members, bits


def log_ndtr(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of the standard normal distribution function, the shares below some `(n,)` deviations.

    Strictly growing, however unlikely they are; infinity, which is no deviation at all, stays infinity.
    """
    return np.array([_log_ndtr(z) for z in values.tolist()], np.float64)


def _log_ndtr(z: float) -> float:
    if z == math.inf:
        return math.inf
    if z > -30:
        return math.log(0.5 * math.erfc(-z / math.sqrt(2)))
    square = z * z  # the asymptotic series; its next term is below 1e-9 here
    series = -1 / square + 3 / square**2 - 15 / square**3
    return -square / 2 - math.log(-z) - math.log(2 * math.pi) / 2 + math.log1p(series)


def multi_index_build(
    codes: Codes, bounds: NDArray[np.int64], n_threads: int
) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]:
    """Sort the codes into buckets by each of their substrings.

    Args:
        codes: `(n_codes, n_bytes)`, fewer than 2**32.
        bounds: `(n_tables + 1,)` ascending from 0 to the number of bits; table `t` goes by the bits from
            `bounds[t]` to before `bounds[t + 1]`, 1 to 28 of them, as a number whose highest bit comes first.
        n_threads: not used here.

    Returns:
        Bucket starts, table after table, for each one more than there are numbers of so many bits; and
        entries `(n_tables, n_codes)`: bucket `b` of a table holds those from `starts[b]` to before
        `starts[b + 1]` in the table's row. The lower 32 bits of an entry are a position, and these ascend
        in a bucket. The upper are its tag, up to 32 bits of the code beside the substring: those after it,
        or those before it where they are more; as a number whose highest bit comes first.

    Raises:
        ValueError: bounds that do not fit the codes.
    """
    n_bits = codes.shape[1] * 8
    _check_bounds(bounds, n_bits)
    starts: list[NDArray[np.uint32]] = []
    entries = np.empty((len(bounds) - 1, len(codes)), np.uint64)
    for t, (first, last) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
        after, before = min(32, n_bits - last), min(32, first)
        tag_first = last if after >= before else first - before
        keys = _numbers(codes, first, last)
        tags = _numbers(codes, tag_first, tag_first + max(after, before))
        order = np.argsort(keys, kind="stable")
        sizes = np.bincount(keys.astype(np.int64), minlength=1 << (last - first))
        starts.append(np.concatenate([[0], np.cumsum(sizes)]).astype(np.uint32))
        entries[t] = tags[order] << 32 | order.astype(np.uint64)
    return np.concatenate(starts), entries


def multi_index_knn(
    codes: Codes,
    offsets: Offsets | None,
    bounds: NDArray[np.int64],
    starts: NDArray[np.uint32],
    entries: NDArray[np.uint64],
    queries: Codes,
    k: int,
    allow: Mask | None,
    budget: float,
    n_threads: int,
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64], Mask]:
    """Find what `knn` finds, with the tables of `multi_index_build`; here simply by `knn`.

    Args:
        codes, offsets, queries, k, allow, n_threads: as for `knn`.
        bounds, starts, entries: the tables of these codes.
        budget: estimated nanoseconds after which a query is given up; not used here.

    Returns:
        Distances, positions and members as from `knn`, and `(n_queries,)` which queries were finished;
        the row of one that was not means nothing.

    Raises:
        ValueError: arrays that do not fit together.
    """
    _check_tables(codes, bounds, starts, entries)
    found = knn(codes, codes.shape[1], offsets, queries, k, allow, n_threads)
    return *found, np.ones(len(queries), np.bool_)


def multi_index_range(
    codes: Codes,
    offsets: Offsets | None,
    bounds: NDArray[np.int64],
    starts: NDArray[np.uint32],
    entries: NDArray[np.uint64],
    queries: Codes,
    radius: int,
    allow: Mask | None,
    budget: float,
    n_threads: int,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64], NDArray[np.int64], Mask]:
    """Find what `range_search` finds, with the tables of `multi_index_build`; here simply by `range_search`.

    Args and errors are those of `multi_index_knn`.

    Returns:
        Limits, distances, positions and members as from `range_search`, and which queries were finished;
        one that was not has no entries.
    """
    _check_tables(codes, bounds, starts, entries)
    found = range_search(codes, codes.shape[1], offsets, queries, radius, allow, n_threads)
    return *found, np.ones(len(queries), np.bool_)


def multi_index_cost(lookups: float, candidates: float, reads: float = 0.0) -> float:
    """Estimated nanoseconds of a query that looks up so many buckets, with so many codes, and reads some."""
    return 2000.0 + 26.0 * lookups + 4.0 * candidates + 14.0 * reads


def nearest_centres(
    codes: Codes, centres: Codes, n_threads: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Find the nearest centre of each code, the first of equals.

    Args:
        codes: `(n, n_bytes)`.
        centres: `(n_groups, n_bytes)`, at least one.
        n_threads: not used here.

    Returns:
        Positions of the centres and distances in bits, `(n,)` each.

    Raises:
        ValueError: no centre, or centres of another width than the codes.
    """
    if not len(centres) or centres.shape[1] != codes.shape[1]:
        raise ValueError("there must be at least one centre, as wide as the codes")
    labels, distances = np.zeros(len(codes), np.int32), np.empty(len(codes), np.int32)
    for i, code in enumerate(codes):
        of_code = hamming(code[np.newaxis], centres)[0]
        labels[i] = of_code.argmin()
        distances[i] = of_code[labels[i]]
    return labels, distances


def count_bits(codes: Codes, labels: NDArray[np.int32], n_groups: int, n_threads: int) -> NDArray[np.int64]:
    """Count how many codes of each group have each bit.

    Args:
        codes: `(n, n_bytes)`.
        labels: `(n,)`, the group of each code, below `n_groups`; a negative one is none.
        n_groups: at least 1.
        n_threads: not used here.

    Returns:
        `(n_groups, n_bits)`.

    Raises:
        ValueError: labels that do not fit the codes or the number of groups.
    """
    if len(labels) != len(codes) or n_groups < 1 or labels.max(initial=-1) >= n_groups:
        raise ValueError("labels must have one entry a code, below the number of groups")
    ones = np.zeros((n_groups, codes.shape[1] * 8), np.int64)
    np.add.at(ones, labels[labels >= 0], np.unpackbits(codes[labels >= 0], axis=1))
    return ones


def best_of_groups(
    distances: NDArray[np.int32], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The least of each run `distances[offsets[i]:offsets[i + 1]]`, and where in the run it is first.

    Returns:
        Distances and members, `(n_groups,)` each. An empty run has the largest int32 and member -1.
    """
    n_groups = len(offsets) - 1
    best = np.full(n_groups, np.iinfo(np.int32).max, np.int32)
    members = np.full(n_groups, -1, np.int64)
    lengths = np.diff(offsets)
    filled = lengths > 0
    if filled.any():
        starts = offsets[:-1][filled]
        best[filled] = np.minimum.reduceat(distances, starts)
        positions = np.arange(len(distances), dtype=np.int64)
        positions[distances != np.repeat(best, lengths)] = len(distances)
        members[filled] = np.minimum.reduceat(positions, starts) - starts
    return best, members


def rows_of(
    offsets: NDArray[np.int64], positions: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of the codes of some items, one item after the other, and the offsets of the items in them."""
    starts = offsets[positions]
    lengths = offsets[positions + 1] - starts
    groups = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return np.repeat(starts - groups[:-1], lengths) + np.arange(groups[-1]), groups


def _ranked(
    codes: Codes, n_bytes: int, offsets: Offsets | None, queries: Codes, allow: Mask | None
) -> Iterator[Found]:
    """All eligible items for each query, ordered by (distance, position)."""
    eligible = _eligible(len(codes), offsets, allow)
    for query in queries:
        distances = hamming(query[np.newaxis], codes[:, :n_bytes])[0]
        members = np.zeros(len(codes), np.int64)
        if offsets is not None:
            distances, members = best_of_groups(distances, offsets)
        order = eligible[np.argsort(distances[eligible], kind="stable")]
        yield distances[order], order, members[order]


def _eligible(n_codes: int, offsets: Offsets | None, allow: Mask | None) -> NDArray[np.int64]:
    """Positions of the items that are allowed and have a code."""
    filled = np.ones(n_codes, np.bool_) if offsets is None else np.diff(offsets) > 0
    return np.flatnonzero(filled if allow is None else filled & allow).astype(np.int64)


def _check(codes: Codes, n_bytes: int, offsets: Offsets | None, queries: Codes, allow: Mask | None) -> None:
    if not 1 <= n_bytes <= codes.shape[1] or queries.shape[1] != n_bytes:
        raise ValueError("queries must have n_bytes bytes, at least 1 and at most as many as the codes")
    if offsets is not None and not (
        len(offsets) and offsets[0] == 0 and offsets[-1] == len(codes) and (np.diff(offsets) >= 0).all()
    ):
        raise ValueError("offsets must ascend from 0 to the number of codes")
    n_items = len(codes) if offsets is None else len(offsets) - 1
    if allow is not None and len(allow) != n_items:
        raise ValueError("allow must have one entry an item")


def _check_bounds(bounds: NDArray[np.int64], n_bits: int) -> None:
    lengths = np.diff(bounds)
    if len(bounds) < 2 or bounds[0] != 0 or bounds[-1] != n_bits or lengths.min() < 1 or lengths.max() > 28:
        raise ValueError("bounds must ascend from 0 to the number of bits, in steps of 1 to 28")


def _check_tables(
    codes: Codes, bounds: NDArray[np.int64], starts: NDArray[np.uint32], entries: NDArray[np.uint64]
) -> None:
    _check_bounds(bounds, codes.shape[1] * 8)
    n_tables = len(bounds) - 1
    if entries.shape != (n_tables, len(codes)) or len(starts) != np.sum((1 << np.diff(bounds)) + 1):
        raise ValueError("starts and entries must be those of tables with these bounds")


def _numbers(codes: Codes, first: int, last: int) -> NDArray[np.uint64]:
    """Some consecutive bits of each code as a number."""
    places = np.uint64(1) << np.arange(last - first, dtype=np.uint64)[::-1]
    return np.unpackbits(codes, axis=1)[:, first:last] @ places
