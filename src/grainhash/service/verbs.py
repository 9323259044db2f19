"""What the service does with its gallery: the facade's verbs, for pictures that were sent or are stored."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from dataclasses import replace as replaced
from functools import partial
from itertools import count, takewhile
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

from grainhash import explain_report, report
from grainhash.cores import thread_limit, usable_cores
from grainhash.duplicates import Copy
from grainhash.encoder.encoder import Asked, Query
from grainhash.errors import EncoderMismatch, InputError, PictureDamaged, PictureError
from grainhash.explain import Explanation
from grainhash.gallery import Gallery
from grainhash.images import decode, encode_jpeg, fit
from grainhash.service.models import Finding, How, Labelling, Labels, Storing, What
from grainhash.service.problems import Problem, busy
from grainhash.service.settings import ServiceSettings
from grainhash.service.uploads import alone, is_kept, keep
from grainhash.service.workers import Look, Workers
from grainhash.store import PictureRow
from grainhash.types import WHOLE, Found, PointKind
from grainhash.where import asks_for_paths, compile_where

T = TypeVar("T")

SENT = "the picture"
"""How errors call a picture that was sent."""

JPEG_QUALITY = 85

SHEET = 24
"""Pictures of a group that are described: the one in its middle, to keep, or the surest first."""
MAX_GROUPS = 200
"""Groups of copies, or of one label each, that are described."""
MAX_CLASSES = 1000
MAX_CELLS = 2_000_000
"""Pictures times classes that are learned in a request: a thread takes 10 us for each."""
MOST_COMPARING = 4
"""Requests that compare all pictures, or wait for that."""
MAX_COMPARED = 100_000
"""Pictures of a gallery that are all compared in a request."""

MANY = 100
"""Who asks for more pictures, for parts, or to have some verified, is answered alone: none waits for it."""

LOCKS = 64
"""Contents that can be written at once, at most."""


def _seen(asked: Asked | PictureError) -> Asked:
    if isinstance(asked, PictureError):
        raise asked
    return asked


def lengths(n_bits: int) -> list[int]:
    """Lengths that codes can well be cut to: 16, 32 and so on, and their own."""
    return [*takewhile(lambda length: length < n_bits, (16 << power for power in count())), n_bits]


class Verbs:
    """A gallery as the routes see it: what takes time goes through the workers."""

    def __init__(self, gallery: Gallery, workers: Workers, settings: ServiceSettings) -> None:
        self.gallery = gallery
        self._workers = workers
        self._settings = settings
        self._comparing = asyncio.Lock()
        self._n_comparing = 0
        self._writers = asyncio.Semaphore(max(1, workers.n_threads - 1))
        self._n_writing = 0
        self._writing = [threading.Lock() for _ in range(LOCKS)]

    # Asking

    async def search(self, data: bytes, how: How, name: str = SENT) -> dict[str, Any]:
        """The answer to a picture, as `report.to_json` has it."""
        self._check_where(how.where)
        query = Query(data, how.box, how.parts, how.points if how.verify else None, name)
        takes_long = how.verify or how.parts or how.k > MANY
        like = object() if takes_long else how.finding
        answer: dict[str, Any] = await self._workers.look(query, like, partial(self._answers, how.finding))
        return answer

    async def similar(self, id: int, how: How) -> dict[str, Any]:
        """The answer to a picture of the gallery."""
        name, data = await self.stored(id)
        return await self.search(data, how, name)

    def _answers(
        self, finding: Finding, queries: Sequence[Query], looks: Sequence[Look]
    ) -> list[dict[str, Any]]:
        """The answers to queries that are all searched for in one way."""
        started = perf_counter()
        asked, encoder = [look.asked for look in looks], looks[0].encoder
        while True:
            try:
                answers = self.gallery.find_all(asked, **finding._asdict(), encoder=encoder)
                break
            except EncoderMismatch:  # a refit ended since: the queries need codes of the new encoder
                self.gallery.refresh()
                own = self.gallery.encoder
                asked, encoder = [_seen(each) for each in own.ask_all(queries)], own.fingerprint
        seconds = perf_counter() - started
        return [
            self._document(finding, query, found, {"encode": look.seconds, "search": seconds})
            for query, look, found in zip(queries, looks, answers, strict=True)
        ]

    def _document(
        self, finding: Finding, query: Query, found: Found, seconds: Mapping[str, float]
    ) -> dict[str, Any]:
        answer = report.Answer(
            query=query.name or SENT,
            query_box=None if query.region == WHOLE else query.region,
            hits=found.hits,
            n_bits=finding.bits or self.gallery.encoder.n_bits,
            granularity=finding.granularity,
            n_pictures=found.n_pictures,
            stages=found.stages,
            seconds=seconds,
            where=finding.where,
        )
        document = report.to_json(answer)
        for hit in document["hits"]:
            hit |= self._name(hit["uri"], hit["meta"])
        return document

    async def explain(
        self, id: int, data: bytes, what: What, points: PointKind | None, name: str = SENT
    ) -> dict[str, Any]:
        """Why a picture of the gallery is a hit for a picture that was sent."""
        explanation = await self._workers.run(lambda: self._explained(id, data, what, points, name))
        assert explanation.found is not None  # a gallery was asked
        document = explain_report.to_json(explanation, name)
        document["hit"] |= self._name(document["hit"]["uri"], explanation.found.meta)
        return document

    async def explain_png(
        self, id: int, data: bytes, what: What, points: PointKind | None, name: str = SENT
    ) -> bytes:
        """The same as a picture."""

        def draw() -> bytes:
            explanation = self._explained(id, data, what, points, name)
            return explain_report.png(explanation, names=(name, self.described(self.row(id))["name"]))

        return await self._workers.run(draw)

    def _explained(
        self, id: int, data: bytes, what: What, points: PointKind | None, name: str
    ) -> Explanation:
        self.row(id)
        return self.gallery.explain(
            data,
            id,
            region=what.box,
            parts=what.parts,
            points=points,
            bits=what.bits or None,
            name=name,
        )

    async def stored(self, id: int) -> tuple[str, bytes]:
        """The name and the file of a picture."""
        row, data = await self._workers.run(lambda: (self.row(id), self._content(id)))
        return self.described(row)["name"], data

    async def content(self, id: int) -> bytes:
        """The file of a picture."""
        return await self._workers.run(lambda: self._content(id))

    # Looking around

    def row(self, id: int) -> PictureRow:
        """What the gallery knows of a picture.

        Raises:
            Problem: 404.
        """
        try:
            return self.gallery.picture(id)
        except InputError:
            raise Problem(404, f"there is no picture {id}") from None

    async def picture(self, id: int) -> dict[str, Any]:
        """A picture and its regions."""

        def read() -> dict[str, Any]:
            row = self.row(id)
            return {**self.described(row), "regions": [box.corners for box in self.gallery.regions_of(id)]}

        return await self._workers.run(read)

    def _check_where(self, where: str | None) -> None:
        """Refuse a filter by paths where these are not told: answers would tell them."""
        if where is not None and not self._settings.show_paths and asks_for_paths(compile_where(where)):
            raise Problem(422, "where: this server does not tell where files are; filter by `name`")

    async def browse(self, after: int, limit: int, where: str | None) -> dict[str, Any]:
        """Some pictures in order of id."""
        self._check_where(where)
        rows = await self._workers.run(lambda: self.gallery.browse(after=after, limit=limit + 1, where=where))
        more = len(rows) > limit
        return {
            "pictures": [self.described(row) for row in rows[:limit]],
            "next": rows[limit - 1].id if more else None,
        }

    async def thumbnail(self, id: int, side: int) -> bytes:
        """A picture as a JPEG of at most `side` pixels a side."""

        def draw() -> bytes:
            data = self._content(id)
            rgb = decode(data, min_side=side, name=SENT, limits=self.gallery.encoder.limits).rgb
            return encode_jpeg(fit(rgb, side), quality=JPEG_QUALITY)

        return await self._workers.run(draw)

    def described(self, row: PictureRow) -> dict[str, Any]:
        """A picture as the API gives it."""
        return {**asdict(row), **self._name(row.uri, row.meta)}

    def _name(self, uri: str, meta: Mapping[str, Any]) -> dict[str, Any]:
        """What a picture is called: as its file is, or as whoever sent it said."""
        sent_as = meta.get("name") if is_kept(self.gallery.path, uri) else None
        name = sent_as if isinstance(sent_as, str) else Path(uri).name
        return {"name": name, "uri": uri if self._settings.show_paths else None}

    def _content(self, id: int) -> bytes:
        self.row(id)
        return self.gallery.content(id)

    # All pictures at once

    async def groups(self, k: int | None, where: str | None, with_map: bool) -> dict[str, Any]:
        """Pictures that are alike, the first of each group, and where all are on a map."""
        self._check_where(where)

        def find() -> dict[str, Any]:
            found = self.gallery.cluster(k=k, where=where, with_map=with_map, restarts=1)
            sheets = [group.members[:SHEET] for group in found.groups]
            rows = self._rows(member.id for sheet in sheets for member in sheet)
            groups = [
                {
                    "number": group.number,
                    "title": group.title,
                    "named": group.named is not None,
                    "size": len(group.members),
                    "spread": round(group.spread, 2),
                    "pictures": [rows[member.id] for member in sheet if member.id in rows],
                }
                for group, sheet in zip(found.groups, sheets, strict=True)
            ]
            places = [
                {
                    "id": place.id,
                    "name": Path(place.uri).name,
                    "group": place.group,
                    "x": place.x,
                    "y": place.y,
                }
                for place in found.places
            ]
            return {
                "n_pictures": found.n_pictures,
                "n_bits": found.n_bits,
                "groups": groups,
                "places": places,
            }

        return await self._compare(find)

    async def duplicates(self, radius: int | None, where: str | None) -> dict[str, Any]:
        """Copies, each group with the one to keep."""
        self._check_where(where)

        def find() -> dict[str, Any]:
            found = self.gallery.duplicates(radius=radius, where=where)
            shown = found.groups[:MAX_GROUPS]
            rows = self._rows(each.id for group in shown for each in (group.keep, *group.copies[:SHEET]))

            def described(copy: Copy) -> dict[str, Any]:
                return {**rows[copy.id], "distance": copy.distance, "is_exact": copy.is_exact}

            groups = [
                {
                    "keep": described(group.keep),
                    "copies": [described(copy) for copy in group.copies[:SHEET] if copy.id in rows],
                    "more": max(0, len(group.copies) - SHEET),
                }
                for group in shown
                if group.keep.id in rows
            ]
            return {
                "n_pictures": found.n_pictures,
                "n_bits": found.n_bits,
                "radius": found.radius,
                "n_groups": len(found.groups),
                "groups": groups,
            }

        return await self._compare(find)

    async def labels(self, how: Labelling) -> bytes:
        """Labels for the pictures without, and how good they are, as JSON; stored where `how` says so."""
        self._check_where(how.where)
        store, replace = (how.store, how.replace) if isinstance(how, Storing) else (None, False)

        def find() -> bytes:
            found = self.gallery.classify(
                label=how.label,
                unlabelled=how.unlabelled,
                method=how.method,
                held_out=how.held_out,
                min_confidence=how.min_confidence,
                radius=how.radius,
                seed=how.seed,
                max_classes=min(MAX_CLASSES, max(2, MAX_CELLS // max(1, len(self.gallery)))),
                where=how.where,
                store=store,
                replace=replace,
            )
            groups = found.by_label()
            none = [group for group in groups if group[0] is None]
            shown = groups[: min(MAX_GROUPS, len(groups) - len(none))] + none
            rows = self._rows(seen.id for _, group in shown for seen in group[:SHEET])
            document = {
                **asdict(replaced(found, predictions=[])),
                "n_pictures": len(found.predictions),
                "groups": [
                    {
                        "label": label,
                        "size": len(group),
                        "pictures": [
                            {**asdict(seen), **rows[seen.id]} for seen in group[:SHEET] if seen.id in rows
                        ],
                    }
                    for label, group in shown
                ],
                "predictions": [{**asdict(seen), **self._name(seen.uri, {})} for seen in found.predictions]
                if how.predictions
                else None,
                "stored": store,
            }
            return Labels.model_validate(document).model_dump_json().encode()  # here, not between requests

        return await self._compare(find)

    async def _compare(self, find: Callable[[], T]) -> T:
        """One of these at a time: each takes a thread for seconds, and the others are for searches."""
        if self._n_comparing >= MOST_COMPARING:
            raise busy("all pictures are being compared already")
        self._n_comparing += 1
        try:
            await self._comparing.acquire()
        except asyncio.CancelledError:
            self._n_comparing -= 1
            raise
        working = asyncio.ensure_future(self._workers.run(lambda: self._compared(find)))
        working.add_done_callback(self._end_comparing)
        return await asyncio.shield(working)  # it is the one that is compared until the thread is done

    def _compared(self, find: Callable[[], T]) -> T:
        if len(self.gallery) > MAX_COMPARED:
            raise Problem(422, f"too many pictures to compare while you wait: more than {MAX_COMPARED:,}")
        with thread_limit(usable_cores):  # which takes long, and is alone in that
            return find()

    def _end_comparing(self, done: asyncio.Future[Any]) -> None:
        if not done.cancelled():
            done.exception()  # nobody may be left to take it
        self._comparing.release()
        self._n_comparing -= 1

    def _rows(self, ids: Iterable[int]) -> dict[int, dict[str, Any]]:
        """Pictures by id, without those that are gone."""
        return {row.id: self.described(row) for row in self.gallery.pictures(ids)}

    # Writing

    async def add(self, data: bytes, meta: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """Keep a picture and index it; returns it, safe on disk by then, and whether it is new."""
        return await self._write(lambda: self._add(data, meta))

    def _add(self, data: bytes, meta: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        decode(data, min_side=1, name=SENT, limits=self.gallery.encoder.limits)  # refused before it is kept
        sha256 = hashlib.sha256(data).hexdigest()
        with self._writing_of(sha256):
            path, is_new = keep(self.gallery.path, sha256, data)
            try:
                done = self.gallery.add([path], meta=meta)
                if done.skipped:
                    raise PictureDamaged(SENT, next(iter(done.skipped.values())))
            except BaseException:
                if is_new:
                    path.unlink(missing_ok=True)
                raise
            return self.described(self.gallery.picture(path)), done.unchanged == 0

    @contextmanager
    def _writing_of(self, sha256: str) -> Iterator[None]:
        """Held while a content is added or removed, by any server of this gallery: its file comes and goes
        with its picture."""
        number = int(sha256[:8], 16) % LOCKS
        with self._writing[number], alone(self.gallery.path, number):
            yield

    async def _write(self, work: Callable[[], T]) -> T:
        """As many of these at a time as leave a thread for searches: a write may wait for another process."""
        if self._n_writing >= self._settings.queue:
            raise busy("too many pictures are being written already")
        self._n_writing += 1
        try:
            async with self._writers:
                return await self._workers.run(work)
        finally:
            self._n_writing -= 1

    async def remove(self, id: int) -> None:
        """Take a picture out of the gallery; its file goes too if it was sent to this service."""
        await self._write(lambda: self._remove(id))

    def _remove(self, id: int) -> None:
        row = self.row(id)
        path = Path(row.uri)
        with self._writing_of(row.sha256):
            try:
                self.gallery.remove([id])
            except InputError:
                raise Problem(404, f"there is no picture {id}") from None
            if is_kept(self.gallery.path, path):
                path.unlink(missing_ok=True)
