"""A hash function of the gallery's own: fitted on its pictures, and put in place of the present one.

The new codes are made beside the present ones, which serve until all are there and then make way at
once. Interrupted, a further run goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from grainhash.encoder.encoder import Encoder, Granules
from grainhash.encoder.pipeline import Failed, encode_files, features_of_files
from grainhash.errors import GalleryError, InputError, PictureError
from grainhash.hashing.itq import ITQ
from grainhash.store import Store, encoder_folder
from grainhash.types import Progress

FIT_GRANULES = 12_000
"""Granules that a hash function is fitted on, about: what fits into memory beside everything else."""

WHITENING = 0.5
"""Like the shipped hash function's."""

BATCH = 256
"""Pictures whose new codes are committed together."""


def refit(
    store: Store, present: Encoder, *, progress: Callable[[Progress], None], n_workers: int | None
) -> None:
    """Fit a hash function and give all pictures new codes; see `Gallery.refit`."""
    encoder = _unfinished(store, present) or _fit(store, present, progress, n_workers)
    encoder.save(encoder_folder(store.path.parent, encoder.fingerprint))
    store.start_recoding(encoder.fingerprint)
    while not store.finish_recoding(encoder.fingerprint, n_bits=encoder.n_bits):
        _recode(store, encoder, progress, n_workers)


def _unfinished(store: Store, present: Encoder) -> Encoder | None:
    """The encoder that an interrupted refit was going to."""
    fingerprint = store.next_encoder()
    if fingerprint is None or not (folder := encoder_folder(store.path.parent, fingerprint)).exists():
        return None
    return Encoder.load(folder, runtime=present.runtime, limits=present.limits)


def _fit(
    store: Store, present: Encoder, progress: Callable[[Progress], None], n_workers: int | None
) -> Encoder:
    paths = store.sample(FIT_GRANULES // present.granules.n_usual)
    features = []
    for done, rows in enumerate(features_of_files(present, map(Path, paths), n_workers=n_workers), 1):
        features.append(rows)
        progress(Progress("fitting", done, len(paths), 0))
    n_bits, n_granules = present.n_bits, sum(map(len, features))
    if n_granules <= n_bits:
        raise InputError(
            f"{store.path.parent}: {len(features)} pictures are too few to fit {n_bits} bits on: they have "
            f"{n_granules} granules, and more than {n_bits} are needed; the present codes stay"
        )
    hash_function = ITQ(n_bits, whitening=WHITENING).fit(np.concatenate(features)).function
    origin = {"method": "itq", "whitening": WHITENING, "pictures": len(features), "of": "the gallery"}
    return present.with_hash_function(hash_function, origin)


def _recode(
    store: Store, encoder: Encoder, progress: Callable[[Progress], None], n_workers: int | None
) -> None:
    """Make the codes that are missing, batch by batch, of the regions that are there."""
    target = encoder.fingerprint
    total, done, last, failed = store.n_to_recode(target), 0, 0, []
    while chunk := store.to_recode(target, limit=BATCH, after=last):
        boxes = dict(zip((uri for _, uri, _ in chunk), store.boxes([id for id, _, _ in chunk]), strict=True))

        def cut(path: Path, data: bytes, boxes: Mapping[str, NDArray[np.float32]] = boxes) -> Granules:
            return encoder.cut_at(data, boxes[str(path)], name=str(path))

        results = encode_files(encoder, [Path(uri) for _, uri, _ in chunk], cut=cut, n_workers=n_workers)
        codes = {}
        for (id, uri, sha256), result in zip(chunk, results, strict=True):
            done += 1
            if isinstance(result, Failed):
                failed.append(result.error)
            elif result.codes is None or result.sha256 != sha256:
                failed.append(PictureError(uri, "its content has changed since it was indexed"))
            else:
                codes[id] = result.codes
            progress(Progress("recoding", done, total, len(failed)))
        store.add_next_codes(codes, encoder=target)
        last = chunk[-1][0]
    if failed:
        raise GalleryError(
            f"{store.path.parent}: {len(failed)} pictures are not there any more as they were indexed, so "
            f"the old codes stay (first: {failed[0]}); index their folder again or grainhash remove them, "
            "then refit again"
        )
