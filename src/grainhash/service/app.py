"""The service as an ASGI app: routes over `Verbs`, behind the guard, with workers as long as it lives."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json
from starlette.datastructures import UploadFile

from grainhash import __version__
from grainhash.errors import GrainhashError
from grainhash.gallery import Gallery
from grainhash.images import Limits, media_type
from grainhash.metadata import check_metadata
from grainhash.service import models, page, parameters, problems
from grainhash.service.guard import Guard, Heads, Tokens
from grainhash.service.metrics import Counting, Metrics
from grainhash.service.models import HowQuery, LabellingQuery, StoringQuery, WhatQuery
from grainhash.service.patience import while_there
from grainhash.service.problems import Problem
from grainhash.service.sessions import COOKIE
from grainhash.service.settings import ServiceSettings
from grainhash.service.uploads import Bodies
from grainhash.service.verbs import Verbs, lengths
from grainhash.service.workers import TOGETHER, Workers
from grainhash.types import PointKind

API = "/api/v1"

MAX_BATCH = 32
"""Pictures of a batch search."""

MAX_ID = 2**63 - 1

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_UNCHANGED = {"description": "As the client has it, by its `If-None-Match`."}
_BODY = {
    "requestBody": {"required": True, "content": {"application/octet-stream": _BINARY, "image/*": _BINARY}}
}
_FILES = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["pictures"],
                    "properties": {
                        "pictures": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary"},
                        }
                    },
                }
            }
        },
    }
}


def _body_of(model: type[BaseModel]) -> dict[str, Any]:
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": model.model_json_schema()}},
        }
    }


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": problems.document(status, "")["title"], "content": content}
        for status in (401, 421, 422, 429, 503, *statuses)
    }


_OF_BODY = _problems(400, 408, 413, 415, 501)

Id = Annotated[int, Path(ge=1, le=MAX_ID, description="A picture of the gallery.", examples=[1])]
Where = Annotated[str | None, Query(max_length=4096, description="A filter on metadata.")]
Points = Annotated[PointKind | None, Query(description="Match local points too, found by this.")]
Png = Annotated[bool, Query(description="As a picture instead of JSON.")]


def create_app(gallery: Gallery, settings: ServiceSettings | None = None) -> FastAPI:
    """The service of a gallery; the gallery stays the caller's to close.

    Args:
        gallery: open, and from now on within the settings' limits on pictures.
        settings: limits and secrets; those of `ServiceSettings()` by default.
    """
    settings = settings or ServiceSettings()
    gallery.encoder.limits = Limits(max_pixels=settings.max_pixels)  # bytes are counted as they arrive
    metrics = Metrics()
    workers = Workers(gallery, settings.queue, settings.workers, metrics.together.observe)
    metrics.waiting.set_function(lambda: workers.waiting)
    metrics.pictures.set_function(lambda: len(gallery))
    tokens = Tokens(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        workers.start()
        yield
        workers.close()

    app = FastAPI(
        title="grainhash",
        version=__version__,
        summary="Find pictures by a picture, or by a part of one.",
        openapi_url=f"{API}/openapi.json",
        docs_url=None,  # they would load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    verbs = Verbs(gallery, workers, settings)
    bodies = Bodies(settings)
    read, write = [Depends(tokens.check_read)], [Depends(tokens.check_write)]
    app.include_router(_reading(verbs, bodies, workers, tokens, settings), dependencies=read)
    app.include_router(_comparing(verbs), dependencies=read)
    app.include_router(_writing(verbs, bodies, workers), dependencies=write)
    app.include_router(_signing_in(tokens, bodies))
    app.include_router(_watching(verbs, metrics, tokens))
    app.include_router(page.router())
    problems.install(app)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "If-None-Match"],
            expose_headers=["ETag", "Location", "Retry-After"],
        )
    app.openapi = partial(_described, app)  # type: ignore[method-assign]
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(Counting, metrics=metrics)
    app.add_middleware(Heads)
    return app


def _described(app: FastAPI) -> dict[str, Any]:
    """The API's schema, with what a client has to send to be let in."""
    if app.openapi_schema is None:
        schema = FastAPI.openapi(app)
        cookie = {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "Of `POST /session`."}
        bearer = {"type": "http", "scheme": "bearer", "description": "A token of this server."}
        schema["components"]["securitySchemes"] = {"token": bearer, "session": cookie}
        for path, operations in schema["paths"].items():
            for operation in operations.values():
                is_write = "write" in operation.get("tags", [])
                if path != "/healthz" and not path.endswith("/session"):  # reading may be free
                    needed: list[dict[str, list[str]]] = [{"token": []}, {"session": []}]
                    operation["security"] = needed if is_write else [{}, *needed]
    return app.openapi_schema or {}


def _reading(
    verbs: Verbs, bodies: Bodies, workers: Workers, tokens: Tokens, settings: ServiceSettings
) -> APIRouter:
    router = APIRouter(prefix=API, tags=["search"])

    @asynccontextmanager
    async def sent(request: Request) -> AsyncIterator[bytes]:
        workers.check_room()
        async with bodies.of(request) as data, while_there(request):
            yield data

    async def unchanged(request: Request, id: int, form: str) -> tuple[bool, dict[str, str]]:
        """Whether the client has a picture in some form already, and headers that say which it is."""
        row = await workers.run(lambda: verbs.row(id))
        tag = f'"{row.sha256[:32]}-{form}"'
        return request.headers.get("if-none-match") == tag, {
            "ETag": tag,
            "Cache-Control": "private, no-cache",
        }

    @router.get("/info", response_model=models.Info, responses=_problems())
    async def info(request: Request) -> dict[str, Any]:
        """What the gallery holds, and what this server allows."""
        facts = await workers.run(verbs.gallery.info)
        return {
            "version": __version__,
            "name": verbs.gallery.path.name,
            "pictures": facts.pictures,
            "copies": facts.copies,
            "regions": facts.regions,
            "n_bits": facts.n_bits,
            "encoder_name": facts.encoder_name,
            "hash_method": facts.hash_method,
            "bit_lengths": lengths(facts.n_bits),
            "is_nested": facts.hash_method.startswith("nested"),
            "has_parts": verbs.gallery.encoder.granules.has_regions,
            "meta_keys": [{"key": key, "pictures": n} for key, n in facts.meta_keys],
            "writable": tokens.writable,
            "may_write": tokens.may_write(request),
            "max_upload_bytes": settings.max_upload_bytes,
            "max_k": models.MAX_K,
        }

    @router.post(
        "/search",
        response_model=models.Answer,
        responses=_OF_BODY,
        openapi_extra={"parameters": parameters.described(models.How), **_BODY},
    )
    async def search(request: Request) -> Response:
        """Find the pictures most like the one in the body, or like a part of it."""
        how = parameters.read(models.How, request)
        how.box  # noqa: B018  (a box that is none is refused before the picture is read)
        async with sent(request) as data:
            return _answer(await verbs.search(data, how))

    @router.post("/search/batch", response_model=models.Batch, responses=_OF_BODY, openapi_extra=_FILES)
    async def search_batch(request: Request, how: HowQuery) -> dict[str, Any]:
        """Find the pictures most like each of several; one that cannot be used does not stop the others."""
        how.box  # noqa: B018
        async with sent(request) as data:
            files = await _files(data, request)
            answers = []
            for start in range(0, len(files), TOGETHER):
                some = files[start : start + TOGETHER]
                answers += await asyncio.gather(*(_item(verbs, name, each, how) for name, each in some))
        return {"answers": answers}

    @router.get("/pictures", response_model=models.Page, responses=_problems())
    async def browse(
        after: Annotated[int, Query(ge=0, le=MAX_ID, description="Begin after this id.")] = 0,
        limit: Annotated[int, Query(ge=1, le=500, description="How many, at most.")] = 60,
        where: Where = None,
    ) -> dict[str, Any]:
        """The gallery's pictures in order of id; `next` is the `after` of the next page."""
        return await verbs.browse(after, limit, where)

    @router.get("/pictures/{id}", response_model=models.Picture, responses=_problems(404))
    async def picture(id: Id) -> dict[str, Any]:
        """What the gallery knows of one picture."""
        return await verbs.picture(id)

    @router.get("/pictures/{id}/similar", response_model=models.Answer, responses=_problems(404, 410, 501))
    async def similar(request: Request, id: Id, how: HowQuery) -> Response:
        """Find the pictures most like one of the gallery, or like a part of it."""
        async with while_there(request):
            return _answer(await verbs.similar(id, how))

    @router.get(
        "/pictures/{id}/thumbnail",
        response_class=Response,
        responses={200: {"content": {"image/jpeg": _BINARY}}, 304: _UNCHANGED, **_problems(404, 410)},
    )
    async def thumbnail(
        request: Request,
        id: Id,
        side: Annotated[int, Query(ge=16, le=2048, description="Pixels of the longer side.")] = 256,
    ) -> Response:
        """A picture as a small, upright JPEG."""
        async with while_there(request):
            has_it, headers = await unchanged(request, id, str(side))
            if has_it:
                return Response(status_code=304, headers=headers)
            return Response(await verbs.thumbnail(id, side), media_type="image/jpeg", headers=headers)

    @router.get(
        "/pictures/{id}/file",
        response_class=Response,
        responses={200: {"content": {"image/*": _BINARY}}, 304: _UNCHANGED, **_problems(404, 410)},
    )
    async def file(request: Request, id: Id) -> Response:
        """The file of a picture, as it is."""
        async with while_there(request):
            has_it, headers = await unchanged(request, id, "file")
            if has_it:
                return Response(status_code=304, headers=headers)
            data = await verbs.content(id)
            return Response(data, media_type=media_type(data), headers=headers)

    @router.post(
        "/pictures/{id}/explain",
        response_model=models.Explanation,
        responses={200: {"content": {"image/png": _BINARY}}, **_OF_BODY, **_problems(404, 410)},
        openapi_extra=_BODY,
    )
    async def explain(
        request: Request,
        id: Id,
        what: WhatQuery,
        points: Points = None,
        png: Png = False,
    ) -> Any:
        """Say why a picture of the gallery is a hit for the one in the body, and where in both."""
        what.box  # noqa: B018
        async with sent(request) as data:
            if png:
                return Response(await verbs.explain_png(id, data, what, points), media_type="image/png")
            return await verbs.explain(id, data, what, points)

    @router.get(
        "/pictures/{id}/explain",
        response_model=models.Explanation,
        responses={200: {"content": {"image/png": _BINARY}}, **_problems(404, 410, 501)},
    )
    async def explain_stored(
        request: Request,
        id: Id,
        query: Annotated[
            int, Query(ge=1, le=MAX_ID, description="The picture that was looked for.", examples=[2])
        ],
        what: WhatQuery,
        points: Points = None,
        png: Png = False,
    ) -> Any:
        """The same for a picture of the gallery."""
        async with while_there(request):
            name, data = await verbs.stored(query)
            if png:
                return Response(await verbs.explain_png(id, data, what, points, name), media_type="image/png")
            return await verbs.explain(id, data, what, points, name)

    return router


def _comparing(verbs: Verbs) -> APIRouter:
    router = APIRouter(prefix=API, tags=["all pictures at once"])

    @router.get("/groups", response_model=models.Groups, responses=_problems(501))
    async def groups(
        request: Request,
        k: Annotated[int | None, Query(ge=1, le=1000, description="How many; chosen by default.")] = None,
        where: Where = None,
        map: Annotated[bool, Query(description="Find each picture a place on a map too.")] = False,
    ) -> dict[str, Any]:
        """Group the pictures that are alike, by their codes."""
        async with while_there(request):
            return await verbs.groups(k, where, map)

    @router.get("/duplicates", response_model=models.Duplicates, responses=_problems())
    async def duplicates(
        request: Request,
        radius: Annotated[
            int | None, Query(ge=0, le=256, description="Bits within which codes are of copies.")
        ] = None,
        where: Where = None,
    ) -> dict[str, Any]:
        """Find copies, and say which of each to keep."""
        async with while_there(request):
            return await verbs.duplicates(radius, where)

    @router.get("/labels", response_model=models.Labels, responses=_problems())
    async def labels(request: Request, how: LabellingQuery) -> Response:
        """Label the pictures that have no label like those that have one, and say how good that is."""
        async with while_there(request):
            return Response(await verbs.labels(how), media_type="application/json")

    return router


def _signing_in(tokens: Tokens, bodies: Bodies) -> APIRouter:
    router = APIRouter(prefix=API, tags=["session"])

    @router.post(
        "/session",
        status_code=204,
        response_class=Response,
        responses=_problems(400, 408, 413),
        openapi_extra=_body_of(models.SignIn),
    )
    async def sign_in(request: Request) -> Response:
        """Send a token once and be known by a cookie from then on, as long as the server runs."""
        async with bodies.of(request) as data:
            try:
                token = models.SignIn.model_validate_json(data).token
            except ValidationError:
                raise Problem(422, "the body is not a JSON object with a `token`") from None
        if not tokens.is_one(token):
            raise Problem(401, "this is no token of this server", WWW_Authenticate="Bearer")
        response = Response(status_code=204)
        tokens.sessions.open(token, request, response)
        return response

    @router.delete("/session", status_code=204, response_class=Response, responses=_problems())
    async def sign_out(request: Request) -> Response:
        """Forget the cookie."""
        response = Response(status_code=204)
        tokens.sessions.close(request, response)
        return response

    return router


def _writing(verbs: Verbs, bodies: Bodies, workers: Workers) -> APIRouter:
    router = APIRouter(prefix=API, tags=["write"])

    @router.post(
        "/pictures",
        status_code=201,
        response_model=models.Picture,
        responses={
            200: {"model": models.Picture, "description": "It was there already."},
            **_OF_BODY,
            **_problems(403, 507),
        },
        openapi_extra=_BODY,
    )
    async def add(
        request: Request,
        response: Response,
        name: Annotated[str | None, Query(max_length=255, description="Kept as the metadata `name`.")] = None,
        meta: Annotated[
            str | None, Query(max_length=8192, description="A JSON object of metadata.", examples=["{}"])
        ] = None,
    ) -> dict[str, Any]:
        """Add the picture in the body; when this is answered it is safe on disk."""
        values = _metadata(meta, name)
        workers.check_room()
        async with bodies.of(request) as data:
            picture, is_new = await verbs.add(data, values)
        response.status_code = 201 if is_new else 200
        response.headers["Location"] = f"{API}/pictures/{picture['id']}"
        return picture

    @router.post("/labels", response_model=models.Labels, responses=_problems(403, 507))
    async def store_labels(how: StoringQuery) -> Response:
        """Label the same, and keep the labels as metadata; when this is answered they are safe on disk."""
        return Response(await verbs.labels(how), media_type="application/json")

    @router.delete(
        "/pictures/{id}", status_code=204, response_class=Response, responses=_problems(403, 404, 507)
    )
    async def remove(id: Id) -> None:
        """Remove a picture; its file stays where it is, unless it was sent to this server."""
        await verbs.remove(id)

    return router


def _watching(verbs: Verbs, metrics: Metrics, tokens: Tokens) -> APIRouter:
    router = APIRouter(tags=["watch"])

    @router.get("/healthz", response_model=models.Health, responses=_problems())
    def health() -> dict[str, str]:
        """Whether the server answers and its gallery can be read."""
        verbs.gallery.browse(limit=1)
        return {"status": "ok"}

    @router.get(
        "/metrics",
        response_class=PlainTextResponse,
        responses=_problems(),
        dependencies=[Depends(tokens.check_read)],
    )
    def show() -> Response:
        """Counters in Prometheus' text format."""
        return PlainTextResponse(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


def _answer(document: dict[str, Any]) -> Response:
    """An answer of `models.Answer`: the tests hold it to that, as doing so here takes 1 ms."""
    return Response(to_json(document), media_type="application/json")


async def _files(data: bytes, request: Request) -> list[tuple[str, bytes]]:
    """The pictures of a form, each with its name."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": data, "more_body": False}

    form = await Request(request.scope, receive).form(max_files=MAX_BATCH, max_fields=MAX_BATCH)
    try:
        files = [each for each in form.getlist("pictures") if isinstance(each, UploadFile)]
        found = [(file.filename or "picture", await file.read()) for file in files]
    finally:
        await form.close()
    if not found:
        raise Problem(400, "send the files as `pictures` of a form (multipart/form-data)")
    return found


async def _item(verbs: Verbs, name: str, data: bytes, how: models.How) -> dict[str, Any]:
    try:
        if not data:
            raise Problem(400, "the file is empty")
        return {"name": name, "answer": await verbs.search(data, how, name)}
    except (Problem, GrainhashError) as error:
        problem = error if isinstance(error, Problem) else problems.problem_of(error)
        return {"name": name, "problem": problems.document(problem.status, problem.detail)}


def _metadata(text: str | None, name: str | None) -> dict[str, Any]:
    try:
        values = json.loads(text) if text is not None else {}
    except (ValueError, RecursionError):
        raise Problem(422, "meta: not JSON") from None
    if not isinstance(values, dict):
        raise Problem(422, "meta: not a JSON object")
    if name is not None:
        values["name"] = name
    return check_metadata(values, "meta")
