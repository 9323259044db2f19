"""What codes cost a gallery: bytes, by writing some; time, by searching as many as it will hold."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grainhash.advise.lengths import SearchTime, Storage
from grainhash.codecache import WORTH_WRITING
from grainhash.codes import pack
from grainhash.encoder.granules import GranuleSettings
from grainhash.index import Index
from grainhash.search import Question, rank
from grainhash.store import Record, Store
from grainhash.types import Codes, File, Granularity, PictureCodes

ROWS = 2000
"""Pictures that are written to see what one takes."""

K = 10
"""Hits asked for."""

SEARCHES = 200
"""Searches that are timed, at most, after one that warms up."""

SECONDS = 1.0
"""No further search begins after so long."""

MASKS = 2**14
"""Patterns of flipped bits that stand-in codes are made with."""

MAX_CODES = 2 * 2**30
"""Bytes of codes in memory at once, at most; no more than a third of what is free either."""

_ITEM_BYTES = 16
"""An id and an offset."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a gallery keeps of a picture beside its codes."""

    uri: str
    width: int
    height: int
    meta: Mapping[str, Any]


def storage(known: Sequence[Known], granules: GranuleSettings, n_bits: int, n_pictures: int) -> Storage:
    """Bytes a picture, by writing a gallery's database of pictures like these.

    Args:
        known: some of the pictures.
        granules: what is cut from each.
        n_bits: length of a code.
        n_pictures: a gallery of more than a few keeps a copy of all codes beside its database.
    """
    n_bytes = n_bits // 8
    n_granules = granules_a_picture(known, granules)
    with TemporaryDirectory(prefix="grainhash-") as folder:
        path = Path(folder, "gallery.sqlite")
        Store.create(path, encoder="", n_bits=n_bits).close()
        empty = path.stat().st_size
        store = Store(path)
        store.add([_record(known, granules, n_bytes, row) for row in range(ROWS)], encoder="")
        store.close()  # what was written goes from the log into the file
        database = (path.stat().st_size - empty) / ROWS
    memory = n_granules * n_bytes + _ITEM_BYTES
    copy = memory if n_pictures > WORTH_WRITING else 0.0
    return Storage(codes=n_granules * n_bytes, memory=memory, copy=copy, disk=database + copy)


def granules_a_picture(known: Sequence[Known], granules: GranuleSettings) -> float:
    """The whole and its regions, on average."""
    return 1 + float(np.mean([len(_regions(granules, each)) for each in known]))


def _regions(granules: GranuleSettings, picture: Known) -> NDArray[np.float32]:
    """As many boxes as the picture has regions at most, `(n, 4)`."""
    tiles = granules.tiles(picture.width, picture.height)
    return np.concatenate([tiles, np.zeros((granules.proposals, 4), np.float32)])


def _record(known: Sequence[Known], granules: GranuleSettings, n_bytes: int, row: int) -> Record:
    """A picture like one of those known, under a path of its own that is as long."""
    each, number = known[row % len(known)], f"{row:07d}"
    uri = each.uri[: -len(number)] + number
    boxes = _regions(granules, each)
    codes = PictureCodes(
        each.width,
        each.height,
        np.zeros(n_bytes, np.uint8),
        np.zeros((len(boxes), n_bytes), np.uint8),
        boxes,
    )
    return Record(File(uri, 2**20, 2**60), sha256(number.encode()).hexdigest(), codes, each.meta)


def search_time(queries: Codes, codes: Codes, *, n_pictures: int, n_regions: int, seed: int) -> SearchTime:
    """Milliseconds of one search of a gallery, as `grainhash.search` does it, without reading metadata.

    Codes of wholes are the real ones where there are enough. Beyond them, and for regions, stand-ins are
    drawn: a real code with bits flipped at the rate at which a query and its nearest code differ.

    Args:
        queries: `(n, n_bytes)`, real ones.
        codes: `(n, n_bytes)`, real ones of whole pictures.
        n_pictures: the size of the gallery.
        n_regions: codes of regions a picture.
        seed: of the stand-ins.
    """
    searched = min(n_pictures, max(1, _room() // (codes.shape[1] * (1 + n_regions))))
    wholes, regions = _indexes(queries, codes, searched, n_regions, np.random.default_rng(seed))
    granularity: Granularity = "both" if n_regions else "whole"
    times: list[float] = []
    started = perf_counter()
    for number in range(1 + SEARCHES):
        before = perf_counter()
        rank(wholes, regions, Question(queries[[number % len(queries)]]), K, granularity)
        times.append(perf_counter() - before)
        if len(times) > 2 and perf_counter() - started > SECONDS:
            break
    scaled = np.array(times[1:]) * (1e3 * n_pictures / searched)
    low, median, high = (float(value) for value in np.percentile(scaled, (10, 50, 90)))
    return SearchTime(median, low, high, searched, len(scaled))


def _indexes(
    queries: Codes, codes: Codes, n: int, n_regions: int, rng: np.random.Generator
) -> tuple[Index, Index]:
    """The indexes of wholes and regions that a gallery of `n` pictures holds."""
    n_bits = codes.shape[1] * 8
    nearest = Index.from_codes(codes).search(queries, 1).distances
    masks = pack(rng.random((MASKS, n_bits), np.float32) < float(nearest.mean()) / n_bits)
    wholes, regions = Index(n_bits), Index(n_bits)
    wholes.add(_fixed(np.concatenate([codes[:n], stand_ins(codes, masks, max(0, n - len(codes)), rng)])))
    offsets = np.arange(n + 1, dtype=np.int64) * n_regions
    regions.add(_fixed(stand_ins(codes, masks, n * n_regions, rng)), offsets=offsets)
    return wholes, regions


def stand_ins(codes: Codes, masks: Codes, n: int, rng: np.random.Generator) -> Codes:
    """`n` codes like the real ones: each a real code, its bits flipped where a mask has ones."""
    drawn: Codes = codes[rng.integers(0, len(codes), n, np.int32)]
    drawn ^= masks[rng.integers(0, len(masks), n, np.int32)]
    return drawn


def _fixed(codes: Codes) -> Codes:
    """Read-only, so that the index takes them in place."""
    codes.flags.writeable = False
    return codes


def _room() -> int:
    """Bytes that codes may take in memory."""
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):  # not told on this system
        return MAX_CODES
    return max(2**24, min(MAX_CODES, free // 3))
