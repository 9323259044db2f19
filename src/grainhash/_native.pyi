from numpy import bool_, int32, int64, uint8
from numpy.typing import NDArray

def knn(
    codes: NDArray[uint8],
    offsets: NDArray[int64] | None,
    queries: NDArray[uint8],
    k: int,
    allow: NDArray[bool_] | None,
    n_threads: int,
) -> tuple[NDArray[int32], NDArray[int64], NDArray[int64]]:
    """Find the `k` nearest items; the same contract as `grainhash._reference.knn`.

    All arrays are C-contiguous, may be read-only or memory-mapped, and are not copied. The GIL is
    released while scanning.

    Raises:
        TypeError: an array of another dtype, number of dimensions or layout.
        ValueError: widths, offsets or the mask do not fit the codes.
    """
