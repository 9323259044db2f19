"""Multi-index hashing: tables that find near codes without a look at all the others.

The bits of a code are cut into substrings, with a table of buckets for each; codes that are near
each other as a whole are near in some substring, so a search that looks into the buckets by growing
radius is exact and can say when it is done. M. Norouzi, A. Punjani, D. J. Fleet, "Fast search in
Hamming space with multi-index hashing", CVPR 2012, with one addition: an entry of a bucket carries 32 more
bits of its code, so that codes too far away are turned away without being read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grainhash.errors import CodesError
from grainhash.index import kernels
from grainhash.types import Codes

if TYPE_CHECKING:
    from grainhash.index.plan import Choice

Offsets = NDArray[np.int64]
Mask = NDArray[np.bool_]

MAX_KEY_BITS = 28
MAX_CODES = 2**32 - 1
_DTYPES = {"bounds": np.int64, "starts": np.uint32, "entries": np.uint64}


@dataclass(frozen=True, slots=True, eq=False)
class MultiIndex:
    """The tables of some codes, which stay with whoever has them.

    Memory: 8 bytes a code and 4 bytes a bucket for each table. With the default number of tables
    that is about 30 bytes a code at 64 bits, 60 at 128 and 120 at 256.
    """

    bounds: NDArray[np.int64]
    """`(n_tables + 1,)`: table `t` goes by the bits from `bounds[t]` to before `bounds[t + 1]`."""
    starts: NDArray[np.uint32]
    """Where each bucket starts in its table, with one more at the end of each table; table after table."""
    entries: NDArray[np.uint64]
    """`(n_tables, n_codes)`: 32 more bits of a code and its position, in the order of buckets."""

    @classmethod
    def build(cls, codes: Codes, *, n_tables: int | None = None, n_threads: int = 1) -> MultiIndex:
        """Make the tables of codes `(n_codes, n_bytes)`; `None` for as many as suit their number.

        Raises:
            CodesError: too few or too many tables for the bits, or 2**32 codes and more.
        """
        n_codes, n_bits = len(codes), codes.shape[1] * 8
        if n_codes > MAX_CODES:
            raise CodesError(f"{n_codes} codes; tables are for at most {MAX_CODES} in one segment")
        bounds = even_bounds(n_bits, default_n_tables(n_codes, n_bits) if n_tables is None else n_tables)
        return cls(bounds, *kernels.multi_index_build(codes, bounds, n_threads))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], n_codes: int, n_bits: int) -> MultiIndex:
        """Use arrays as `arrays` gave them, mapped or not, without reading more than the bounds.

        What the other arrays hold is checked when it is used: damage makes wrong answers, never a crash.

        Raises:
            CodesError: an array is missing or of another dtype or shape than the codes need.
        """
        for name, dtype in _DTYPES.items():
            if name not in arrays or arrays[name].dtype != dtype or not arrays[name].flags.c_contiguous:
                raise CodesError(f"the tables have no C-contiguous {np.dtype(dtype)} array {name!r}")
        bounds, starts, entries = (arrays[name] for name in _DTYPES)
        lengths = np.diff(bounds) if bounds.ndim == 1 else np.empty(0, np.int64)
        if not (
            len(lengths)
            and bounds[0] == 0
            and bounds[-1] == n_bits
            and ((lengths >= 1) & (lengths <= MAX_KEY_BITS)).all()
        ):
            raise CodesError(f"the tables have bounds that do not cut {n_bits} bits")
        n_starts = sum(2 ** int(length) + 1 for length in lengths)
        if starts.shape != (n_starts,) or entries.shape != (len(lengths), n_codes):
            raise CodesError(
                f"the tables have {starts.shape} starts and {entries.shape} entries where "
                f"({n_starts},) and ({len(lengths)}, {n_codes}) are expected"
            )
        return cls(bounds, starts, entries)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All of its state, to be saved."""
        return {"bounds": self.bounds, "starts": self.starts, "entries": self.entries}

    @property
    def n_tables(self) -> int:
        return len(self.bounds) - 1

    @property
    def n_codes(self) -> int:
        return int(self.entries.shape[1])

    @property
    def n_bits(self) -> int:
        return int(self.bounds[-1])

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, in memory or mapped from files."""
        return self.bounds.nbytes + self.starts.nbytes + self.entries.nbytes

    def search(
        self,
        codes: Codes,
        offsets: Offsets | None,
        queries: Codes,
        k: int,
        allow: Mask | None,
        n_threads: int,
        choice: Choice | None = None,
    ) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64], Mask]:
        """Find the `k` nearest items as `kernels.knn` does, within the budget of a plan's choice.

        Args:
            codes: those that the tables were built from.
            offsets, queries, k, allow, n_threads: as for `kernels.knn`.
            choice: whose budget to keep; `None` for no limit.

        Returns:
            Distances, positions and members, and `(n_queries,)` which queries were finished; the rows of
            the others mean nothing, and they are to be scanned.
        """
        return kernels.multi_index_knn(
            codes, offsets, *self._tables, queries, k, allow, _budget(choice), n_threads
        )

    def range_search(
        self,
        codes: Codes,
        offsets: Offsets | None,
        queries: Codes,
        radius: int,
        allow: Mask | None,
        n_threads: int,
        choice: Choice | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64], NDArray[np.int64], Mask]:
        """Find the items at most `radius` bits away as `kernels.range_search` does.

        Args are those of `search`.

        Returns:
            Limits, distances, positions and members, and which queries were finished; the others have
            no entries.
        """
        return kernels.multi_index_range(
            codes, offsets, *self._tables, queries, radius, allow, _budget(choice), n_threads
        )

    @property
    def _tables(self) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.uint64]]:
        return self.bounds, self.starts, self.entries


def default_n_tables(n_codes: int, n_bits: int) -> int:
    """How many tables suit `n_codes` codes: substrings of at most log2(n_codes) bits, within 8 to 24.

    Shorter ones make buckets of many codes that are not near, longer ones many empty buckets.
    """
    bits = min(max(math.log2(max(n_codes, 2)), 8.0), 24.0)
    return math.ceil(n_bits / bits)


def even_bounds(n_bits: int, n_tables: int) -> NDArray[np.int64]:
    """Bounds `(n_tables + 1,)` that cut `n_bits` bits as evenly as possible.

    Raises:
        CodesError: substrings would be shorter than 1 bit or longer than 28.
    """
    least = math.ceil(n_bits / MAX_KEY_BITS)
    if not least <= n_tables <= n_bits:
        raise CodesError(f"{n_tables} tables for {n_bits} bits; it takes {least} to {n_bits}")
    return np.arange(n_tables + 1, dtype=np.int64) * n_bits // n_tables


def _budget(choice: Choice | None) -> float:
    return math.inf if choice is None else choice.budget_ns
