"""The cores of this process, and how many of them a piece of work may keep busy."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_limit: ContextVar[Callable[[], int]] = ContextVar("limit")


def usable_cores() -> int:
    """How many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_threads() -> int:
    """How many threads to use where nobody says: one for each core, or as many as `thread_limit` leaves."""
    limit = _limit.get(usable_cores)
    return max(1, min(limit(), usable_cores()))


@contextmanager
def thread_limit(limit: Callable[[], int]) -> Iterator[None]:
    """Have what this thread calls use at most so many threads where nobody says: others are at work, too.

    Args:
        limit: asked whenever work begins, as others come and go.
    """
    before = _limit.set(limit)
    try:
        yield
    finally:
        _limit.reset(before)
