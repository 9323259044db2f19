"""None of these: how far from all labelled pictures a picture may be and still be one of their classes.

Two samples of distances to the nearest labelled picture are compared: of the labelled pictures, each left
out, and of those without a label, which are a mixture of the classes and of others. The share of the classes
is the largest that their distribution allows (C. Scott, "A rate of convergence for mixture proportion
estimation", AISTATS 2015), and the radius is that at which fewest are expected to be wrong: those of the
classes beyond it and others within it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from grainhash.classify.calibration import Floats, Ints

CORE = 0.5
"""Radii within which fewer of the labelled lie say too little about the share of the classes."""


@dataclass(frozen=True, slots=True)
class Novelty:
    """The radius, and what it is from."""

    radius: int
    """Bits; a picture farther than this from all labelled ones is none of these."""
    share: float
    """Of the pictures without labels that the classes are estimated to hold, 0..1."""

    @classmethod
    def fit(cls, left_out: Ints, unlabelled: Ints, n_bits: int) -> Novelty:
        """Choose the radius.

        Args:
            left_out: `(n,)`, bits from each labelled picture to the nearest other one.
            unlabelled: `(m,)`, bits from each picture without label to the nearest labelled one.
            n_bits: length of a code.
        """
        if not len(unlabelled):
            return cls(int(left_out.max(initial=0)), 1.0)
        of_classes, of_all = _cumulated(left_out, n_bits), _cumulated(unlabelled, n_bits)
        core = of_classes >= CORE
        share = float(min(1.0, (of_all[core] / of_classes[core]).min()))
        wrong = share * (1 - of_classes) + of_all - share * of_classes
        # Of equally good radii the widest: a label can be doubted, one that is missing is not seen.
        radius = int(np.flatnonzero(wrong <= wrong.min() + 1e-12).max())
        return cls(radius, share)


def _cumulated(distances: Ints, n_bits: int) -> Floats:
    """The share of distances up to each number of bits, `(n_bits + 1,)`."""
    return np.asarray(np.cumsum(np.bincount(distances, minlength=n_bits + 1)) / len(distances))
