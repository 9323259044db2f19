"""Batches of training pictures: a function of seed, epoch and position, so that any step can be made again.

Pictures are decoded and cropped a few batches ahead: on a CPU by threads, which leave the cores to the
network when it needs them; for a GPU by processes, whose interpreters do not wait for each other.
"""

from __future__ import annotations

import math
import multiprocessing
import signal
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from grainhash.cores import usable_cores
from grainhash.errors import GrainhashError, first_line
from grainhash.images import decode
from grainhash.labelled import LabelledPictures
from grainhash.training.augment import Augmentation

AHEAD = 3
"""Batches in work or done ahead of the one asked for."""

MOST_PROCESSES = 16
"""That load for one GPU: more than it takes to keep one busy."""

AHEAD_OF_A_PROCESS = 2
"""Batches that each of them has in work or done, in shared memory."""

A_TURN = 8
"""Pictures that one thread loads before it asks for more."""

Ints = NDArray[np.int64]
View = tuple[NDArray[np.uint8], NDArray[np.float32]]
"""Pixels and map of colours of one picture."""


class Batch(NamedTuple):
    """The part of a step's batch that one process trains on."""

    rows: Tensor
    """`int64 (n,)`: positions in the training pictures of the whole batch, of all processes together."""
    pixels: Tensor
    """`uint8 (n_own, size, size, 3)`."""
    colours: Tensor
    """`float32 (n_own, 4, 3)`: see `Augmentation.colours`."""


@dataclass(frozen=True, slots=True, eq=False)
class Batches:
    """The batches of every epoch, the last pictures of a shuffled epoch that fill no batch left out.

    Batch norm and pairwise losses need batches of one size.
    """

    pictures: LabelledPictures
    size: int
    """Side of the pictures, in pixels."""
    batch_size: int
    """Of all processes together; at most the number of pictures."""
    seed: int
    augmentation: Augmentation
    n_workers: int
    """Threads, or processes, that load pictures."""
    for_gpu: bool = False
    """Whether processes load them, where the system can fork, and into memory that a GPU reads by itself."""

    @property
    def per_epoch(self) -> int:
        """Batches in an epoch."""
        return len(self.pictures) // self.batch_size

    def rows(self, epoch: int, step: int) -> Ints:
        """Positions of the pictures in one batch."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.pictures))
        return order[step * self.batch_size :][: self.batch_size]

    def of_epoch(self, epoch: int, *, first: int = 0, own: slice = slice(None)) -> Generator[Batch]:
        """The batches of an epoch, from step `first` on; `own` is the part of each that is loaded here.

        Close it to end the threads or processes early.

        Raises:
            PictureError: a picture that can no longer be read.
            GrainhashError: a process that loads pictures died.
        """
        steps = range(first, self.per_epoch)
        has_own = len(range(self.batch_size)[own]) > 0
        if self.for_gpu and steps and has_own and "fork" in multiprocessing.get_all_start_methods():
            return self._by_processes(epoch, steps, own)
        return self._by_threads(epoch, steps, own)

    def _by_threads(self, epoch: int, steps: range, own: slice) -> Generator[Batch]:
        in_work: deque[tuple[Ints, list[Future[list[View]]]]] = deque()
        with ThreadPoolExecutor(self.n_workers, thread_name_prefix="grainhash-load") as pool:
            try:
                for step in steps:
                    rows = self.rows(epoch, step)
                    mine = rows[own].tolist()
                    turns = [mine[start : start + A_TURN] for start in range(0, len(mine), A_TURN)]
                    in_work.append((rows, [pool.submit(self.views, epoch, turn) for turn in turns]))
                    if len(in_work) >= AHEAD:
                        yield self._waited_for(*in_work.popleft())
                while in_work:
                    yield self._waited_for(*in_work.popleft())
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _by_processes(self, epoch: int, steps: range, own: slice) -> Generator[Batch]:
        loader: DataLoader[Batch | Exception] = DataLoader(
            _Steps(self, epoch, own),
            batch_size=None,
            sampler=steps,
            num_workers=min(self.n_workers, usable_cores(), len(steps), MOST_PROCESSES),
            prefetch_factor=AHEAD_OF_A_PROCESS,
            multiprocessing_context="fork",  # what reads pictures cannot be sent to another interpreter
            worker_init_fn=_leave_interrupts_to_the_first_process,
            pin_memory=torch.cuda.is_available(),
        )
        batches = iter(loader)
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except RuntimeError as error:
                if not str(error).startswith("DataLoader worker"):
                    raise  # of a process that goes on
                raise GrainhashError(
                    f"a process that loads pictures died ({first_line(error)}); memory may be short, or "
                    "shared memory, /dev/shm: try with fewer workers"
                ) from error
            if isinstance(batch, Exception):
                raise batch
            yield batch

    def _waited_for(self, rows: Ints, turns: list[Future[list[View]]]) -> Batch:
        return self.together(rows, [view for turn in turns for view in turn.result()])

    def views(self, epoch: int, rows: list[int]) -> list[View]:
        """Some pictures as an epoch shows them."""
        return [self._view(epoch, row) for row in rows]

    def _view(self, epoch: int, row: int) -> View:
        rng = np.random.default_rng([self.seed, epoch, row])
        min_side = math.ceil(self.size / self.augmentation.smallest_side)
        source, name = self.pictures.source(row), self.pictures.names[row]
        return self.augmentation.apply(decode(source, min_side=min_side, name=name).rgb, self.size, rng)

    def together(self, rows: Ints, views: list[View]) -> Batch:
        """A batch of the pictures at `rows`, of which `views` were loaded here."""
        pixels = np.empty((len(views), self.size, self.size, 3), np.uint8)
        colours = np.empty((len(views), 4, 3), np.float32)
        for row, view in enumerate(views):
            pixels[row], colours[row] = view
        return Batch(*map(torch.from_numpy, (rows, pixels, colours)))


class _Steps(Dataset[Batch | Exception]):
    """The batches of an epoch by step, as a process that loads asks for them.

    An error is handed over, not raised: a `DataLoader` would put one of its own in its place.
    """

    def __init__(self, batches: Batches, epoch: int, own: slice) -> None:
        self.batches, self.epoch, self.own = batches, epoch, own

    def __getitem__(self, step: int) -> Batch | Exception:
        rows = self.batches.rows(self.epoch, step)
        try:
            return self.batches.together(rows, self.batches.views(self.epoch, rows[self.own].tolist()))
        except (GrainhashError, OSError) as error:
            return error


def _leave_interrupts_to_the_first_process(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
