"""Killed, interrupted, run twice at once, out of disk: nothing that was acknowledged is ever lost."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from grainhash import Encoder, Gallery
from grainhash.encoder.granules import WHOLE_ONLY, GranuleSettings, Grid

KILLS = 16

# Small batches, so that kills fall into many commits; Ctrl-C works though pytest may run in the background.
GRAINHASH = """
import signal, grainhash.indexing, grainhash.refit
signal.signal(signal.SIGINT, signal.default_int_handler)
grainhash.indexing.BATCH = grainhash.refit.BATCH = 8
from grainhash.cli import main
main()
"""


@pytest.fixture(scope="module")
def light(tmp_path_factory, encoder):
    """The folder of an encoder that cuts four regions: quick, and with parts all the same."""
    folder = tmp_path_factory.mktemp("encoder") / "light"
    encoder.with_granules(GranuleSettings((Grid(2, 0.6),), proposals=0)).save(folder)
    return folder


@pytest.fixture(scope="module")
def crops(photographs):
    """Makes distinct small JPEGs, crops of real photographs, in a folder."""
    images = [Image.open(path).convert("RGB") for path in sorted(photographs.rglob("*.*"))]

    def make(folder: Path, numbers: range) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for number in numbers:
            rng = random.Random(number)
            image = images[number % len(images)]
            x, y = rng.randrange(image.width - 128), rng.randrange(image.height - 128)
            image.crop((x, y, x + 128, y + 128)).save(folder / f"{number:04d}.jpg", quality=85)

    return make


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", GRAINHASH, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def done(*arguments: object) -> dict[str, object]:
    """Run a command to its end; its JSON."""
    code, out, err = finish(start(*arguments, "--json"))
    assert (code, err) == (0, "")
    return json.loads(out)


def rows(gallery: Path) -> dict[str, tuple[int, bytes, bytes]]:
    """Id and codes by uri, as another process sees them; nothing where there is no gallery yet."""
    if not (gallery / "gallery.sqlite").exists():
        return {}
    with closing(sqlite3.connect(gallery / "gallery.sqlite", timeout=30)) as db:
        return {
            uri: (id, whole, regions)
            for id, uri, whole, regions in db.execute(
                "SELECT id, uri, whole, regions FROM pictures JOIN codes USING (id)"
            )
        }


def check_integrity(gallery: Path) -> None:
    """The file is sound, and every picture has codes and the other way round."""
    if not (gallery / "gallery.sqlite").exists():
        return
    with closing(sqlite3.connect(gallery / "gallery.sqlite", timeout=30)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        assert db.execute("SELECT id FROM pictures EXCEPT SELECT id FROM codes").fetchall() == []


def codes(gallery: Path) -> dict[str, tuple[bytes, bytes]]:
    return {uri: found[1:] for uri, found in rows(gallery).items()}


def wait_for(process: subprocess.Popen[str], is_true) -> None:
    deadline = time.monotonic() + 60
    while not is_true():
        assert process.poll() is None, f"ended too early: {process.communicate()}"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_kills_at_any_moment_lose_nothing_that_was_acknowledged(tmp_path, light, crops):
    gallery, folder = tmp_path / "gallery", tmp_path / "photos"
    index = ("index", folder, "-g", gallery, "--encoder", light, "--workers", 1)
    rng = random.Random(0)
    crops(folder, range(100))
    n, kills, grew = 100, 0, 0
    while kills < KILLS:
        before = acknowledged = rows(gallery)
        process = start(*index)
        # A quarter die while they start and, at first, create the gallery; the others while they encode, a
        # moment after they acknowledged more.
        starts = kills % 4 == 0
        end = time.monotonic() + (rng.uniform(0, 1.0) if starts else 60)
        more, moment = rng.randrange(1, 12), rng.uniform(0, 0.3)
        while time.monotonic() < end and process.poll() is None:
            acknowledged = rows(gallery)
            if not starts and len(acknowledged) >= len(before) + more:
                starts, end = True, time.monotonic() + moment
            time.sleep(0.02)
        if process.poll() is None:
            process.kill()
            kills += 1
            finish(process)
        else:
            assert finish(process)[0] == 0
            crops(folder, range(n, n + 60))  # a fast machine: give it more to do
            n += 60
        check_integrity(gallery)
        after = rows(gallery)
        assert before.items() <= acknowledged.items() <= after.items()
        grew += len(after) > len(before)
    assert grew >= KILLS // 2

    before = rows(gallery)
    crops(folder, range(n, n + 8))
    report = done(*index)
    after = rows(gallery)
    assert before.items() <= after.items()
    assert report["added"] == n + 8 - len(before)
    assert (report["unchanged"], report["updated"], report["removed"]) == (len(before), 0, 0)
    check_integrity(gallery)
    done("index", folder, "-g", tmp_path / "undisturbed", "--encoder", light)
    assert codes(gallery) == codes(tmp_path / "undisturbed")
    assert set(codes(gallery)) == {str(path) for path in folder.iterdir()}


def test_ctrl_c_keeps_what_is_done_and_says_so_in_one_line(tmp_path, light, crops):
    gallery, folder = tmp_path / "gallery", tmp_path / "photos"
    crops(folder, range(150))
    index = ("index", folder, "-g", gallery, "--encoder", light, "--workers", 1)
    process = start(*index)
    wait_for(process, lambda: len(rows(gallery)) >= 8)
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert (code, out) == (130, "")
    assert err == "grainhash: interrupted; what was done is kept, run the same command to go on\n"
    kept = rows(gallery)
    assert 8 <= len(kept) < 150
    report = done(*index)
    assert (report["added"], report["unchanged"]) == (150 - len(kept), len(kept))
    assert kept.items() <= rows(gallery).items()


def test_a_killed_refit_leaves_the_old_codes_serving_and_is_finished_later(tmp_path, light, crops):
    gallery, folder = tmp_path / "gallery", tmp_path / "photos"
    crops(folder, range(120))
    index = ("index", folder, "-g", gallery, "--encoder", light)
    done(*index)
    before = rows(gallery)

    def n_recoded() -> int:
        with closing(sqlite3.connect(gallery / "gallery.sqlite", timeout=30)) as db:
            there = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'next_codes'").fetchone()
            return db.execute("SELECT count(*) FROM next_codes").fetchone()[0] if there else 0

    process = start(*index, "--refit", "--workers", 1)
    wait_for(process, lambda: n_recoded() >= 8)
    process.kill()
    finish(process)
    check_integrity(gallery)
    assert rows(gallery) == before
    recoded = n_recoded()
    assert 8 <= recoded < 120
    with Gallery.open(gallery) as opened:
        (hit,) = opened.search(folder / "0007.jpg", k=1)
        assert (hit.uri, hit.distance) == (str(folder / "0007.jpg"), 0)
        code, _, err = finish(start(*index, "--refit"))
        assert (code, err) == (0, "")
        (hit,) = opened.search(folder / "0007.jpg", k=1)  # by the new codes, without opening it again
        assert (hit.uri, hit.distance) == (str(folder / "0007.jpg"), 0)
    after = rows(gallery)
    assert {uri: found[0] for uri, found in after.items()} == {u: found[0] for u, found in before.items()}
    assert all(after[uri][1] != before[uri][1] for uri in before)
    check_integrity(gallery)


def test_searching_while_another_process_writes_is_always_consistent(tmp_path, light, crops):
    gallery, folder = tmp_path / "gallery", tmp_path / "photos"
    crops(folder, range(150))
    Gallery.open(gallery, create=True, encoder=Encoder.load(light)).close()
    query = np.asarray(Image.open(folder / "0003.jpg"))
    seen = []

    def ask(opened: Gallery) -> None:
        hits = opened.search(query, k=1000)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert len({hit.uri for hit in hits}) == len(hits)
        seen.append(len(hits))

    with Gallery.open(gallery) as opened:
        process = start("index", folder, "-g", gallery, "--workers", 1)
        while process.poll() is None:
            ask(opened)
            opened.info()
        assert finish(process)[0] == 0
        ask(opened)
        assert seen == sorted(seen)
        assert seen[-1] == 150
        assert len(set(seen)) > 3, "the index was too quick for this test to see anything"

        one_by_one = (
            "import sys; from grainhash import Gallery\n"
            "with Gallery.open(sys.argv[1]) as gallery:\n"
            "    for id in range(1, 101): gallery.remove([id])\n"
        )
        process = subprocess.Popen([sys.executable, "-c", one_by_one, str(gallery)])
        seen.clear()
        while process.poll() is None:
            ask(opened)
        assert process.returncode == 0
        ask(opened)
        assert seen[-1] == 50


def test_two_processes_may_index_the_same_new_gallery_at_once(tmp_path, light, crops):
    gallery, folder = tmp_path / "gallery", tmp_path / "photos"
    crops(folder, range(60))
    processes = [start("index", folder, "-g", gallery, "--encoder", light, "--json") for _ in range(2)]
    results = [finish(process) for process in processes]
    assert [(code, err) for code, _, err in results] == [(0, "")] * 2
    assert sum(json.loads(out)["added"] for _, out, _ in results) == 60
    assert set(rows(gallery)) == {str(path) for path in folder.iterdir()}
    check_integrity(gallery)
    assert sorted(path.name for path in gallery.iterdir()) == ["encoder", "gallery.sqlite"]


def test_a_gallery_that_another_process_just_created_is_not_replaced(tmp_path, encoder):
    """Two creators at once: the later one must open what the first one made, not put its own over it."""
    from grainhash.store import Store

    first = Store.create(tmp_path / "gallery.sqlite", encoder="enc", n_bits=256)
    second = Store.create(tmp_path / "gallery.sqlite", encoder="enc", n_bits=256)
    assert first.info("gallery_id") == second.info("gallery_id")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


# A disk that is really full


@contextmanager
def small_disk(folder: Path, size: str):
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.name != "posix" or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs root to mount a small disk")
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


@pytest.mark.parametrize("size", ["2m", "4600k"])
def test_a_full_disk_is_one_clear_line_and_loses_nothing(tmp_path, light, crops, size):
    folder = tmp_path / "photos"
    crops(folder, range(150))
    with small_disk(tmp_path / "disk", size) as disk:
        index = ("index", folder, "-g", disk / "gallery", "--encoder", light)
        code, out, err = finish(start(*index))
        assert (code, out) == (1, "")
        assert err.startswith(f"grainhash: {disk / 'gallery'}: ")
        assert "make room" in err
        assert err.count("\n") == 1
        remount(disk, "size=64m")
        check_integrity(disk / "gallery")
        kept = rows(disk / "gallery")
        report = done(*index)
        assert (report["added"], report["unchanged"]) == (150 - len(kept), len(kept))
        assert kept.items() <= rows(disk / "gallery").items()


def test_a_gallery_on_a_read_only_disk_can_be_searched_and_says_that_it_cannot_be_changed(
    tmp_path, light, crops
):
    folder = tmp_path / "photos"
    crops(folder, range(5))
    with small_disk(tmp_path / "disk", "64m") as disk:
        done("index", folder, "-g", disk / "gallery", "--encoder", light)
        crops(folder, range(5, 8))
        remount(disk, "ro")
        answer = done("search", folder / "0003.jpg", "-g", disk / "gallery")
        assert answer["hits"][0]["uri"] == str(folder / "0003.jpg")
        code, _, err = finish(start("index", folder, "-g", disk / "gallery"))
        assert code == 1
        assert err.startswith(f"grainhash: {disk / 'gallery'}: the gallery could not be written (")
        assert err.count("\n") == 1
        code, _, err = finish(start("index", folder, "-g", disk / "other"))
        assert code == 1
        assert err.startswith(f"grainhash: {disk / 'other'}: cannot create a gallery there (")
        assert err.count("\n") == 1


# Any sequence of changes and interruptions


@pytest.fixture(scope="module")
def resumed(tmp_path_factory, encoder):
    """One gallery for all sequences, each in a folder of its own; the network is compiled once."""
    path = tmp_path_factory.mktemp("resumed") / "gallery"
    with Gallery.open(path, create=True, encoder=encoder.with_granules(WHOLE_ONLY)) as gallery:
        yield gallery


@pytest.fixture(scope="module")
def contents(photographs, encoder):
    """A few small pictures as bytes, each with its code."""
    from io import BytesIO

    image = Image.open(photographs / "things/coffee.png").convert("RGB")
    made = []
    for number in range(5):
        file = BytesIO()
        image.crop((60 * number, 40 * number, 60 * number + 64, 40 * number + 64)).save(file, "PNG")
        made.append((file.getvalue(), encoder.encode_query(file.getvalue()).tobytes()))
    return made


file_names = st.sampled_from([f"{letter}.png" for letter in "abcdef"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), file_names, st.integers(0, 4)),
        st.tuples(st.just("delete"), file_names),
        st.tuples(st.just("rename"), file_names, file_names),
        st.tuples(st.just("interrupt"), st.integers(0, 3)),
        st.tuples(st.just("index")),
    ),
    max_size=14,
)


def take(step, folder: Path, clock: int, gallery: Gallery, contents) -> None:
    kind, *rest = step
    if kind == "write":
        (folder / rest[0]).write_bytes(contents[rest[1]][0])
        os.utime(folder / rest[0], ns=(clock, clock))  # a clock finer than the file system's
    elif kind == "delete":
        (folder / rest[0]).unlink(missing_ok=True)
    elif kind == "rename" and (folder / rest[0]).exists():
        (folder / rest[0]).replace(folder / rest[1])
    elif kind == "index":
        gallery.index(folder, n_workers=1)
    elif kind == "interrupt":
        commits = iter(range(rest[0]))

        def progress(_) -> None:
            if next(commits, None) is None:
                raise KeyboardInterrupt

        with suppress(KeyboardInterrupt):
            gallery.index(folder, n_workers=1, progress=progress)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_any_sequence_of_changes_and_interruptions_ends_with_what_is_on_disk(
    tmp_path_factory, resumed, contents, monkeypatch, todo
):
    monkeypatch.setattr("grainhash.indexing.BATCH", 1)
    folder = tmp_path_factory.mktemp("photos")
    Image.new("RGB", (40, 40), "teal").save(folder / "always.png")  # an empty folder is another story
    for clock, step in enumerate(todo, start=1):
        take(step, folder, clock, resumed, contents)
    resumed.index(folder, n_workers=1)
    check_integrity(resumed.path)
    code_of = dict(contents)
    found = {uri: whole for uri, (_, whole, _) in rows(resumed.path).items() if uri.startswith(f"{folder}/")}
    assert found.pop(str(folder / "always.png"))
    (folder / "always.png").unlink()
    assert found == {str(path): code_of[path.read_bytes()] for path in folder.iterdir()}
    again = resumed.index(folder, n_workers=1) if found else None
    assert again is None or (again.added, again.updated, again.removed) == (0, 0, 1)
