"""The functions that search: compiled where `grainhash._native` is there, otherwise those of `reference`."""

from __future__ import annotations

from importlib.util import find_spec

# One that is there and does not load, or is of another version, is an error rather than a slow search.
_NATIVE = find_spec("grainhash._native") is not None

if _NATIVE:
    from grainhash._native import (
        asymmetric,
        count_bits,
        find,
        kernel,
        kernels,
        knn,
        log_ndtr,
        multi_index_build,
        multi_index_cost,
        multi_index_knn,
        multi_index_range,
        nearest_centres,
        range_search,
        use_kernel,
    )
else:
    from grainhash.index.reference import (
        asymmetric,
        count_bits,
        find,
        kernel,
        kernels,
        knn,
        log_ndtr,
        multi_index_build,
        multi_index_cost,
        multi_index_knn,
        multi_index_range,
        nearest_centres,
        range_search,
        use_kernel,
    )

__all__ = [
    "asymmetric",
    "count_bits",
    "find",
    "has_native",
    "kernel",
    "kernels",
    "knn",
    "log_ndtr",
    "multi_index_build",
    "multi_index_cost",
    "multi_index_knn",
    "multi_index_range",
    "nearest_centres",
    "range_search",
    "use_kernel",
]


def has_native() -> bool:
    """Whether the compiled functions are installed."""
    return _NATIVE
