"""The cores of a service: a bounded queue, a few threads, and waiting queries seen by the network together.

All work that takes time goes through here, so that no more runs at once than there are cores and one, and no
more waits than there is room for. The network keeps each on one core; what is done alone, such as a scan of
many codes, may use all of them, and beside others its share of them.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any, TypeVar

from grainhash.cores import thread_limit, usable_cores
from grainhash.encoder.encoder import Asked, Query
from grainhash.encoder.pipeline import one_core_each
from grainhash.gallery import Gallery
from grainhash.service.problems import busy

T = TypeVar("T")

TOGETHER = 8
"""Queries that the network sees at once, at most: more are no faster."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the gallery's encoder saw in a query."""

    asked: Asked
    encoder: str
    """Its fingerprint."""
    seconds: float
    """What seeing it took, together with the others of its batch."""


Then = Callable[[Sequence[Query], Sequence[Look]], Sequence[Any]]
"""What goes on with queries and what was seen in each; an answer for each, in their order."""


@dataclass(slots=True, eq=False)
class _Job:
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    work: Callable[[], Any] | None = None
    query: Query | None = None
    like: Hashable = None
    then: Then | None = None

    def done(self, value: Any) -> None:
        self.loop.call_soon_threadsafe(self._settle, value)

    def _settle(self, value: Any) -> None:
        if self.future.done():  # nobody waits for it any more
            return
        if isinstance(value, BaseException):
            self.future.set_exception(value)
        else:
            self.future.set_result(value)


@dataclass(eq=False)
class Workers:
    """Threads, fed by one bounded queue.

    Args:
        gallery: whose encoder looks at queries.
        capacity: jobs that wait, at most.
        n: threads; by default one more than cores, as one often waits for the network or the interpreter.
        seen: told how many queries the network saw together.
    """

    gallery: Gallery
    capacity: int
    n: int | None = None
    seen: Callable[[int], None] = lambda n: None
    _jobs: deque[_Job] = field(default_factory=deque)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _threads: list[threading.Thread] = field(default_factory=list)
    _n_idle: int = 0
    _closing: bool = False

    def start(self) -> None:
        """Compile the network and start the threads."""
        self._limits = one_core_each(self.gallery.encoder)
        self._limits.__enter__()
        self._threads = [
            threading.Thread(target=self._work, name=f"grainhash-{number}", daemon=True)
            for number in range(self.n_threads)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Finish what was accepted, then end the threads."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._limits.__exit__(None, None, None)

    @property
    def n_threads(self) -> int:
        """How many threads there are to be."""
        return self.n or usable_cores() + 1

    @property
    def waiting(self) -> int:
        """Jobs that no thread has taken yet."""
        return len(self._jobs)

    def check_room(self) -> None:
        """Refuse a request early, before its picture is read.

        Raises:
            Problem: 503, the queue is full.
        """
        if len(self._jobs) >= self.capacity:
            raise busy("the server is busy")

    async def run(self, work: Callable[[], T]) -> T:
        """Have a thread do some work.

        Raises:
            Problem: 503, the queue is full.
        """
        result: T = await self._put(work=work)
        return result

    async def look(self, query: Query, like: Hashable, then: Then) -> Any:
        """Have a thread look at a query, together with others that wait, and go on with what it saw.

        Args:
            query: what to look at.
            like: equal for queries that are gone on with together, if they wait together.
            then: goes on with such queries; that of any of them does.

        Raises:
            PictureError: the picture cannot be used.
            Problem: 503, the queue is full.
        """
        return await self._put(query=query, like=like, then=then)

    async def _put(self, **what: Any) -> Any:
        loop = asyncio.get_running_loop()
        job = _Job(loop, loop.create_future(), **what)
        with self._changed:
            if len(self._jobs) >= self.capacity or self._closing:
                raise busy("the server is busy")
            self._jobs.append(job)
            self._changed.notify()
        try:
            return await job.future
        except asyncio.CancelledError:  # nobody waits for it any more
            with self._changed, suppress(ValueError):
                self._jobs.remove(job)
            raise

    def _work(self) -> None:
        while True:
            with self._changed:
                self._n_idle += 1
                while not self._jobs and not self._closing:
                    self._changed.wait()
                self._n_idle -= 1
                if not self._jobs:
                    return
                jobs = self._take()
            with thread_limit(self._share):
                self._do_all(jobs)

    def _share(self) -> int:
        """Threads for what a job begins now: its share of the cores, beside all that is there to do."""
        with self._changed:
            n_busy = len(self._threads) - self._n_idle + len(self._jobs)
            return usable_cores() // max(1, min(n_busy, len(self._threads)))

    def _do_all(self, jobs: list[_Job]) -> None:
        try:
            self._do(jobs)
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].done(error)
            else:  # one of them spoils it for all: each for itself
                for job in jobs:
                    self._alone(job)

    def _alone(self, job: _Job) -> None:
        try:
            self._do([job])
        except Exception as error:
            job.done(error)

    def _take(self) -> list[_Job]:
        """The next job, and if that is a query others that wait, of which every idle thread has its share."""
        first = self._jobs.popleft()
        if first.query is None:
            return [first]
        waiting = [job for job in self._jobs if job.query is not None]
        share = min(TOGETHER - 1, len(waiting) // (1 + self._n_idle))
        for job in waiting[:share]:
            self._jobs.remove(job)
        return [first, *waiting[:share]]

    def _do(self, jobs: list[_Job]) -> None:
        if jobs[0].work is not None:
            (job,) = jobs
            job.done(_tried(jobs[0].work))
            return
        started = perf_counter()
        encoder = self.gallery.encoder
        looks = encoder.ask_all([job.query for job in jobs if job.query is not None])
        seconds = perf_counter() - started
        self.seen(len(jobs))
        alike: dict[Hashable, list[tuple[_Job, Look]]] = {}
        for job, asked in zip(jobs, looks, strict=True):
            if isinstance(asked, Asked):
                alike.setdefault(job.like, []).append((job, Look(asked, encoder.fingerprint, seconds)))
            else:
                job.done(asked)
        for group in alike.values():
            _go_on(group)


def _go_on(group: Sequence[tuple[_Job, Look]]) -> None:
    """Answer some queries that are alike."""
    then, queries = group[0][0].then, [job.query for job, _ in group if job.query is not None]
    assert then is not None
    answers = _tried(partial(then, queries, [look for _, look in group]))
    if not isinstance(answers, Exception):
        for (job, _), answer in zip(group, answers, strict=True):
            job.done(answer)
    elif len(group) == 1:
        group[0][0].done(answers)
    else:  # one of them spoils it for all: each for itself
        for each in group:
            _go_on([each])


def _tried(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except Exception as error:
        return error
