"""EfficientNet-Lite0, 1 and 2 side by side: what a larger network, and R-MAC, gains and costs.

Judged on training pictures alone, since a default is chosen by it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np

from grainhash.encoder import Encoder
from grainhash.encoder.encoder import EncoderConfig
from grainhash.encoder.granules import GranuleSettings
from grainhash.errors import EncoderError
from grainhash.evaluation.protocols import PROTOCOLS
from grainhash.hashing.itq import ITQ
from grainhash.hashing.lsh import LSH
from grainhash.labelled import LabelledPictures
from grainhash.networks.backbone import load_backbone
from grainhash.networks.export import export_onnx
from grainhash.training.data import gather
from grainhash.training.features import cached_features
from quality_parts.judged import Judge, Results, fitted
from quality_parts.material import CACHE, CALTECH101, CIFAR10, ROOT, SEEDS, read_labelled

NETWORKS = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")
N_FEATURES = 1280
"""Of average pooling and of R-MAC alike, in all three."""
POOLINGS = {"average": slice(0, N_FEATURES), "R-MAC": slice(N_FEATURES, 2 * N_FEATURES)}
N_BITS, WHITENING = 256, 0.5
"""Of the shipped hash function."""
PER_CLASS = 500
"""Pictures of each class of CIFAR-10's train part."""
TIMED = 64
"""Pictures at once, to time a network by, in fp32."""
QUICK_PICTURES = 400


def networks(quick: bool) -> dict[str, Any] | None:
    """Every network and pooling on every data set: floats and codes, and pictures a second."""
    data = list(_data_sets(quick))
    if not data:
        print("networks: not measured, their pictures are not on this machine")
        return None
    figures: dict[str, Any] = {"measured_on": {name: len(pictures) for name, pictures in data}}
    for name in NETWORKS[:1] if quick else NETWORKS:
        try:
            encoder = _exported(name)
        except EncoderError as error:
            print(f"networks: {name} not measured: {error}")
            continue
        size = encoder.config.network.input_size
        figures[name] = {"input_size": size, "pictures_per_second": round(_speed(encoder), 1)}
        for data_set, pictures in data:
            figures[name][data_set] = _judged(encoder, data_set, pictures).to_json()
    return figures


def _data_sets(quick: bool) -> Iterator[tuple[str, LabelledPictures]]:
    """Training pictures: of CIFAR-10 so many of each class, of Caltech-101 the database."""
    rng = np.random.default_rng(0)
    if CALTECH101.exists():
        pictures = read_labelled(CALTECH101)
        pictures = replace(pictures.split("database"), splits=None)
        yield "caltech101", pictures.take(np.arange(QUICK_PICTURES)) if quick else pictures
    if CIFAR10.exists() and not quick:
        pictures = read_labelled(CIFAR10)
        pictures = replace(pictures.split("train"), splits=None)
        ids = pictures.labels.ids
        rows = [rng.permutation(np.flatnonzero(ids == c))[:PER_CLASS] for c in range(10)]
        yield "cifar10", pictures.take(np.sort(np.concatenate(rows)))


def _exported(name: str) -> Encoder:
    """The network in fp32; its hash function is there only to be replaced."""
    folder = ROOT / "build" / "networks" / name
    folder.mkdir(parents=True, exist_ok=True)
    backbone = load_backbone(name)
    export_onnx(backbone, backbone.spec, folder / "network.onnx")
    config = EncoderConfig(
        name=name,
        network=backbone.spec,
        network_name=name,
        network_sha256=hashlib.sha256((folder / "network.onnx").read_bytes()).hexdigest(),
        granules=GranuleSettings(),
        features="pooled+map:rmac",
        provenance={},
    )
    unused = LSH(8).fit(np.eye(2 * N_FEATURES, dtype=np.float32)[:16]).function
    return Encoder(folder, config, unused)


def _speed(encoder: Encoder) -> float:
    """Pictures a second of network and pooling on all cores; the best of three."""
    size = encoder.config.network.input_size
    pixels = np.random.default_rng(0).integers(0, 256, (TIMED, size, size, 3), np.uint8)
    seconds = []
    for _ in range(4):  # the first compiles
        started = perf_counter()
        encoder.features(pixels)
        seconds.append(perf_counter() - started)
    return TIMED / min(seconds[1:])


def _judged(encoder: Encoder, name: str, pictures: LabelledPictures) -> Results:
    """mAP over all, one picture in ten asking, another draw for each seed."""
    rows, bad = cached_features(encoder, gather(pictures, name=name), CACHE)
    if bad:
        raise SystemExit(f"pictures that cannot be read: {bad}")
    results = Results(None)
    for seed in SEEDS:
        split = PROTOCOLS["own"].split(pictures.labels, seed=seed)
        judge = Judge(split, pictures.labels, at=None)
        for pooling, columns in POOLINGS.items():
            features = np.asarray(rows[:, columns])
            results.add(f"{pooling}, floats, centred cosine", "floats", judge.floats(features))
            method = ITQ(N_BITS, whitening=WHITENING, seed=seed)
            fit, seconds = fitted(method, features[split.database], None)
            found = judge.prefixes(fit, features, [N_BITS])[N_BITS]
            results.add(f"{pooling}, itq", N_BITS, found, seconds)
    for shown in results.values:
        results.show(shown, before=f"{encoder.config.name}, {name}: ")
    return results
