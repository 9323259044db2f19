"""Where a training may write."""

from __future__ import annotations

from pathlib import Path

from grainhash.errors import CheckpointError, InputError

CHECKPOINT = Path("checkpoint") / "last.safetensors"
"""Below the folder of a training, while it runs."""

LEFT_BY_TRAINING = frozenset({"train.csv", "tensorboard", "checkpoint"})


def check_out(out: Path, *, resume: bool) -> None:
    """Refuse a folder that a training may not write to, before any time is spent.

    A folder that holds an encoder is written over when the training is done, not before. One to resume in may
    hold what was written of an encoder when the training was interrupted.

    Raises:
        InputError: `out` is a file, or a folder of something else.
        CheckpointError: there is nothing to resume, or there is and nobody asked to.
    """
    has_checkpoint = (out / CHECKPOINT).exists()
    if resume and not has_checkpoint:
        raise CheckpointError(f"{out}: no checkpoint there to resume from; train without --resume")
    if has_checkpoint and not resume:
        raise CheckpointError(
            f"{out} holds a training that was interrupted; go on with --resume, or delete {out / CHECKPOINT}"
        )
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; name a folder to write the encoder to")
    if out.is_dir() and not resume and not (out / "encoder.json").exists():
        foreign = sorted(path.name for path in out.iterdir() if path.name not in LEFT_BY_TRAINING)
        if foreign:
            raise InputError(f"{out} is no encoder folder (it holds {foreign[0]}); name another to write to")
