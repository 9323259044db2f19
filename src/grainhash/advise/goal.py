"""From measurements and a goal to one length, and the sentence that says why."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grainhash.advise.lengths import Length
from grainhash.advise.quality import MEASURES, resampled_means
from grainhash.errors import InputError

QUALITY = "quality"
"""The goal that takes whichever measure the pictures allow: mAP with labels, else neighbours."""

GOALS = (QUALITY, *MEASURES)

CONFIDENCE = 0.95
"""A length is recommended if it keeps the tolerance in so many of all bootstrap samples."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What a length is chosen for: the shortest within `tolerance` of the best that keeps the limits.

    Raises:
        InputError: an unknown quality, or a limit or tolerance that is no such number.
    """

    quality: str = QUALITY
    """One of `GOALS`."""
    tolerance: float = 0.01
    """Quality that a shorter code may cost."""
    max_bytes: float | None = None
    """On disk, a picture, all included."""
    max_ms: float | None = None
    """Median time of a search."""

    def __post_init__(self) -> None:
        if self.quality not in GOALS:
            raise InputError(f"no goal is called {self.quality!r}; there are {', '.join(GOALS)}")
        if not 0 <= self.tolerance < 1:
            raise InputError(f"a tolerance of {self.tolerance}; quality is from 0 to 1, so take 0.01 or so")
        for name, limit in (("bytes", self.max_bytes), ("milliseconds", self.max_ms)):
            if limit is not None and not (math.isfinite(limit) and limit > 0):
                raise InputError(f"at most {limit} {name}; give a number above 0")

    def allows(self, length: Length) -> bool:
        """Whether a length keeps the limits."""
        return not self.broken_by(length)

    def broken_by(self, length: Length) -> list[str]:
        """The limits that a length breaks, in words."""
        broken = []
        if self.max_bytes is not None and length.storage.disk > self.max_bytes:
            broken.append(
                f"{length.storage.disk:,.0f} bytes a picture where {self.max_bytes:,.0f} are allowed"
            )
        if self.max_ms is not None and length.search.median > self.max_ms:
            broken.append(f"{milliseconds(length.search.median)} where {self.max_ms:g} ms are allowed")
        return broken


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One length, or none where no length keeps the limits."""

    n_bits: int | None
    best_bits: int | None
    """The best of those that keep the limits."""
    sureness: Mapping[int, float]
    """For each of them, in which share of bootstrap samples it is within the tolerance of the best."""
    reason: str
    """One sentence."""


def recommend(
    lengths: Sequence[Length],
    values: Mapping[int, NDArray[np.float64]],
    goal: Goal,
    measure: str,
    *,
    n_pictures: int,
    seed: int,
) -> Recommendation:
    """The shortest length that keeps the limits and is surely within the tolerance of the best that does.

    Surely: in `CONFIDENCE` of all bootstrap samples of the queries, the same for every length. So a
    handful of queries recommends a long code, and says that it does not know better.

    Args:
        lengths: ascending.
        values: `(n_queries,)` of `measure` for each number of bits, of the same queries.
        goal: what to choose for.
        measure: the quality it goes by.
        n_pictures: the size of gallery that times were measured for.
        seed: of the bootstrap.
    """
    allowed = [length for length in lengths if goal.allows(length)]
    if not allowed:
        return _none_fits(lengths, goal)
    means = np.stack([values[length.n_bits] for length in allowed])
    best = allowed[int(means.mean(axis=1).round(12).argmax())]
    resampled = resampled_means(means, seed)
    within = resampled >= resampled.max(axis=0) - goal.tolerance - 1e-12
    sureness = within.mean(axis=1)
    sure = np.flatnonzero(sureness >= CONFIDENCE)
    chosen = allowed[int(sure[0]) if len(sure) else int(sureness.argmax())]
    return Recommendation(
        n_bits=chosen.n_bits,
        best_bits=best.n_bits,
        sureness={length.n_bits: float(share) for length, share in zip(allowed, sureness, strict=True)},
        reason="; ".join(
            [
                f"{chosen.n_bits} bits: {_why(chosen, best, allowed, goal, measure, sureness)}",
                *_limits(lengths, best, goal),
                _bytes(chosen),
                f"{milliseconds(chosen.search.median)} at {n_pictures:,} pictures",
            ]
        ),
    )


def milliseconds(time: float) -> str:
    """A time with as many digits as say something."""
    return f"{time:,.0f} ms" if time >= 100 else f"{time:.2g} ms" if time < 9.95 else f"{time:.0f} ms"


def decimals(value: float) -> str:
    """A share without its leading zero: `.612`."""
    return f"{value:.3f}".removeprefix("0")


def _bytes(length: Length) -> str:
    stored = length.storage
    copy = f" and {stored.copy:,.0f} a copy of them" if stored.copy else ""
    return f"{stored.disk:,.0f} bytes a picture, {stored.codes:,.0f} of them codes{copy}"


def brief(value: float) -> str:
    """A share as it was asked for: `.01`."""
    return f"{value:g}".replace("0.", ".", 1)


def _why(
    chosen: Length,
    best: Length,
    allowed: Sequence[Length],
    goal: Goal,
    measure: str,
    sureness: NDArray[np.float64],
) -> str:
    own, top = (decimals(length.quality[measure].mean) for length in (chosen, best))
    name = MEASURES[measure].title
    close = [
        (length.n_bits, share)
        for length, share in zip(allowed, sureness, strict=True)
        if length.n_bits < chosen.n_bits
        and length.quality[measure].mean >= best.quality[measure].mean - goal.tolerance
    ]
    doubt = ""
    if close:
        n_bits, share = close[0]
        doubt = (
            f" ({n_bits} bits come as close, but in {share:.0%} of resamplings of the "
            f"{chosen.quality[measure].n:,} queries only)"
        )
    if chosen is best:
        return f"{name} {own}, the best of the lengths{' within the limits' if _limited(goal) else ''}{doubt}"
    return f"{name} {own}, within {brief(goal.tolerance)} of {best.n_bits} bits' {top}{doubt}"


def _limited(goal: Goal) -> bool:
    return goal.max_bytes is not None or goal.max_ms is not None


def _limits(lengths: Sequence[Length], best: Length, goal: Goal) -> list[str]:
    """What keeps the next longer length out, if limits do."""
    longer = [length for length in lengths if length.n_bits > best.n_bits and not goal.allows(length)]
    if not longer:
        return []
    return [f"{longer[0].n_bits} bits would take {' and '.join(goal.broken_by(longer[0]))}"]


def _none_fits(lengths: Sequence[Length], goal: Goal) -> Recommendation:
    least = lengths[0]
    return Recommendation(
        None,
        None,
        {},
        f"no length keeps the limits: even {least.n_bits} bits take "
        f"{' and '.join(goal.broken_by(least))}; allow more, or index whole pictures only",
    )
