"""A map of codes in the plane: near on the map are those that are near in bits.

t-SNE (L. van der Maaten, G. Hinton, JMLR 9, 2008; Barnes-Hut, JMLR 15, 2014) of scikit-learn on the exact
graph of nearest neighbours, from principal components, which keep the large distances (D. Kobak, P. Berens,
Nature Communications 10, 2019). On one thread, so that it is the same on any number of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from grainhash.clusters.graph import neighbour_graph
from grainhash.errors import MissingExtra
from grainhash.types import Codes

MOST = 2000
"""Codes on a map; more would only hide each other."""
PERPLEXITY = 20
FEWEST = 12
"""Fewer are drawn by their principal components alone."""


def map_of(codes: Codes, *, seed: int = 0, n_threads: int | None = None) -> NDArray[np.float64]:
    """Places of `n` codes, `(n, 2)`, each coordinate from 0 to 1.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    from threadpoolctl import threadpool_limits

    try:
        from sklearn.manifold import TSNE
    except ImportError:
        raise MissingExtra("scikit-learn", "groups") from None
    from scipy.sparse import csr_array

    n = len(codes)
    with threadpool_limits(1):
        places = _principal(codes)
        if n < FEWEST or not (codes != codes[0]).any():
            return _fitted(places)
        perplexity = min(PERPLEXITY, (n - 2) // 3)
        graph = neighbour_graph(codes, 3 * perplexity + 1, n_threads=n_threads)
        k = graph.neighbours.shape[1] + 1  # a code is its own nearest
        columns = np.column_stack([np.arange(n), graph.neighbours])
        # Hamming distances are squares of Euclidean ones, and are squared there.
        lengths = np.sqrt(np.column_stack([np.zeros(n), graph.distances]))
        distances = csr_array((lengths.ravel(), columns.ravel(), np.arange(n + 1) * k), shape=(n, n))
        model = TSNE(
            perplexity=perplexity,
            metric="precomputed",
            init=(1e-4 * places / max(places[:, 0].std(), 1e-12)).astype(np.float32),
            learning_rate="auto",
            max_iter=600,
            random_state=seed,
        )
        return _fitted(model.fit_transform(distances).astype(np.float64))


def _principal(codes: Codes) -> NDArray[np.float64]:
    """The first two principal components of the bits, `(n, 2)`; the largest weight of each is positive."""
    bits = np.unpackbits(codes, axis=1).astype(np.float64)
    bits -= bits.mean(axis=0)
    axes = np.linalg.eigh(bits.T @ bits)[1][:, :-3:-1]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
    places: NDArray[np.float64] = bits @ axes
    return places


def _fitted(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places moved and scaled alike in both directions into the unit square."""
    low, high = places.min(axis=0), places.max(axis=0)
    span = max(float((high - low).max()), 1e-12)
    return np.asarray(0.5 + (places - (low + high) / 2) / span)
