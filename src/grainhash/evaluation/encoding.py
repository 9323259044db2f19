"""Pictures to codes for an evaluation: whole pictures, by several encoders at once.

Encoders that share a network and features, such as those trained on one base, share its work: every
picture goes through each network once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grainhash.codes import pack
from grainhash.encoder import Encoder
from grainhash.encoder.granules import WHOLE_ONLY
from grainhash.encoder.pipeline import in_order, one_core_each
from grainhash.errors import InputError, PictureError
from grainhash.labelled import LabelledPictures
from grainhash.types import Codes, Progress, silent

CHUNK = 8
"""Pictures that go through a network together."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """The rows of one encoder, one a picture; those of pictures that cannot be used hold zeros."""

    encoder: Encoder
    codes: Codes
    """`(n, n_bytes)`."""
    projections: Floats | None
    """`(n, n_bits)`, the real numbers whose signs are the bits, where they were asked for."""
    features: Floats | None
    """`(n, n_features)`, where they were asked for."""


def contents(
    pictures: LabelledPictures, *, progress: Callable[[Progress], None] = silent
) -> tuple[list[str], dict[int, str]]:
    """The SHA-256 of every picture's bytes, and the reason by position where they cannot be had."""
    digests, skipped = [], {}
    for position in range(len(pictures)):
        try:
            digests.append(hashlib.sha256(pictures.content(position)).hexdigest())
        except PictureError as error:
            digests.append("")
            skipped[position] = error.reason
        progress(Progress("compare", position + 1, len(pictures), len(skipped)))
    return digests, skipped


def encode_pictures(
    encoders: Sequence[Encoder],
    pictures: LabelledPictures,
    positions: NDArray[np.int64],
    *,
    with_projections: bool = False,
    with_features: bool = False,
    progress: Callable[[Progress], None] = silent,
    n_workers: int | None = None,
) -> tuple[list[Encoded], dict[int, str]]:
    """Encode pictures as wholes by every encoder.

    Args:
        encoders: one or more; their settings of granules are left aside.
        pictures: all of them; the result has a row for each.
        positions: of those that are encoded.
        with_projections: keep what `Asymmetric` compares.
        with_features: keep what `Cosine` compares.
        progress: told of every chunk.
        n_workers: the cores of this process by default.

    Returns:
        The rows of each encoder, and the reason by position of every picture that cannot be used.

    Raises:
        InputError: no encoder.
    """
    if not encoders:
        raise InputError("no encoder to evaluate; name one or more")
    n, n_done = len(pictures), 0
    skipped: dict[int, str] = {}
    results = [_empty(encoder, n, with_projections, with_features) for encoder in encoders]
    for rows, features, left_out in _features_of_chunks(encoders, pictures, positions, n_workers):
        skipped |= left_out
        n_done += len(rows) + len(left_out)
        for result in results if rows else ():
            _fill(result, rows, features[_network(result.encoder)])
        progress(Progress("encode", n_done, len(positions), len(skipped)))
    return results, skipped


def _empty(encoder: Encoder, n: int, with_projections: bool, with_features: bool) -> Encoded:
    return Encoded(
        encoder,
        np.zeros((n, encoder.n_bits // 8), np.uint8),
        np.zeros((n, encoder.n_bits), np.float32) if with_projections else None,
        np.zeros((n, encoder.hash_function.n_features), np.float32) if with_features else None,
    )


def _fill(result: Encoded, rows: list[int], features: Floats) -> None:
    projections = result.encoder.hash_function.project(features)
    result.codes[rows] = pack(projections)
    if result.projections is not None:
        result.projections[rows] = projections
    if result.features is not None:
        result.features[rows] = features


Chunk = tuple[list[int], dict[str, Floats], dict[int, str]]
"""Positions that could be used, their features by network, and why others could not."""


def _features_of_chunks(
    encoders: Sequence[Encoder],
    pictures: LabelledPictures,
    positions: NDArray[np.int64],
    n_workers: int | None,
) -> Iterator[Chunk]:
    """The pictures in order, a few at a time; those go through all stages on one core."""
    networks = {_network(encoder): encoder.with_granules(WHOLE_ONLY) for encoder in encoders}
    work = partial(_features, networks, pictures)
    with (
        one_core_each(*networks.values()),
        closing(in_order(work, positions.tolist(), CHUNK, n_workers)) as chunks,
    ):
        yield from chunks


def _features(networks: dict[str, Encoder], pictures: LabelledPictures, positions: list[int]) -> Chunk:
    cuts: dict[str, list[NDArray[np.uint8]]] = {network: [] for network in networks}
    rows, skipped = [], {}
    for position in positions:
        try:
            data = pictures.content(position)
            name = pictures.names[position]
            pixels = {network: encoder.cut(data, name=name).pixels for network, encoder in networks.items()}
        except PictureError as error:
            skipped[position] = error.reason
            continue
        rows.append(position)
        for network, granules in pixels.items():
            cuts[network].append(granules)
    if not rows:
        return rows, {}, skipped
    return rows, {name: networks[name].features(np.concatenate(cut)) for name, cut in cuts.items()}, skipped


def _network(encoder: Encoder) -> str:
    """The same for encoders that make the same features."""
    config: Any = encoder.config
    return f"{config.network_sha256} {config.features} {config.network}"
