"""Features of many pictures through an encoder's frozen network, computed once and kept on disk.

The file's name is a digest of everything that decides the numbers: network, features, resampling, view
and the pictures' contents. A changed setting is another file, never a stale one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from grainhash.encoder import Encoder
from grainhash.encoder.granules import RESAMPLING
from grainhash.encoder.pipeline import in_order, one_core_each
from grainhash.errors import InputError, PictureError
from grainhash.files import whole_file
from grainhash.labelled import LabelledPictures
from grainhash.training.data import Material, whole
from grainhash.types import Progress, silent

View = Literal["plain", "mirrored"]
VIEWS: tuple[View, ...] = ("plain", "mirrored")

PICTURES_A_RUN = 8
"""Pictures that go through the network together; more are no faster."""


def default_cache() -> Path:
    """Where features are kept unless another folder is named: `grainhash/features` in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "grainhash" / "features"


def cached_features(
    encoder: Encoder,
    material: Material,
    cache: Path,
    *,
    view: View = "plain",
    progress: Callable[[Progress], None] = silent,
) -> tuple[NDArray[np.float32], dict[int, str]]:
    """Features of every picture as a whole, from a file in `cache` that is made if it is not there.

    Args:
        encoder: its network and features; its hash function takes no part.
        material: the pictures.
        cache: a folder; made if it is not there.
        view: the pictures as they are, or mirrored left to right.
        progress: told of every few pictures.

    Returns:
        `(n, n_features)`, mapped from the file, and the reason of every position that cannot be decoded;
        its row holds zeros.

    Raises:
        InputError: the file is not what it was written as, or the network gives no numbers for a picture.
    """
    path = cache / f"{_key(encoder, material, view)}.npy"
    reasons = path.with_suffix(".json")
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as draft:
            bad = _compute(encoder, material.pictures, draft, view, progress)
            with whole_file(reasons) as text:
                text.write_text(json.dumps(bad))
    try:
        rows: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
        found = {int(position): str(reason) for position, reason in json.loads(reasons.read_text()).items()}
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not features as they were written ({error}); delete the file") from None
    if len(rows) != len(material.pictures):
        raise InputError(f"{path}: features of {len(rows)} pictures, not {len(material.pictures)}; delete it")
    return rows, found


def _key(encoder: Encoder, material: Material, view: View) -> str:
    decisive = {
        "network": encoder.config.network_sha256,
        "input": encoder.config.network.to_dict(),
        "features": encoder.config.features,
        "runtime": encoder.runtime,
        "resampling": RESAMPLING,
        "view": view,
        "contents": hashlib.sha256("".join(material.contents).encode()).hexdigest(),
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:40]


def _compute(
    encoder: Encoder,
    pictures: LabelledPictures,
    draft: Path,
    view: View,
    progress: Callable[[Progress], None],
) -> dict[int, str]:
    """Write the features to `draft`; the reason of every position that cannot be decoded."""
    size = encoder.config.network.input_size
    n = len(pictures)

    def features(positions: list[int]) -> tuple[NDArray[np.float32], dict[int, str]]:
        pixels = np.zeros((len(positions), size, size, 3), np.uint8)
        bad: dict[int, str] = {}
        for row, position in enumerate(positions):
            try:
                pixels[row] = whole(pictures, position, size)
            except PictureError as error:
                bad[position] = error.reason
        seen = encoder.features(pixels if view == "plain" else np.ascontiguousarray(pixels[:, :, ::-1]))
        seen[[position - positions[0] for position in bad]] = 0
        finite = np.isfinite(seen).all(axis=1)
        if not finite.all():
            name = pictures.names[positions[int(finite.argmin())]]
            raise InputError(f"{name}: its features hold NaN or infinity; take another network or features")
        return seen, bad

    done = 0
    bad: dict[int, str] = {}
    rows: np.memmap[Any, np.dtype[np.float32]] | None = None
    with one_core_each(encoder), closing(in_order(features, range(n), PICTURES_A_RUN)) as runs:
        for part, unusable in runs:
            if rows is None:
                rows = open_memmap(draft, "w+", np.float32, (n, part.shape[1]))
            rows[done : done + len(part)] = part
            done += len(part)
            bad |= unusable
            progress(Progress("features" if view == "plain" else view, done, n, len(bad)))
    if rows is None:
        raise InputError("no pictures to compute features of")
    rows.flush()
    return bad
