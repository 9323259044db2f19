"""The one number that training is watched by: mAP among the pictures kept back."""

from __future__ import annotations

import numpy as np

from grainhash.codes import hamming
from grainhash.labels import Labels, relevant
from grainhash.types import Codes

BLOCK = 256
"""Queries compared at once."""


def validation_map(codes: Codes, labels: Labels) -> float | None:
    """mAP@all of every picture as a query to all the others, those without a relevant other left out.

    Ties are broken by position: give the pictures in a random order, not sorted by class. Worth watching a
    training by; to judge encoders use `grainhash.evaluation`.

    Args:
        codes: `(n, n_bytes)`.
        labels: one a code.

    Returns:
        0..1; `None` where no picture has a relevant other.
    """
    precisions: list[float] = []
    for start in range(0, len(codes), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(codes)))
        distances = hamming(codes[rows], codes).astype(np.int64)
        right = relevant(labels.take(rows), labels)
        own = np.arange(len(rows)), rows
        distances[own], right[own] = np.iinfo(np.int64).max, False
        ranked = np.take_along_axis(right, np.argsort(distances, axis=1, kind="stable"), axis=1)
        for row in ranked:
            ranks = np.flatnonzero(row) + 1
            if len(ranks):
                precisions.append(float(np.mean(np.arange(1, len(ranks) + 1) / ranks)))
    return float(np.mean(precisions)) if precisions else None
