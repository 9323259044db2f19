"""The middle of a group: its medoid, the member nearest to all the others together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from grainhash.types import Codes


def sums_to_members(codes: Codes) -> NDArray[np.int64]:
    """Bits from each of `n` codes to all of them together, `(n,)`, exactly and without comparing any two.

    A bit differs from those members that have the other value: `n - ones` of them where it is 1, else `ones`.
    """
    bits = np.unpackbits(codes, axis=1).astype(np.int64)
    ones = bits.sum(axis=0)
    sums: NDArray[np.int64] = bits @ (len(codes) - 2 * ones) + ones.sum()
    return sums


def from_the_middle(codes: Codes) -> NDArray[np.int64]:
    """Positions of a group's codes from its medoid outwards, equal ones in order."""
    return np.argsort(sums_to_members(codes), kind="stable")
