"""Network, head and code learned together on CIFAR-10, by two of its protocols."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from grainhash.codes import pack
from grainhash.evaluation.encoding import encode_pictures
from grainhash.evaluation.protocols import PROTOCOLS
from grainhash.training.augment import Augmentation
from grainhash.training.end_to_end import train_end_to_end
from grainhash.training.loop import Running
from grainhash.training.out import CHECKPOINT
from grainhash.training.settings import Settings
from quality_parts.judged import Judge
from quality_parts.material import CIFAR10, few, read_labelled

OUT = Path(__file__).parents[2] / "build" / "quality"
"""Where trained encoders stay, and the checkpoints that an interrupted run goes on from."""

COMMON = Settings(
    n_bits=64,
    hidden=1024,
    learning_rate=5e-4,
    average=0.998,
    validation=0.04,
    augmentation=Augmentation(least_area=0.5, elongation=1.25, jitter=0.2),
)
"""Larger crops than the default's: pictures of 32 pixels have no small parts to be known by."""

RUNS = {
    "cifar10-2": replace(COMMON, input_size=96, epochs=3, batch_size=64),
    "cifar10-1": replace(COMMON, input_size=128, epochs=14, batch_size=32, freeze=0.25),
}
"""Settings by protocol, of which the first learns from 50,000 pictures and the second from 5,000."""

LENGTHS = (16, 32, 64)


def end_to_end(protocol: str, *, quick: bool) -> dict[str, Any] | None:
    """Train on a protocol's training pictures, and judge the codes by its queries."""
    if not CIFAR10.exists():
        print(f"end to end: not measured, there is no {CIFAR10.name} on this machine")
        return None
    pictures = replace(read_labelled(CIFAR10), splits=None)
    settings, named = RUNS[protocol], PROTOCOLS[protocol]
    if quick:
        pictures, named = few(pictures, named)
        settings = replace(settings, epochs=1, input_size=64)
    split = named.split(pictures.labels, seed=settings.seed)
    out = OUT / f"{protocol}{'-quick' if quick else ''}"
    trained = train_end_to_end(
        pictures.take(split.training),
        out,
        settings,
        running=Running(resume=(out / CHECKPOINT).exists(), source=protocol),
        report=lambda line: print(f"  {protocol}, {line}", flush=True),
    )
    assert trained is not None, "one process is the first of all"
    asked = np.union1d(split.query, split.database)
    (found,), skipped = encode_pictures([trained.encoder], pictures, asked, with_projections=True)
    assert not skipped
    assert found.projections is not None
    judge = Judge(split, pictures.labels, at=None)
    queries, database = found.projections[split.query], found.projections[split.database]
    lengths = {n: judge.of(pack(queries[:, :n]), pack(database[:, :n])) for n in LENGTHS}
    print(f"  {protocol}: " + "  ".join(f"{n}: {value:.4f}" for n, value in lengths.items()), flush=True)
    provenance = trained.encoder.config.provenance
    return {
        "measure": "mAP@all, denominator: relevant found, ties: expected",
        "protocol": named.about,
        "settings": settings.to_dict(),
        "mean_average_precision": {str(n): round(value, 4) for n, value in lengths.items()},
        "training_pictures": provenance["pictures"],
        "training_seconds": provenance["seconds"],
        "validation": provenance["validation"],
    }
