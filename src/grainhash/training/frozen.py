"""Learning a hash function on the features of a frozen network: seconds, once the features are there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grainhash import methods
from grainhash.encoder import Encoder
from grainhash.errors import InputError
from grainhash.hashing.method import HashMethod
from grainhash.labelled import LabelledPictures
from grainhash.training.data import divide, gather
from grainhash.training.features import VIEWS, cached_features, default_cache
from grainhash.training.out import check_out
from grainhash.training.result import Trained
from grainhash.training.score import validation_map
from grainhash.training.versions import versions
from grainhash.types import Progress, silent


def train_frozen(
    pictures: LabelledPictures,
    out: Path,
    *,
    base: Encoder,
    method: str = "nested",
    n_bits: int = 64,
    settings: Mapping[str, Any] | None = None,
    mirrored: bool = False,
    split: str = "train",
    validation: float = 0.1,
    seed: int = 0,
    cache: Path | None = None,
    source: str = "",
    progress: Callable[[Progress], None] = silent,
) -> Trained:
    """Fit a method to the features of a base encoder and write the encoder folder that has it.

    It is fitted twice: without the validation part, to know how well it does, and to all pictures, to be
    used.

    Args:
        pictures: with labels where the method needs them.
        out: the folder to write.
        base: gives the network, the granules and the features.
        method: a name in `grainhash.methods.METHODS`.
        n_bits: of the code.
        settings: of the method.
        mirrored: learn from every picture mirrored left to right, too.
        split: the part to learn from where `pictures` names parts.
        validation: share of the pictures to keep back for the score; 0 to fit once.
        seed: of everything random.
        cache: a folder for features; `default_cache()` if not given.
        source: where the pictures come from, for the encoder's provenance.
        progress: told of long work.

    Raises:
        InputError, LabelsError, SplitError: see `grainhash.training.data`.
        MissingExtra: the method needs PyTorch, which is not installed.
    """
    started = perf_counter()
    check_out(out, resume=False)
    make = methods.method(method)
    deep = hasattr(make, "blocks")  # tells kinds of features, and views of a picture, apart
    own = {"blocks": _kinds(base)} if deep else {}
    try:
        learner: HashMethod = make(n_bits=n_bits, seed=seed, **own | dict(settings or {}))
    except TypeError as error:
        raise InputError(f"settings that {method} does not know: {error}") from None
    needs_labels = learner.needs_labels
    material = gather(pictures, name=method, needs_labels=needs_labels, split=split, progress=progress)
    folder = cache or default_cache()
    views: list[NDArray[np.float32]] = []
    bad: dict[int, str] = {}
    for view in VIEWS[: 1 + mirrored]:
        features, unusable = cached_features(base, material, folder, view=view, progress=progress)
        views.append(features)
        bad |= unusable
    good = np.array([position not in bad for position in range(len(material.pictures))])
    material = material.without(bad)
    views = [view[good] if bad else view for view in views]
    division = divide(
        material, n_bits=n_bits, name=method, needs_labels=needs_labels, validation=validation, seed=seed
    )
    labels = material.pictures.labels

    def fit(rows: NDArray[np.int64]) -> None:
        join, times = (np.stack, 1) if deep else (np.concatenate, len(views))
        learned_from = None if labels is None else labels.take(np.tile(rows, times))
        learner.fit(join([view[rows] for view in views]), learned_from, progress=progress)

    score = None
    if len(division.validation) and labels is not None:
        fit(division.training)
        codes = learner.encode(views[0][division.validation])
        score = validation_map(codes, labels.take(division.validation))
    fit(np.arange(len(material.pictures)))
    provenance = {
        "method": method,
        "settings": learner.settings,
        "source": source,
        "pictures": len(material.pictures),
        "classes": 0 if labels is None else labels.n_classes,
        "contents_sha256": material.sha256,
        "mirrored": mirrored,
        "validation": {"share": validation, "pictures": len(division.validation), "map": score},
        "versions": versions("numpy"),
    }
    base.with_hash_function(learner.function, provenance).save(out)
    return Trained(
        Encoder.load(out), len(material.pictures), score, material.skipped, perf_counter() - started
    )


def _kinds(base: Encoder) -> tuple[int, ...]:
    """Columns of each kind of features; none for a single kind, which needs no network to be compiled."""
    return tuple(base.feature_sizes.values()) if "+" in base.config.features else ()
