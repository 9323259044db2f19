"""The pictures of a folder: what a walk finds, in a fixed order, without opening any."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from grainhash.errors import PictureUnreadable
from grainhash.images import PICTURE_SUFFIXES
from grainhash.types import File


def absolute(path: Path | str) -> Path:
    """A path from the root, without `.` and `..`: one spelling for one file. Links are not resolved."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def below(folder: Path) -> str:
    """What the uri of everything below a folder starts with."""
    return str(folder).rstrip(os.sep) + os.sep


def is_text(uri: str) -> bool:
    """Whether a path can be kept in a gallery; names of files may hold bytes that are no UTF-8."""
    return not any("\ud800" <= letter <= "\udfff" for letter in uri)


def look_at(path: Path) -> File:
    """A file as it is now.

    Raises:
        PictureUnreadable: there is no regular file, or it cannot be looked at.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise PictureUnreadable(str(path), error.strerror or "cannot be read") from None
    if not stat.S_ISREG(status.st_mode):
        raise PictureUnreadable(str(path), "not a regular file")
    uri = str(path)
    try:
        uri.encode()
    except UnicodeEncodeError:
        shown = uri.encode("utf-8", "backslashreplace").decode()
        raise PictureUnreadable(shown, "its name is not valid UTF-8; rename the file") from None
    return File(uri, status.st_size, status.st_mtime_ns)


def walk(
    root: Path, *, skip: Path | None = None, report: Callable[[str, str], None] = lambda uri, reason: None
) -> Iterator[File]:
    """Find every file below `root` whose suffix is that of a picture.

    Hidden files and folders are left out; links to files are followed, links to folders are not.

    Args:
        root: an absolute path.
        skip: a folder not to enter, such as the gallery itself.
        report: called with the path and the reason of everything that cannot be looked at.
    """

    def unreadable(error: OSError) -> None:
        report(str(error.filename), error.strerror or "cannot be read")

    for folder, subfolders, names in os.walk(root, onerror=unreadable):
        subfolders[:] = sorted(n for n in subfolders if not n.startswith(".") and Path(folder, n) != skip)
        for name in sorted(names):
            path = Path(folder, name)
            if name.startswith(".") or path.suffix.lower() not in PICTURE_SUFFIXES:
                continue
            try:
                yield look_at(path)
            except PictureUnreadable as error:
                report(error.name, error.reason)
