"""The compiled functions behind `grainhash.index`; contracts as in `grainhash.index.reference`.

All arrays are C-contiguous, may be read-only or memory-mapped, and are not copied. The GIL is released
while searching. Offsets, starts and entries may hold anything: damage makes wrong answers or a
ValueError, never a look outside of the arrays.
"""

from numpy import bool_, float64, int32, int64, uint8, uint32, uint64
from numpy.typing import NDArray

def kernels() -> list[str]:
    """Names of those that this processor runs, fastest first: of amx, avx512, avx2, neon, portable."""

def kernel() -> str:
    """The kernel in use."""

def use_kernel(name: str) -> None:
    """Use another kernel in this process, which changes no answer. Not while a search runs.

    Raises:
        ValueError: this processor or this build has no such kernel.
    """

def knn(
    codes: NDArray[uint8],
    n_bytes: int,
    offsets: NDArray[int64] | None,
    queries: NDArray[uint8],
    k: int,
    allow: NDArray[bool_] | None,
    n_threads: int,
) -> tuple[NDArray[int32], NDArray[int64], NDArray[int64]]:
    """Find the `k` nearest items by a scan.

    Raises:
        TypeError: an array of another dtype, number of dimensions or layout.
        ValueError: widths, offsets or the mask do not fit the codes.
    """

def range_search(
    codes: NDArray[uint8],
    n_bytes: int,
    offsets: NDArray[int64] | None,
    queries: NDArray[uint8],
    radius: int,
    allow: NDArray[bool_] | None,
    n_threads: int,
) -> tuple[NDArray[int64], NDArray[int32], NDArray[int64], NDArray[int64]]:
    """Find all items at most `radius` bits away, by a scan; otherwise as `knn`."""

def find(ids: NDArray[int64], wanted: NDArray[int64]) -> NDArray[int64]:
    """Positions of ids in an ascending array, -1 where there is none; fastest where `wanted` ascends."""

def multi_index_build(
    codes: NDArray[uint8], bounds: NDArray[int64], n_threads: int
) -> tuple[NDArray[uint32], NDArray[uint64]]:
    """Sort codes into buckets by their substrings; the same contract as in `reference`.

    Raises:
        TypeError: an array of another dtype, number of dimensions or layout.
        ValueError: bounds that do not cut the codes, or 2**32 codes and more.
    """

def multi_index_knn(
    codes: NDArray[uint8],
    offsets: NDArray[int64] | None,
    bounds: NDArray[int64],
    starts: NDArray[uint32],
    entries: NDArray[uint64],
    queries: NDArray[uint8],
    k: int,
    allow: NDArray[bool_] | None,
    budget: float,
    n_threads: int,
) -> tuple[NDArray[int32], NDArray[int64], NDArray[int64], NDArray[bool_]]:
    """Find the `k` nearest items with the tables of `multi_index_build`; see `reference`.

    `budget` is how many estimated nanoseconds, as of `multi_index_cost`, a query may waste on average if it
    is given up. One that is likely to end well may cost ten times as much; see `multi_index.h`. Offsets,
    starts and entries may hold anything: damage makes wrong answers, or queries that are not finished.

    Raises:
        TypeError: an array of another dtype, number of dimensions or layout.
        ValueError: shapes that do not fit the codes.
    """

def multi_index_range(
    codes: NDArray[uint8],
    offsets: NDArray[int64] | None,
    bounds: NDArray[int64],
    starts: NDArray[uint32],
    entries: NDArray[uint64],
    queries: NDArray[uint8],
    radius: int,
    allow: NDArray[bool_] | None,
    budget: float,
    n_threads: int,
) -> tuple[NDArray[int64], NDArray[int32], NDArray[int64], NDArray[int64], NDArray[bool_]]:
    """Find all items at most `radius` bits away; otherwise as `multi_index_knn`."""

def multi_index_cost(lookups: float, candidates: float, reads: float = 0.0) -> float:
    """Estimated nanoseconds of one thread for a query of so many look-ups, candidates and codes read."""

def asymmetric(
    codes: NDArray[uint8],
    offsets: NDArray[int64] | None,
    queries: NDArray[uint8],
    weights: NDArray[int32],
    positions: NDArray[int64],
) -> tuple[NDArray[int32], NDArray[int64], NDArray[int32]]:
    """Sum the weights of the bits that differ; the same contract as in `reference`.

    Raises:
        TypeError: an array of another dtype, number of dimensions or layout.
        ValueError: shapes that do not fit, weights outside 0 to 2**20, or a position that no item has.
    """

def log_ndtr(values: NDArray[float64]) -> NDArray[float64]:
    """Logarithms of the standard normal distribution function; the same contract as in `reference`.

    Raises:
        TypeError: an array of another dtype, number of dimensions or layout.
    """

def nearest_centres(
    codes: NDArray[uint8], centres: NDArray[uint8], n_threads: int
) -> tuple[NDArray[int32], NDArray[int32]]:
    """Find the nearest centre of each code; the same contract as in `reference`.

    Raises:
        TypeError: an array of another dtype, number of dimensions or layout.
        ValueError: no centre, or centres of another width than the codes.
    """

def count_bits(
    codes: NDArray[uint8], labels: NDArray[int32], n_groups: int, n_threads: int
) -> NDArray[int64]:
    """Count the ones of each bit in each group; the same contract as in `reference`.

    Raises:
        TypeError: an array of another dtype, number of dimensions or layout.
        ValueError: labels that do not fit the codes or the number of groups.
    """
