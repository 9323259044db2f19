"""What to call a group: the value of the metadata that tells it best from the other pictures.

By the log-odds ratio with an informative Dirichlet prior of B. Monroe, M. Colaresi, K. Quinn, "Fightin'
words: lexical feature selection and evaluation for identifying the content of political conflict", Political
Analysis 16, 2008: how much likelier a value is in the group than outside, in units of its standard deviation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log, sqrt
from typing import Any

LEAST_Z = 1.96
"""Standard deviations; less may be chance."""
LEAST_SHARE = 0.2
"""Of the group; a rarer value does not say what the group is."""

_PRIOR = 0.5
"""Weight of what is so among all pictures, in pictures, beside what is counted."""

Value = tuple[str, str]
"""A key and its value as text."""


@dataclass(frozen=True, slots=True)
class Named:
    """Where the name of a group is from."""

    key: str
    value: str
    share: float
    """Of the group's pictures, 0..1."""
    lift: float
    """That share over the share among all pictures."""


def names_of(
    metas: Sequence[Mapping[str, Any]], labels: Sequence[int], n_groups: int, *, leave_out: str | None = None
) -> list[Named | None]:
    """The most telling value of each group, or `None` where none tells it from the others.

    Args:
        metas: the metadata of each picture. Texts, booleans, whole numbers and lists of them count.
        labels: the group of each; a negative one is none.
        n_groups: how many there are.
        leave_out: a key that does not count.
    """
    of_all: Counter[Value] = Counter()
    of_groups: list[Counter[Value]] = [Counter() for _ in range(n_groups)]
    sizes = [0] * n_groups
    for meta, label in zip(metas, labels, strict=True):
        values = set(_values(meta, leave_out))
        of_all.update(values)
        if label >= 0:
            sizes[label] += 1
            of_groups[label].update(values)
    return [
        _best(of_group, of_all, size, len(metas)) for of_group, size in zip(of_groups, sizes, strict=True)
    ]


def _values(meta: Mapping[str, Any], leave_out: str | None) -> Iterable[Value]:
    for key, value in meta.items():
        if key != leave_out:
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, str | bool | int):
                    yield key, str(item)


def _best(of_group: Counter[Value], of_all: Counter[Value], size: int, n: int) -> Named | None:
    ranked = sorted(
        (
            (_z(count, size, of_all[value], n), value)
            for value, count in of_group.items()
            if count >= LEAST_SHARE * size and size < n
        ),
        key=lambda found: (-found[0], found[1][0] != "label", found[1]),
    )
    if not ranked or ranked[0][0] < LEAST_Z:
        return None
    key, value = ranked[0][1]
    count = of_group[key, value]
    return Named(key, value, count / size, count / size * n / of_all[key, value])


def _z(count: int, size: int, of_all: int, n: int) -> float:
    """The log-odds ratio of a value in the group and outside of it, over its standard deviation."""
    with_it = _PRIOR * of_all / n
    without = _PRIOR - with_it + 1e-9  # for a value that all have
    inside, outside = count + with_it, of_all - count + with_it
    not_inside, not_outside = size - count + without, n - size - (of_all - count) + without
    ratio = log(inside / not_inside) - log(outside / not_outside)
    return ratio / sqrt(1 / inside + 1 / outside + 1 / not_inside + 1 / not_outside)
