"""Every way to search a collection, behind one signature. Peers are imported only when they are asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grainhash.index import Index
from grainhash.types import Codes

Answer = tuple[NDArray[Any], NDArray[Any]]
"""Distances and ids, `(n_queries, k)` each."""

Way = Callable[[Codes, int, int], Answer]
"""Queries, k and the number of threads in; an answer out."""


def ours(index: Index, plan: str | None) -> Way:
    """grainhash, by one plan, or by the one it takes for the cheapest."""

    def search(queries: Codes, k: int, n_threads: int) -> Answer:
        found = index.search(queries, k, plan=plan, n_threads=n_threads)
        return found.distances, found.ids

    return search


def numpy_scan(codes: Codes) -> Way:
    """What one would write in NumPy: XOR, population count, partial sort; one thread, ties in any order."""
    words = codes.view(np.uint64)

    def search(queries: Codes, k: int, n_threads: int) -> Answer:
        rows = []
        for query in queries.view(np.uint64):
            distances = np.bitwise_count(words ^ query).sum(axis=1, dtype=np.int32)
            nearest = np.argpartition(distances, k)[:k]
            nearest = nearest[np.argsort(distances[nearest], kind="stable")]
            rows.append((distances[nearest], nearest))
        return np.stack([row[0] for row in rows]), np.stack([row[1] for row in rows])

    return search


def faiss_way(index: Any) -> Way:
    """An index of FAISS, as it is set."""
    import faiss

    def search(queries: Codes, k: int, n_threads: int) -> Answer:
        faiss.omp_set_num_threads(n_threads)
        distances, ids = index.search(queries, k)
        return distances, ids

    return search


def faiss_flat(codes: Codes) -> Way:
    """FAISS' own exact scan, `IndexBinaryFlat`, on a copy of the codes."""
    import faiss

    index = faiss.IndexBinaryFlat(codes.shape[1] * 8)
    index.add(codes)
    return faiss_way(index)


def usearch_exact(codes: Codes) -> Way:
    """usearch's exact search over an array."""
    from usearch.index import MetricKind
    from usearch.index import search as exact_search

    def search(queries: Codes, k: int, n_threads: int) -> Answer:
        found = exact_search(codes, queries, k, MetricKind.Hamming, exact=True, threads=n_threads, dtype="b1")
        shape = len(queries), -1
        return np.asarray(found.distances).reshape(shape), np.asarray(found.keys).reshape(shape)

    return search
