"""Every way held to the NumPy reference, in the run that times it; a wrong answer ends the benchmark."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from grainhash.index import reference
from grainhash.types import Codes
from hamming_parts.ways import Answer


def reference_answer(
    chunks: Iterable[Codes], queries: Codes, k: int, offsets: NDArray[np.int64] | None = None
) -> Answer:
    """The `k` nearest by the NumPy reference, over a collection that comes in chunks.

    With `offsets` there is one chunk, whose items they bound.
    """
    distances = np.empty((len(queries), 0), np.int32)
    ids = np.empty((len(queries), 0), np.int64)
    start = 0
    for chunk in chunks:
        found = reference.knn(chunk, chunk.shape[1], offsets, queries, k, None, 1)
        distances = np.concatenate([distances, found[0]], axis=1)
        ids = np.concatenate([ids, found[1] + start], axis=1)
        nearest = np.argsort(distances, axis=1, kind="stable")[:, :k]
        distances = np.take_along_axis(distances, nearest, axis=1)
        ids = np.take_along_axis(ids, nearest, axis=1)
        start += len(chunk)
    return distances, ids


def must_agree(what: str, answer: Answer, expected: Answer, *, ids: bool = True) -> None:
    """End the benchmark unless distances, and ids where both sides order ties alike, are the same."""
    same = np.array_equal(answer[0], expected[0]) and (not ids or np.array_equal(answer[1], expected[1]))
    if not same:
        raise SystemExit(f"WRONG ANSWER: {what}")
