"""What pictures show: one label each, several, or a path in a hierarchy; and who is relevant to whom.

    Labels.single(["cat", "dog", "cat"])
    Labels.multi([{"beach", "sea"}, {"sea"}, set()])
    Labels.hierarchy(["animal/cat", "animal/dog", "vehicle/car"])

Training learns from them, evaluation judges by them; both see classes through one indicator matrix.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from grainhash.errors import LabelsError

Kind = Literal["single", "multi", "hierarchy"]

SEPARATOR = "/"
"""Between the levels of a hierarchy, as in `animal/dog`."""


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of `n` pictures. Made by `single`, `multi`, `hierarchy` or `of`.

    Compare only labels that were made together or taken from one another: classes are numbered
    by `classes`, which both must share.
    """

    kind: Kind
    classes: tuple[str, ...]
    """Names, sorted. In a hierarchy every node that occurs, inner ones too, as whole paths."""
    ids: NDArray[np.int64] | None
    """`(n,)`: the class of each picture, its leaf in a hierarchy. `None` for several labels each."""
    members: NDArray[np.bool_] | None
    """`(n, n_classes)` for several labels each, else `None`."""

    @classmethod
    def single(cls, names: Iterable[object]) -> Labels:
        """One label a picture; any names or numbers. Numbers keep their order as classes.

        Raises:
            LabelsError: a label that is NaN.
        """
        values = _plain(names)
        if none := [position for position, value in enumerate(values) if value != value]:
            raise LabelsError(f"{len(none)} labels are NaN (first: that of picture {none[0]})")
        classes = sorted(set(values), key=_natural)
        number = {value: position for position, value in enumerate(classes)}
        ids = np.array([number[value] for value in values], np.int64)
        return cls("single", tuple(map(str, classes)), ids, None)

    @classmethod
    def multi(cls, sets: Iterable[Iterable[object]]) -> Labels:
        """Any number of labels a picture, none included."""
        rows = [set(_plain(row)) for row in sets]
        classes = sorted(set().union(*rows), key=_natural)
        members = np.zeros((len(rows), len(classes)), np.bool_)
        number = {value: position for position, value in enumerate(classes)}
        for position, row in enumerate(rows):
            members[position, [number[value] for value in row]] = True
        return cls("multi", tuple(map(str, classes)), None, members)

    @classmethod
    def hierarchy(cls, paths: Iterable[str]) -> Labels:
        """One path a picture, from the coarsest level to the finest, such as `animal/dog`."""
        leaves = [str(path).strip(SEPARATOR) for path in paths]
        if not all(all(leaf.split(SEPARATOR)) for leaf in leaves):
            raise LabelsError("a path in a hierarchy has an empty level; write it as animal/dog")
        nodes = {SEPARATOR.join(level) for leaf in set(leaves) for level in _levels(leaf)}
        classes = sorted(nodes)
        number = {value: position for position, value in enumerate(classes)}
        return cls("hierarchy", tuple(classes), np.array([number[leaf] for leaf in leaves], np.int64), None)

    @classmethod
    def of(cls, labels: Labels | Sequence[object] | NDArray[Any]) -> Labels:
        """Take labels as they come: `(n,)` names or numbers, or a `(n, n_classes)` 0/1 matrix.

        Raises:
            LabelsError: another shape, NaN, or a matrix of anything but 0 and 1.
        """
        if isinstance(labels, Labels):
            return labels
        array = _array(labels)
        if array.ndim == 1:
            return cls.single(array.tolist())
        if array.ndim != 2 or not np.isin(array, (0, 1)).all():
            raise LabelsError(
                f"labels of shape {array.shape}: give (n,) names or numbers, or a 0/1 matrix (n, n_classes)"
            )
        return cls("multi", tuple(map(str, range(array.shape[1]))), None, array.astype(np.bool_))

    @classmethod
    def together(cls, *parts: Labels | Sequence[object] | NDArray[Any]) -> tuple[Labels, ...]:
        """Labels of several sets of pictures as they come, with the same number for the same class.

        `Labels` pass as they are, and must have been made together already.

        Raises:
            LabelsError: as `of`; or parts of different kinds, or with different classes.
        """
        made = [part for part in parts if isinstance(part, Labels)]
        if made:
            if len(made) < len(parts):
                raise LabelsError("some labels are Labels and others are not; make all of them together")
            for other in made[1:]:
                _check_together(made[0], other)
            return tuple(made)
        arrays = [_array(part) for part in parts]
        if len({array.shape[1:] for array in arrays}) > 1:
            shapes = ", ".join(str(array.shape) for array in arrays)
            raise LabelsError(f"labels of shapes {shapes} do not go together; give all (n,) or all (n, c)")
        if arrays[0].ndim == 1:
            labels = cls.single([value for array in arrays for value in array.tolist()])
        else:
            labels = cls.of(np.concatenate(arrays))
        ends = list(accumulate(map(len, arrays)))
        return tuple(
            labels.take(slice(end - len(array), end)) for array, end in zip(arrays, ends, strict=True)
        )

    def __len__(self) -> int:
        return len(self.ids if self.ids is not None else self.members)  # type: ignore[arg-type]

    @property
    def n_classes(self) -> int:
        """How many classes there are; in a hierarchy, nodes."""
        return len(self.classes)

    def take(self, rows: NDArray[Any] | Sequence[int] | slice) -> Labels:
        """The labels of some pictures, by position or mask; classes stay as they are."""
        return replace(
            self,
            ids=None if self.ids is None else self.ids[rows],
            members=None if self.members is None else self.members[rows],
        )

    def indicator(self) -> NDArray[np.bool_]:
        """`(n, n_classes)`: which classes each picture has; in a hierarchy, all nodes above it too."""
        if self.members is not None:
            return self.members
        assert self.ids is not None
        if self.kind == "hierarchy":
            return self._ancestors[self.ids]
        indicator = np.zeros((len(self), self.n_classes), np.bool_)
        indicator[np.arange(len(self)), self.ids] = True
        return indicator

    def counts(self) -> NDArray[np.int64]:
        """`(n_classes,)`: pictures of each class; in a hierarchy, with all that is below."""
        if self.kind == "single":
            counts = np.bincount(self.ids, minlength=self.n_classes)  # type: ignore[arg-type]
        else:
            counts = self.indicator().sum(axis=0)
        return counts.astype(np.int64)

    @cached_property
    def _ancestors(self) -> NDArray[np.bool_]:
        """`(n_classes, n_classes)`: row i has node i and every node above it."""
        number = {name: position for position, name in enumerate(self.classes)}
        table = np.zeros((self.n_classes, self.n_classes), np.bool_)
        for name, position in number.items():
            table[position, [number[SEPARATOR.join(level)] for level in _levels(name)]] = True
        return table


def relevant(queries: Labels, others: Labels) -> NDArray[np.bool_]:
    """`(n_queries, n_others)`: whether two pictures share a class; in a hierarchy, the same leaf.

    Raises:
        LabelsError: the two were not made together.
    """
    _check_together(queries, others)
    if queries.ids is not None and others.ids is not None:
        return np.equal.outer(queries.ids, others.ids)
    return _common(queries.indicator(), others.indicator()) > 0


def grades(queries: Labels, others: Labels) -> NDArray[np.float32]:
    """`(n_queries, n_others)`: how relevant, for measures such as nDCG.

    One label: 0 or 1. Several: the number of labels in common. A hierarchy: levels in common over the
    levels of the query, 1 for the same leaf, as the similarity of Deng, Berg, Fei-Fei (CVPR 2011).

    Raises:
        LabelsError: the two were not made together.
    """
    if queries.kind == "single":
        return relevant(queries, others).astype(np.float32)
    _check_together(queries, others)
    common = _common(queries.indicator(), others.indicator())
    if queries.kind == "multi":
        return common
    common /= queries.indicator().sum(axis=1, keepdims=True)
    return common


def _check_together(queries: Labels, others: Labels) -> None:
    if queries.kind != others.kind or queries.classes != others.classes:
        raise LabelsError("labels with different classes cannot be compared; make them together, then take")


def _common(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> NDArray[np.float32]:
    return a.astype(np.float32) @ b.astype(np.float32).T


def _levels(path: str) -> Iterable[list[str]]:
    """`a/b/c` as `[a]`, `[a, b]`, `[a, b, c]`."""
    return accumulate(([level] for level in path.split(SEPARATOR)), lambda above, level: above + level)


def _array(labels: Any) -> NDArray[Any]:
    try:
        return np.asarray(labels)
    except ValueError:
        raise LabelsError(
            "labels of rows of different lengths; several labels each are Labels.multi"
        ) from None


def _plain(values: Iterable[object]) -> list[Any]:
    return [value.item() if isinstance(value, np.generic) else value for value in values]


def _natural(value: object) -> tuple[bool, Any]:
    """Numbers by size, then everything else by name."""
    is_number = isinstance(value, int | float)
    return (not is_number, value if is_number else str(value))
