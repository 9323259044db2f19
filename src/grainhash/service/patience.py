"""Clients that say nothing, whose connections uvicorn would keep for ever, and clients that are gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from grainhash.service.problems import GONE, Problem

HEADER_SECONDS = 20.0
"""From when a connection is made, or the first byte of a further request, to the end of its headers."""


class Impatient(HttpToolsProtocol):
    """HTTP/1.1, by clients that send the headers of a request in time."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        if self._waiting is None and (self.cycle is None or self.cycle.response_complete):
            self._wait()
        super().data_received(data)

    def on_headers_complete(self) -> None:
        self._stop()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def _stop(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        self._waiting = None
        self.transport.close()


@asynccontextmanager
async def while_there(request: Request) -> AsyncIterator[None]:
    """Give the block up once the client has gone away: nobody waits for its answer.

    Args:
        request: one whose body has been read, or that has none.

    Raises:
        Problem: 499, which nobody hears, but metrics count.
    """
    task, is_gone = asyncio.current_task(), False
    assert task is not None

    async def watch() -> None:
        nonlocal is_gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        is_gone = True
        task.cancel()

    watching = asyncio.create_task(watch())
    try:
        await asyncio.sleep(0)  # it may be gone already
        yield
    except asyncio.CancelledError:
        if not is_gone or task.uncancel() > 0:  # the server stops
            raise
        raise Problem(GONE, "the client has gone away") from None
    finally:
        watching.cancel()
