"""What may be done with copies: moved away, so that it can be undone, or deleted.

Each file is looked at before: the copy and the picture to keep must be what was indexed, else the copy stays
where it is. Moves are noted in `moves.jsonl` beside the moved files, each before it happens.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from grainhash.duplicates.result import Copy, Duplicates
from grainhash.errors import GalleryWriteError, InputError
from grainhash.files import whole_file

JOURNAL = "moves.jsonl"


@dataclass(slots=True)
class Acted:
    """What became of copies."""

    done: list[tuple[Copy, Path | None]] = field(default_factory=list)
    """With where each is now; `None` if it was deleted."""
    left: list[tuple[Copy, str]] = field(default_factory=list)
    """With why each stayed where it was."""


def move(found: Duplicates, folder: Path, hashes: Mapping[int, str]) -> Acted:
    """Move the files of all copies into a folder; nothing there is overwritten.

    Args:
        found: whose copies.
        folder: it need not exist.
        hashes: the SHA-256 that each picture was indexed with, by id.

    Raises:
        GalleryWriteError: the folder or its journal cannot be written. Nothing was moved.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        journal = (folder / JOURNAL).open("a", encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise GalleryWriteError(
            f"{folder}: cannot be written ({error.strerror}); nothing was moved"
        ) from None
    with journal:

        def take(copy: Copy) -> Path:
            source = Path(copy.uri)
            target = _free(folder / source.name)
            note = {"from": copy.uri, "to": str(target), "sha256": hashes[copy.id]}
            print(json.dumps(note), file=journal)
            _to_disk(journal)
            _moved(source, target)
            return target

        return _acted(found, hashes, take)


def delete(found: Duplicates, hashes: Mapping[int, str]) -> Acted:
    """Delete the files of all copies, for good; `hashes` as for `move`."""
    return _acted(found, hashes, lambda copy: Path(copy.uri).unlink())


def undo(folder: Path) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Move files back to where `move` took them from, the last first.

    Returns:
        Where files are again, and those that stayed in the folder, with why.

    Raises:
        InputError: the folder has no journal, or one that is damaged. Nothing was moved.
    """
    journal = folder / JOURNAL
    try:
        notes = [json.loads(line) for line in journal.read_text("utf-8").splitlines()]
        moves = [(Path(note["from"]), Path(note["to"]), str(note["sha256"])) for note in notes]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{journal}: no journal of moves, or a damaged one; nothing was moved") from None
    back: list[Path] = []
    left: list[tuple[Path, str]] = []
    open_moves = []
    for note, (source, target, sha256) in reversed(list(zip(notes, moves, strict=True))):
        if not target.exists():
            continue  # never moved, or moved back already
        try:
            if source.exists():
                raise _Stays(f"there is something at {source}")
            if _hash(target) != sha256:
                raise _Stays("the file has changed since it was moved")
            source.parent.mkdir(parents=True, exist_ok=True)
            _moved(target, source)
            back.append(source)
        except (OSError, _Stays) as error:
            left.append((target, _why(error)))
            open_moves.append(note)
    with whole_file(journal) as draft:
        draft.write_text("".join(json.dumps(note) + "\n" for note in reversed(open_moves)), "utf-8")
    return back, left


def _acted(found: Duplicates, hashes: Mapping[int, str], act: Callable[[Copy], Path | None]) -> Acted:
    acted = Acted()
    for keep, copy in _in_order(found):
        try:
            if _hash(Path(keep.uri)) != hashes[keep.id]:
                raise _Stays("the picture to keep has changed since it was indexed")
            if _hash(Path(copy.uri)) != hashes[copy.id]:
                raise _Stays("it has changed since it was indexed")
            if Path(keep.uri).samefile(copy.uri):
                raise _Stays("it is the very file to keep, by another name")
            acted.done.append((copy, act(copy)))
        except (OSError, _Stays) as error:
            acted.left.append((copy, _why(error)))
    return acted


def _in_order(found: Duplicates) -> Iterator[tuple[Copy, Copy]]:
    for group in found.groups:
        for copy in group.copies:
            yield group.keep, copy


class _Stays(Exception):
    """Why a file stays where it is."""


def _why(error: OSError | _Stays) -> str:
    if isinstance(error, _Stays):
        return str(error)
    return f"{(error.strerror or 'an error').lower()}: {error.filename}"


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _free(path: Path) -> Path:
    """The path, or if something is there the first of `name 2`, `name 3` and so on that is free."""
    number, free = 1, path
    while os.path.lexists(free):
        number += 1
        free = path.with_name(f"{path.stem} {number}{path.suffix}")
    return free


def _moved(source: Path, target: Path) -> None:
    """Move a file, to another disk as well: there it is whole before the first one goes."""
    try:
        source.rename(target)
    except OSError as error:
        if source.stat().st_dev == target.parent.stat().st_dev:
            raise error from None
        with whole_file(target) as draft:
            shutil.copy2(source, draft)
        source.unlink()


def _to_disk(file: IO[str]) -> None:
    file.flush()
    os.fsync(file.fileno())
