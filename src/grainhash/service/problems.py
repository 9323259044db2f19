"""Errors as RFC 9457 problem details: one JSON object each, with nothing of the file system in it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from grainhash.errors import (
    GalleryWriteError,
    GrainhashError,
    InputError,
    MissingExtra,
    PictureChanged,
    PictureDamaged,
    PictureError,
    PictureTooLarge,
    first_line,
)

log = logging.getLogger("grainhash.service")

MEDIA_TYPE = "application/problem+json"

RETRY_AFTER = "1"
"""Seconds: the queue is some pictures long."""

GONE = 499
"""The client did not wait: nginx made this number usual, as HTTP has none."""


class Problem(Exception):
    """An answer that is an error: `status`, `detail`, and headers beside them."""

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def document(status: int, detail: str) -> dict[str, Any]:
    """The object that stands for an error; `type` tells no more than the status does."""
    title = "Client Closed Request" if status == GONE else HTTPStatus(status).phrase
    return {"type": "about:blank", "title": title, "status": status, "detail": detail}


def busy(what: str) -> Problem:
    """Too much is under way; the client may come again."""
    return Problem(503, f"{what}; try again in a moment", Retry_After=RETRY_AFTER)


def problem_of(error: GrainhashError) -> Problem:
    """What a client is told of an error: whose fault it was and what to do, but no path."""
    if isinstance(error, PictureTooLarge):
        return Problem(413, f"the picture: {error.reason}")
    if isinstance(error, PictureDamaged):
        return Problem(415, f"the picture: {error.reason}")
    if isinstance(error, PictureChanged):
        return Problem(410, "the file of this picture has changed since it was indexed")
    if isinstance(error, PictureError):
        return Problem(410, "the file of this picture can no longer be read")
    if isinstance(error, MissingExtra):
        return Problem(501, f"{error.what} is not installed on the server")
    if isinstance(error, InputError):
        return Problem(422, first_line(error))
    log.error("%s", error)
    if isinstance(error, GalleryWriteError):
        return Problem(507, "the gallery cannot be written; nothing was changed")
    return Problem(500, "the gallery cannot do this now; the server's log says why")


def install(app: FastAPI) -> None:
    """Have every error of an app answered by a problem document."""
    problems: dict[type[Exception], Callable[[Any], Problem]] = {
        Problem: lambda error: error,
        GrainhashError: problem_of,
        HTTPException: lambda error: Problem(error.status_code, error.detail, **(error.headers or {})),
        RequestValidationError: _invalid,
    }
    for kind, problem in problems.items():
        app.add_exception_handler(kind, _answering(problem))
    app.add_exception_handler(Exception, _unexpected)


def _answering(problem: Callable[[Any], Problem]) -> Callable[[Request, Exception], JSONResponse]:
    return lambda request, error: response(problem(error))


def response(problem: Problem) -> JSONResponse:
    """A problem as it is sent."""
    return JSONResponse(
        document(problem.status, problem.detail),
        problem.status,
        headers=problem.headers,
        media_type=MEDIA_TYPE,
    )


def _invalid(error: RequestValidationError) -> Problem:
    said = [f"{'.'.join(map(str, each['loc'][1:]))}: {each['msg']}" for each in error.errors()]
    return Problem(422, "; ".join(said))


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.exception("%s %s", request.method, request.url.path, exc_info=error)
    return response(Problem(500, "something went wrong; the server's log says what"))
