"""How likely a match is chance: the expected number of false matches, and a score in 0..1 made of it.

A distance means little by itself: codes of one hash function are nearer to each other than those of
another, some queries are near to everything, and among many granules some are near by chance. So each query
is compared with a sample of the gallery's own granules, nearly all of which have nothing to do with it. A
normal distribution through their median and their first percentile says how often anything unrelated comes as
near as a distance. (Where that is far wider than the first quartile has it, the percentile is of pictures
that do have to do with the query, as those of its burst do, and it is taken as only twice as wide.) Times the
number of granules of its kind that are searched, over the share that a part of the query has in all false
matches (`grainhash.search`), that is how many false matches to expect:

    expected(d) = n_granules / share * Phi((d - median) / spread)        score = 1 / (1 + expected)

What wholes and what regions say of a picture is averaged (`together`): a picture that is alike as a whole and
in a part is less likely chance than one that is alike in a part alone. How much each counts is for
`grainhash.search` to say.

A score of .5 is as near as one chance match is expected to come in this gallery, .9 as near as a ninth of
one, .99 a hundredth. The idea is that of e-values in sequence search (Karlin, Altschul, PNAS 1990).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log1p, sqrt
from typing import Self

import numpy as np
from numpy.typing import NDArray

from grainhash.index.kernels import log_ndtr

SAMPLE = 4096
"""Granules of each kind that a query is compared with."""

LEAST = 2000
"""Fewer say too little of chance, and a match has too large a share of them; then see `Chance.usual`."""

LOW = 0.01
"""The share of the sample that lies below the second point the distribution goes through."""

QUARTER = 0.25
"""The share of the sample below a third point, which pictures that are like the query hardly move."""

WIDEST = 2.0
"""The most that the spread by `LOW` may be of that by `QUARTER`, but for the usual one, which it always may.

Tails are heavier than normal: on galleries of our own it is 1.2 to 1.6 times that for most queries, and more
than twice for one in ten where a class has many pictures. Among those of Caltech-101, whose classes are
alike, 1.4 pictures of another class score .5 or more with this cap, 1.1 without; elsewhere it is as many."""

_LOW_DEVIATIONS, _QUARTER_DEVIATIONS = 2.3263478740408408, 0.6744897501960817
"""How many standard deviations below the mean such shares of a normal distribution lie."""

POWER = -0.25
"""Of the mean by which several expectations become one: the least of them counts most, and none is lost.

Tuned on splits of our own: towards minus infinity the least counts alone, towards 0 their product."""

USUAL_MEDIAN = 0.49
"""Of distances between unrelated photographs' granules, as a share of the bits: the shipped encoder's."""


def usual_spread(n_bits: int) -> float:
    """The spread of the same distances, as a share of the bits: fewer bits are fewer throws of a die.

    Through what asymmetric distances to wholes measure with the shipped encoder on Caltech-101's database
    pictures (.146, .114, .089, .077 and .074 at 16 to 256 bits), which spread more than any other.
    """
    return sqrt(0.07**2 + 0.3 * (1 / n_bits - 1 / 256))


@dataclass(frozen=True, slots=True, eq=False)
class Chance:
    """The distances that queries have by chance: a normal distribution for each."""

    median: NDArray[np.float64]
    """`(n_queries,)`."""
    spread: NDArray[np.float64]
    """`(n_queries,)`: its standard deviation."""

    @classmethod
    def of(cls, distances: NDArray[np.floating], n_bits: int) -> Self:
        """From the distances of queries to a sample of granules, `(n_queries, n)`."""
        n_queries, n = distances.shape
        if n < LEAST:
            return cls.usual(n_queries, n_bits)
        low, quarter, median = _quantiles(distances, (LOW, QUARTER, 0.5))
        widest = np.maximum(WIDEST * (median - quarter) / _QUARTER_DEVIATIONS, usual_spread(n_bits) * n_bits)
        spread = np.minimum((median - low) / _LOW_DEVIATIONS, widest)
        return cls(median, np.maximum(spread, n_bits / 1e6))

    @classmethod
    def usual(cls, n_queries: int, n_bits: int) -> Self:
        """Where there is too little to go by."""
        median, spread = USUAL_MEDIAN * n_bits, usual_spread(n_bits) * n_bits
        return cls(np.full(n_queries, median), np.full(n_queries, spread))


def log_shares(
    distances: NDArray[np.float64],
    median: NDArray[np.float64] | float,
    spread: NDArray[np.float64] | float,
) -> NDArray[np.float64]:
    """The share of unrelated granules that come as near as each distance: its logarithm.

    Strictly growing with the distance, however unlikely it is; infinite for an infinite one. Medians and
    spreads are broadcast against distances.
    """
    deviations = (distances - median) / spread
    return log_ndtr(deviations.ravel()).reshape(deviations.shape)


def together(log_expected: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """One expectation of several for the same thing, `(n_kinds, ...)` to `(...)`: logarithms.

    Their power mean, times what makes it hold however much the kinds depend on each other (Vovk, Wang,
    "Combining p-values via averaging", Biometrika 2020). An infinite one says nothing for the thing; a single
    one stays as it is.

    Args:
        log_expected: `(n_kinds, ...)`.
        weights: `(n_kinds, ...)`, what each kind counts; they add up to 1, and are broadcast.
    """
    if len(log_expected) == 1:
        return np.asarray(log_expected[0])
    powers = POWER * log_expected + np.log(weights)
    return np.asarray((np.logaddexp.reduce(powers, axis=0) + log1p(POWER)) / POWER)


def score_of(expected: float) -> float:
    """`1 / (1 + expected)`, 0..1: 1 is certain."""
    return 1 / (1 + expected)


def _quantiles(rows: NDArray[np.floating], shares: Sequence[float]) -> list[NDArray[np.float64]]:
    """Of each row, as `numpy.quantile` has them, in a tenth of the time."""
    last = rows.shape[1] - 1
    places = [share * last for share in shares]
    parted = np.partition(rows, [min(int(at) + more, last) for at in places for more in (0, 1)], axis=1)
    pairs = [(at - int(at), parted[:, int(at)], parted[:, min(int(at) + 1, last)]) for at in places]
    return [low + share * (high - low) for share, low, high in pairs]
