"""The page as it is served: static files, under a content security policy of their own."""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import PurePath

from fastapi import APIRouter, Request, Response

from grainhash.service.problems import Problem

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' blob: data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""Nothing from elsewhere, nothing inline; `blob:` and `data:` are pictures that the user chose."""


def router() -> APIRouter:
    """`/` and `/page/…`: files of the package, read once."""
    routes = APIRouter(include_in_schema=False)
    files = {
        file.name: file.read_bytes()
        for file in resources.files("grainhash.service").joinpath("page").iterdir()
        if PurePath(file.name).suffix in TYPES
    }
    tags = {name: f'"{hashlib.sha256(data).hexdigest()[:32]}"' for name, data in files.items()}

    @routes.get("/")
    async def index(request: Request) -> Response:
        return answer(request, "index.html")

    @routes.get("/page/{name}")
    async def file(request: Request, name: str) -> Response:
        return answer(request, name)

    def answer(request: Request, name: str) -> Response:
        if name not in files:
            raise Problem(404, "the page has no such file")
        headers = {
            "ETag": tags[name],
            "Cache-Control": "no-cache",
            "Content-Security-Policy": POLICY,
        }
        if request.headers.get("if-none-match") == tags[name]:
            return Response(status_code=304, headers=headers)
        return Response(files[name], media_type=TYPES[PurePath(name).suffix], headers=headers)

    return routes
