"""What approximate indexes give up for their speed: recall@10 against queries a second, on one thread.

Recall counts an answer as right when it is as near as the tenth nearest: with codes many are equally near,
and which of them an index returns is a matter of taste. An id below 0 is none. Builders may use every core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

import numpy as np

from grainhash.cores import usable_cores
from grainhash.index import Index
from grainhash.types import Codes
from hamming_parts.data import Data, synthetic
from hamming_parts.side_by_side import BATCH
from hamming_parts.timing import rounded, take_turns
from hamming_parts.ways import Way, faiss_flat, faiss_way, ours

K = 10
Setting = tuple[str, Callable[[], None]]
"""Its name, and what brings it about."""


def recall(name: str, n: int, n_bits: int, n_rounds: int) -> dict[str, Any]:
    """One entry for each index and setting: seconds to build, queries a second, recall."""
    data = synthetic(name, n, n_bits)
    entries = []
    tenth: Any = None
    for kind, build in BUILDERS.items():
        started = perf_counter()
        way, settings = build(data.codes, usable_cores())
        build_seconds = perf_counter() - started
        for setting, apply in settings:
            apply()
            found = take_turns({"way": _batches(data, way)}, n_rounds)["way"]
            distances, ids = way(data.queries, K, 1)
            if tenth is None:
                tenth = distances[:, K - 1 :]
            right = (ids >= 0) & (distances <= tenth)
            entries.append(
                {
                    "index": kind,
                    "setting": setting,
                    "build_seconds": rounded(build_seconds),
                    "queries_per_second": rounded(BATCH / found.seconds),
                    "recall": rounded(float(np.mean(right))),
                }
            )
    return {"data": name, "n": n, "n_bits": n_bits, "entries": entries}


def _batches(data: Data, way: Way) -> Callable[[int], Any]:
    n_batches = max(1, len(data.queries) // BATCH)
    return lambda number: way(data.queries[number % n_batches * BATCH :][:BATCH], K, 1)


# The indexes, the exact ones first: they say how near the tenth nearest is


def _grainhash(plan: str | None) -> Callable[[Codes, int], tuple[Way, list[Setting]]]:
    def build(codes: Codes, n_threads: int) -> tuple[Way, list[Setting]]:
        index = Index.from_codes(codes)
        if plan is None:
            index.build(n_threads=n_threads)
        return ours(index, plan), [("exact", lambda: None)]

    return build


def _faiss_flat(codes: Codes, n_threads: int) -> tuple[Way, list[Setting]]:
    return faiss_flat(codes), [("exact", lambda: None)]


def _faiss_hnsw(codes: Codes, n_threads: int) -> tuple[Way, list[Setting]]:
    import faiss

    faiss.omp_set_num_threads(n_threads)
    index = faiss.IndexBinaryHNSW(codes.shape[1] * 8, 16)
    index.hnsw.efConstruction = 40
    index.add(codes)
    return faiss_way(index), list(_set(index.hnsw, "efSearch", (16, 32, 64, 128, 256)))


def _faiss_ivf(codes: Codes, n_threads: int) -> tuple[Way, list[Setting]]:
    import faiss

    faiss.omp_set_num_threads(n_threads)
    n_bits = codes.shape[1] * 8
    n_lists = max(16, round(len(codes) ** 0.5))
    quantizer = faiss.IndexBinaryFlat(n_bits)
    index = faiss.IndexBinaryIVF(quantizer, n_bits, n_lists)
    index.quantizer_ = quantizer  # keeps it alive: the index holds no reference of its own
    index.train(codes[: 50 * n_lists])
    index.add(codes)
    return faiss_way(index), list(_set(index, "nprobe", (1, 4, 16, 64)))


def _faiss_multi_hash(codes: Codes, n_threads: int) -> tuple[Way, list[Setting]]:
    import faiss

    index = faiss.IndexBinaryMultiHash(codes.shape[1] * 8, 4, 16)
    index.add(codes)
    return faiss_way(index), list(_set(index, "nflip", (0, 1, 2)))


def _usearch_hnsw(codes: Codes, n_threads: int) -> tuple[Way, list[Setting]]:
    from usearch.index import Index as UsearchIndex
    from usearch.index import MetricKind

    index = UsearchIndex(ndim=codes.shape[1] * 8, metric=MetricKind.Hamming, dtype="b1")
    index.add(np.arange(len(codes)), codes, threads=n_threads)

    def search(queries: Codes, k: int, n_threads: int) -> tuple[Any, Any]:
        found = index.search(queries, k, threads=n_threads)
        ids = np.asarray(found.keys).astype(np.int64)
        ids[np.arange(k) >= np.asarray(found.counts)[:, np.newaxis]] = -1
        return np.asarray(found.distances), ids

    return search, list(_set(index, "expansion_search", (16, 64, 256)))


def _set(target: Any, name: str, values: tuple[int, ...]) -> Iterator[Setting]:
    """One setting a value of an attribute."""
    for value in values:
        yield f"{name}={value}", lambda value=value: setattr(target, name, value)


BUILDERS: dict[str, Callable[[Codes, int], tuple[Way, list[Setting]]]] = {
    "grainhash scan": _grainhash("scan"),
    "grainhash auto": _grainhash(None),
    "FAISS Flat": _faiss_flat,
    "FAISS HNSW": _faiss_hnsw,
    "FAISS IVF": _faiss_ivf,
    "FAISS MultiHash": _faiss_multi_hash,
    "usearch HNSW": _usearch_hnsw,
}
