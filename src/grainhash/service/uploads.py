"""Pictures that are sent: read as they arrive, within limits; those to be kept, safe on disk."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from fastapi import Request
from starlette.requests import ClientDisconnect

from grainhash.files import whole_file
from grainhash.service.problems import Problem, busy
from grainhash.service.settings import ServiceSettings

PASS_BY, PASS_BY_SECONDS = 4, 2.0
"""How much of a body that is too large is listened to, in limits, and how long."""

FOLDER = "uploads"
"""Where in a gallery pictures lie that were sent to be added, each named by its SHA-256."""

_MEDIA_TYPES = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (0, b"BM", "image/bmp"),
    (0, b"II*\0", "image/tiff"),
    (0, b"MM\0*", "image/tiff"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftyphei", "image/heic"),
)


def media_type(data: bytes) -> str:
    """What kind of picture bytes are, by how they begin: never by what somebody says of them."""
    return next(
        (kind for at, magic, kind in _MEDIA_TYPES if data.startswith(magic, at)), "application/octet-stream"
    )


class Bodies:
    """The bodies of requests: bounded in bytes, in time and in number."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._n = 0

    async def read(self, request: Request) -> bytes:
        """All of a request's body.

        Raises:
            Problem: 400 empty, 408 too slow, 413 too large, 503 too many at once.
        """
        limit = self._settings.max_upload_bytes
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            await _pass_by(request, limit)
            raise _too_large(limit)
        if self._n >= self._settings.bodies:
            raise busy("too many pictures arrive at once")
        self._n += 1
        try:
            async with asyncio.timeout(self._settings.body_seconds):
                data = await _read(request, limit)
        except TimeoutError:
            raise Problem(408, "the picture took too long to arrive", Connection="close") from None
        except ClientDisconnect:
            raise Problem(400, "the request ended before its picture did") from None
        finally:
            self._n -= 1
        if not data:
            raise Problem(400, "send the bytes of a picture file as the body of the request")
        return data


async def _read(request: Request, limit: int) -> bytes:
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > limit:
            raise _too_large(limit)
    return bytes(data)


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
    """Keep a picture in the gallery's folder; returns where, and whether it is new there."""
    folder = gallery / FOLDER / sha256[:2]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{sha256}.{media_type(data).partition('/')[2].replace('octet-stream', 'picture')}"
    if path.exists():
        return path, False
    with whole_file(path) as draft:
        draft.write_bytes(data)
    return path, True


def is_kept(gallery: Path, path: Path) -> bool:
    """Whether a file was made by `keep`: it goes with its picture; all others are not the server's."""
    return path.is_relative_to(gallery / FOLDER)
