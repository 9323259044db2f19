"""Learning backbone, head and code together, from pictures to an encoder folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np

from grainhash.errors import InputError
from grainhash.labelled import LabelledPictures
from grainhash.learning.deep import DEEP_METHODS
from grainhash.networks.backbone import Backbone, load_backbone
from grainhash.training import parallel
from grainhash.training.allocator import keep_freed_memory
from grainhash.training.data import divide, gather, wholes
from grainhash.training.finish import write_encoder
from grainhash.training.loop import Running, Training
from grainhash.training.out import CHECKPOINT, check_out
from grainhash.training.result import Trained
from grainhash.training.settings import Settings
from grainhash.training.versions import versions
from grainhash.types import Progress, silent

COMPARED = 64
"""Training pictures on which the exported graph is compared with PyTorch."""

CALIBRATED = 200
"""Training pictures that an int8 graph is quantised by."""


def train_end_to_end(
    pictures: LabelledPictures,
    out: Path,
    settings: Settings,
    *,
    running: Running | None = None,
    split: str = "train",
    backbone: Backbone | None = None,
    progress: Callable[[Progress], None] = silent,
    report: Callable[[str], None] = lambda line: None,
) -> Trained | None:
    """Train a network and write the encoder folder that has it.

    Args:
        pictures: with labels.
        out: the folder to write; while training it holds `train.csv` and `checkpoint/`.
        settings: what decides the result, with the pictures.
        running: how to run.
        split: the part to learn from where `pictures` names parts.
        backbone: a network of one's own instead of the one that `settings` names.
        progress: told of every step.
        report: told in a line of every epoch.

    Returns:
        What came of it; `None` in all processes but the first.

    Raises:
        InputError, LabelsError, SplitError: see `grainhash.training.data` and `out`; before the first step.
        CheckpointError: resumed from a checkpoint that is damaged or of another training.
        EncoderError: weights that cannot be loaded, or a network that cannot be exported.
        MissingExtra: something that is asked for is not installed.
    """
    running = running or Running()
    keep_freed_memory()
    with parallel.processes(running.mode) as device:
        started = perf_counter()
        quiet = progress if parallel.is_first() else silent
        _check_objective(settings.objective)
        check_out(out, resume=running.resume)
        network = backbone or load_backbone(settings.network, weights=settings.weights)
        network.spec = replace(network.spec, input_size=settings.input_size or network.spec.input_size)
        material = gather(
            pictures,
            name=settings.objective,
            split=split,
            decode_to=network.spec.input_size,
            progress=quiet,
        )
        division = divide(
            material,
            n_bits=settings.n_bits,
            name=settings.objective,
            validation=settings.validation,
            seed=settings.seed,
        )
        training = Training(settings, running, material, division, network, device, out)
        training.run(quiet, report if parallel.is_first() else lambda line: None)
        first = parallel.is_first()
    return _finish(training, out, started) if first else None


def _finish(training: Training, out: Path, started: float) -> Trained:
    """Write the encoder folder, and delete the checkpoint."""
    settings, running = training.settings, training.running
    n = CALIBRATED if running.int8 else COMPARED
    rows = np.random.default_rng([settings.seed, 2]).permutation(len(training.pictures))[:n]
    size = training.kept.backbone.spec.input_size
    pixels = wholes(training.pictures, rows, size)
    labels = training.pictures.labels
    score = training.best_score if training.best_epoch >= 0 else None
    provenance = {
        "method": f"{settings.objective}, end to end",
        "settings": settings.to_dict(),
        "source": running.source,
        "pictures": len(training.pictures),
        "classes": 0 if labels is None else int((labels.counts() > 0).sum()),
        "contents_sha256": training.material.sha256,
        "steps": training.step,
        "seconds": round(training.seconds, 1),
        "device": training.device.type,
        "validation": {
            "pictures": len(training.division.validation),
            "map": score,
            "epoch": training.best_epoch + 1,
        },
        "versions": versions("numpy", "torch", "onnx"),
    }
    encoder = write_encoder(
        out,
        training.kept,
        pixels,
        granules=running.granules,
        provenance=provenance,
        int8=running.int8,
    )
    (out / CHECKPOINT).unlink(missing_ok=True)
    (out / CHECKPOINT).parent.rmdir()
    skipped, seconds = training.material.skipped, perf_counter() - started
    return Trained(encoder, len(training.pictures), score, skipped, seconds)


def _check_objective(name: str) -> None:
    known = [method for method, its_class in DEEP_METHODS.items() if its_class.needs_labels]
    if name not in known:
        raise InputError(f"nothing learns end to end by the name of {name!r}; there are {', '.join(known)}")
