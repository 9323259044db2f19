"""From codes and metadata of pictures to named groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from grainhash.clusters.choice import choose_k
from grainhash.clusters.density import density_groups
from grainhash.clusters.majority import k_majority
from grainhash.clusters.map import MOST, map_of
from grainhash.clusters.middle import from_the_middle
from grainhash.clusters.names import names_of
from grainhash.clusters.result import Clustering, ClusterMethod, Group, Member, Place
from grainhash.codes import hamming
from grainhash.errors import InputError
from grainhash.store import PictureRow
from grainhash.types import Codes, Progress, silent


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """How to group.

    Raises:
        InputError: a value that makes no sense.
    """

    k: int | None = None
    """How many groups by k-majority; `None` to choose by the silhouette."""
    method: ClusterMethod = "majority"
    min_size: int = 5
    """Of a dense group."""
    seed: int = 0
    restarts: int = 4
    with_map: bool = False
    n_threads: int | None = None

    def __post_init__(self) -> None:
        if self.method not in get_args(ClusterMethod):
            raise InputError(f"method {self.method!r}: choose majority or density")
        if self.k is not None and self.method == "density":
            raise InputError("density finds out how many groups there are; leave k out, or use majority")
        for name, least in (("k", 1), ("min_size", 2), ("seed", 0), ("restarts", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name} = {value}: it is at least {least}")


def cluster(
    pictures: Sequence[PictureRow],
    codes: Codes,
    settings: ClusterSettings,
    *,
    where: str | None = None,
    leave_out: str | None = None,
    progress: Callable[[Progress], None] = silent,
) -> Clustering:
    """Group pictures by their codes.

    Args:
        pictures: in ascending order of id.
        codes: `(n, n_bytes)`, one each.
        settings: how.
        where: the filter that they passed, for the result.
        leave_out: a metadata key that names no group, such as the one that groups are stored under.
        progress: called after each stage.

    Raises:
        InputError: no pictures, or more groups asked for than pictures.
        MissingExtra: density or a map without scikit-learn.
    """
    if not len(pictures):
        raise InputError(
            "no pictures to group: "
            + ("the gallery is empty" if where is None else f"none passes the filter {where}")
        )
    started = perf_counter()

    def done(stage: int, name: str) -> None:
        progress(Progress(name, stage, 3, 0))

    done(0, "group")
    labels, tried, converged, notes = _labels(codes, settings)
    done(1, "group")
    labels, n_groups = _by_size(labels)
    groups, alone = _groups(pictures, codes, labels, n_groups, leave_out)
    done(2, "group")
    places = _places(pictures, codes, labels, settings) if settings.with_map else []
    done(3, "group")
    return Clustering(
        method=settings.method,
        n_pictures=len(pictures),
        n_bits=codes.shape[1] * 8,
        seed=settings.seed,
        where=where,
        groups=groups,
        alone=alone,
        tried=tried,
        converged=converged,
        places=places,
        notes=notes,
        seconds=perf_counter() - started,
    )


def _labels(
    codes: Codes, settings: ClusterSettings
) -> tuple[NDArray[np.int32], list[tuple[int, float]], bool, list[str]]:
    if settings.method == "density":
        labels = density_groups(codes, settings.min_size, n_threads=settings.n_threads)
        notes = [] if (labels >= 0).any() else [f"No {settings.min_size} pictures lie densely together."]
        return labels, [], True, notes
    k = settings.k
    tried: list[tuple[int, float]] = []
    if k is not None and k > len(codes):
        raise InputError(f"k = {k} groups of {len(codes)} pictures; ask for at most {len(codes)}")
    if k is None:
        k, tried = choose_k(
            codes, seed=settings.seed, restarts=settings.restarts, n_threads=settings.n_threads
        )
    found = k_majority(codes, k, seed=settings.seed, restarts=settings.restarts, n_threads=settings.n_threads)
    n_groups = len(np.unique(found.labels))
    notes = []
    if n_groups < k:
        notes.append(f"Only {n_groups} of {k} groups: there are no more different codes.")
    if not found.converged:
        notes.append(f"Ended after {found.n_iterations} iterations; some pictures still changed their group.")
    return found.labels, tried, found.converged, notes


def _by_size(labels: NDArray[np.int32]) -> tuple[NDArray[np.int32], int]:
    """Labels so that the largest group is 0, of equals that with the first picture; and how many groups."""
    there, firsts, sizes = np.unique(labels[labels >= 0], return_index=True, return_counts=True)
    order = np.lexsort((firsts, -sizes))
    renumbered = np.full(max(int(labels.max()) + 1, 1), -1, np.int32)
    renumbered[there[order]] = np.arange(len(order))
    return np.where(labels >= 0, renumbered[labels], -1).astype(np.int32), len(order)


def _groups(
    pictures: Sequence[PictureRow],
    codes: Codes,
    labels: NDArray[np.int32],
    n_groups: int,
    leave_out: str | None,
) -> tuple[list[Group], list[Member]]:
    named = names_of([row.meta for row in pictures], labels.tolist(), n_groups, leave_out=leave_out)
    by_group = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[by_group], np.arange(n_groups + 1)).tolist()
    groups = []
    for number in range(n_groups):
        positions = by_group[bounds[number] : bounds[number + 1]]
        positions = positions[from_the_middle(codes[positions])]
        distances = hamming(codes[positions[:1]], codes[positions])[0].tolist()
        members = [
            Member(pictures[i].id, pictures[i].uri, distance)
            for i, distance in zip(positions.tolist(), distances, strict=True)
        ]
        spread = sum(distances) / max(len(distances) - 1, 1)
        groups.append(Group(number + 1, named[number], members, spread))
    alone = [Member(pictures[i].id, pictures[i].uri, None) for i in np.flatnonzero(labels < 0).tolist()]
    return groups, alone


def _places(
    pictures: Sequence[PictureRow], codes: Codes, labels: NDArray[np.int32], settings: ClusterSettings
) -> list[Place]:
    """A map of all pictures, or of a sample of them where there are many."""
    chosen = np.arange(len(pictures))
    if len(chosen) > MOST:
        rng = np.random.default_rng(settings.seed)
        chosen = np.sort(rng.choice(len(chosen), MOST, replace=False))
    some = np.ascontiguousarray(codes[chosen])
    places = map_of(some, seed=settings.seed, n_threads=settings.n_threads).round(4).tolist()
    groups = [label + 1 if label >= 0 else None for label in labels[chosen].tolist()]
    return [
        Place(pictures[i].id, pictures[i].uri, group, x, y)
        for i, group, (x, y) in zip(chosen.tolist(), groups, places, strict=True)
    ]
