"""What stands before every request: the host it names, its client's rate, headers on every answer, HEAD."""

from __future__ import annotations

import hmac
from collections import OrderedDict
from time import monotonic

from fastapi import Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from grainhash.service.problems import Problem, response
from grainhash.service.sessions import Sessions
from grainhash.service.settings import ServiceSettings

SAFE_HEADERS = {
    "Content-Security-Policy": "; ".join(
        f"{what} 'none'" for what in ("default-src", "base-uri", "form-action", "frame-ancestors")
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""On every answer: a browser runs nothing of it and guesses nothing about it."""

_SAFE = [(name.lower().encode(), value.encode()) for name, value in SAFE_HEADERS.items()]

BURST = 4
"""Seconds' worth of requests that a client may make at once."""
CLIENTS = 10_000
"""Clients whose rate is remembered: the latest."""


class Guard:
    """ASGI middleware: refuses strange hosts and hasty clients, and adds `SAFE_HEADERS`."""

    def __init__(self, app: ASGIApp, settings: ServiceSettings) -> None:
        self._app = app
        self._hosts = settings.allowed_hosts
        self._rates = Rates(settings.rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = {name for name, _ in message["headers"]}
                message["headers"] += [header for header in _SAFE if header[0] not in sent]
            await send(message)

        problem = self._problem(scope)
        await (self._app if problem is None else response(problem))(scope, receive, safely)

    def _problem(self, scope: Scope) -> Problem | None:
        host = _name(Headers(scope=scope).get("host", ""))
        if self._hosts is not None and host not in self._hosts:
            return Problem(421, "this server does not go by the name that the request gives it")
        client = scope["client"][0] if scope.get("client") else ""
        wait = self._rates.wait(client)
        if wait > 0:
            return Problem(429, "too many requests from this client", Retry_After=str(int(wait) + 1))
        return None


class Heads:
    """ASGI middleware: answers HEAD as it would GET; the server leaves out the body, as HTTP asks it to."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_head = scope["type"] == "http" and scope["method"] == "HEAD"
        await self._app({**scope, "method": "GET"} if is_head else scope, receive, send)


def _name(host: str) -> str:
    """The name in a Host header, without its port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


class Rates:
    """A bucket of tokens for each client, filled at `rate` a second; 0 for no limit."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str) -> float:
        """Take a token; seconds until there is one, 0 where there was."""
        if not self._rate:
            return 0.0
        now, full = monotonic(), max(BURST * self._rate, 1.0)
        left, at = self._clients.pop(client, (full, now))
        left = min(full, left + (now - at) * self._rate)
        allowed = left >= 1
        self._clients[client] = (left - 1 if allowed else left, now)
        if len(self._clients) > CLIENTS:
            self._clients.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self._rate


class Tokens:
    """Who may do what, by the token of a request or of its session; compared in constant time."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.sessions = Sessions()
        self._write = settings.token
        self._read = settings.read_token

    @property
    def writable(self) -> bool:
        """Whether anybody may write."""
        return self._write is not None

    def is_one(self, token: str) -> bool:
        """Whether something is a token of this service."""
        return _is_any(token, self._read, self._write)

    def may_write(self, request: Request) -> bool:
        """Whether a request has the token for writing."""
        return self._write is not None and self._has(request, self._write)

    async def check_read(self, request: Request) -> None:
        """Let a request read, or raise the problem that says why not."""
        if self._read is not None and not self._has(request, self._read, self._write):
            raise _unauthorised("the token for reading is needed")

    async def check_write(self, request: Request) -> None:
        """Let a request write, or raise the problem that says why not."""
        if self._write is None:
            raise Problem(403, "this server is read only; start it with a token to change its gallery")
        if not self.may_write(request):
            raise _unauthorised("the token for writing is needed")

    def _has(self, request: Request, *tokens: str | None) -> bool:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        sent = given.strip() if scheme.lower() == "bearer" else self.sessions.token(request)
        return sent is not None and _is_any(sent, *tokens)


def _is_any(sent: str, *tokens: str | None) -> bool:
    # All are compared, so that the time taken does not tell which.
    same = [hmac.compare_digest(sent.encode(), token.encode()) for token in tokens if token is not None]
    return any(same)


def _unauthorised(detail: str) -> Problem:
    return Problem(401, detail, WWW_Authenticate="Bearer")
