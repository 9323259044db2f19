"""k-majority: k-means of binary codes, whose centres are codes themselves.

The centre of a group has each bit as most of its members have it. That minimises the sum of Hamming
distances, which are squared Euclidean distances of bits, so the theory of k-means holds as it is.

C. Grana, D. Borghesani, M. Manfredi, R. Cucchiara, "A fast approach for integrating ORB descriptors in the
bag of words model", SPIE 8667, 2013. D. Arthur, S. Vassilvitskii, "k-means++: the advantages of careful
seeding", SODA 2007.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from grainhash.errors import InputError
from grainhash.index import checks, kernels
from grainhash.types import Codes

MAX_ITERATIONS = 100
SEEDING_SAMPLE = 20_000
"""Codes that the first centres are drawn from, at least; 20 a group where those are more."""


@dataclass(frozen=True, slots=True, eq=False)
class Majority:
    """Groups of codes around centres."""

    labels: NDArray[np.int32]
    """`(n,)`: the position of each code's centre, the nearest, the first of equals."""
    distances: NDArray[np.int32]
    """`(n,)`: bits to it."""
    centres: Codes
    """`(n_groups, n_bytes)`; fewer than asked for where there are fewer different codes."""
    n_iterations: int
    converged: bool
    """Whether it ended because no code changed its group."""

    @property
    def cost(self) -> int:
        """Bits from all codes to their centres, what is minimised."""
        return int(self.distances.sum(dtype=np.int64))


def k_majority(
    codes: Codes,
    k: int,
    *,
    seed: int = 0,
    restarts: int = 1,
    max_iterations: int = MAX_ITERATIONS,
    n_threads: int | None = None,
) -> Majority:
    """Group codes around `k` centres. The same groups for the same seed at any number of threads.

    A bit that half of a group has stays in the centre as it was. A centre that lost all its codes moves to
    the code that is farthest from its own centre.

    Args:
        codes: `(n, n_bytes)`.
        k: how many groups, 1 to `n`.
        seed: of the first centres, which are codes drawn as by k-means++.
        restarts: how often to begin anew with other centres; the one of least cost is returned.
        max_iterations: after so many it ends, even if codes still change their group.
        n_threads: at most so many; all by default.

    Raises:
        CodesError: the codes have another dtype, width or layout, or a number is none.
        InputError: more groups than codes.
    """
    codes = checks.contiguous_codes(codes)
    checks.count("k", k, at_least=1)
    checks.count("restarts", restarts, at_least=1)
    checks.count("max_iterations", max_iterations, at_least=1)
    if k > len(codes):
        raise InputError(
            f"{k} groups of {len(codes)} codes; ask for at most as many groups as there are codes"
        )
    threads = checks.thread_count(n_threads)
    found = (
        _converge(
            codes, _seeds(codes, k, np.random.default_rng([seed, run]), threads), max_iterations, threads
        )
        for run in range(restarts)
    )
    return min(found, key=lambda majority: majority.cost)


def majority_of(ones: NDArray[np.int64], sizes: NDArray[np.int64], before: Codes) -> Codes:
    """The bits that most members have; one that half of them have stays as it was.

    Args:
        ones: `(n_groups, n_bits)`, members with each bit.
        sizes: `(n_groups,)`.
        before: `(n_groups, n_bytes)`.
    """
    twice, all_ = 2 * ones, sizes[:, np.newaxis]
    was = np.unpackbits(before, axis=1)
    return np.packbits(np.where(twice == all_, was, twice > all_), axis=1)


def _converge(codes: Codes, centres: Codes, max_iterations: int, n_threads: int) -> Majority:
    labels, distances = kernels.nearest_centres(codes, centres, n_threads)
    converged, iteration = False, 0
    while not converged and iteration < max_iterations:
        iteration += 1
        sizes = np.bincount(labels, minlength=len(centres))
        ones = kernels.count_bits(codes, labels, len(centres), n_threads)
        new = majority_of(ones, sizes, centres)
        _fill_empty(new, np.flatnonzero(sizes == 0), codes, distances, n_threads)
        moved = (new != centres).any(axis=1)
        before, centres = labels, new
        labels, distances = _assign(codes, centres, moved, labels, distances, n_threads)
        converged = bool((labels == before).all())
    return Majority(labels, distances, centres, iteration, converged)


def _assign(
    codes: Codes,
    centres: Codes,
    moved: NDArray[np.bool_],
    labels: NDArray[np.int32],
    distances: NDArray[np.int32],
    n_threads: int,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The nearest centre of each code. One whose centre stayed can only go over to one that moved.

    Late iterations move few centres, so that this saves most of the work and changes no answer.
    """
    labels, distances = labels.copy(), distances.copy()
    own_moved = moved[labels]
    for rows, candidates in (
        (np.flatnonzero(own_moved), np.arange(len(centres))),
        (np.flatnonzero(~own_moved), np.flatnonzero(moved)),
    ):
        if not len(rows) or not len(candidates):
            continue
        nearest, bits = kernels.nearest_centres(codes[rows], centres[candidates], n_threads)
        nearest = candidates.astype(np.int32)[nearest]
        better = own_moved[rows] | (bits < distances[rows])
        better |= (bits == distances[rows]) & (nearest < labels[rows])
        labels[rows[better]], distances[rows[better]] = nearest[better], bits[better]
    return labels, distances


def _fill_empty(
    centres: Codes, empty: NDArray[np.int64], codes: Codes, distances: NDArray[np.int32], n_threads: int
) -> None:
    """Move each centre without codes, in place, to the code farthest from all, the first of equals."""
    for group in empty.tolist():
        farthest = int(distances.argmax())
        if distances[farthest] == 0:
            return
        centres[group] = codes[farthest]
        to_it = kernels.nearest_centres(codes, centres[group : group + 1], n_threads)[1]
        distances = np.minimum(distances, to_it)


def _seeds(codes: Codes, k: int, rng: np.random.Generator, n_threads: int) -> Codes:
    """`k` different codes, or all there are, drawn as by k-means++; from a sample where that has so many."""
    n_sample = max(SEEDING_SAMPLE, 20 * k)
    pool = codes
    if n_sample < len(codes):
        pool = codes[np.sort(rng.choice(len(codes), n_sample, replace=False))]
    seeds = _spread(pool, pool[rng.integers(len(pool))][np.newaxis], k, rng, n_threads)
    return seeds if len(seeds) == k else _spread(codes, seeds, k, rng, n_threads)


def _spread(pool: Codes, seeds: Codes, k: int, rng: np.random.Generator, n_threads: int) -> Codes:
    """Add codes of the pool, each drawn by its distance to the nearest so far, until there are `k` or all."""
    distances = kernels.nearest_centres(pool, seeds, n_threads)[1]
    chosen = list(seeds)
    while len(chosen) < k:
        sums = np.cumsum(distances, dtype=np.int64)
        if sums[-1] == 0:
            break
        drawn = int(np.searchsorted(sums, rng.integers(sums[-1]), side="right"))
        chosen.append(pool[drawn])
        distances = np.minimum(
            distances, kernels.nearest_centres(pool, pool[drawn : drawn + 1], n_threads)[1]
        )
    return np.stack(chosen)
