"""How fast this machine reads memory: the bound of a search that looks at every code once."""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Read = Callable[[NDArray[np.uint8], int], object]
"""Reads all of an array once, on so many threads."""

SOURCE = Path(__file__).with_name("read_memory.c")


@cache
def readers() -> dict[str, Read]:
    """Ways to read memory by name; the fastest of them is the bandwidth.

    Made by the system's C compiler at run time. Where there is none, NumPy's OR over all words stands
    in, which is slower than memory, and the name says so.
    """
    read_memory = _compiled()
    if read_memory is None:
        return {"NumPy's bitwise_or.reduce (no C compiler here)": _read_with_numpy}

    def reader(streams: int) -> Read:
        return lambda array, n_threads: read_memory(array.ctypes.data, array.nbytes, streams, n_threads)

    return {"C, in order": reader(0), "C, four streams": reader(1)}


def _compiled() -> Callable[..., int] | None:
    """`read_memory` of the C source, for this very processor."""
    with tempfile.TemporaryDirectory(prefix="grainhash-bench-") as folder:
        library = Path(folder, "read_memory.so")
        for machine in (["-march=native"], ["-mcpu=native"], []):
            command = [os.environ.get("CC", "cc"), "-O3", *machine, "-shared", "-fPIC", "-pthread"]
            try:
                done = subprocess.run([*command, str(SOURCE), "-o", str(library)], capture_output=True)
            except OSError:
                return None
            if done.returncode == 0:
                function = ctypes.CDLL(str(library)).read_memory
                function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int]
                function.restype = ctypes.c_uint64
                return function
    return None


def _read_with_numpy(array: NDArray[np.uint8], n_threads: int) -> object:
    words = array.reshape(-1)[: array.size // 8 * 8].view(np.uint64)
    parts = np.array_split(words, n_threads)
    with ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(np.bitwise_or.reduce, parts))
