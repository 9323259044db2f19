"""Rounds in which all contenders take turns, because a machine is faster at one time than at another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Any

LEAST_SECONDS = 0.05
"""Calls of one contender in one round, together: enough that a clock tick or an interrupt is nothing."""

MOST_CALLS = 256

SLOW_SECONDS, SLOW_ROUNDS = 0.5, 3
"""A contender whose call takes longer than this takes part in the first rounds only."""


@dataclass
class Timed:
    """What one contender took."""

    rounds: list[float] = field(default_factory=list)
    """Mean seconds a call, round by round."""
    calls: list[float] = field(default_factory=list)
    """Seconds of every call of every round."""

    @property
    def seconds(self) -> float:
        """Of a call: the median of the rounds."""
        return median(self.rounds)


Call = Callable[[int], Any]
"""One call of a contender, told how many came before it in the round: to take another query each time."""


def take_turns(contenders: Mapping[Any, Call], n_rounds: int) -> dict[Any, Timed]:
    """Time all contenders in every round, each round starting with another one.

    First calls of each, which are not counted, warm it up and say how many calls a round needs.
    """
    first_calls = {name: _warmed_up(call) for name, call in contenders.items()}
    timed = {name: Timed() for name in contenders}
    names = list(contenders)
    for number in range(n_rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            if first_calls[name] > SLOW_SECONDS and number >= SLOW_ROUNDS:
                continue
            n_calls = min(MOST_CALLS, max(1, round(LEAST_SECONDS / first_calls[name])))
            calls = _time(contenders[name], n_calls)
            timed[name].rounds.append(sum(calls) / len(calls))
            timed[name].calls += calls
    return timed


def _warmed_up(call: Call) -> float:
    """Seconds that a call takes: the least of a few, unless one fills a round already."""
    (seconds,) = _time(call, 1)
    return seconds if seconds > LEAST_SECONDS else min(_time(call, 3))


def _time(call: Call, n: int) -> list[float]:
    """Seconds of each of `n` calls."""
    seconds = []
    for number in range(n):
        started = perf_counter()
        call(number)
        seconds.append(perf_counter() - started)
    return seconds


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """How many times faster one is than another: the median over the rounds that both took part in."""
    return median(a / b for a, b in zip(slow, fast, strict=False))


def rounded(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")
