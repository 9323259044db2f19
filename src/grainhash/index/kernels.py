"""The functions that search: compiled where `grainhash._native` is there, otherwise those of `reference`."""

from __future__ import annotations

try:
    from grainhash._native import (
        asymmetric,
        find,
        kernel,
        kernels,
        knn,
        multi_index_build,
        multi_index_cost,
        multi_index_knn,
        multi_index_range,
        range_search,
        use_kernel,
    )

    _NATIVE = True
except ImportError:
    from grainhash.index.reference import (
        asymmetric,
        find,
        kernel,
        kernels,
        knn,
        multi_index_build,
        multi_index_cost,
        multi_index_knn,
        multi_index_range,
        range_search,
        use_kernel,
    )

    _NATIVE = False

__all__ = [
    "asymmetric",
    "find",
    "has_native",
    "kernel",
    "kernels",
    "knn",
    "multi_index_build",
    "multi_index_cost",
    "multi_index_knn",
    "multi_index_range",
    "range_search",
    "use_kernel",
]


def has_native() -> bool:
    """Whether the compiled functions are installed."""
    return _NATIVE
