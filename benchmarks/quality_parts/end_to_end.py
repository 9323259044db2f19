"""Network, head and code learned together on CIFAR-10, by two of its protocols.

Training needs a GPU or many hours; judging takes minutes anywhere. To train on another machine, run there

    PYTHONPATH=benchmarks python -c "from quality_parts.end_to_end import train; train('cifar10-2')"

and copy `build/quality/cifar10-2` from there: an encoder that the same settings made is judged as it is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from grainhash.codes import pack
from grainhash.encoder import Encoder
from grainhash.evaluation.encoding import encode_pictures
from grainhash.evaluation.protocols import PROTOCOLS, Split
from grainhash.labelled import LabelledPictures, read_labelled
from grainhash.training.augment import Augmentation
from grainhash.training.end_to_end import train_end_to_end
from grainhash.training.loop import Running, with_defaults
from grainhash.training.out import CHECKPOINT
from grainhash.training.settings import Settings
from quality_parts.judged import Judge
from quality_parts.material import CIFAR10, few

OUT = Path(__file__).parents[2] / "build" / "quality"
"""Where trained encoders stay, and the checkpoints that an interrupted run goes on from."""

COMMON = Settings(
    objective_settings={"margin": 12.8, "greedy": 0.0},
    n_bits=64,
    input_size=224,
    hidden=1024,
    learning_rate=1e-3,
    weight_decay=0.02,
    average=0.998,
    validation=0.04,
    augmentation=Augmentation(least_area=0.4, jitter=0.2),
)

RUNS = {
    "cifar10-2": replace(COMMON, epochs=22, batch_size=256),
    "cifar10-1": replace(COMMON, epochs=40, batch_size=64, learning_rate=5e-4),
}
"""Settings by protocol, of which the first learns from 50,000 pictures and the second from 5,000."""

LENGTHS = (16, 32, 64)


def end_to_end(protocol: str, quick: bool) -> dict[str, Any] | None:
    """Train on a protocol's training pictures, and judge the codes by its queries."""
    if not CIFAR10.exists():
        print(f"end to end: not measured, there is no {CIFAR10.name} on this machine")
        return None
    task = _Task.of(protocol, quick=quick)
    encoder = (None if quick else task.trained_before()) or task.train(Running(source=protocol))
    asked = np.union1d(task.split.query, task.split.database)
    (found,), skipped = encode_pictures([encoder], task.pictures, asked, with_projections=True)
    assert not skipped
    assert found.projections is not None
    judge = Judge(task.split, task.pictures.labels, at=None)
    queries, database = found.projections[task.split.query], found.projections[task.split.database]
    lengths = {n: judge.of(pack(queries[:, :n]), pack(database[:, :n])) for n in LENGTHS}
    print(f"  {protocol}: " + "  ".join(f"{n}: {value:.4f}" for n, value in lengths.items()), flush=True)
    provenance = encoder.config.provenance
    return {
        "measure": "mAP@all, denominator: relevant found, ties: expected",
        "protocol": task.about,
        "settings": provenance["settings"],
        "mean_average_precision": {str(n): round(value, 4) for n, value in lengths.items()},
        "training_pictures": provenance["pictures"],
        "training_seconds": provenance["seconds"],
        "trained_on": provenance["device"],
        "trained_with": provenance["versions"],
        "validation": provenance["validation"],
    }


def train(protocol: str, *, n_workers: int | None = None) -> None:
    """Train as `end_to_end` does, to judge another time or elsewhere."""
    _Task.of(protocol, quick=False).train(Running(source=protocol, n_workers=n_workers))


@dataclass(frozen=True, eq=False)
class _Task:
    """What is to be learned, and from what."""

    about: str
    pictures: LabelledPictures
    split: Split
    settings: Settings
    out: Path

    @classmethod
    def of(cls, protocol: str, *, quick: bool) -> _Task:
        pictures = replace(read_labelled(CIFAR10), splits=None)
        settings, named = RUNS[protocol], PROTOCOLS[protocol]
        if quick:
            pictures, named = few(pictures, named)
            settings = replace(settings, epochs=1, batch_size=32, input_size=64)
        split = named.split(pictures.labels, seed=settings.seed)
        out = OUT / f"{protocol}{'-quick' if quick else ''}"
        return cls(named.about, pictures, split, settings, out)

    def trained_before(self) -> Encoder | None:
        """The encoder that is there, if these settings made it."""
        if not (self.out / "encoder.json").exists():
            return None
        encoder = Encoder.load(self.out)
        settings = json.loads(json.dumps(with_defaults(self.settings).to_dict()))
        return encoder if encoder.config.provenance.get("settings") == settings else None

    def train(self, running: Running) -> Encoder:
        """Train, or go on where an interrupted training left off."""
        trained = train_end_to_end(
            self.pictures.take(self.split.training),
            self.out,
            self.settings,
            running=replace(running, resume=(self.out / CHECKPOINT).exists()),
            report=lambda line: print(f"  {running.source}, {line}", flush=True),
        )
        assert trained is not None, "one process is the first of all"
        return trained.encoder
