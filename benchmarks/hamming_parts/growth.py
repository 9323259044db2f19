"""How the time of one query, and of a batch, grows with the collection: one thread, k of 10."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hamming_parts.data import synthetic
from hamming_parts.side_by_side import BATCH, Collected, Which, build_ways, check_ways, contenders, timed

PANELS = (("clustered", 64), ("uniform", 64), ("clustered", 256))


def growth(name: str, n_bits: int, sizes: Sequence[int], n_rounds: int) -> dict[str, Any]:
    """Seconds of one query and of a batch at each size, by way."""
    found = {}
    for n in sizes:
        data = synthetic(name, n, n_bits)
        result = Collected(data)
        ways = check_ways(data, build_ways(data, result, Which()))
        for group, size in (("one", 1), (f"batch{BATCH}", BATCH)):
            result.take(group, timed(contenders(data, ways, size, 10, (1,)), n_rounds))
        found[str(n)] = {group.removesuffix("_t1"): seconds for group, seconds in result.seconds.items()}
    return {"data": name, "n_bits": n_bits, "seconds": found}
