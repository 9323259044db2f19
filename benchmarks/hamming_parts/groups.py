"""Pictures of many regions: the best region of each against a plain scan of the same bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

from grainhash.index import Index
from hamming_parts.data import Data, synthetic
from hamming_parts.exactness import must_agree, reference_answer
from hamming_parts.side_by_side import BATCH, N_CHECKED
from hamming_parts.timing import ratio, rounded, take_turns
from hamming_parts.ways import Way, ours

REGIONS = 15


def groups(n: int, n_bits: int, n_rounds: int) -> dict[str, Any]:
    """Seconds of both searches, and how many times the plain scan the best-of-group search takes."""
    data = synthetic("uniform", n // REGIONS * REGIONS, n_bits)
    offsets = np.arange(0, data.n + 1, REGIONS, dtype=np.int64)
    plain = ours(Index.from_codes(data.codes), "scan")
    grouped = ours(Index.from_codes(data.codes, offsets=offsets), "scan")
    sample = data.queries[:N_CHECKED]
    expected = reference_answer([data.codes], sample, 100, offsets)
    must_agree(f"best of {REGIONS}; {data.n} codes of {n_bits} bits", grouped(sample, 100, 1), expected)
    result: dict[str, Any] = {"codes": data.n, "pictures": data.n // REGIONS, "n_bits": n_bits}
    for name, size in (("one", 1), (f"batch{BATCH}", BATCH)):
        for threads in (1, 2):
            key = f"{name}_k10_t{threads}"
            result[key] = _against_plain(data, plain, grouped, size, threads, n_rounds)
    return result


def _against_plain(
    data: Data, plain: Way, grouped: Way, size: int, threads: int, n_rounds: int
) -> dict[str, float]:
    def call(way: Way) -> Any:
        return lambda number: way(data.queries[number % 4 * size : (number % 4 + 1) * size], 10, threads)

    timed = take_turns({"plain": call(plain), "grouped": call(grouped)}, n_rounds)
    return {
        "plain_seconds": rounded(timed["plain"].seconds),
        "grouped_seconds": rounded(timed["grouped"].seconds),
        "times_plain": rounded(ratio(timed["grouped"].rounds, timed["plain"].rounds)),
    }
