"""Codes to search: uniform, clustered, and those of real pictures.

- uniform: every bit is a fair coin. No structure helps: the hardest data for any index.
- clustered: `max(1000, n / 1000)` centres of fair bits. A code is a centre chosen at random with each bit
  flipped with probability .05, so two codes of a cluster differ in 9.5 % of their bits on average.
- scattered: the same with probability .10, so that they differ in 18 %.
- real: codes of pictures from the encoder that grainhash ships; see `real_codes`.

Queries come from the same source and are not in the collection. Everything is a function of its seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from grainhash.types import Codes

if TYPE_CHECKING:
    from grainhash import Encoder

SEED = 0
N_QUERIES = 1024
FLIPPED = {"uniform": None, "clustered": 0.05, "scattered": 0.10}
"""Probability that a bit differs from that of its centre; `None` without centres."""

CHUNK = 1 << 18
"""Codes made at a time, each chunk from a seed of its own."""

PROBABILITY_BITS = 12
"""A probability is rounded to so many binary digits: .05 becomes 205 / 4096 = .05005."""

ROOT = Path(__file__).parents[2]
PICTURES = ROOT.parent / "shared" / "data"
CACHE = ROOT / "build" / "benchmark-codes"


@dataclass(frozen=True)
class Data:
    """A collection and what is asked of it."""

    name: str
    codes: Codes
    """`(n, n_bytes)`, read-only, so that an index uses them in place."""
    queries: Codes
    """`(N_QUERIES, n_bytes)`."""

    @property
    def n(self) -> int:
        """How many codes."""
        return len(self.codes)

    @property
    def n_bits(self) -> int:
        """Length of a code."""
        return int(self.codes.shape[1]) * 8


# Synthetic codes


def synthetic(name: str, n: int, n_bits: int) -> Data:
    """`n` codes of one of the kinds in `FLIPPED`."""
    source = Source(name, n, n_bits)
    codes = np.empty((n, n_bits // 8), np.uint8)
    starts = range(0, n, CHUNK)

    def fill(start: int) -> None:
        codes[start : start + CHUNK] = source.chunk(start)

    with ThreadPoolExecutor() as pool:
        list(pool.map(fill, starts))
    codes.flags.writeable = False
    return Data(name, codes, source.queries())


class Source:
    """Makes the same codes whole or chunk by chunk, so that a large collection need not be in memory."""

    def __init__(self, name: str, n: int, n_bits: int) -> None:
        self.n, self.n_bits = n, n_bits
        self._flipped = FLIPPED[name]
        self._seed = [SEED, sorted(FLIPPED).index(name), n, n_bits]
        self._centres = fair_bits(self._random(0), (max(1000, n // 1000), n_bits // 64))

    def chunks(self) -> Iterator[Codes]:
        """All codes, `CHUNK` at a time."""
        yield from (self.chunk(start) for start in range(0, self.n, CHUNK))

    def chunk(self, start: int) -> Codes:
        """The codes from `start`, at most `CHUNK`."""
        return self._draw(self._random(1, start), min(CHUNK, self.n - start))

    def queries(self) -> Codes:
        """`N_QUERIES` more codes of the same kind."""
        return self._draw(self._random(2), N_QUERIES)

    def _random(self, *purpose: int) -> np.random.Generator:
        """A generator for one purpose: no two share a stream."""
        return np.random.Generator(np.random.SFC64([*self._seed, *purpose]))

    def _draw(self, random: np.random.Generator, n: int) -> Codes:
        shape = n, self.n_bits // 64
        if self._flipped is None:
            words = fair_bits(random, shape)
        else:
            words = self._centres[random.integers(len(self._centres), size=n)]
            words ^= rare_bits(random, shape, self._flipped)
        return words.view(np.uint8)


def fair_bits(random: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.uint64]:
    """Words whose bits are fair coins."""
    return random.integers(0, 2**64 - 1, size=shape, dtype=np.uint64, endpoint=True)


def rare_bits(random: np.random.Generator, shape: tuple[int, ...], probability: float) -> NDArray[np.uint64]:
    """Words whose bits are 1 with a probability, independently.

    The binary digits of the probability, from the last to the first, combine words of fair bits: a 1 by
    OR, which maps p to (1 + p) / 2, and a 0 by AND, which maps it to p / 2.
    """
    words = np.zeros(shape, np.uint64)
    digits = round(probability * 2**PROBABILITY_BITS)
    for place in range(PROBABILITY_BITS):
        combine = np.bitwise_or if digits >> place & 1 else np.bitwise_and
        combine(words, fair_bits(random, shape), out=words)
    return words


# Codes of real pictures


@dataclass(frozen=True)
class PictureSet:
    """Pictures that are there for evaluation only; nothing of them enters the project."""

    file: str
    with_regions: bool
    query_split: str | None
    """Pictures of this split may be drawn as queries."""


PICTURE_SETS = (
    PictureSet("cifar10.parquet", with_regions=False, query_split="test"),
    PictureSet("caltech101.parquet", with_regions=True, query_split="query"),
    PictureSet("flickr8k_1k.parquet", with_regions=True, query_split=None),
    PictureSet("coco_mini.parquet", with_regions=True, query_split=None),
)


def real_codes(n_bits: int, *, at_most: int | None = None, log: Callable[[str], None] = print) -> Data | None:
    """The first `n_bits` of the 256-bit codes of every granule of real pictures.

    Whole pictures of CIFAR-10; wholes and 13 regions each of Caltech-101, Flickr8k and COCO. A query is one
    granule of a picture of a query split, and no other granule of that picture is in the collection.
    Encoding takes a few minutes, once: the codes are kept below `build`, by the encoder's fingerprint.

    Args:
        n_bits: at most 256.
        at_most: pictures of each set, for a quick run.
        log: told why there are none.
    """
    missing = [pictures.file for pictures in PICTURE_SETS if not (PICTURES / pictures.file).exists()]
    if missing:
        log(f"SKIPPED: codes of real pictures; {', '.join(missing)} not in {PICTURES}")
        return None
    codes, pictures, may_ask = _encoded(at_most)
    random = np.random.default_rng(SEED)
    asked = random.permutation(np.flatnonzero(may_ask))[:N_QUERIES]
    kept = ~np.isin(pictures, pictures[asked])
    chosen = np.ascontiguousarray(codes[kept, : n_bits // 8])
    chosen.flags.writeable = False
    return Data("real", chosen, np.ascontiguousarray(codes[asked, : n_bits // 8]))


def _encoded(at_most: int | None) -> tuple[Codes, NDArray[np.int64], NDArray[np.bool_]]:
    """All codes, the number of the picture of each, and whether it may be a query."""
    from grainhash import Encoder

    encoder = Encoder.load()
    kept = CACHE / f"{encoder.fingerprint[:16]}-{at_most or 'all'}.npz"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        codes, pictures, may_ask = _encode_all(encoder, at_most)
        np.savez(kept, codes=codes, pictures=pictures, may_ask=may_ask)
    with np.load(kept, allow_pickle=False) as file:
        return file["codes"], file["pictures"], file["may_ask"]


def _encode_all(encoder: Encoder, at_most: int | None) -> tuple[Codes, NDArray[np.int64], NDArray[np.bool_]]:
    import pyarrow.parquet as parquet
    from granules import TILES

    from grainhash.encoder.granules import WHOLE_ONLY

    codes: list[Codes] = []
    pictures: list[NDArray[np.int64]] = []
    may_ask: list[NDArray[np.bool_]] = []
    n = 0
    for picture_set in PICTURE_SETS:
        table = parquet.read_table(PICTURES / picture_set.file)
        step = max(1, len(table) // at_most) if at_most else 1
        images = table["image"].to_pylist()[::step]
        splits = table["split"].to_pylist()[::step] if picture_set.query_split else [None] * len(images)
        granules = encoder.with_granules(TILES if picture_set.with_regions else WHOLE_ONLY)
        for split, rows in zip(splits, _codes_of(granules, images), strict=True):
            codes.append(rows)
            pictures.append(np.full(len(rows), n))
            may_ask.append(np.full(len(rows), split is not None and split == picture_set.query_split))
            n += 1
    return np.concatenate(codes), np.concatenate(pictures), np.concatenate(may_ask)


def _codes_of(encoder: Encoder, images: list[bytes]) -> Iterator[Codes]:
    """The codes of each picture, the whole first: one worker a core, a few pictures at a time."""
    from threadpoolctl import threadpool_limits

    from grainhash.cores import usable_cores
    from grainhash.encoder.pipeline import GRANULES_A_RUN

    size = max(1, GRANULES_A_RUN // encoder.granules.n_usual)
    chunks = [images[start : start + size] for start in range(0, len(images), size)]

    def encode(chunk: list[bytes]) -> list[Codes]:
        made = encoder.codes([encoder.cut(image) for image in chunk])
        return [np.concatenate([codes.whole[np.newaxis], codes.regions]) for codes in made]

    encoder.network  # noqa: B018  compile once, before the workers race for it
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(usable_cores()) as pool:
        for rows in pool.map(encode, chunks):
            yield from rows
