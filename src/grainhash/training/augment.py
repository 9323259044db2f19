"""Random changes to a training picture: a crop, a mirror image, other colours.

All of them depend only on the generator that is passed, so that a picture looks the same in a given epoch
whatever thread, process or machine loads it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from grainhash.encoder.granules import resized
from grainhash.errors import InputError

TRIES = 10
"""Shapes of a crop to draw before the whole picture is taken instead."""

LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
"""ITU-R BT.601, as Pillow turns RGB to grey."""


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How much a picture may change.

    Raises:
        InputError: a value out of its range.
    """

    least_area: float = 0.35
    """A crop covers between this share of the picture and all of it; 1 for no crops."""
    elongation: float = 4 / 3
    """A crop is at most this many times longer than wide, or wider than long."""
    mirror: float = 0.5
    """Chance of a mirror image."""
    jitter: float = 0.3
    """Brightness, contrast and saturation are each multiplied by 1 - jitter to 1 + jitter."""

    def __post_init__(self) -> None:
        if not (0 < self.least_area <= 1 <= self.elongation and 0 <= self.mirror <= 1 > self.jitter >= 0):
            raise InputError(f"augmentation {self} is out of range")

    def crop_box(
        self, width: int, height: int, rng: np.random.Generator
    ) -> tuple[float, float, float, float]:
        """A random part, in pixels (Szegedy et al., Going Deeper with Convolutions, CVPR 2015)."""
        for _ in range(TRIES):
            area = rng.uniform(self.least_area, 1) * width * height
            shape = math.exp(rng.uniform(-1, 1) * math.log(self.elongation))
            w, h = math.sqrt(area * shape), math.sqrt(area / shape)
            if w <= width and h <= height:
                x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
                return x, y, x + w, y + h
        return 0.0, 0.0, float(width), float(height)

    def colours(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """A random map of colours, `(4, 3)`: `[r, g, b, mean] @ map`, `mean` being the picture's grey level.

        Saturation, contrast and brightness in turn, each a linear map, so one map for all three.
        """
        saturation, contrast, brightness = 1 + self.jitter * rng.uniform(-1, 1, 3)
        mixed = saturation * np.eye(3) + (1 - saturation) * LUMINANCE[:, None]
        change = np.concatenate([contrast * mixed, np.full((1, 3), 1 - contrast)]) * brightness
        return np.asarray(change, np.float32)

    def apply(
        self, rgb: NDArray[np.uint8], size: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """A random view of a picture `(height, width, 3)`: `(size, size, 3)`, and its map of colours."""
        height, width = rgb.shape[:2]
        box = self.crop_box(width, height, rng)
        pixels = resized(Image.fromarray(rgb), size, box)
        return pixels[:, ::-1] if rng.random() < self.mirror else pixels, self.colours(rng)

    @property
    def smallest_side(self) -> float:
        """The shortest side that a crop can have, as a share of the picture's."""
        return math.sqrt(self.least_area / self.elongation)


NONE = Augmentation(least_area=1, mirror=0, jitter=0)


def recolour(pixels: Any, changes: Any) -> Any:
    """Apply maps of colours `(n, 4, 3)` to a batch `(n, h, w, 3)`, float32 tensors of 0..255."""
    grey = (pixels.mean(dim=(1, 2)) * pixels.new_tensor(LUMINANCE)).sum(dim=1)
    moved = grey[:, None, None] * changes[:, 3:]
    n, h, w, _ = pixels.shape
    mixed = (pixels.reshape(n, h * w, 3) @ changes[:, :3] + moved).clamp_(0, 255)
    return mixed.reshape(n, h, w, 3)
