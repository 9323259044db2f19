"""What may be done with copies: moved away, so that it can be undone, or deleted.

Each file is looked at before: the copy and the picture to keep must be what was indexed, else the copy stays
where it is. Moves are noted in `moves.jsonl` beside the moved files, each before it happens.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grainhash.duplicates.result import Copy, Duplicates
from grainhash.errors import GalleryWriteError, InputError
from grainhash.files import whole_file
from grainhash.store import PictureRow

JOURNAL = "moves.jsonl"


@dataclass(slots=True)
class Acted:
    """What became of copies."""

    done: list[tuple[Copy, Path | None]] = field(default_factory=list)
    """With where each is now; `None` if it was deleted."""
    left: list[tuple[Copy, str]] = field(default_factory=list)
    """With why each stayed where it was."""


@dataclass(slots=True)
class Undone:
    """What became of files that were moved."""

    back: dict[Path, dict[str, Any]] = field(default_factory=dict)
    """Those that are where they were, with the metadata that the gallery had of them."""
    left: list[tuple[Path, str]] = field(default_factory=list)
    """With why each stayed in the folder."""


def move(found: Duplicates, folder: Path, pictures: Mapping[int, PictureRow]) -> Acted:
    """Move the files of all copies into a folder; nothing there is overwritten.

    Args:
        found: whose copies.
        folder: it need not exist.
        pictures: what the gallery knows of them now, by id.

    Raises:
        GalleryWriteError: the folder or its journal cannot be written. Nothing was moved.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        journal = (folder / JOURNAL).open("a", encoding="utf-8")
    except OSError as error:
        raise GalleryWriteError(
            f"{folder}: cannot be written ({error.strerror}); nothing was moved"
        ) from None
    with journal:

        def take(copy: Copy) -> Path:
            source, row = Path(copy.uri), pictures[copy.id]
            target = _free(folder / source.name)
            note = {"from": copy.uri, "to": target.name, "sha256": row.sha256, "meta": row.meta}
            print(json.dumps(note), file=journal)
            journal.flush()
            os.fsync(journal.fileno())
            _moved(source, target)
            return target

        return _acted(found, pictures, take)


def delete(found: Duplicates, pictures: Mapping[int, PictureRow]) -> Acted:
    """Delete the files of all copies, for good; `pictures` as for `move`."""
    return _acted(found, pictures, lambda copy: Path(copy.uri).unlink())


def undo(folder: Path) -> Undone:
    """Move files back to where `move` took them from, the last first. The folder may have been moved itself.

    Raises:
        InputError: the folder has no journal, or one that is damaged. Nothing was moved.
    """
    journal = folder / JOURNAL
    try:
        # A last line without an end announces a move that had not begun.
        lines = journal.read_text("utf-8").splitlines(keepends=True)
        notes = [json.loads(line) for line in lines if line.endswith("\n")]
        moves = [(Path(note["from"]), folder / note["to"], note["sha256"], note["meta"]) for note in notes]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{journal}: no journal of moves, or a damaged one; nothing was moved") from None
    undone = Undone()
    rest: list[dict[str, Any]] = []
    for note, (source, target, sha256, meta) in reversed(list(zip(notes, moves, strict=True))):
        try:
            _move_back(source, target, sha256)
            undone.back[source] = meta
        except (OSError, _Stays) as error:
            undone.left.append((target, _why(error)))
            rest.insert(0, note)
    with whole_file(journal) as draft:
        draft.write_text("".join(json.dumps(note) + "\n" for note in rest), "utf-8")
    return undone


def _move_back(source: Path, target: Path, sha256: str) -> None:
    """Move one file to its source, unless it is there already: it was never moved, or moved back before."""
    if not os.path.lexists(target):
        if _hash(source) != sha256:
            raise _Stays(f"it is not there any more, and another file is at {source}")
        return
    if os.path.lexists(source):
        raise _Stays(f"there is something at {source}")
    if _hash(target) != sha256:
        raise _Stays("the file has changed since it was moved")
    source.parent.mkdir(parents=True, exist_ok=True)
    _moved(target, source)


def _acted(
    found: Duplicates, pictures: Mapping[int, PictureRow], act: Callable[[Copy], Path | None]
) -> Acted:
    acted = Acted()
    for group in found.groups:
        why_not = _changed(group.keep, pictures)
        for copy in group.copies:
            try:
                if why_not is not None:
                    raise _Stays(f"the picture to keep: {why_not}")
                if (why := _changed(copy, pictures)) is not None:
                    raise _Stays(why)
                if Path(group.keep.uri).samefile(copy.uri):
                    raise _Stays("it is the very file to keep, by another name")
                acted.done.append((copy, act(copy)))
            except (OSError, _Stays) as error:
                acted.left.append((copy, _why(error)))
    return acted


def _changed(copy: Copy, pictures: Mapping[int, PictureRow]) -> str | None:
    """Why a file is no longer the one that was indexed; `None` if it is."""
    row = pictures.get(copy.id)
    if row is None:
        return "it is no longer in the gallery"
    try:
        return None if _hash(Path(copy.uri)) == row.sha256 else "it has changed since it was indexed"
    except OSError as error:
        return _why(error)


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
