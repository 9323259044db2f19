"""The objectives of the deep methods by name, for a training loop of one's own."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from grainhash.errors import InputError
from grainhash.labels import Labels
from grainhash.learning.deep import DEEP_METHODS
from grainhash.learning.fit import seeded
from grainhash.learning.objective import Objective

__all__ = ["Objective", "make_objective"]


def make_objective(
    name: str,
    *,
    n_bits: int,
    labels: Labels | None = None,
    features: Tensor | None = None,
    seed: int = 0,
    **settings: Any,
) -> Objective:
    """The objective of a method.

    Args:
        name: a key of `DEEP_METHODS`.
        n_bits: length of the code.
        labels: of the training set; the unsupervised methods need none.
        features: `(n, dim)` of the training set, for `bihalf`: what the codes shall be similar by.
        seed: of centres and classifiers.
        settings: of the method's own, such as `margin`.

    Raises:
        InputError: another name or setting, or features that are missing.
        LabelsError: labels that are missing.
    """
    if name not in DEEP_METHODS:
        raise InputError(f"method {name!r}: there are {', '.join(DEEP_METHODS)}")
    try:
        method = DEEP_METHODS[name](n_bits, seed=seed, **settings)
    except TypeError as error:
        raise InputError(f"settings that {name} does not know ({error})") from None
    with seeded(seed):
        return method.objective(labels, features)
