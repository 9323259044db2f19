"""Files that appear whole or not at all, and files that are locked."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # where files are locked in another way
    fcntl = None  # type: ignore[assignment]


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A draft to write to, which then takes the place of `path` at once and safe on disk."""
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield draft
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes from what is done under a lock on the same file, where files can be locked.

    Raises:
        OSError: the file, which is made where there is none, cannot be opened.
    """
    with path.open("a") as file:  # the lock goes with it
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
