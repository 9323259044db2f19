"""A gallery that a server has, with the verbs of one's own: `Client("http://127.0.0.1:8000").search("cat.jpg")`.

Needs httpx. What cannot be done raises the error that the same verb of `Gallery` would, with what the server
says of it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from grainhash.classify import (
    Calibration,
    Classification,
    ClassifyMethod,
    Evaluation,
    OfClass,
    Prediction,
)
from grainhash.errors import (
    GalleryError,
    GalleryWriteError,
    GrainhashError,
    InputError,
    PictureDamaged,
    PictureTooLarge,
)
from grainhash.images import read_bytes
from grainhash.types import WHOLE, Box, Granularity, Hit, Order, PointKind

API = "/api/v1"

Sent = bytes | str | os.PathLike[str]
"""A picture to send: the bytes of a file, or its path."""


class ServiceError(GrainhashError):
    """The server refused, cannot be reached, or is no such server."""

    def __init__(self, message: str, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status; `None` where there was no answer."""
        self.retry_after = retry_after
        """Seconds after which it may work, where the server says so."""


class Client:
    """A served gallery. Safe to use from many threads; close it, or use it in a `with` block.

    Args:
        url: of the server, such as `http://127.0.0.1:8000`.
        token: for writing, or for reading where that needs one.
        timeout: seconds without any progress.
    """

    def __init__(self, url: str, *, token: str | None = None, timeout: float = 60.0) -> None:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout)

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return int(self.info()["pictures"])

    def search(
        self,
        source: Sent | int,
        *,
        region: Box = WHOLE,
        parts: int = 0,
        k: int = 10,
        granularity: Granularity = "both",
        order: Order = "asymmetric",
        verify: int = 0,
        points: PointKind = "map",
        min_score: float = 0.0,
        where: str | None = None,
        bits: int | None = None,
    ) -> list[Hit]:
        """Find the pictures that look most like a picture, or like a part of it; see `Gallery.search`.

        Args:
            source: a picture to send, or the id of one that the gallery has.

        The other arguments are those of `Gallery.search`. A hit's `uri` is only its name where the server
        does not say where files are, and its `match` is `None`: ask `explain` for points.

        Raises:
            PictureError: the picture cannot be used.
            InputError: something else that makes no sense.
            ServiceError: no answer, or the server refused.
        """
        asked: dict[str, Any] = {
            **_what(region, parts, bits),
            **{"k": k, "granularity": granularity, "order": order, "verify": verify, "points": points},
            **{"min_score": min_score, **({} if where is None else {"where": where})},
        }
        if isinstance(source, int):
            answer = self._ask("GET", f"/pictures/{source}/similar", params=asked)
        else:
            answer = self._ask("POST", "/search", params=asked, content=_bytes(source))
        return [_hit(hit) for hit in answer.json()["hits"]]

    def explain(
        self,
        source: Sent | int,
        hit: int,
        *,
        region: Box = WHOLE,
        parts: int = 0,
        points: PointKind | None = None,
        bits: int | None = None,
    ) -> dict[str, Any]:
        """Say why a picture of the gallery is a hit for another; keys as of `explain_report.to_json`."""
        answer = self._explain(source, hit, _what(region, parts, bits), points)
        found: dict[str, Any] = answer.json()
        return found

    def explain_png(
        self,
        source: Sent | int,
        hit: int,
        *,
        region: Box = WHOLE,
        parts: int = 0,
        points: PointKind | None = None,
        bits: int | None = None,
    ) -> bytes:
        """The same as the bytes of a PNG."""
        return self._explain(source, hit, {**_what(region, parts, bits), "png": True}, points).content

    def _explain(
        self, source: Sent | int, hit: int, what: dict[str, Any], points: PointKind | None
    ) -> httpx.Response:
        params = what if points is None else {**what, "points": points}
        if isinstance(source, int):
            return self._ask("GET", f"/pictures/{hit}/explain", params={**params, "query": source})
        return self._ask("POST", f"/pictures/{hit}/explain", params=params, content=_bytes(source))

    def add(
        self, source: Sent, *, name: str | None = None, meta: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Add a picture; when this returns, it is safe on the server's disk.

        Args:
            source: the picture.
            name: what it is called; its file's name by default.
            meta: metadata.

        Returns:
            What the gallery knows of it: `id`, `name`, `width`, `height`, `meta` and so on.
        """
        if name is None and not isinstance(source, bytes):
            name = Path(source).name
        params = {} if name is None else {"name": name}
        if meta is not None:
            params["meta"] = json.dumps(dict(meta))
        found: dict[str, Any] = self._ask("POST", "/pictures", params=params, content=_bytes(source)).json()
        return found

    def remove(self, id: int) -> None:
        """Remove a picture by its id."""
        self._ask("DELETE", f"/pictures/{id}")

    def picture(self, id: int) -> dict[str, Any]:
        """What the gallery knows of a picture, and the boxes of its regions."""
        found: dict[str, Any] = self._ask("GET", f"/pictures/{id}").json()
        return found

    def browse(self, *, after: int = 0, limit: int = 100, where: str | None = None) -> list[dict[str, Any]]:
        """The next `limit` pictures above an id, by ascending id; see `Gallery.browse`."""
        found: dict[str, Any] = self._ask(
            "GET", "/pictures", params=_given(after=after, limit=limit, where=where)
        ).json()
        pictures: list[dict[str, Any]] = found["pictures"]
        return pictures

    def content(self, id: int) -> bytes:
        """The file of a picture."""
        return self._ask("GET", f"/pictures/{id}/file").content

    def cluster(self, *, k: int | None = None, where: str | None = None) -> dict[str, Any]:
        """The pictures that are alike: the first of each group; see `Gallery.cluster`."""
        found: dict[str, Any] = self._ask("GET", "/groups", params=_given(k=k, where=where)).json()
        return found

    def duplicates(self, *, radius: int | None = None, where: str | None = None) -> dict[str, Any]:
        """Copies, each group with the one to keep; see `Gallery.duplicates`."""
        params = _given(radius=radius, where=where)
        found: dict[str, Any] = self._ask("GET", "/duplicates", params=params).json()
        return found

    def classify(
        self,
        *,
        label: str = "label",
        unlabelled: Collection[str] = (),
        method: ClassifyMethod = "vote",
        held_out: float = 0.0,
        min_confidence: float = 0.0,
        radius: int | None = None,
        seed: int = 0,
        where: str | None = None,
        store: str | None = None,
        replace: bool = False,
    ) -> Classification:
        """Label the pictures that have no label like those that have one; see `Gallery.classify`.

        The arguments are those of `Gallery.classify`, and so is what `store` keeps, for which the token for
        writing is needed. A prediction's `uri` is only a name where the server does not say where files are.

        Raises:
            InputError: a filter that does not parse, too few labels or too many classes, a key that may not
                be stored or is there already, or a value that makes no sense. Nothing was changed.
            GalleryWriteError: the labels could not be stored. Nothing was changed.
            ServiceError: no answer, or the server refused.
        """
        asked = {
            **{"label": label, "unlabelled": list(unlabelled), "method": method, "held_out": held_out},
            **{"min_confidence": min_confidence, "seed": seed, "predictions": True},
            **_given(radius=radius, where=where, store=store),
        }
        if store is None:
            return _classification(self._ask("GET", "/labels", params=asked).json())
        return _classification(self._ask("POST", "/labels", params={**asked, "replace": replace}).json())

    def info(self) -> dict[str, Any]:
        """What the gallery holds and what the server allows."""
        found: dict[str, Any] = self._ask("GET", "/info").json()
        return found

    def _ask(self, method: str, path: str, **what: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, API + path, **what)
        except httpx.HTTPError as error:
            raise ServiceError(
                f"{self._http.base_url}: no answer ({error or type(error).__name__})"
            ) from None
        if not answer.is_success:
            raise _error(answer)
        return answer


def _error(answer: httpx.Response) -> GrainhashError:
    """The error that a problem document stands for."""
    try:
        detail = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return ServiceError(
            f"{answer.url}: {answer.status_code}, and no grainhash server", answer.status_code
        )
    if answer.status_code in (413, 415):
        kind = PictureTooLarge if answer.status_code == 413 else PictureDamaged
        return kind("the picture", detail.removeprefix("the picture: "))
    if answer.status_code in (400, 404, 422):
        return InputError(detail)
    if answer.status_code == 410:
        return GalleryError(detail)
    if answer.status_code == 507:
        return GalleryWriteError(detail)
    after = answer.headers.get("retry-after", "")
    return ServiceError(detail, answer.status_code, float(after) if after.isdecimal() else None)


def _bytes(source: Sent) -> bytes:
    if isinstance(source, bytes):
        return source
    return read_bytes(source)


def _what(region: Box, parts: int, bits: int | None) -> dict[str, Any]:
    where = {} if region == WHOLE else {"region": ",".join(map(repr, region.corners))}
    return {"parts": parts, "bits": bits or 0, **where}


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _hit(found: Mapping[str, Any]) -> Hit:
    """A hit from its JSON."""
    return Hit(
        id=found["id"],
        uri=found["uri"] or found["name"],
        score=found["score"],
        false_matches=found["false_matches"],
        distance=found["distance"],
        whole_distance=found["whole_distance"],
        part_distance=found["part_distance"],
        box=Box(*found["box"]),
        query_box=Box(*found["query_box"]),
        width=found["width"],
        height=found["height"],
        meta=found["meta"],
    )


def _classification(found: Mapping[str, Any]) -> Classification:
    """Labels from their JSON."""
    judged = found["evaluation"]
    bins = [tuple(row) for row in judged["calibration"]["bins"]]
    made = {
        "evaluation": Evaluation(
            **{
                **judged,
                "classes": [OfClass(**row) for row in judged["classes"]],
                "calibration": Calibration(judged["calibration"]["error"], bins),
            }
        ),
        "predictions": [
            Prediction(**{**_only(Prediction, seen), "uri": seen["uri"] or seen["name"]})
            for seen in found["predictions"]
        ],
        "unmatched": [],
    }
    return Classification(**{**_only(Classification, found), **made})


def _only(kind: type[Classification | Prediction], found: Mapping[str, Any]) -> dict[str, Any]:
    """What a kind has a field for."""
    return {field.name: found[field.name] for field in fields(kind) if field.name in found}
