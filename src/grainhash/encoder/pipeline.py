"""Many pictures at once: read, decode, cut and encode on every core, in order, in bounded memory.

One worker a core takes a few pictures through all stages by itself. Each stage runs on that one
core, so decoding and the network never fight for it, and no queue between stages can run dry.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from grainhash.cores import default_threads
from grainhash.encoder.encoder import Encoder, Granules
from grainhash.errors import PictureError
from grainhash.images import read_bytes
from grainhash.types import PictureCodes

GRANULES_A_RUN = 8
"""Granules that go through the network together, those of one picture at least: more are no faster, and
leave a core idle longer at the end."""

CHUNKS_AHEAD = 4
"""Chunks in work or done ahead of the one asked for, a worker: one slow picture stalls nobody."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Encoded:
    """One file, read and encoded; `codes` is `None` where its content was already known."""

    path: Path
    sha256: str
    codes: PictureCodes | None
    meta: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Failed:
    """One file that could not be encoded, and why."""

    path: Path
    error: PictureError


Result = Encoded | Failed

Cut = Callable[[Path, bytes], Granules]
"""From a file and its content to its granules, cut."""


def encode_files(
    encoder: Encoder,
    paths: Iterable[Path],
    *,
    is_known: Callable[[str], bool] = lambda sha256: False,
    cut: Cut | None = None,
    n_workers: int | None = None,
) -> Generator[Result, None, None]:
    """Encode files, yielding one result a path in the order of `paths`.

    Args:
        encoder: shared by the workers.
        paths: consumed lazily, a few chunks ahead.
        is_known: called by the workers with a content's SHA-256; content that is known is not
            decoded again.
        cut: what cuts a picture's granules; `Encoder.cut` by default.
        n_workers: `default_threads()` by default.
    """
    size = max(1, GRANULES_A_RUN // encoder.granules.n_usual)
    work = partial(_encode_chunk, encoder, is_known, cut or partial(_cut, encoder))
    with (
        one_core_each(encoder),
        closing(in_order(work, paths, size, n_workers)) as chunks,
    ):
        for results in chunks:
            yield from results


def features_of_files(
    encoder: Encoder, paths: Iterable[Path], *, n_workers: int | None = None
) -> Iterator[NDArray[np.float32]]:
    """The features, `(1 + n_regions, n_features)`, of every file that can be read, to fit on."""

    def features(path: Path) -> NDArray[np.float32] | None:
        try:
            data = read_bytes(path, limits=encoder.limits)
            return encoder.see([encoder.cut(data, name=str(path))])[0].features
        except PictureError:
            return None

    def some(chunk: list[Path]) -> list[NDArray[np.float32] | None]:
        return [features(path) for path in chunk]

    with one_core_each(encoder), closing(in_order(some, paths, 1, n_workers)) as chunks:
        for chunk in chunks:
            yield from (rows for rows in chunk if rows is not None)


def in_order(
    work: Callable[[list[T]], R], items: Iterable[T], size: int, n_workers: int | None = None
) -> Generator[R, None, None]:
    """What `work` makes of every `size` items, in their order, some ahead on every core.

    Threads are enough: decoding, resizing and the network let go of the interpreter.

    Args:
        work: given up to `size` items at a time, by several threads at once.
        items: consumed lazily, `CHUNKS_AHEAD` chunks a worker ahead.
        size: items that one thread takes at a time.
        n_workers: the cores of this process by default.
    """
    n_workers = n_workers or default_threads()
    in_work: deque[Future[R]] = deque()
    with ThreadPoolExecutor(n_workers, thread_name_prefix="grainhash") as pool:
        try:
            for chunk in _chunks(items, size):
                in_work.append(pool.submit(work, chunk))
                if len(in_work) >= n_workers * CHUNKS_AHEAD:
                    yield in_work.popleft().result()
            while in_work:
                yield in_work.popleft().result()
        finally:
            for future in in_work:
                future.cancel()


@contextmanager
def one_core_each(*encoders: Encoder) -> Iterator[None]:
    """Compile the networks once, before threads race for it, and keep each thread on one core meanwhile.

    NumPy's BLAS would start its own threads beside every one.
    """
    for encoder in encoders:
        encoder.prepare()
    with threadpool_limits(1, user_api="blas"):
        yield


def _cut(encoder: Encoder, path: Path, data: bytes) -> Granules:
    return encoder.cut(data, name=str(path))


def _encode_chunk(
    encoder: Encoder, is_known: Callable[[str], bool], cut: Cut, paths: list[Path]
) -> list[Result]:
    cuts = [_read_and_cut(encoder, path, is_known, cut) for path in paths]
    codes = iter(encoder.codes([granules for _, granules in cuts if isinstance(granules, Granules)]))
    results: list[Result] = []
    for path, (sha256, granules) in zip(paths, cuts, strict=True):
        if isinstance(granules, PictureError):
            results.append(Failed(path, granules))
        elif granules is None:
            results.append(Encoded(path, sha256, None, {}))
        else:
            results.append(Encoded(path, sha256, next(codes), granules.meta))
    return results


def _read_and_cut(
    encoder: Encoder, path: Path, is_known: Callable[[str], bool], cut: Cut
) -> tuple[str, Granules | PictureError | None]:
    """SHA-256 of the content and its granules: the error if there are none, `None` if known."""
    sha256 = ""
    try:
        data = read_bytes(path, limits=encoder.limits)
        sha256 = hashlib.sha256(data).hexdigest()
        return sha256, None if is_known(sha256) else cut(path, data)
    except PictureError as error:
        return sha256, error


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
