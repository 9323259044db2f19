"""Large galleries: how long a part query takes beyond encoding.

A gallery of a hundred thousand pictures and one of a million, written through the store as indexing does,
with a code of the whole and 16 of regions a picture. Codes are those of real photographs, all 17 of one
picture together, with a bit in five flipped: near to what they come from as likenesses are, far from the
others as unrelated pictures are. Queries are other photographs, by a part drawn in them.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grainhash.encoder import Encoder
from grainhash.gallery import Gallery
from grainhash.store import Record
from grainhash.types import Box, File, PictureCodes
from granularity_parts.material import BUILD, pictures_of

SIZES = (100_000, 1_000_000)
SIZE_QUICK = 2_000
SOURCES = 300
"""Photographs whose codes are taken."""
QUERIES = 24
FLIPPED = 0.2
BATCH = 10_000
SEED = 0
REGION = Box(0.25, 0.25, 0.75, 0.75)
SEARCHES: dict[str, dict[str, Any]] = {
    "part": {"granularity": "part"},
    "both": {},
    "both, 7 parts": {"parts": 6},
}


def scale(quick: bool) -> dict[str, Any] | None:
    """Milliseconds of a search, by size and kind."""
    photographs, queries = pictures_of("flickr8k_1k"), pictures_of("coco_mini")
    if photographs is None or queries is None:
        return None
    encoder = Encoder.load()
    sources = [encoder.encode(data) for data in photographs[: SOURCES // (10 if quick else 1)]]
    sources = [each for each in sources if len(each.regions) == encoder.granules.n_usual - 1]
    codes = np.stack([np.concatenate([each.whole[None], each.regions]) for each in sources])
    boxes = np.stack([each.boxes for each in sources])
    figures: dict[str, Any] = {}
    for n in (SIZE_QUICK,) if quick else SIZES:
        path = BUILD / f"gallery-{n}"
        shutil.rmtree(path, ignore_errors=True)
        started = perf_counter()
        fill(path, n, codes, boxes)
        filled = perf_counter() - started
        figures[str(n)] = {"pictures": n, "codes": n * codes.shape[1], "fill_seconds": round(filled, 1)}
        figures[str(n)] |= asked(path, queries[: 3 if quick else QUERIES])
        shutil.rmtree(path)
        print(f"  {n:,} pictures: {figures[str(n)]}", flush=True)
    return {"galleries": figures}


def fill(path: Path, n: int, codes: NDArray[np.uint8], boxes: NDArray[np.float32]) -> None:
    """A gallery of `n` pictures, each one of `(n_sources, n_granules, n_bytes)` codes with bits flipped."""
    rng = np.random.default_rng(SEED)
    with Gallery.open(path, create=True) as gallery:
        for start in range(0, n, BATCH):
            rows = rng.integers(len(codes), size=min(BATCH, n - start))
            flips = np.packbits(rng.random((len(rows), *codes.shape[1:], 8), np.float32) < FLIPPED, axis=3)
            flipped = codes[rows] ^ flips[..., 0]
            gallery._store.add(
                [
                    Record(
                        File(f"/synthetic/{start + i:07d}.jpg", 40_000, 1),
                        f"{start + i:064x}",
                        PictureCodes(500, 375, own[0], own[1:], boxes[row]),
                        {"folder": "synthetic"},
                    )
                    for i, (row, own) in enumerate(zip(rows, flipped, strict=True))
                ],
                encoder=gallery.encoder.fingerprint,
            )


def asked(path: Path, queries: list[bytes]) -> dict[str, Any]:
    """Opening with the first search, when codes are copied to the cache; the next; and the median of more."""
    figures: dict[str, Any] = {}
    for name in ("first_search_seconds", "next_opened_seconds"):
        with Gallery.open(path) as gallery:
            question = gallery.encoder.ask(queries[0], region=REGION)
            started = perf_counter()
            gallery.refresh()
            gallery.find(question, granularity="part")
            figures[name] = round(perf_counter() - started, 3)
    with Gallery.open(path) as gallery:
        for name, search in SEARCHES.items():
            options = dict(search)
            parts = options.pop("parts", 0)
            times = []
            for data in queries:
                question = gallery.encoder.ask(data, region=REGION, parts=parts)
                started = perf_counter()
                found = gallery.find(question, **options)
                times.append(perf_counter() - started)
                assert len(found.hits) == 10
            figures[name] = {
                "median_ms": round(1e3 * float(np.median(times)), 1),
                "p90_ms": round(1e3 * float(np.quantile(times, 0.9)), 1),
            }
    return figures
