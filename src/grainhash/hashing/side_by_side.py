"""Several hash functions as one: their bits side by side in one code."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from grainhash.errors import InputError
from grainhash.hashing.function import HashFunction
from grainhash.hashing.steps import Affine, Branch, L2Norm, Parallel

Columns = tuple[int, int]
"""The first column and the one after the last."""


def side_by_side(
    functions: Sequence[HashFunction],
    *,
    columns: Sequence[Columns | None] | None = None,
    n_features: int | None = None,
    method: str = "joint",
) -> HashFunction:
    """One hash function whose code is the codes of `functions` one after the other.

    Linear ones over the same features become one affine step, which costs what the parts cost; others
    run side by side in a parallel step.

    Args:
        functions: in the order of their bits.
        columns: which columns of the features each takes; `None` for all.
        n_features: columns of the features; by default as many as the functions take.
        method: of the new hash function.

    Raises:
        InputError: no functions, or columns that are not as wide as their function or not there.
        CodesError: more bits together than a code may have.
    """
    if not functions:
        raise InputError("a joint hash function needs one function at least")
    taken = columns if columns is not None else [None] * len(functions)
    if len(taken) != len(functions):
        raise InputError(f"columns for {len(taken)} of {len(functions)} hash functions")
    if n_features is None:
        widths = zip(functions, taken, strict=True)
        n_features = max(f.n_features if span is None else span[1] for f, span in widths)
    spans = [(0, n_features) if span is None else span for span in taken]
    for function, (start, stop) in zip(functions, spans, strict=True):
        if stop - start != function.n_features:
            raise InputError(
                f"a {function.method} function of {function.n_features} features over the columns "
                f"{start} to {stop}"
            )
    everything = all(span == (0, n_features) for span in spans)
    if everything and (affine := _one_affine(functions)) is not None:
        return HashFunction([L2Norm(), affine], method)
    branches = [
        Branch(start, stop, function.steps) for function, (start, stop) in zip(functions, spans, strict=True)
    ]
    return HashFunction([Parallel(n_features, tuple(branches))], method)


def _one_affine(functions: Sequence[HashFunction]) -> Affine | None:
    """The affine steps of `[L2Norm, Affine]` chains as one; `None` where a chain is another."""
    affines = []
    for function in functions:
        match function.steps:
            case (L2Norm(), Affine() as affine):
                affines.append(affine)
            case _:
                return None
    return Affine(
        np.hstack([affine.weight for affine in affines]), np.hstack([affine.bias for affine in affines])
    )
