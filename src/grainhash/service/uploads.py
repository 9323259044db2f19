"""Pictures that are sent: read as they arrive, within limits; those to be kept, safe on disk."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from functools import cache
from pathlib import Path

from fastapi import Request
from starlette.requests import ClientDisconnect

from grainhash.errors import GalleryWriteError
from grainhash.files import locked, whole_file
from grainhash.images import media_type
from grainhash.service.problems import GONE, Problem, busy
from grainhash.service.settings import ServiceSettings

PASS_BY, PASS_BY_SECONDS = 4, 2.0
"""How much of a body that is too large is listened to, in limits, and how long."""

LOCK_FOLDER = "locks"
"""Where in a gallery the files lie that servers lock."""

FOLDER = "uploads"
"""Where in a gallery pictures lie that were sent to be added, each named by its SHA-256."""


class Bodies:
    """The bodies of requests: bounded in bytes and time, each for itself, and in bytes all together."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._held = 0

    @asynccontextmanager
    async def of(self, request: Request) -> AsyncIterator[bytes]:
        """All of a request's body, which counts as held until the block ends.

        Raises:
            Problem: 400 empty, 408 too slow, 413 too large, 503 too much is held.
        """
        data = bytearray()
        try:
            await self._arrived(request, data)
            if not data:
                raise Problem(400, "send the bytes of a picture file as the body of the request")
            yield bytes(data)
        finally:
            self._held -= len(data)

    async def _arrived(self, request: Request, data: bytearray) -> None:
        try:
            async with asyncio.timeout(self._settings.body_seconds):
                await self._read(request, data)
        except TimeoutError:
            raise Problem(408, "the picture took too long to arrive", Connection="close") from None
        except ClientDisconnect:
            raise Problem(GONE, "the request ended before its picture did") from None

    async def _read(self, request: Request, data: bytearray) -> None:
        limit = self._settings.max_upload_bytes
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            await _pass_by(request, limit)
            raise _too_large(limit)
        async for piece in request.stream():
            data += piece
            self._held += len(piece)
            if len(data) > limit:
                raise _too_large(limit)
            if self._held > self._settings.max_pending_bytes:
                raise busy("too many pictures arrive at once")


async def _pass_by(request: Request, limit: int) -> None:
    """Let a body go by, as far as that is cheap: a client that still sends does not hear the answer."""
    passed = 0
    with suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(PASS_BY_SECONDS):
            async for piece in request.stream():
                passed += len(piece)
                if passed > PASS_BY * limit:
                    return


def _too_large(limit: int) -> Problem:
    detail = f"a picture file may have {limit:,} bytes here"
    return Problem(413, detail, Connection="close")


def keep(gallery: Path, sha256: str, data: bytes) -> tuple[Path, bool]:
    """Keep a picture in the gallery's folder; returns where, and whether it is new there.

    Raises:
        GalleryWriteError: it cannot be written.
    """
    folder = gallery / FOLDER / sha256[:2]
    path = folder / f"{sha256}.{media_type(data).rpartition('/')[2]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists():
            return path, False
        with whole_file(path) as draft:
            draft.write_bytes(data)
    except OSError as error:
        raise GalleryWriteError(f"{folder}: cannot be written ({error.strerror})") from None
    return path, True


@contextmanager
def alone(gallery: Path, number: int) -> Iterator[None]:
    """Keep other servers of a gallery from what is done under the same number, where files can be locked."""
    folder = gallery / LOCK_FOLDER
    with ExitStack() as held:
        try:
            folder.mkdir(exist_ok=True)
            held.enter_context(locked(folder / f"{number}.lock"))
        except OSError as error:
            raise GalleryWriteError(f"{folder}: cannot be written ({error.strerror})") from None
        yield


def is_kept(gallery: Path, path: Path | str) -> bool:
    """Whether a file was made by `keep`: it goes with its picture; all others are not the server's."""
    return os.fspath(path).startswith(_folder_of(gallery))


@cache
def _folder_of(gallery: Path) -> str:
    return f"{gallery / FOLDER}{os.sep}"
