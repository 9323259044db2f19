"""Groups of copies around the pictures to keep.

Linked pictures need not be copies: A may be near to B and B to C, but A far from C. So a group is not all
that is linked. The best picture of those linked is kept with all that are linked to *it*; of the others again
the best, and so on. What is suggested to be removed is always like the very picture that stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from grainhash.duplicates.pairs import Pairs
from grainhash.duplicates.result import Copy, CopyGroup
from grainhash.errors import InputError
from grainhash.store import PictureRow
from grainhash.types import Codes

TAKEN = "taken"
"""The metadata key of when a picture was taken, as indexing reads it from EXIF."""

OTHERS = "the other gallery has no pictures"


def check_some(pictures: Sequence[PictureRow], whose: str = "there are no pictures here") -> None:
    """Whether there are any.

    Raises:
        InputError: there are none.
    """
    if not pictures:
        raise InputError(f"{whose} to compare")


def contents(pictures: Sequence[PictureRow]) -> Codes:
    """The SHA-256 of each file, `(n, 32)`."""
    return np.frombuffer(b"".join(bytes.fromhex(row.sha256) for row in pictures), np.uint8).reshape(-1, 32)


def by_code(of_rows: NDArray[np.int64], n_codes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows by their code; those of code `i` begin at `starts[i]`."""
    order = np.argsort(of_rows, kind="stable")
    return order, np.searchsorted(of_rows[order], np.arange(n_codes + 1))


def groups_of(
    pictures: Sequence[PictureRow], of_picture: NDArray[np.int64], n_codes: int, pairs: Pairs
) -> Iterator[CopyGroup]:
    """Groups of pictures, the first pictures' first.

    Args:
        pictures: in ascending order of id.
        of_picture: `(n,)`, the number of each one's code, or content: those with the same are copies.
        n_codes: how many numbers there are.
        pairs: numbers whose pictures are copies.
    """
    neighbours, starts = _adjacent(pairs, n_codes)
    rows, firsts = by_code(of_picture, n_codes)
    linked = (np.diff(firsts) > 1) | (np.diff(starts) > 0)
    chains = _components(pairs, n_codes)
    facts = {place: _facts(pictures[place]) for place in np.flatnonzero(linked[of_picture]).tolist()}

    def worth(place: int) -> tuple[int, int, str, int]:
        """Ascending: the largest picture, the largest file, the oldest, the first."""
        row, (size, date) = pictures[place], facts[place]
        return -row.width * row.height, -(size or 0), date, row.id

    left, found = set(facts), []
    for place in sorted(facts, key=worth):
        if place not in left:
            continue
        left.discard(place)
        code, keep = int(of_picture[place]), pictures[place]
        near = slice(starts[code], starts[code + 1])
        within = [(code, 0), *zip(neighbours[0][near].tolist(), neighbours[1][near].tolist(), strict=True)]
        copies = []
        for other, distance in within:
            for copy in rows[firsts[other] : firsts[other + 1]].tolist():
                if copy in left:
                    left.discard(copy)
                    copies.append(_copy(pictures[copy], facts[copy], distance, keep))
        if copies:
            copies.sort(key=lambda copy: (not copy.is_exact, copy.distance, copy.id))
            found.append((int(chains[code]), _copy(keep, facts[place], 0, keep), copies))
    order = sorted(found, key=lambda group: (group[0], group[1].id))
    numbers = {chain: number for number, chain in enumerate(dict.fromkeys(chain for chain, _, _ in order), 1)}
    for number, (chain, keep_copy, copies) in enumerate(order, 1):
        yield CopyGroup(number, numbers[chain], keep_copy, copies)


def _adjacent(pairs: Pairs, n: int) -> tuple[tuple[NDArray[np.int64], NDArray[np.int32]], NDArray[np.int64]]:
    """The neighbours of each code and their distances, nearest first; those of `i` begin at `starts[i]`."""
    own = np.concatenate([pairs.first, pairs.second])
    others = np.concatenate([pairs.second, pairs.first])
    distances = np.concatenate([pairs.distances, pairs.distances])
    order = np.lexsort((others, distances, own))
    return (others[order], distances[order]), np.searchsorted(own[order], np.arange(n + 1))


def _components(pairs: Pairs, n: int) -> NDArray[np.int64]:
    """The least code that each is linked to, by whatever chain of pairs."""
    roots = np.arange(n)
    while True:
        before = roots.copy()
        least = np.minimum(roots[pairs.first], roots[pairs.second])
        np.minimum.at(roots, pairs.first, least)
        np.minimum.at(roots, pairs.second, least)
        roots = np.minimum(roots, roots[roots])
        if np.array_equal(roots, before):
            return roots


def _facts(row: PictureRow) -> tuple[int | None, str]:
    """The size of a picture's file, and when it was taken or else added."""
    taken = row.meta.get(TAKEN)
    try:
        size: int | None = Path(row.uri).stat().st_size
    except OSError:
        size = None
    return size, taken if isinstance(taken, str) else row.added_at


def _copy(row: PictureRow, facts: tuple[int | None, str], distance: int, keep: PictureRow) -> Copy:
    size, date = facts
    same = row.sha256 == keep.sha256
    return Copy(row.id, row.uri, row.width, row.height, size, date, distance, same)
