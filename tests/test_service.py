"""The service: a real server, asked over loopback, by friends and by enemies."""

from __future__ import annotations

import asyncio
import io
import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import schemathesis
import uvicorn
from grouping import codes_around, gallery_of, gallery_of_pieces
from hypothesis import HealthCheck, Phase, given, settings
from PIL import Image
from serving import TOKEN, serving
from starlette.requests import Request

from grainhash import Box, Gallery
from grainhash.client import Client, ServiceError
from grainhash.cores import default_threads
from grainhash.encoder import Encoder
from grainhash.encoder.encoder import Query
from grainhash.encoder.granules import WHOLE_ONLY
from grainhash.errors import GalleryWriteError, InputError, PictureError
from grainhash.service import models as service_models
from grainhash.service.app import create_app
from grainhash.service.guard import Rates
from grainhash.service.models import How, Labelling
from grainhash.service.patience import Impatient
from grainhash.service.problems import Problem
from grainhash.service.settings import ServiceSettings
from grainhash.service.uploads import Bodies
from grainhash.service.verbs import MAX_CLASSES, MOST_COMPARING, Verbs
from grainhash.service.workers import Look, Workers

PROBLEM = "application/problem+json"
WRITE = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def indexed(photographs, tmp_path_factory):
    """A gallery of real photographs, to be copied or read."""
    path = tmp_path_factory.mktemp("service") / "gallery"
    with Gallery.open(path, create=True) as gallery:
        gallery.index(photographs)
    return path


@pytest.fixture(scope="module")
def server(indexed, tmp_path_factory):
    """A server of a copy that tests may add to."""
    copy = tmp_path_factory.mktemp("served") / "gallery"
    shutil.copytree(indexed, copy)
    with serving(copy, "--rate", "0", "--max-upload", "2", "--max-pixels", "8") as running:
        running.gallery = copy
        yield running


@pytest.fixture(scope="module")
def cat(photographs):
    return (photographs / "animals/chelsea.png").read_bytes()


def jpeg(seed: int) -> bytes:
    """A small picture that is like no other."""
    noise = random.Random(seed).randbytes(8 * 8 * 3)
    file = io.BytesIO()
    Image.frombytes("RGB", (8, 8), noise).resize((96, 96)).save(file, "JPEG")
    return file.getvalue()


def is_problem(answer: httpx.Response, status: int) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == PROBLEM
    assert answer.json()["status"] == status
    assert answer.json()["detail"]
    assert "/tmp" not in answer.text  # nothing of the file system


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not is_so():
            await asyncio.sleep(0.01)


async def answers_of(workers: Workers, waiting: Sequence[asyncio.Future[Any]]) -> list[Any]:
    """What comes, answers or errors, once there are threads."""
    workers.start()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    workers.close()
    return answers


@contextmanager
def running_here(app: Any, **config: Any) -> Iterator[tuple[str, int]]:
    """Serve an app from a thread of this process, until the end of the block; gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, http=Impatient, log_level="warning", **config))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        yield listening.getsockname()
        server.should_exit = True
        thread.join(20)


# Asking


def test_a_search_says_what_the_gallery_says(server, indexed, cat):
    answer = server.search(cat, k=5, region="0.1,0.1,0.9,0.9", where="width >= 100", verify=2).json()
    assert (
        service_models.Answer.model_validate(answer).model_dump() == answer
    )  # nothing missing, nothing else
    with Gallery.open(indexed) as gallery:
        hits = gallery.search(cat, k=5, region=Box(0.1, 0.1, 0.9, 0.9), where="width >= 100", verify=2)
    assert [(hit["id"], hit["distance"], hit["score"]) for hit in answer["hits"]] == [
        (hit.id, hit.distance, round(hit.score, 4)) for hit in hits
    ]
    assert answer["hits"][0]["name"] == "chelsea.png"
    assert answer["query_box"] == [0.1, 0.1, 0.9, 0.9]
    assert answer["plan"][0]["name"] == "filter"


def test_queries_that_wait_are_seen_together_and_answered_as_alone(server, photographs):
    pictures = [path.read_bytes() for path in sorted(photographs.rglob("*.*"))]
    small = [data for data in pictures if len(data) < 2 * 1024**2]
    alone = [server.search(data, k=3).json()["hits"] for data in small]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda data: server.search(data, k=3).json()["hits"], small * 3))
    assert together == alone * 3
    metrics = server.client.get("/metrics").text
    assert 'route="/api/v1/search"' in metrics
    batches, queries = (
        float(next(line for line in metrics.splitlines() if line.startswith(name)).split()[1])
        for name in ("grainhash_queries_together_count", "grainhash_queries_together_sum")
    )
    assert batches < queries


def test_queries_that_are_alike_go_on_together_and_one_spoils_nothing(indexed, photographs):
    pictures = [path.read_bytes() for path in sorted(photographs.rglob("*.jpg"))[:4]]
    sizes: list[int] = []

    def go_on(queries: Sequence[Query], looks: Sequence[Look]) -> list[str]:
        sizes.append(len(queries))
        assert len(looks) == len(queries)
        names = [str(query.name) for query in queries]
        if "bad" in names:
            raise InputError("no good")
        return names

    async def ask(gallery):
        workers = Workers(gallery, 64, 1)
        waiting = [
            asyncio.ensure_future(workers.look(Query(data, name=name), name == "c", go_on))
            for name, data in zip(["a", "bad", "b", "c", "broken"], [*pictures, b"none"], strict=True)
        ]
        await asyncio.sleep(0)  # all wait before there is a thread
        return await answers_of(workers, waiting)

    with Gallery.open(indexed) as gallery:
        answers = asyncio.run(ask(gallery))
    assert [answers[at] for at in (0, 2, 3)] == ["a", "b", "c"]
    assert isinstance(answers[1], InputError)
    assert isinstance(answers[4], PictureError)
    assert sizes == [3, 1, 1, 1, 1]


def test_what_is_done_beside_others_has_its_share_of_the_cores(indexed, monkeypatch):
    monkeypatch.setattr("grainhash.cores.usable_cores", lambda: 8)
    monkeypatch.setattr("grainhash.service.workers.usable_cores", lambda: 8)
    go_on, shares = threading.Event(), []

    def work():
        shares.append(default_threads())
        go_on.wait(30)

    async def ask(gallery):
        workers = Workers(gallery, 64, 3)
        workers.start()
        working = []
        for n in range(1, 4):
            await until(lambda n=n: workers._n_idle == 4 - n)
            working.append(asyncio.create_task(workers.run(work)))
            await until(lambda n=n: len(shares) == n)
        go_on.set()
        await asyncio.gather(*working)
        workers.close()

    with Gallery.open(indexed) as gallery:
        asyncio.run(ask(gallery))
    assert shares == [8, 4, 2]


def test_who_does_not_wait_is_not_worked_for(indexed):
    done = []

    async def ask(gallery):
        workers = Workers(gallery, 2, 1)
        waiting = [asyncio.ensure_future(workers.run(partial(done.append, n))) for n in range(2)]
        await asyncio.sleep(0)  # all wait before there is a thread
        waiting[0].cancel()
        await asyncio.sleep(0)
        waiting.append(asyncio.ensure_future(workers.run(partial(done.append, 2))))  # there is room again
        await asyncio.sleep(0)
        return await answers_of(workers, waiting)

    with Gallery.open(indexed) as gallery:
        answers = asyncio.run(ask(gallery))
    assert isinstance(answers[0], asyncio.CancelledError)
    assert done == [1, 2]


def test_searches_of_clients_that_are_gone_are_not_begun(indexed, cat, monkeypatch):
    """The one that is at work is finished for nobody; those that wait behind it are not begun."""
    own, begun, go_on = Encoder.ask_all, [], threading.Event()

    def slowly(encoder, queries):
        begun.append(len(queries))
        go_on.wait(30)
        return own(encoder, queries)

    monkeypatch.setattr(Encoder, "ask_all", slowly)
    post = (
        f"POST /api/v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(cat)}\r\n\r\n".encode()
        + cat
    )
    get = b"GET /api/v1/pictures/1/similar HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with (
        Gallery.open(indexed) as gallery,
        running_here(create_app(gallery, ServiceSettings(workers=1, rate=0))) as (host, port),
    ):

        def metric(name, of=""):
            lines = httpx.get(f"http://{host}:{port}/metrics").text.splitlines()
            return sum(float(line.split()[-1]) for line in lines if line.startswith(name) and of in line)

        for n, request in enumerate([get, post, post]):
            with socket.create_connection((host, port), timeout=10) as client:
                client.sendall(request)
                asyncio.run(until(lambda: begun == [1]))
                asyncio.run(until(lambda n=n: metric("grainhash_waiting ") == (n > 0)))
            asyncio.run(until(lambda n=n: metric("grainhash_requests_total", 'status="499"') == n + 1))
            assert metric("grainhash_waiting ") == 0
        go_on.set()
        answer = httpx.post(f"http://{host}:{port}/api/v1/search?k=1", content=cat, timeout=30)
        assert answer.json()["hits"][0]["distance"] == 0
    assert begun == [1, 1]


@pytest.mark.parametrize("how", [{}, {"k": 101}, {"parts": 1}, {"verify": 1}])
def test_what_takes_long_is_answered_alone(indexed, how):
    """So that whoever asks for little does not wait for it."""
    likes = []

    class Looking:
        n_threads = 1

        async def look(self, query, like, then):
            likes.append(like)

    with Gallery.open(indexed) as gallery:
        verbs = Verbs(gallery, Looking(), ServiceSettings())
        for _ in range(2):
            asyncio.run(verbs.search(b"", How(**how)))
    assert (likes[0] == likes[1]) == (not how)


def test_a_stored_picture_is_looked_for_by_its_id(server):
    page = server.client.get("/api/v1/pictures", params={"limit": 3}).json()
    for picture in page["pictures"]:
        hits = server.client.get(f"/api/v1/pictures/{picture['id']}/similar", params={"k": 2}).json()["hits"]
        assert hits[0]["name"] == picture["name"]
        assert hits[0]["distance"] == 0


def test_browsing_shows_every_picture_once(server):
    seen, after = [], 0
    while after is not None:
        page = server.client.get("/api/v1/pictures", params={"after": after, "limit": 5}).json()
        seen += [picture["id"] for picture in page["pictures"]]
        after = page["next"]
    assert seen == sorted(set(seen))
    assert len(seen) == server.client.get("/api/v1/info").json()["pictures"]


def test_pictures_thumbnails_and_files_are_served(server):
    picture = server.client.get("/api/v1/pictures/1").json()
    assert len(picture["regions"]) > 1
    small = server.client.get("/api/v1/pictures/1/thumbnail", params={"side": 100})
    assert picture["sha256"][:32] in small.headers["etag"]  # another gallery on this port has other pictures
    assert max(Image.open(io.BytesIO(small.content)).size) == 100
    again = server.client.get(
        "/api/v1/pictures/1/thumbnail",
        params={"side": 100},
        headers={"If-None-Match": small.headers["etag"]},
    )
    assert (again.status_code, again.content) == (304, b"")
    assert server.client.get("/api/v1/pictures/1/file").content == Path(picture["uri"]).read_bytes()


def test_a_hit_is_explained_as_json_and_as_a_picture(server, cat):
    id = server.search(cat, k=1).json()["hits"][0]["id"]
    url = f"/api/v1/pictures/{id}/explain"
    why = server.client.post(url, content=cat, params={"points": "map"}).json()
    assert why["hit"]["id"] == id
    assert why["distance"] == 0
    assert why["hit"]["points"]["places"] > 10
    drawn = server.client.post(url, content=cat, params={"png": True})
    assert Image.open(io.BytesIO(drawn.content)).size[0] > 1000


def test_a_stored_query_is_explained_as_its_file_is(server, indexed):
    with Gallery.open(indexed) as gallery:
        query, hit = (gallery.browse()[place] for place in (0, 3))
    how = {"region": "0.1,0.2,0.9,0.8", "points": "map", "bits": 64}
    url = f"/api/v1/pictures/{hit.id}/explain"
    sent = server.client.post(url, content=Path(query.uri).read_bytes(), params=how).json()
    stored = server.client.get(url, params={"query": query.id, **how}).json()
    assert stored == {**sent, "query": Path(query.uri).name}
    assert stored["n_bits"] == 64
    itself = server.client.get(url, params={"query": hit.id, "points": "map"}).json()["hit"]["points"]
    assert len(itself["pairs"]) >= itself["places"] > 10
    assert all(abs(x - u) < 0.02 and abs(y - v) < 0.02 for x, y, u, v in itself["pairs"])
    is_problem(server.client.get(url, params={"query": 10**9}), 404)


def test_shorter_codes_answer_as_the_gallery_does(server, indexed, cat):
    info = server.client.get("/api/v1/info").json()
    assert info["bit_lengths"] == [16, 32, 64, 128, 256]
    assert not info["is_nested"]
    answer = server.search(cat, k=5, bits=32).json()
    with Gallery.open(indexed) as gallery:
        hits = gallery.search(cat, k=5, bits=32)
    assert [(hit["id"], hit["distance"]) for hit in answer["hits"]] == [
        (hit.id, hit.distance) for hit in hits
    ]
    assert answer["n_bits"] == 32
    assert all(hit["distance"] <= 32 for hit in answer["hits"])
    for wrong in (12, 512):
        is_problem(server.search(cat, bits=wrong), 422)


def test_groups_and_copies_are_those_of_the_gallery(server, indexed):
    groups = server.client.get("/api/v1/groups", params={"k": 3, "map": True}).json()
    with Gallery.open(indexed) as gallery:
        found, copies = gallery.cluster(k=3, restarts=1), gallery.duplicates(radius=120)
    assert [group["size"] for group in groups["groups"]] == [len(group.members) for group in found.groups]
    first = [picture["id"] for picture in groups["groups"][0]["pictures"]]
    assert first == [member.id for member in found.groups[0].members]
    assert len(groups["places"]) == found.n_pictures
    answer = server.client.get("/api/v1/duplicates", params={"radius": 120}).json()
    assert copies.groups
    assert [group["keep"]["id"] for group in answer["groups"]] == [group.keep.id for group in copies.groups]
    assert [copy["distance"] for copy in answer["groups"][0]["copies"]] == [
        copy.distance for copy in copies.groups[0].copies
    ]
    with Client(server.url) as client:
        pictures = client.browse(limit=3)
        assert [each["id"] for each in client.browse(after=pictures[0]["id"], limit=2)] == [
            each["id"] for each in pictures[1:]
        ]
        assert client.cluster(k=3)["groups"] == groups["groups"]
        assert client.duplicates(radius=120) == answer
    is_problem(server.client.get("/api/v1/groups", params={"k": 999}), 422)
    is_problem(server.client.get("/api/v1/groups", params={"where": "this is no filter"}), 422)


@pytest.fixture(scope="module")
def pieces(photographs, tmp_path_factory):
    """A server of pieces of photographs, some with a label."""
    gallery = gallery_of_pieces(tmp_path_factory.mktemp("pieces"), photographs)
    with serving(gallery, "--rate", "0") as running:
        running.gallery = gallery
        yield running


def test_labels_are_those_of_the_gallery(pieces):
    asked = {"unlabelled": ["inbox", "nothing"], "method": "linear", "held_out": 0.25, "seed": 3}
    answer = pieces.client.get("/api/v1/labels", params={**asked, "predictions": True}).json()
    assert service_models.Labels.model_validate(answer).model_dump(mode="json") == answer
    with Gallery.open(pieces.gallery) as gallery:
        found = gallery.classify(**asked)
    own = json.loads(json.dumps(found.to_json()))
    own["seconds"] = answer["seconds"]
    assert [(seen["id"], seen["label"]) for seen in answer["predictions"]] == [
        (seen.id, seen.label) for seen in found.predictions
    ]
    assert len(found.predictions) == answer["n_pictures"] == 8
    assert {key: answer[key] for key in own.keys() & answer.keys() - {"predictions"}} == {
        key: own[key] for key in own.keys() - {"predictions", "unmatched"}
    }
    assert [(group["label"], group["size"]) for group in answer["groups"]] == [
        (label, len(group)) for label, group in found.by_label()
    ]
    for group in answer["groups"]:
        for picture in group["pictures"]:
            assert picture["label"] == group["label"]
            assert picture["meta"]["label"] == "inbox"
    with Client(pieces.url) as client:
        again = client.classify(**asked)
    assert again.seconds > 0
    assert replace(again, seconds=0) == replace(found, seconds=0)
    short = pieces.client.get("/api/v1/labels", params=asked).json()
    assert short["predictions"] is None
    assert short["groups"] == answer["groups"]


def test_none_of_these_is_a_group_of_its_own(pieces):
    asked = {"unlabelled": "inbox", "radius": 0}
    answer = pieces.client.get("/api/v1/labels", params=asked).json()
    (none,) = answer["groups"]
    assert (none["label"], none["size"]) == (None, 8)
    bits = [picture["distance"] for picture in none["pictures"]]
    assert bits == sorted(bits)
    assert bits[0] > 0
    doubtful = pieces.client.get("/api/v1/labels", params={"unlabelled": "inbox", "min_confidence": 1}).json()
    assert doubtful["groups"][-1]["label"] is None
    some = pieces.client.get("/api/v1/labels", params={"where": "label != inbox"}).json()
    assert (some["n_pictures"], some["n_labelled"], some["groups"]) == (0, 24, [])


def test_labels_are_stored_under_a_key_only_with_the_token(pieces):
    def labels(**more):
        return pieces.client.post("/api/v1/labels", params={"unlabelled": "inbox", **more}, headers=WRITE)

    is_problem(pieces.client.post("/api/v1/labels", params={"unlabelled": "inbox", "store": "seen"}), 401)
    is_problem(labels(), 422)
    is_problem(labels(store="width"), 422)
    is_problem(labels(store="label", replace=True), 422)
    keys = {each["key"] for each in pieces.client.get("/api/v1/info").json()["meta_keys"]}
    assert "seen" not in keys
    answer = labels(store="seen", radius=256)
    assert answer.status_code == 200
    assert answer.json()["stored"] == "seen"
    with Gallery.open(pieces.gallery) as gallery:
        metas = {row.id: row.meta for row in gallery.browse(limit=100)}
    for group in answer.json()["groups"]:
        for picture in group["pictures"]:
            assert metas[picture["id"]]["seen"] == group["label"]
            assert metas[picture["id"]]["seen_confidence"] == picture["confidence"]
    assert sum("seen" in meta for meta in metas.values()) == len(metas) == 32
    is_problem(labels(store="seen"), 422)
    with Client(pieces.url, token=TOKEN) as client:
        with pytest.raises(InputError, match="already"):
            client.classify(unlabelled=["inbox"], store="seen")
        found = client.classify(unlabelled=["inbox"], store="seen", replace=True, radius=0)
        assert all(seen.label is None for seen in found.predictions)
        with pytest.raises(InputError, match="learned from"):
            client.classify(store="label")
    with Gallery.open(pieces.gallery) as gallery:
        assert len(gallery.browse(limit=100, where="exists seen")) == 24
    with Client(pieces.url) as nobody, pytest.raises(ServiceError, match="token"):
        nobody.classify(unlabelled=["inbox"], store="other")


@pytest.mark.parametrize(
    "wrong",
    [
        {"label": "colour"},
        {"label": ""},
        {"where": "label = inbox"},
        {"where": "label ="},
        {"method": "guess"},
        {"held_out": 1},
        {"held_out": 0.01},
        {"min_confidence": "NaN"},
        {"radius": -1},
        {"unlabelled": ["class 0", "class 1", "inbox"]},
        {"unlabelled": ["x"] * 101},
    ],
)
def test_labels_that_cannot_be_are_refused(pieces, wrong):
    is_problem(pieces.client.get("/api/v1/labels", params=wrong), 422)


def test_a_key_with_a_value_a_picture_is_no_label_and_errors_name_no_path(tmp_path, encoder):
    n = MAX_CLASSES + 1
    codes = codes_around(n, 4, encoder.n_bits, 0.1)
    metas = [{"number": number, "list": ["a", "b"]} for number in range(n)]
    gallery_of(tmp_path / "gallery", encoder, codes, metas).close()
    with serving(tmp_path / "gallery") as server:
        many = server.client.get("/api/v1/labels", params={"label": "number"})
        is_problem(many, 422)
        assert "1,001 classes" in many.json()["detail"]
        odd = server.client.get("/api/v1/labels", params={"label": "list"})
        is_problem(odd, 422)
        assert "picture 1, 0.jpg" in odd.json()["detail"]
        assert "nowhere" not in odd.text


def test_labels_are_bounded_in_what_is_learned_and_what_is_shown(pieces, monkeypatch):
    async def ask(gallery):
        workers = Workers(gallery, 64, 1)
        workers.start()
        verbs = Verbs(gallery, workers, ServiceSettings())
        how = Labelling(unlabelled=["inbox"], predictions=True)
        monkeypatch.setattr("grainhash.service.verbs.MAX_CELLS", 3 * 32 - 1)
        with pytest.raises(InputError, match=r"3 classes are more than can be learned here \(2\)"):
            await verbs.labels(how)
        monkeypatch.setattr("grainhash.service.verbs.MAX_CELLS", 3 * 32)
        monkeypatch.setattr("grainhash.service.verbs.MAX_GROUPS", 1)
        monkeypatch.setattr("grainhash.service.verbs.SHEET", 1)
        answer = json.loads(await verbs.labels(how))
        workers.close()
        return answer

    with Gallery.open(pieces.gallery) as gallery:
        answer = asyncio.run(ask(gallery))
        found = gallery.classify(unlabelled=["inbox"]).by_label()
    assert len(found) > 2
    assert [(group["label"], group["size"], group["pictures"][0]["id"]) for group in answer["groups"]] == [
        (label, len(seen), seen[0].id) for label, seen in (found[0], found[-1])
    ]
    assert [len(group["pictures"]) for group in answer["groups"]] == [1, 1]
    assert len(answer["predictions"]) == answer["n_pictures"] == 8


def test_all_pictures_are_compared_by_one_request_at_a_time_and_few_wait(indexed, monkeypatch):
    go_on, at_once, most = threading.Event(), 0, 0
    own = Gallery.duplicates

    def slowly(gallery, **how):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        go_on.wait(30)
        at_once -= 1
        return own(gallery, **how)

    async def ask(gallery):
        workers = Workers(gallery, 64, 3)
        workers.start()
        verbs = Verbs(gallery, workers, ServiceSettings())
        asked = [asyncio.create_task(verbs.duplicates(None, None)) for _ in range(MOST_COMPARING)]
        await asyncio.sleep(0.1)
        with pytest.raises(Problem, match="compared already") as refused:
            await verbs.duplicates(None, None)
        assert refused.value.status == 503
        with pytest.raises(Problem, match="compared already"):
            await verbs.labels(Labelling())
        assert (await verbs.browse(0, 5, None))["pictures"]  # there are threads left
        go_on.set()
        answers = await asyncio.gather(*asked)
        assert (await verbs.duplicates(None, None)) == answers[0]
        workers.close()
        return answers

    monkeypatch.setattr(Gallery, "duplicates", slowly)
    with Gallery.open(indexed) as gallery:
        answers = asyncio.run(ask(gallery))
    assert len(answers) == MOST_COMPARING
    assert most == 1


def test_a_comparison_that_nobody_waits_for_makes_room_once_it_is_done(indexed, monkeypatch):
    go_on, begun = threading.Event(), []

    def slowly(gallery, **how):
        begun.append(how["radius"])
        go_on.wait(30)
        raise InputError("no good")

    async def ask(gallery):
        workers = Workers(gallery, 64, 3)
        workers.start()
        verbs = Verbs(gallery, workers, ServiceSettings())
        asked = [asyncio.create_task(verbs.duplicates(n, None)) for n in range(MOST_COMPARING)]
        await until(lambda: begun == [0])
        for each in asked[:3]:
            each.cancel()
        await asyncio.gather(*asked[:3], return_exceptions=True)
        asked += [asyncio.create_task(verbs.duplicates(n, None)) for n in (4, 5)]  # there is room for two
        await asyncio.sleep(0.1)
        with pytest.raises(Problem, match="compared already"):
            await verbs.duplicates(None, None)
        assert begun == [0]  # which still is at work
        go_on.set()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        workers.close()
        return [type(answer) for answer in answers]

    monkeypatch.setattr(Gallery, "duplicates", slowly)
    with Gallery.open(indexed) as gallery:
        assert asyncio.run(ask(gallery)) == [asyncio.CancelledError] * 3 + [InputError] * 3
    assert begun == [0, 3, 4, 5]


def test_a_batch_answers_each_picture_and_says_which_cannot_be_used(server, cat):
    files = [
        ("pictures", ("cat.png", cat)),
        ("pictures", ("notes.txt", b"no picture")),
        ("pictures", ("e", b"")),
    ]
    answers = server.client.post("/api/v1/search/batch", files=files, params={"k": 1}).json()["answers"]
    assert [item["name"] for item in answers][:2] == ["cat.png", "notes.txt"]
    assert answers[0]["answer"]["hits"][0]["name"] == "chelsea.png"
    assert [item["problem"]["status"] for item in answers[1:]] == [415, 400]


def test_additions_of_other_processes_are_found(server, photos):
    new = photos / "new.jpg"
    new.write_bytes(jpeg(1))
    with Gallery.open(server.gallery) as gallery:
        gallery.add([new])
    assert server.search(jpeg(1), k=1).json()["hits"][0]["name"] == "new.jpg"


# Writing


def test_a_picture_is_added_found_and_removed(server):
    data = jpeg(2)
    added = server.add(data, name="mine.jpg", meta=json.dumps({"colour": "grey"}))
    assert added.status_code == 201
    picture = server.client.get(added.headers["location"]).json()
    assert (picture["name"], picture["meta"]["colour"]) == ("mine.jpg", "grey")
    assert Path(picture["uri"]).is_relative_to(server.gallery)
    assert server.add(data).status_code == 200  # it is there already
    for where in ("colour = grey", '`name` = "mine.jpg"'):
        hits = server.search(data, k=1, where=where).json()["hits"]
        assert [hit["id"] for hit in hits] == [picture["id"]]
    assert server.remove(picture["id"]).status_code == 204
    is_problem(server.remove(picture["id"]), 404)
    assert not Path(picture["uri"]).exists()


def test_removing_a_picture_leaves_a_file_that_was_not_sent(server, photos):
    with Gallery.open(server.gallery) as gallery:
        gallery.add([photos / "places/china.jpg"])
        id = gallery.picture(photos / "places/china.jpg").id
    assert server.remove(id).status_code == 204
    assert (photos / "places/china.jpg").exists()


def test_what_cannot_be_a_picture_leaves_nothing_behind(server):
    before = sorted(server.gallery.rglob("uploads/**/*"))
    is_problem(server.add(b"no picture"), 415)
    is_problem(server.add(jpeg(3)[:300]), 415)
    assert sorted(server.gallery.rglob("uploads/**/*")) == before


def test_a_name_that_is_a_path_is_only_a_name(server):
    picture = server.add(jpeg(4), name="../../../etc/passwd").json()
    assert Path(picture["uri"]).parent.parent == server.gallery / "uploads"


def test_nothing_acknowledged_is_lost_when_the_server_is_killed(indexed, tmp_path):
    copy = tmp_path / "gallery"
    shutil.copytree(indexed, copy)
    acknowledged: dict[int, str] = {}
    for round in range(3):
        with serving(copy, "--rate", "0") as server:
            timer = threading.Timer(0.1 + 0.07 * round, server.process.send_signal, [signal.SIGKILL])
            try:
                for number in range(900):
                    picture = server.add(jpeg(100 + 1000 * round + number)).json()
                    acknowledged[picture["id"]] = picture["sha256"]
                    if number == 4:
                        timer.start()
            except httpx.TransportError:
                pass
            timer.join()
    assert len(acknowledged) >= 15
    with Gallery.open(copy) as gallery:
        for id, sha256 in acknowledged.items():
            assert gallery.picture(id).sha256 == sha256
            assert gallery.content(id)


def test_a_stopped_server_finishes_what_it_accepted(indexed, tmp_path):
    copy = tmp_path / "gallery"
    shutil.copytree(indexed, copy)
    with serving(copy, "--workers", "1", "--rate", "0") as server, ThreadPoolExecutor(12) as pool:
        answers = [pool.submit(server.add, jpeg(5000 + number)) for number in range(12)]
        while "grainhash_waiting 0.0" in server.client.get("/metrics").text and not answers[-1].done():
            time.sleep(0.005)
        server.process.send_signal(signal.SIGINT)
        kept = []
        for answer in answers:
            try:
                if answer.result().status_code == 201:
                    kept.append(answer.result().json()["id"])
            except httpx.TransportError:  # it came after the end
                continue
        server.process.wait(30)  # else the end of this block would interrupt it again
    assert kept
    assert server.process.returncode == 0
    with Gallery.open(copy) as gallery:
        assert all(gallery.picture(id) for id in kept)


# Who may do what


def test_writing_needs_the_token(server):
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
        answer = server.client.post("/api/v1/pictures", content=jpeg(5), headers=headers)
        is_problem(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"
        is_problem(server.client.delete("/api/v1/pictures/1", headers=headers), 401)


def test_reading_needs_the_token_for_reading_where_there_is_one(indexed, cat):
    reading = "a-token-for-reading"
    with serving(indexed, "--read-token", reading) as server:
        assert server.client.get("/healthz").json() == {"status": "ok"}
        for path in ("/api/v1/info", "/api/v1/pictures", "/api/v1/pictures/1/file", "/metrics"):
            is_problem(server.client.get(path), 401)
            assert server.client.get(path, headers={"Authorization": f"Bearer {reading}"}).is_success
        is_problem(server.search(cat), 401)
        answer = server.client.delete("/api/v1/pictures/1", headers={"Authorization": f"Bearer {reading}"})
        is_problem(answer, 401)


def test_a_cookie_stands_for_a_token_that_was_sent_once(indexed):
    reading = "a-token-for-reading"
    with serving(indexed, "--read-token", reading) as server:
        client = server.client
        is_problem(client.post("/api/v1/session", json={"token": "a-token-of-nobody"}), 401)
        is_problem(client.post("/api/v1/session", json={"key": reading}), 422)
        is_problem(client.get("/api/v1/info"), 401)
        opened = client.post("/api/v1/session", json={"token": reading})
        assert opened.status_code == 204
        assert {"HttpOnly", "SameSite=strict"} <= set(opened.headers["set-cookie"].split("; "))
        assert reading not in opened.headers["set-cookie"]
        assert not client.get("/api/v1/info").json()["may_write"]
        assert client.get("/api/v1/pictures/1/thumbnail").is_success
        is_problem(client.delete("/api/v1/pictures/1"), 401)
        client.post("/api/v1/session", json={"token": TOKEN})
        assert client.get("/api/v1/info").json()["may_write"]
        elsewhere = [{"Sec-Fetch-Site": "same-site"}, {"Origin": "http://127.0.0.1:1"}]
        for headers in elsewhere:  # another page on this machine, to whose requests browsers add the cookie
            is_problem(client.delete("/api/v1/pictures/1", headers=headers), 401)
        assert client.delete("/api/v1/session").status_code == 204
        is_problem(client.get("/api/v1/info"), 401)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_an_address_that_others_reach_needs_a_token(host):
    with pytest.raises(InputError, match="token"):
        ServiceSettings(host=host)
    assert ServiceSettings(host=host, token=TOKEN).show_paths


def test_a_token_that_can_be_guessed_is_refused():
    with pytest.raises(InputError, match="16"):
        ServiceSettings(token="short")


def test_a_page_elsewhere_cannot_reach_it_by_a_name_of_its_own(server):
    is_problem(server.client.get("/api/v1/info", headers={"Host": "evil.example"}), 421)
    assert server.client.get("/api/v1/info", headers={"Host": "localhost:80"}).is_success
    answer = server.client.get("/api/v1/info", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_an_origin_that_is_named_may_read_answers_and_no_other(indexed, cat):
    with serving(indexed, "--allow-origin", "https://shop.example") as server:
        for origin, allowed in (
            ("https://shop.example", "https://shop.example"),
            ("https://evil.example", None),
        ):
            answer = server.client.post("/api/v1/search", content=cat, headers={"Origin": origin})
            assert answer.headers.get("access-control-allow-origin") == allowed
            asks = {"Origin": origin, "Access-Control-Request-Method": "DELETE"}
            before = server.client.options("/api/v1/pictures/1", headers=asks)
            assert before.headers.get("access-control-allow-origin") == allowed
            assert "access-control-allow-credentials" not in before.headers


@pytest.mark.parametrize("origin", ["*", "shop.example", "https://shop.example/page", "file://x"])
def test_an_origin_that_is_none_is_refused(origin):
    with pytest.raises(InputError, match="origin"):
        ServiceSettings(origins=(origin,))


def test_every_operation_of_the_schema_shows_an_example_of_what_it_takes_and_gives(server):
    schema = server.client.get("/api/v1/openapi.json").json()
    models, lacking = schema["components"]["schemas"], []
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            for status, response in operation["responses"].items():
                for media, content in response.get("content", {}).items():
                    name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
                    if "json" in media and not (name in models and models[name].get("examples")):
                        lacking.append(f"{method} {path} {status}")
            required = [each for each in operation.get("parameters", []) if each["required"]]
            lacking += [
                f"{method} {path} {each['name']}" for each in required if not each["schema"].get("examples")
            ]
    assert not lacking
    for name, model in models.items():
        for example in model.get("examples", []):
            getattr(service_models, name).model_validate(example)


def test_the_parameters_of_a_search_are_described_and_read_as_by_fastapi(server):
    """Those of a search by upload are read in another way than those of a search by id."""
    paths = server.client.get("/api/v1/openapi.json").json()["paths"]
    by_upload = paths["/api/v1/search"]["post"]["parameters"]
    by_id = paths["/api/v1/pictures/{id}/similar"]["get"]["parameters"]
    assert by_upload == [each for each in by_id if each["name"] != "id"]
    for wrong in (
        "k=0",
        "k=many",
        "k=1&k=x",
        "bits=12",
        "granularity=pixel",
        "min_score=nan",
        "parts=",
        "order=",
    ):
        asked = [
            server.client.post(f"/api/v1/search?{wrong}", content=b"x"),
            server.client.get(f"/api/v1/pictures/1/similar?{wrong}"),
        ]
        assert [each.status_code for each in asked] == [422, 422], wrong
        assert asked[0].json()["detail"] == asked[1].json()["detail"]


def test_a_client_that_asks_too_much_is_told_when_to_come_again(indexed):
    with serving(indexed, "--rate", "1") as server:
        answers = [server.client.get("/healthz") for _ in range(20)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert 5 <= len(refused) < 20  # starting took some of what it may
    is_problem(refused[0], 429)
    assert int(refused[0].headers["retry-after"]) >= 1


def test_each_client_has_a_rate_of_its_own():
    rates = Rates(1)
    assert [rates.wait("a") > 0 for _ in range(6)] == [False] * 4 + [True] * 2
    assert rates.wait("b") == 0


# Hostile


def test_random_bytes_are_refused_and_the_server_stays_well(server, cat):
    random_bytes = random.Random(0)
    starts = (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\0\0\0\0WEBPVP8 ", b"II*\0", b"BM")

    def send(number: int) -> int:
        data = starts[number % len(starts)] + random_bytes.randbytes(1 + number % 200)
        return server.search(data).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = set(pool.map(send, range(10_000)))
    assert statuses <= {413, 415}
    assert server.search(cat, k=1).json()["hits"][0]["name"] == "chelsea.png"


def test_pictures_that_would_fill_the_memory_are_refused(server):
    bomb = io.BytesIO()
    Image.new("1", (8000, 8000)).save(bomb, "PNG")
    assert len(bomb.getvalue()) < 100_000
    is_problem(server.search(bomb.getvalue()), 413)
    slow = io.BytesIO()  # cheap to send, and a minute to decode
    Image.new("L", (2000, 2000)).save(slow, "JPEG", progressive=True)
    last = slow.getvalue().rindex(b"\xff\xda")
    scan = slow.getvalue()[last:-2]
    is_problem(server.search(slow.getvalue()[:last] + 600 * scan + b"\xff\xd9"), 413)
    is_problem(server.add(slow.getvalue()[:last] + 600 * scan + b"\xff\xd9"), 413)
    thin = io.BytesIO()
    Image.new("1", (1, 1_000_000)).save(thin, "PNG")
    is_problem(server.search(thin.getvalue()), 413)
    is_problem(server.search(bytes(3 * 1024**2)), 413)


def test_a_body_without_a_length_is_cut_off_at_the_limit(server):
    sent = 0

    def endless():
        nonlocal sent
        while sent < 64 * 1024**2:
            sent += 65536
            yield bytes(65536)

    try:
        answer = server.client.post("/api/v1/search", content=endless())
        is_problem(answer, 413)
    except httpx.TransportError:  # closed while more was on its way
        pass
    assert sent < 64 * 1024**2
    assert server.client.get("/healthz").is_success


def test_a_picture_that_is_a_page_too_is_served_as_a_picture(server):
    data = jpeg(6)
    page = b"<script>alert(document.domain)</script>"
    polyglot = data[:2] + b"\xff\xfe" + (len(page) + 2).to_bytes(2) + page + data[2:]
    added = server.add(polyglot, name="<script>alert(1)</script>")
    assert added.status_code == 201
    file = server.client.get(f"/api/v1/pictures/{added.json()['id']}/file")
    assert page in file.content
    assert file.headers["content-type"] == "image/jpeg"
    assert file.headers["x-content-type-options"] == "nosniff"
    assert added.headers["content-type"] == "application/json"


def test_metadata_that_cannot_be_read_again_is_refused(server):
    before = server.client.get("/api/v1/info").json()["pictures"]
    deep = '{"a":' * 500 + "1" + "}" * 500
    is_problem(server.add(jpeg(4711), meta=deep), 422)
    assert server.client.get("/api/v1/info").json()["pictures"] == before
    assert server.client.get("/api/v1/pictures").status_code == 200


def test_what_could_not_be_added_leaves_no_file(indexed, tmp_path, monkeypatch):
    copy = tmp_path / "gallery"
    shutil.copytree(indexed, copy)

    def full(*_, **__):
        raise GalleryWriteError("no space left on device; nothing was changed")

    async def add(gallery):
        workers = Workers(gallery, 64, 1)
        workers.start()
        verbs = Verbs(gallery, workers, ServiceSettings())
        picture, is_new = await verbs.add(jpeg(1), {})
        monkeypatch.setattr(gallery, "add", full)
        with pytest.raises(GalleryWriteError):
            await verbs.add(jpeg(1), {})  # is there already, and stays
        with pytest.raises(GalleryWriteError):
            await verbs.add(jpeg(2), {})
        workers.close()
        return picture, is_new

    with Gallery.open(copy) as gallery:
        picture, is_new = asyncio.run(add(gallery))
        assert is_new
        assert gallery.content(picture["id"]) == jpeg(1)
    assert len(list((copy / "uploads").rglob("*.jpeg"))) == 1


def test_writes_that_wait_leave_a_thread_for_searches(indexed, cat, monkeypatch):
    """As they do while another process holds the gallery's lock."""
    free = threading.Event()

    async def ask(gallery):
        workers = Workers(gallery, 64, 2)
        workers.start()
        verbs = Verbs(gallery, workers, ServiceSettings(queue=4))
        monkeypatch.setattr(verbs, "_add", lambda data, meta: free.wait(60))
        writes = [asyncio.ensure_future(verbs.add(jpeg(n), {})) for n in range(5)]
        await asyncio.sleep(0.1)
        found = await asyncio.wait_for(verbs.search(cat, How(k=1)), 30)
        free.set()
        done = await asyncio.gather(*writes, return_exceptions=True)
        workers.close()
        return found, done

    with Gallery.open(indexed) as gallery:
        found, done = asyncio.run(ask(gallery))
    assert found["hits"][0]["distance"] == 0
    assert done[:4] == [True] * 4
    assert isinstance(done[4], Problem)  # more than wait for a thread are refused
    assert done[4].status == 503


def test_two_servers_of_a_gallery_lose_nothing_that_was_added(indexed, tmp_path):
    """Though one removes what the other adds: its file goes with its picture, never with that of another."""
    copy = tmp_path / "gallery"
    shutil.copytree(indexed, copy)
    data = jpeg(77)

    def add_and_remove(server):
        for _ in range(60):
            added = server.add(data)
            assert added.status_code in (200, 201), added.text
            server.remove(added.json()["id"])

    with serving(copy, "--rate", "0") as one, serving(copy, "--rate", "0") as other:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(add_and_remove, (one, other)))
        last = one.add(data).json()["id"]
        assert other.client.get(f"/api/v1/pictures/{last}/file").content == data


@pytest.mark.parametrize("path", ["/", "/healthz", "/api/v1/info", "/api/v1/pictures/1/thumbnail"])
def test_head_is_answered_as_get_without_a_body(server, path):
    got, head = server.client.get(path), server.client.head(path)
    assert head.status_code == got.status_code == 200
    assert head.content == b""
    for name in ("content-length", "content-type", "content-security-policy"):
        assert head.headers[name] == got.headers[name]
    assert server.client.head("/nowhere").status_code == 404


def test_filters_do_not_tell_where_files_are(indexed, tmp_path):
    with serving(indexed, "--no-paths") as server:
        for where in ('path like "/tmp/*"', 'width > 1 and not uri = "a"'):
            for path in ("pictures", "groups", "duplicates", "labels"):
                is_problem(server.client.get(f"/api/v1/{path}", params={"where": where}), 422)
            is_problem(server.search(jpeg(0), where=where), 422)
        named = server.client.get("/api/v1/pictures", params={"where": 'name like "c*.png"'}).json()
        assert named["pictures"]


def test_the_schema_says_what_lets_a_client_in(server):
    schema = server.client.get("/api/v1/openapi.json").json()
    assert set(schema["components"]["securitySchemes"]) == {"token", "session"}
    search, add = (schema["paths"][f"/api/v1/{path}"]["post"] for path in ("search", "pictures"))
    assert {} in search["security"]
    assert {} not in add["security"]
    assert {"token": []} in add["security"]
    assert "security" not in schema["paths"]["/healthz"]["get"]


def test_connections_that_say_nothing_are_closed(monkeypatch):
    """Also those that never end their headers; one that waits between requests is another matter."""
    monkeypatch.setattr("grainhash.service.patience.HEADER_SECONDS", 0.5)

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with (
        running_here(app, lifespan="off") as address,
        socket.create_connection(address, timeout=10) as silent,
        socket.create_connection(address, timeout=10) as slow,
        socket.create_connection(address, timeout=10) as good,
        socket.create_connection(address, timeout=10) as late,
    ):
        slow.sendall(request[:20])
        for client in (good, late):
            client.sendall(request)
            assert client.recv(1000).startswith(b"HTTP/1.1 200")
        assert silent.recv(1) == slow.recv(1) == b""
        late.sendall(request[:20])  # its second one
        assert late.recv(1) == b""
        good.sendall(request)
        assert good.recv(1000).startswith(b"HTTP/1.1 200")


def test_errors_name_no_path(photos, tmp_path, encoder):
    own = encoder.with_granules(WHOLE_ONLY)
    with Gallery.open(tmp_path / "gallery", create=True, encoder=own) as gallery:
        gallery.index(photos)
    with serving(tmp_path / "gallery") as server:
        is_problem(server.search(jpeg(0), granularity="part"), 422)
        (tmp_path / "gallery/uploads").write_text("in the way")
        is_problem(server.add(jpeg(0)), 507)


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/pictures/../../../../etc/passwd",
        "/api/v1/pictures/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/api/v1/pictures/1/../../gallery.sqlite",
        "/gallery.sqlite",
        "/api/v1/pictures/99999999999999999999999",
        "/api/v1/pictures/-1/file",
        "/api/v1/pictures/1%00/file",
    ],
)
def test_no_path_leads_out_of_the_api(server, path):
    with socket.create_connection((urlsplit(server.url).hostname, urlsplit(server.url).port)) as raw:
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answer.split()[1] in (b"400", b"404", b"422")


@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        ({"k": 0}, 422),
        ({"k": 10**30}, 422),
        ({"region": "0,0,2,2"}, 422),
        ({"region": "nan,0,1,1"}, 422),
        ({"region": "x" * 1000}, 422),
        ({"where": "colour ="}, 422),
        ({"where": "'; DROP TABLE pictures; --"}, 422),
        ({"granularity": "atoms"}, 422),
        ({"min_score": "NaN"}, 422),
        ({"verify": -1}, 422),
    ],
)
def test_parameters_that_make_no_sense_are_refused(server, cat, parameters, status):
    is_problem(server.search(cat, **parameters), status)


def arriving(settings: ServiceSettings, *pieces: bytes) -> tuple[Bodies, Request]:
    """A request of these pieces, after which nothing comes."""
    waiting = list(pieces)

    async def receive() -> dict[str, object]:
        if not waiting:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": waiting.pop(0), "more_body": True}

    return Bodies(settings), Request({"type": "http", "method": "POST", "headers": []}, receive)


def refusal(bodies: Bodies, request: Request) -> int:
    async def read() -> None:
        async with bodies.of(request):
            raise AssertionError("nothing should have come")

    with pytest.raises(Problem) as caught:
        asyncio.run(read())
    return caught.value.status


def test_a_slow_body_is_given_up():
    assert refusal(*arriving(ServiceSettings(body_seconds=0.05), b"abc")) == 408


def test_bodies_are_bounded_all_together():
    bodies, request = arriving(ServiceSettings(max_pending_bytes=5), b"abc", b"def")
    assert refusal(bodies, request) == 503
    assert bodies._held == 0


def test_more_than_can_wait_is_refused_at_once(indexed, cat):
    with serving(indexed, "--workers", "1", "--queue", "2", "--rate", "0") as server:
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda _: server.search(cat, k=1, verify=2), range(32)))
        statuses = {answer.status_code for answer in answers}
        assert statuses == {200, 503}
        refused = next(answer for answer in answers if answer.status_code == 503)
        is_problem(refused, 503)
        assert refused.headers["retry-after"] == "1"
        assert server.search(cat, k=1).status_code == 200


def test_a_file_that_is_gone_or_changed_is_said_to_be(indexed, tmp_path, photos):
    copy = tmp_path / "gallery"
    shutil.copytree(indexed, copy)
    gone, changed = photos / "gone.jpg", photos / "changed.jpg"
    gone.write_bytes(jpeg(7))
    changed.write_bytes(jpeg(8))
    with Gallery.open(copy) as gallery:
        gallery.add([gone, changed])
        ids = [gallery.picture(path).id for path in (gone, changed)]
    gone.unlink()
    changed.write_bytes(jpeg(9))
    with serving(copy) as server:
        for id in ids:
            for what in ("file", "thumbnail", "similar"):
                is_problem(server.client.get(f"/api/v1/pictures/{id}/{what}"), 410)
            is_problem(server.client.post(f"/api/v1/pictures/{id}/explain", content=jpeg(7)), 410)


# The schema


def test_the_api_keeps_to_its_schema(server, cat):
    schema = schemathesis.openapi.from_url(f"{server.url}/api/v1/openapi.json")
    checks = schemathesis.checks
    for operation in schema.get_all_operations():
        endpoint = operation.ok()

        @settings(
            max_examples=30,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def check(case) -> None:
            answer = case.call(headers=WRITE, timeout=60)
            case.validate_response(
                answer,
                checks=[
                    checks.not_a_server_error,
                    checks.response_schema_conformance,
                    checks.content_type_conformance,
                    checks.status_code_conformance,
                ],
            )

        given(case=endpoint.as_strategy())(check)()
    assert server.search(cat, k=1).status_code == 200


# The command


def test_an_address_that_is_taken_is_one_clear_error(indexed):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "grainhash", "serve", str(indexed), "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"127.0.0.1:{port}: cannot listen there" in done.stderr


def test_an_answer_leaves_at_once(server):
    taken = []
    with socket.create_connection((urlsplit(server.url).hostname, urlsplit(server.url).port)) as raw:
        for _ in range(10):
            started = time.perf_counter()
            raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while b'"ok"' not in raw.recv(65536):
                pass
            taken.append(time.perf_counter() - started)
    assert min(taken[1:]) < 0.03  # one that waits for the client to say that it got the header takes 0.04


# The client


def test_the_client_has_the_verbs_of_the_gallery(server, indexed, cat, photographs):
    path = photographs / "animals/chelsea.png"
    region = Box(0.1, 0.1, 0.9, 0.9)
    with Client(server.url, token=TOKEN) as client, Gallery.open(server.gallery) as gallery:
        assert len(client) == len(gallery)
        hits = client.search(path, region=region, k=4)
        own = gallery.search(path, region=region, k=4)
        assert [(hit.id, hit.uri, hit.distance, hit.box) for hit in hits] == [
            (hit.id, hit.uri, hit.distance, hit.box) for hit in own
        ]
        assert client.search(hits[0].id, k=1)[0].id == hits[0].id
        assert client.explain(cat, hits[0].id)["hit"]["id"] == hits[0].id
        assert client.explain_png(cat, hits[0].id).startswith(b"\x89PNG")
        added = client.add(jpeg(20), name="twenty.jpg", meta={"n": 20})
        assert gallery.picture(added["id"]).meta == {"n": 20, "name": "twenty.jpg"}
        assert client.content(added["id"]) == jpeg(20)
        client.remove(added["id"])
        with pytest.raises(InputError, match="no picture"):
            client.picture(added["id"])


def test_the_client_raises_what_the_gallery_would(server, cat):
    with Client(server.url) as client:
        with pytest.raises(PictureError, match="known format"):
            client.search(b"no picture")
        with pytest.raises(PictureError):
            client.search("/nowhere/cat.jpg")
        with pytest.raises(InputError):
            client.search(cat, where="colour =")
        with pytest.raises(ServiceError, match="token") as caught:
            client.add(cat)
        assert caught.value.status == 401
    with Client("http://127.0.0.1:9") as nobody, pytest.raises(ServiceError, match="no answer"):
        nobody.info()
