"""Features of several parts before a method that looks at whole rows: every part counts alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from grainhash.hashing.function import HashFunction
from grainhash.hashing.linear import BLOCK
from grainhash.hashing.method import HashMethod
from grainhash.hashing.steps import BlockNorm
from grainhash.labels import Labels
from grainhash.types import Progress, silent


def fit_balanced(
    method: HashMethod,
    rows: NDArray[np.float32],
    labels: Labels | None = None,
    *,
    sizes: Sequence[int],
    progress: Callable[[Progress], None] = silent,
) -> HashFunction:
    """Fit a method to features whose parts are brought to length 1 each; that is the first step of the chain.

    Without it a part would count by its numbers and its width.

    Args:
        method: fitted in place, to the balanced features.
        rows: `(n, sum(sizes))`, as a network gives them.
        labels: `(n,)`, or `None`.
        sizes: columns of each part; with fewer than two there is nothing to balance.
        progress: told of long work.

    Raises:
        InputError, LabelsError: as `HashMethod.fit`.
    """
    if len(sizes) < 2:
        return method.fit(rows, labels, progress=progress).function
    balance = BlockNorm(tuple(sizes), np.ones(len(sizes), np.float32))
    balanced = np.empty(rows.shape, np.float32)
    for start in range(0, len(rows), BLOCK):
        balanced[start : start + BLOCK] = balance(rows[start : start + BLOCK].astype(np.float64))
    function = method.fit(balanced, labels, progress=progress).function
    return HashFunction([balance, *function.steps], function.method)
