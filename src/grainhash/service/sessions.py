"""Sessions: a cookie in place of a token, for browsers, whose pictures load without headers of ours."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from fastapi import Request, Response

COOKIE = "grainhash_session"

MOST = 10_000
"""Sessions that are remembered: the latest; none outlives the process."""


@dataclass(slots=True)
class Sessions:
    """Which token each session was opened with."""

    _tokens: OrderedDict[str, str] = field(default_factory=OrderedDict)

    def open(self, token: str, request: Request, response: Response) -> None:
        """Have a client send a cookie from now on; nobody can guess it, and no script can read it."""
        key = secrets.token_urlsafe(32)
        self._tokens[key] = token
        if len(self._tokens) > MOST:
            self._tokens.popitem(last=False)
        secure = request.url.scheme == "https"
        response.set_cookie(COOKIE, key, httponly=True, samesite="strict", secure=secure)

    def close(self, request: Request, response: Response) -> None:
        """Forget the session of a request."""
        self._tokens.pop(request.cookies.get(COOKIE, ""), None)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")

    def token(self, request: Request) -> str | None:
        """The token that a request's cookie stands for, if the service's own page sent it."""
        return self._tokens.get(request.cookies.get(COOKIE, "")) if _is_own(request) else None


def _is_own(request: Request) -> bool:
    """Whether no other page made a browser send this: to a browser, all ports of a host are one site."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")
