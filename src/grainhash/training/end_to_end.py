"""Learning backbone, head and code together, from pictures to an encoder folder."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import torch

from grainhash.errors import InputError, MissingExtra, first_line
from grainhash.labelled import LabelledPictures
from grainhash.learning.heads import HEADS
from grainhash.networks.backbone import LITE, Backbone, load_backbone
from grainhash.networks.export import export_onnx
from grainhash.training import parallel
from grainhash.training.allocator import keep_freed_memory
from grainhash.training.data import divide, gather, wholes
from grainhash.training.finish import write_encoder
from grainhash.training.loop import Running, Training, precision, with_defaults
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
        EncoderError: weights that cannot be loaded, or a network that cannot be exported; the latter before
            the first step.
        MissingExtra: something that is asked for is not installed.
    """
    running = running or Running()
    keep_freed_memory()
    with parallel.processes(running.mode) as device:
        started = perf_counter()
        quiet = progress if parallel.is_first() else silent
        settings = with_defaults(settings)
        if settings.head not in HEADS:
            raise InputError(f"head {settings.head!r}: there are {', '.join(HEADS)}")
        precision(settings, device, running.mode)
        check_out(out, resume=running.resume)
        _check_installed(running)
        torch.manual_seed(settings.seed)  # for weights that are random
        network = backbone or load_backbone(settings.network, weights=settings.weights)
        if settings.input_size not in (None, network.spec.input_size):
            network.spec = replace(network.spec, input_size=settings.input_size)
            _check_input_size(network)
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
        if settings.network not in LITE:
            _check_exportable(training)
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
        "device": _named(training.device),
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
    _delete_checkpoint(out / CHECKPOINT)
    skipped, seconds = training.material.skipped, perf_counter() - started
    return Trained(encoder, len(training.pictures), score, skipped, seconds)


def _named(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _check_exportable(training: Training) -> None:
    """Refuse a network that could not be written once it is trained."""
    network = training.kept
    with TemporaryDirectory() as scratch:
        export_onnx(network.graph(), network.backbone.spec, Path(scratch) / "network.onnx")


def _delete_checkpoint(path: Path) -> None:
    """Delete the file, and what is left of one whose writing was cut off; then the folder, if it is empty."""
    for left in (path, *path.parent.glob(f".{path.name}.*")):
        left.unlink(missing_ok=True)
    with suppress(OSError):
        path.parent.rmdir()


def _check_installed(running: Running) -> None:
    """Refuse to train what could not be exported or logged."""
    needed = {
        "onnx": True,
        "onnxscript": True,
        "onnxruntime": running.int8,
        "tensorboard": running.tensorboard,
    }
    for package, is_needed in needed.items():
        if is_needed and find_spec(package) is None:
            raise MissingExtra(package, "train")


def _check_input_size(network: Backbone) -> None:
    """Refuse pictures of a size that the network does not take."""
    size, was_training = network.spec.input_size, network.training
    network.eval()
    try:
        with torch.no_grad():
            network(torch.zeros(1, 3, size, size))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise InputError(
            f"{network.name} takes no pictures of {size} pixels a side ({first_line(error)})"
        ) from None
    finally:
        network.train(was_training)
