"""Batches of training pictures: a function of seed, epoch and position, so that any step can be made again.

Pictures are decoded and cropped by threads, a few batches ahead; Pillow and libjpeg-turbo let go of the
interpreter, so there is nothing that processes would do better.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from grainhash.images import decode
from grainhash.labelled import LabelledPictures
from grainhash.training.augment import Augmentation

AHEAD = 3
"""Batches in work or done ahead of the one asked for."""

Ints = NDArray[np.int64]
View = tuple[NDArray[np.uint8], NDArray[np.float32]]
"""Pixels and map of colours of one picture."""


class Batch(NamedTuple):
    """The part of a step's batch that one process trains on."""

    rows: Ints
    """`(n,)`: positions in the training pictures of the whole batch, of all processes together."""
    pixels: NDArray[np.uint8]
    """`(n_own, size, size, 3)`."""
    colours: NDArray[np.float32]
    """`(n_own, 4, 3)`: see `Augmentation.colours`."""


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
    n_threads: int

    @property
    def per_epoch(self) -> int:
        """Batches in an epoch."""
        return len(self.pictures) // self.batch_size

    def rows(self, epoch: int, step: int) -> Ints:
        """Positions of the pictures in one batch."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.pictures))
        return order[step * self.batch_size :][: self.batch_size]

    def of_epoch(self, epoch: int, *, first: int = 0, own: slice = slice(None)) -> Iterator[Batch]:
        """The batches of an epoch, from step `first` on; `own` is the part of each that is loaded here."""
        in_work: deque[tuple[Ints, list[Future[View]]]] = deque()
        with ThreadPoolExecutor(self.n_threads, thread_name_prefix="grainhash-load") as pool:
            try:
                for step in range(first, self.per_epoch):
                    rows = self.rows(epoch, step)
                    in_work.append((rows, [pool.submit(self._view, epoch, int(row)) for row in rows[own]]))
                    if len(in_work) >= AHEAD:
                        yield self._together(*in_work.popleft())
                while in_work:
                    yield self._together(*in_work.popleft())
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _view(self, epoch: int, row: int) -> View:
        rng = np.random.default_rng([self.seed, epoch, row])
        min_side = math.ceil(self.size / self.augmentation.smallest_side)
        source, name = self.pictures.source(row), self.pictures.names[row]
        return self.augmentation.apply(decode(source, min_side=min_side, name=name).rgb, self.size, rng)

    def _together(self, rows: Ints, views: list[Future[View]]) -> Batch:
        pixels = np.empty((len(views), self.size, self.size, 3), np.uint8)
        colours = np.empty((len(views), 4, 3), np.float32)
        for row, view in enumerate(views):
            pixels[row], colours[row] = view.result()
        return Batch(rows, pixels, colours)
