"""What the examples share."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

from grainhash import Box, Gallery
from grainhash.report import Answer
from grainhash.types import WHOLE


def new_folder(path: Path) -> Path:
    """A folder of this run alone, from the root: what is there already is never overwritten or mixed in."""
    path = path.absolute()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise SystemExit(f"{path} is there already; move it away, or name another folder with --out")
    path.mkdir(parents=True, exist_ok=True)
    return path


def ask(
    gallery: Gallery, picture: Path | str, *, region: Box = WHOLE, k: int = 4, where: str | None = None
) -> Answer:
    """The `k` pictures most like a picture, or like a region of it."""
    started = perf_counter()
    hits = gallery.search(picture, region=region, k=k, where=where)
    return Answer(
        query=str(picture),
        query_box=None if region == WHOLE else region,
        hits=hits,
        n_bits=gallery.encoder.n_bits,
        granularity="both",
        n_pictures=len(gallery),
        seconds={"search": perf_counter() - started},
        where=where,
    )
