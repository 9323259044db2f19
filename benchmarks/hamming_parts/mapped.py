"""A large collection saved, and opened in a fresh process: what that reads, and how fast answers come.

Needs Linux: what is in memory of a file is asked of the page cache.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from grainhash.index import Index
from hamming_parts.data import ROOT, Source, synthetic
from hamming_parts.exactness import must_agree, reference_answer
from hamming_parts.timing import ratio, rounded, take_turns
from hamming_parts.ways import Way, ours

NAME, N_BITS = "clustered", 64
N_CHECKED, N_AGREED = 2, 16
"""Queries held to the NumPy reference, and queries on which both ways must agree."""

PAGE = os.sysconf("SC_PAGE_SIZE")


def mapped(n: int, n_rounds: int) -> dict[str, Any]:
    """Build and save in one process, evict from the page cache, open in another."""
    folder = ROOT / "build"
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-mapped-", dir=folder) as saved:
        built = _in_new_process("build", saved, str(n))
        for file in Path(saved).rglob("*"):
            _evict(file)
        opened = _in_new_process("open", saved, str(n), str(n_rounds))
    source = Source(NAME, n, N_BITS)
    expected = reference_answer(source.chunks(), source.queries()[:N_CHECKED], 10)
    answer = (np.array(opened.pop("distances")), np.array(opened.pop("ids")))
    must_agree(f"the opened index and the reference; {n} codes", answer, expected)
    return {"data": NAME, "n": n, "n_bits": N_BITS, "built": built, "opened": opened}


def _in_new_process(job: str, *arguments: str) -> dict[str, Any]:
    """Run one of `JOBS` in a process of its own and read what it measured."""
    command = [sys.executable, str(ROOT / "benchmarks" / "hamming.py"), "--job", job, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _build(folder: str, n: str) -> dict[str, Any]:
    codes = synthetic(NAME, int(n), N_BITS).codes
    started = perf_counter()
    index = Index.from_codes(codes)
    index.build()
    built = perf_counter()
    index.save(folder)
    return {
        "build_seconds": rounded(built - started),
        "save_seconds": rounded(perf_counter() - built),
        "bytes_a_code": rounded(index.nbytes / len(index)),
    }


def _open(folder: str, n: str, n_rounds: str) -> dict[str, Any]:
    queries = Source(NAME, int(n), N_BITS).queries()
    before = _resident(folder)
    read_before = _read_from_disk()
    started = perf_counter()
    index = Index.load(folder)
    open_seconds = perf_counter() - started
    after_opening = _resident(folder)
    read_by_opening = _read_from_disk() - read_before

    auto, scan = ours(index, None), ours(index, "scan")
    first_query = _seconds(lambda: auto(queries[:1], 10, 1))
    after_first_query = _resident(folder)
    next_queries = _seconds(lambda: [auto(query[np.newaxis], 10, 1) for query in queries[1:257]]) / 256
    first_scan = _seconds(lambda: scan(queries[:1], 10, 1))
    must_agree("auto and scan", auto(queries[:N_AGREED], 10, 1), scan(queries[:N_AGREED], 10, 1))
    distances, ids = auto(queries[:N_CHECKED], 10, 1)
    codes = _code_files(folder)

    def code_bytes(resident: dict[Path, int]) -> int:
        return sum(n for file, n in resident.items() if file in codes)

    return {
        "open_seconds": rounded(open_seconds),
        "bytes": sum(file.stat().st_size for file in before),
        "code_bytes": sum(file.stat().st_size for file in codes),
        "in_memory_before_opening": sum(before.values()),
        "in_memory_after_opening": sum(after_opening.values()),
        "codes_in_memory_after_opening": code_bytes(after_opening),
        "read_by_opening": read_by_opening,
        "first_query_seconds": rounded(first_query),
        "in_memory_after_first_query": sum(after_first_query.values()),
        "codes_in_memory_after_first_query": code_bytes(after_first_query),
        "next_queries_seconds": rounded(next_queries),
        "first_scan_seconds": rounded(first_scan),
        **_warm(auto, scan, queries, int(n_rounds)),
        "distances": distances.tolist(),
        "ids": ids.tolist(),
    }


def _warm(auto: Way, scan: Way, queries: Any, n_rounds: int) -> dict[str, Any]:
    """One query at a time, with all files in the page cache."""

    def call(way: Way, threads: int) -> Callable[[int], Any]:
        return lambda number: way(queries[number : number + 1], 10, threads)

    calls = {(name, t): call(way, t) for name, way in (("auto", auto), ("scan", scan)) for t in (1, 2)}
    took = take_turns(calls, n_rounds)
    measured: dict[str, Any] = {}
    for threads in (1, 2):
        measured[f"one_k10_t{threads}"] = {
            "auto": rounded(took["auto", threads].seconds),
            "scan": rounded(took["scan", threads].seconds),
            "times_scan": rounded(ratio(took["scan", threads].rounds, took["auto", threads].rounds)),
        }
    return measured


JOBS: dict[str, Callable[..., dict[str, Any]]] = {"build": _build, "open": _open}


def _seconds(call: Callable[[], Any]) -> float:
    started = perf_counter()
    call()
    return perf_counter() - started


# The page cache


def _evict(file: Path) -> None:
    """Have the system forget what it holds of a file."""
    if file.is_file():
        with file.open("rb+") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _resident(folder: str) -> dict[Path, int]:
    """Bytes in memory of each array of a folder, asked without reading any of it."""
    return {file: _resident_of(file) for file in sorted(Path(folder).rglob("*.npy"))}


def _code_files(folder: str) -> set[Path]:
    """Those arrays of a folder that are codes, going by their headers."""
    arrays = {file: np.load(file, mmap_mode="r", allow_pickle=False) for file in Path(folder).rglob("*.npy")}
    return {file for file, array in arrays.items() if array.dtype == np.uint8 and array.ndim == 2}


def _resident_of(file: Path) -> int:
    """Bytes of a file in the page cache, by `mincore`."""
    view = np.memmap(file, mode="r")
    pages = (ctypes.c_ubyte * -(-view.nbytes // PAGE))()
    if ctypes.CDLL(None, use_errno=True).mincore(
        ctypes.c_void_p(view.ctypes.data), ctypes.c_size_t(view.nbytes), pages
    ):
        raise OSError(ctypes.get_errno(), "mincore", str(file))
    return int((np.frombuffer(pages, np.uint8) & 1).sum()) * PAGE


def _read_from_disk() -> int:
    """Bytes that this process has had read from disk so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("read_bytes")).split()[1])
