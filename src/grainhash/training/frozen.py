"""Learning a hash function on the features of a frozen network: seconds, once the features are there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grainhash import methods
from grainhash.encoder import Encoder
from grainhash.errors import InputError
from grainhash.hashing.balanced import fit_balanced
from grainhash.hashing.function import HashFunction
from grainhash.labelled import LabelledPictures
from grainhash.labels import Labels
from grainhash.self_training import check_single, surely_labelled
from grainhash.training.allocator import keep_freed_memory
from grainhash.training.data import Material, check_share, divide, gather
from grainhash.training.features import VIEWS, View, cached_features, default_cache
from grainhash.training.method import make_method
from grainhash.training.out import check_out
from grainhash.training.result import Trained
from grainhash.training.score import validation_map
from grainhash.training.versions import versions
from grainhash.types import Progress, silent

CONCAT = "concat"
"""The fusion to which all parts of the features count alike."""


def train_frozen(
    pictures: LabelledPictures,
    out: Path,
    *,
    base: Encoder,
    method: str = "nested",
    n_bits: int = 64,
    settings: Mapping[str, Any] | None = None,
    fusion: str = CONCAT,
    mirrored: bool = False,
    unlabelled: LabelledPictures | None = None,
    split: str = "train",
    validation: float = 0.1,
    seed: int = 0,
    cache: Path | None = None,
    source: str = "",
    progress: Callable[[Progress], None] = silent,
) -> Trained:
    """Fit a method to the features of a base encoder and write the encoder folder that has it.

    It is fitted twice: without the validation part, to know how well it does, and to all pictures, to be
    used. Features of several parts are brought to length 1, each part by itself, before anything else.

    Args:
        pictures: with labels where the method needs them.
        out: the folder to write.
        base: gives the network, the granules and the features.
        method: a name in `grainhash.methods.METHODS`.
        n_bits: of the code.
        settings: of the method.
        fusion: how a deep method weighs features of several parts, a name in
            `grainhash.learning.fusion.FUSIONS`; to all other methods they count alike.
        mirrored: learn from every picture mirrored left to right, too.
        unlabelled: more pictures, whose labels are not looked at: what a first fit is sure of is learned from
            as well, see `grainhash.self_training`. Those that are among `pictures` count for nothing.
        split: the part to learn from where `pictures` names parts.
        validation: share of the pictures to keep back for the score; 0 to fit once.
        seed: of everything random.
        cache: a folder for features; `default_cache()` if not given.
        source: where the pictures come from, for the encoder's provenance.
        progress: told of long work.

    Raises:
        InputError, LabelsError, SplitError: see `grainhash.training.data`; or a setting or fusion that the
            method cannot have.
        MissingExtra: the method needs PyTorch, which is not installed.
    """
    started = perf_counter()
    check_out(out, resume=False)
    check_share(validation)
    make = methods.method(method)
    deep = hasattr(make, "blocks")  # tells parts of features, and views of a picture, apart
    sizes = _sizes(base)
    own = {"blocks": sizes} if deep else {}
    learner = make_method(make, n_bits, seed, own | _with_fusion(settings or {}, fusion, method, deep))
    needs_labels = learner.needs_labels
    if deep:
        keep_freed_memory()
    material = gather(pictures, name=method, needs_labels=needs_labels, split=split, progress=progress)
    others = _without_labels(unlabelled, material, method, needs_labels, progress)
    divided = partial(
        divide, n_bits=n_bits, name=method, needs_labels=needs_labels, validation=validation, seed=seed
    )
    division = divided(material)
    seen = partial(
        _views, base, cache=cache or default_cache(), views=VIEWS[: 1 + mirrored], progress=progress
    )
    found, views = seen(material)
    if found is not material:
        material, division = found, divided(found)
    labels = material.pictures.labels
    others, their_views = (None, []) if others is None else seen(others)
    n_taken = 0

    def fit(features: list[NDArray[np.float32]], of_rows: Labels | None) -> HashFunction:
        if deep:
            return learner.fit(np.stack(features), of_rows, progress=progress).function
        tiled = None if of_rows is None else of_rows.take(np.tile(np.arange(len(of_rows)), len(features)))
        return fit_balanced(learner, np.concatenate(features), tiled, sizes=sizes, progress=progress)

    def learn(rows: NDArray[np.int64]) -> HashFunction:
        nonlocal n_taken
        features, of_rows = [view[rows] for view in views], None if labels is None else labels.take(rows)
        function = fit(features, of_rows)
        if of_rows is None or not their_views:
            return function
        taken = surely_labelled(function, features[0], of_rows, their_views[0])
        n_taken = len(taken.rows)
        both = [np.concatenate([a, b[taken.rows]]) for a, b in zip(features, their_views, strict=True)]
        return fit(both, taken.after(of_rows))

    score = None
    if len(division.validation) and labels is not None:
        codes = learn(division.training).encode(views[0][division.validation])
        score = validation_map(codes, labels.take(division.validation))
    function = learn(np.arange(len(material.pictures)))
    provenance = {
        "method": method,
        "settings": learner.settings,
        "source": source,
        "pictures": len(material.pictures),
        "classes": 0 if labels is None else int((labels.counts() > 0).sum()),
        "contents_sha256": material.sha256,
        "mirrored": mirrored,
        "unlabelled": {"pictures": 0 if others is None else len(others.pictures), "taken": n_taken},
        "validation": {"share": validation, "pictures": len(division.validation), "map": score},
        "versions": versions("numpy"),
    }
    base.with_hash_function(function, provenance).save(out)
    return Trained(
        Encoder.load(out),
        len(material.pictures),
        score,
        material.skipped | ({} if others is None else others.skipped),
        perf_counter() - started,
        n_unlabelled=n_taken,
    )


def _without_labels(
    pictures: LabelledPictures | None,
    material: Material,
    method: str,
    needs_labels: bool,
    progress: Callable[[Progress], None],
) -> Material | None:
    """What is learned from without labels: no content twice, and none that has a label already."""
    if pictures is None:
        return None
    if not needs_labels:
        raise InputError(f"{method} learns from no labels; put all pictures into one folder")
    labels = material.pictures.labels
    if labels is not None:
        check_single(labels)
    others = gather(replace(pictures, labels=None), name=method, needs_labels=False, progress=progress)
    first = dict(zip(reversed(others.contents), reversed(range(len(others.contents))), strict=True))
    labelled = set(material.contents)
    kept = np.array(sorted(at for content, at in first.items() if content not in labelled), np.int64)
    return Material(others.pictures.take(kept), tuple(others.contents[at] for at in kept), others.skipped)


def _views(
    base: Encoder,
    material: Material,
    *,
    cache: Path,
    views: Sequence[View],
    progress: Callable[[Progress], None],
) -> tuple[Material, list[NDArray[np.float32]]]:
    """Features of each view, and the material without the pictures that have none; the same if all have."""
    if not len(material.pictures):
        return material, []
    seen = [cached_features(base, material, cache, view=view, progress=progress) for view in views]
    bad = {position: reason for _, unusable in seen for position, reason in unusable.items()}
    if not bad:
        return material, [features for features, _ in seen]
    good = [position for position in range(len(material.pictures)) if position not in bad]
    return material.without(bad), [features[good] for features, _ in seen]


def _with_fusion(settings: Mapping[str, Any], fusion: str, method: str, deep: bool) -> dict[str, Any]:
    """The settings with a fusion other than the default among them."""
    if fusion == CONCAT:
        return dict(settings)
    if not deep:
        raise InputError(
            f"fusion {fusion!r}: {method} trains no weights or gates, to it all parts of the features count "
            "alike; choose a deep method such as nested, or concat"
        )
    if settings.get("fusion", fusion) != fusion:
        raise InputError(f"fusion {fusion!r} is asked for, and {settings['fusion']!r} among the settings")
    return {**settings, "fusion": fusion}


def _sizes(base: Encoder) -> tuple[int, ...]:
    """Columns of each part of the features; none for a single part, which needs no network to be compiled."""
    return tuple(base.feature_sizes.values()) if "+" in base.config.features else ()
