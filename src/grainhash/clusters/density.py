"""Groups where codes lie densely, as many as there are; what lies between them is in none.

R. Campello, D. Moulavi, J. Sander, "Density-based clustering based on hierarchical density estimates", PAKDD
2013 (HDBSCAN), as scikit-learn has it, on the exact graph of nearest neighbours instead of all distances.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from grainhash.clusters.graph import NeighbourGraph, neighbour_graph
from grainhash.errors import InputError, MissingExtra
from grainhash.types import Codes

NEIGHBOURS = 30
"""Of each code in the graph, at least."""
NOISE = -1
"""The label of a code in no group."""


def density_groups(codes: Codes, min_size: int, *, n_threads: int | None = None) -> NDArray[np.int32]:
    """The group of each of `n` codes, `(n,)`, `NOISE` where it is in none.

    Distances count one bit more than there are, so that exact copies too have a finite density. Parts of the
    graph that no neighbours join are as far from each other as codes can be.

    Args:
        codes: `(n, n_bytes)`.
        min_size: codes of the smallest group, and neighbours, itself included, that density is measured by.
        n_threads: at most so many; all by default.

    Raises:
        InputError: `min_size` below 2.
        MissingExtra: scikit-learn is not installed.
    """
    if min_size < 2:
        raise InputError(f"min_size = {min_size}: a dense group has 2 pictures or more")
    try:
        from sklearn.cluster import HDBSCAN
    except ImportError:
        raise MissingExtra("scikit-learn", "groups") from None
    if len(codes) < max(min_size, 3):
        return np.full(len(codes), NOISE, np.int32)
    if not (codes != codes[0]).any():
        return np.zeros(len(codes), np.int32)
    graph = neighbour_graph(codes, max(NEIGHBOURS, min_size), n_threads=n_threads)
    # Without a diagonal, scikit-learn does not count the code itself among its neighbours.
    model = HDBSCAN(
        min_cluster_size=min_size, min_samples=max(min_size - 1, 1), metric="precomputed", copy=False
    )
    labels: NDArray[np.int32] = model.fit_predict(_joined(graph, codes.shape[1] * 8)).astype(np.int32)
    return labels


def _joined(graph: NeighbourGraph, n_bits: int) -> Any:
    """The graph as a symmetric sparse matrix of distances plus one, its parts joined in a chain."""
    from scipy.sparse import coo_array, csr_array
    from scipy.sparse.csgraph import connected_components

    n, k = graph.neighbours.shape
    there = csr_array(
        (graph.distances.ravel() + 1.0, graph.neighbours.ravel(), np.arange(n + 1) * k), shape=(n, n)
    )
    part = connected_components(there, directed=False)[1]
    firsts = np.unique(part, return_index=True)[1]
    links = np.full(len(firsts) - 1, n_bits + 1.0)
    chain = coo_array((links, (firsts[:-1], firsts[1:])), shape=(n, n)).tocsr()
    both = (there + chain).tocsr()
    return both.maximum(both.T).tocsr()
