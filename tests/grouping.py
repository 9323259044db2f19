"""Galleries to group and to label: of made-up codes where no pictures are needed, and of photographs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from grainhash import Encoder, Gallery
from grainhash.store import Record
from grainhash.types import File, PictureCodes


def codes_around(n: int, n_centres: int, n_bits: int, flips: float, seed: int = 0) -> NDArray[np.uint8]:
    """Codes of `n_centres` groups in turn, each with some bits of its centre flipped."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 256, (n_centres, n_bits // 8), np.uint8)
    return centres[np.arange(n) % n_centres] ^ np.packbits(rng.random((n, n_bits)) < flips, axis=1)


def gallery_of(
    folder: Path, encoder: Encoder, codes: NDArray[np.uint8], metas: Sequence[Mapping[str, Any]] | None = None
) -> Gallery:
    """A gallery whose pictures have these codes and metadata, and no files."""
    gallery = Gallery.open(folder, create=True, encoder=encoder)
    none = np.empty((0, codes.shape[1]), np.uint8)
    records = [
        Record(
            File(f"/nowhere/{number}.jpg", 1, 1),
            f"{number:064x}",
            PictureCodes(4, 4, code, none, np.empty((0, 4), np.float32)),
            {} if metas is None else metas[number],
        )
        for number, code in enumerate(codes)
    ]
    gallery._store.add(records, encoder=encoder.fingerprint)
    return gallery


def gallery_of_pieces(folder: Path, photographs: Path) -> Path:
    """A gallery of 24 pieces of photographs of three classes, 6 more in `inbox`, and 2 there of no class."""
    for number, path in enumerate(sorted(photographs.rglob("*.*"))[:8]):
        with Image.open(path) as image:
            small = image.convert("RGB").resize((240, 160))
        for left in range(5 if number < 6 else 1):
            place = folder / "pictures" / (f"class {number % 3}" if left < 4 and number < 6 else "inbox")
            place.mkdir(parents=True, exist_ok=True)
            small.crop((10 * left, 0, 200 + 10 * left, 160)).save(place / f"{number}-{left}.png")
    with Gallery.open(folder / "gallery", create=True) as gallery:
        gallery.index(folder / "pictures")
    return folder / "gallery"
