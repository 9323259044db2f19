"""What a training came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from grainhash.encoder import Encoder


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training."""

    encoder: Encoder
    """Loaded from where it was saved."""
    n_pictures: int
    """That it learned from."""
    validation_map: float | None
    """mAP@all among the pictures kept back; `None` where none were."""
    skipped: Mapping[str, str]
    """Name and reason of every picture left out."""
    seconds: float
    n_unlabelled: int = 0
    """Pictures without labels that it learned from beside the others."""
