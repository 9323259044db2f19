"""Saved indexes: the same answers, nothing read that need not be, and no crash from any bytes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from grainhash.errors import CodesError, GrainhashError, IndexFileError
from grainhash.index import Index, files

N_BYTES = 4
QUERIES = np.random.default_rng(1).integers(0, 256, (3, N_BYTES), np.uint8)


def random_codes(n: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, N_BYTES), np.uint8)


def an_index() -> Index:
    """Every kind of array there is: ids with gaps and without, groups, removals, tables."""
    index = Index.from_codes(random_codes(60))
    index.add(random_codes(20, 1), np.arange(100, 130, 3), np.arange(0, 21, 2))
    index.build("multi-index", n_tables=4)
    index.add(random_codes(3, 2))
    index.remove_ids([5, 106])
    return index


def answers(index: Index) -> list[object]:
    found, ranges = index.search(QUERIES, 9), index.range_search(QUERIES, 9)
    lists = [array.tolist() for array in (found.distances, found.ids, found.members, ranges.ids)]
    return [*lists, index.ids.tolist(), index.n_bits, len(index), index._last_id]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved index, not to be written to."""
    folder = tmp_path_factory.mktemp("saved") / "index"
    an_index().save(folder)
    return folder


# What is saved comes back


def test_a_loaded_index_answers_like_the_one_saved(saved: Path) -> None:
    index = Index.load(saved)
    assert answers(index) == answers(an_index())
    assert answers(Index.load(str(saved))) == answers(index)
    tables = [segment.tables is not None for segment in index._segments]
    assert tables == [segment.tables is not None for segment in an_index()._segments]
    assert any(tables)
    for plan in ("scan", "multi-index"):
        expected = an_index().search(QUERIES, 9, plan=plan)
        assert index.search(QUERIES, 9, plan=plan).ids.tolist() == expected.ids.tolist()


def test_an_empty_index(tmp_path: Path) -> None:
    Index(256).save(tmp_path / "a" / "b")
    index = Index.load(tmp_path / "a" / "b")
    assert (len(index), index.n_bits) == (0, 256)
    index.add(np.zeros((1, 32), np.uint8))
    assert index.ids.tolist() == [0]


def test_saved_again_only_what_is_new_is_written(tmp_path: Path) -> None:
    index = an_index()
    index.save(tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    index.save(tmp_path)
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.npy")}.items() <= before.items()

    index.add(random_codes(5, 3), np.arange(1000, 1010, 2))
    index.remove_ids([7])
    index.save(tmp_path)
    new, gone = names(tmp_path) - set(before), set(before) - names(tmp_path)
    assert sorted(name.split(".")[1] for name in new) == ["codes", "ids", "live"]
    assert "live" in [name.split(".")[1] for name in gone]
    assert not any(name.endswith(".draft") for name in names(tmp_path))
    assert answers(Index.load(tmp_path)) == answers(index)


def test_a_loaded_index_goes_on_and_is_saved_where_it_lies(tmp_path: Path) -> None:
    expected = an_index()
    expected.save(tmp_path)
    for i in range(10):
        index = Index.load(tmp_path)
        for each in (index, expected):
            each.add(random_codes(4, 10 + i))
            each.remove_ids([10 + i])
        index.save(tmp_path)
        assert answers(Index.load(tmp_path)) == answers(expected)
    assert len(Index.load(tmp_path)._segments) <= 5, "small segments are joined, in whatever process"


def test_an_index_is_saved_into_several_folders(tmp_path: Path) -> None:
    an_index().save(tmp_path / "one")
    index = Index.load(tmp_path / "one")
    index.save(tmp_path / "two")
    shutil.rmtree(tmp_path / "one")
    assert answers(Index.load(tmp_path / "two")) == answers(index)


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "codes.npy").write_text("mine")
    index = an_index()
    index.save(tmp_path)
    index.remove_ids([1])
    index.save(tmp_path)
    assert (tmp_path / "codes.npy").read_text() == "mine"


# Memory


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc: NOT tested here")
def test_opening_reads_no_codes(tmp_path: Path) -> None:
    """Of 512 MB of codes, in a sparse file that takes no space."""
    path = tmp_path / "codes.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": (2**26, 8)}
        )
        file.truncate(file.tell() + 2**29)
    before = resident()
    index = Index.from_codes(path)
    assert len(index) == 2**26
    assert index.nbytes == 2**29
    assert resident() - before < 2**24

    index.save(tmp_path / "index")
    before = resident()
    loaded = Index.load(tmp_path / "index")
    loaded.remove_ids([])
    assert loaded.codes_of(2**25).tolist() == [[0] * 8]
    assert resident() - before < 2**24
    shutil.rmtree(tmp_path / "index")


# Any .npy file


def test_codes_from_any_npy_file(tmp_path: Path) -> None:
    codes = random_codes(50)
    np.save(tmp_path / "codes.npy", codes)
    index = Index.from_codes(tmp_path / "codes.npy", ids=np.arange(0, 50, 2), offsets=np.arange(0, 51, 2))
    assert np.array_equal(index.codes_of(4), codes[4:6])
    assert not index._segments[0].codes.flags.owndata
    assert Index.from_codes(str(tmp_path / "codes.npy")).search(codes[:1], 1).ids.tolist() == [[0]]
    np.save(tmp_path / "none.npy", codes[:0])
    assert len(Index.from_codes(tmp_path / "none.npy")) == 0


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 4)), "float64"),
        (np.zeros(4, np.uint8), "1 dimension"),
        (np.uint8(3), "0 dimension"),
        (np.zeros((2, 200), np.uint8), "1600 bits"),
        (np.zeros((2, 0), np.uint8), "0 bits"),
        (np.asfortranarray(np.zeros((2, 4), np.uint8)), "not C-contiguous"),
        (np.zeros(2, [("a", "u1")]), "packed codes are uint8"),
        (np.zeros((2, 4), "S0"), "packed codes are uint8"),
    ],
)
def test_npy_files_of_something_else(tmp_path: Path, array, message: str) -> None:
    np.save(tmp_path / "codes.npy", array)
    with pytest.raises(CodesError, match=message):
        Index.from_codes(tmp_path / "codes.npy")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no .npy file"),
        (b"\x93NUMPY\x01\x00", "is no .npy file"),
        (b"PK\x03\x04 archive", "is no .npy file"),
        (b"\x93NUMPY\x09\x00" + bytes(100), "is no .npy file"),
        (b"\x93NUMPY\x01\x00\x08\x00((((((((", "is no .npy file"),
    ],
)
def test_files_that_are_no_npy(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "codes.npy"
    path.write_bytes(content)
    with pytest.raises(IndexFileError, match=message):
        Index.from_codes(path)


def test_truncated_and_missing_npy_files(tmp_path: Path) -> None:
    path = tmp_path / "codes.npy"
    np.save(path, random_codes(50))
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(IndexFileError, match=r"its header says uint8 \(50, 4\)"):
        Index.from_codes(path)
    np.save(path, np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(IndexFileError, match="is no .npy file"):  # noqa: RUF043
        Index.from_codes(path)
    with pytest.raises(IndexFileError, match="No such file"):
        Index.from_codes(tmp_path / "other.npy")
    with pytest.raises(IndexFileError, match="directory"):
        Index.from_codes(tmp_path)


# Folders that are no index, or a damaged one


def test_folders_that_are_no_index(tmp_path: Path) -> None:
    with pytest.raises(IndexFileError, match="holds no index"):
        Index.load(tmp_path)
    with pytest.raises(IndexFileError, match="holds no index"):
        Index.load(tmp_path / "missing")
    (tmp_path / "file").touch()
    with pytest.raises(IndexFileError, match="Not a directory"):
        Index.load(tmp_path / "file")
    for text in ("", "[]", "{}", '{"format": "faiss"}', "[" * 100_000, "\xff", '"index"', "1e999"):
        (tmp_path / "index.json").write_text(text, encoding="latin-1")
        with pytest.raises(IndexFileError, match="holds no index"):
            Index.load(tmp_path)
        with pytest.raises(IndexFileError, match="choose another folder"):
            Index(64).save(tmp_path)
        assert (tmp_path / "index.json").read_text(encoding="latin-1") == text


def test_another_format_version(saved: Path, tmp_path: Path) -> None:
    manifest = json.loads((saved / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps({**manifest, "format_version": 2}))
    with pytest.raises(IndexFileError, match="format version 2; this grainhash reads 1"):
        Index.load(tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "index"):
        with pytest.raises(IndexFileError, match="the index was not saved"):
            an_index().save(folder)


@pytest.mark.parametrize("kind", ["codes", "ids", "offsets", "live", "bounds", "starts", "entries"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "longer", "empty", "another", "a folder"])
def test_damaged_arrays(saved: Path, tmp_path: Path, kind: str, damage: str) -> None:
    folder = tmp_path / "index"
    shutil.copytree(saved, folder)
    path = next(folder.glob(f"*.{kind}.npy"))
    match damage:
        case "missing":
            path.unlink()
        case "truncated":
            os.truncate(path, path.stat().st_size - 1)
        case "longer":
            os.truncate(path, path.stat().st_size + 1)
        case "empty":
            path.write_bytes(b"")
        case "another":
            np.save(path, np.zeros((7, 3), np.float32))
        case _:
            path.unlink()
            path.mkdir()
    with pytest.raises(IndexFileError) as caught:
        Index.load(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    "damage",
    [
        {"key": "../../etc/passwd"},
        {"key": 5},
        {"key": "0" * 32},
        {"first_id": 1.5},
        {"first_id": True},
        {"first_id": 2**70},
        {"first_id": 2**63 - 3},
        {"first_id": 500},
        {"live": "../x"},
        {"tables": {}},
        {"plan": []},
        {"plan": {"n_tables": "many"}},
        {"ids": True},
        {"offsets": True},
        None,
    ],
)
def test_damaged_segments_of_a_manifest(saved: Path, tmp_path: Path, damage: dict[str, object]) -> None:
    folder = tmp_path / "index"
    shutil.copytree(saved, folder)
    manifest = json.loads((folder / "index.json").read_text())
    manifest["segments"][0] = None if damage is None else {**manifest["segments"][0], **damage}
    (folder / "index.json").write_text(json.dumps(manifest))
    with pytest.raises(IndexFileError):
        Index.load(folder)


@pytest.mark.parametrize("field", ["n_bits", "last_id", "segments"])
@pytest.mark.parametrize("value", [None, -1, 8, 12, 32.0, 2**70, "32", [5], {"a": 1}, [[]]])
def test_damaged_fields_of_a_manifest(saved: Path, tmp_path: Path, field: str, value: object) -> None:
    folder = tmp_path / "index"
    shutil.copytree(saved, folder)
    manifest = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps({**manifest, field: value}))
    with pytest.raises(IndexFileError):
        Index.load(folder)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_damage_is_a_typed_error_or_a_right_shaped_answer(saved: Path, data: st.DataObject) -> None:
    folder = saved.parent / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(saved, folder)
    path = data.draw(st.sampled_from(sorted(folder.iterdir(), key=lambda path: path.name.split(".")[1:])))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        match data.draw(st.sampled_from(["flip", "cut", "replace"])):
            case "flip" if content:
                content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
            case "cut":
                del content[data.draw(st.integers(0, len(content))) :]
            case _:
                start = data.draw(st.integers(0, len(content)))
                new = data.draw(st.binary(max_size=16))
                content[start : start + len(new)] = new
    path.write_bytes(content)
    try:
        index = Index.load(folder)
        queries = np.zeros((2, index.n_bits // 8), np.uint8)
        for plan in (None, "scan"):
            found = index.search(queries, 5, plan=plan)
            assert found.distances.shape == found.ids.shape == found.members.shape
            assert found.ids.shape[0] == 2
            assert found.ids.shape[1] <= 5
            ranges = index.range_search(queries, 9, plan=plan)
            assert len(ranges.ids) == ranges.limits[-1]
        index.codes_of(int(index.ids[0]))
    except GrainhashError:
        pass


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda tail: b"\x93NUMPY\x01\x00" + tail))
def test_any_bytes_are_codes_or_a_typed_error(saved: Path, content: bytes) -> None:
    path = saved.parent / "codes.npy"
    path.write_bytes(content)
    with pytest.raises((IndexFileError, CodesError)):
        Index.from_codes(path)


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="{}[]()'\",: descrfortan_shpT0123456789<>|u\\L\n#", max_size=80))
def test_any_header_is_a_header_or_a_typed_error(saved: Path, header: str) -> None:
    path = saved.parent / "codes.npy"
    encoded = header.encode()
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(encoded).to_bytes(2, "little") + encoded + bytes(64))
    with pytest.raises((IndexFileError, CodesError)):
        Index.from_codes(path)


# The old or the new, whatever happens


class _StoppedError(BaseException):
    pass


def test_a_save_stopped_at_any_step_leaves_the_old_or_the_new(tmp_path: Path, monkeypatch) -> None:
    index = an_index()
    index.save(tmp_path)
    old = answers(index)
    index.add(random_codes(30, 5), np.arange(500, 560, 2))
    index.build("multi-index", n_tables=4)
    index.remove_ids([8, 110, 502])
    new = answers(index)
    left = 0

    def counted(original):
        def call(*arguments, **more):
            nonlocal left
            left -= 1
            if left < 0:
                raise _StoppedError
            return original(*arguments, **more)

        return call

    for owner, name in (
        (files.os, "fsync"),
        (files.npy, "write_array"),
        (files.json, "dump"),
        (Path, "replace"),
        (Path, "unlink"),
    ):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    seen = []
    for steps in range(200):
        folder = tmp_path.with_name(f"copy-{steps}")
        shutil.copytree(tmp_path, folder)
        left = steps
        try:
            index.save(folder)
        except _StoppedError:
            seen.append(answers(Index.load(folder)))
            left = 10**6
            index.save(folder)
            assert answers(Index.load(folder)) == new
            assert not list(folder.glob("*.draft"))
        else:
            break
    assert seen.count(old) > 10
    assert seen.count(new) > 3
    assert len(seen) == seen.count(old) + seen.count(new)
    assert seen == sorted(seen, key=lambda answer: answer == new)


WRITER = """
import sys
import numpy as np
from grainhash.index import Index

folder = sys.argv[1]
index = Index.load(folder)
while True:
    n = len(index._segments) and int(index.ids[-1]) + 1
    index.add(np.full((50, 64), n % 251, np.uint8))
    index.remove_ids([n])
    index.save(folder)
    print(n + 50, flush=True)
"""


def test_killed_while_saving_it_is_the_old_or_the_new(tmp_path: Path) -> None:
    """The writer says how many it has saved; after `kill -9` there are so many, or the next 50 too."""
    Index(512).save(tmp_path)
    n = 0
    for seed in range(6):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        said = [writer.stdout.readline()]
        time.sleep(random.Random(seed).uniform(0, 0.2))
        writer.send_signal(signal.SIGKILL)
        said += writer.stdout.read().split("\n")
        writer.wait()
        writer.stdout.close()
        acknowledged = int([line for line in said if line.strip()][-1])
        assert acknowledged > n
        index = Index.load(tmp_path)
        n = int(index.ids[-1]) + 1
        assert n in (acknowledged, acknowledged + 50)
        assert len(index) == n - n // 50
        for start in range(0, n, 50):
            assert index.codes_of(start + 1)[0, 0] == start % 251


def test_loading_beside_a_writer(tmp_path: Path) -> None:
    """What a saver deletes was perhaps just named to a loader, who then looks again."""
    index = Index.from_codes(random_codes(10))
    index.save(tmp_path)
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            index.add(random_codes(10))
            index.remove_ids(index.ids[:1])
            index.save(tmp_path)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        sizes = [len(Index.load(tmp_path)) for _ in range(100)]
    finally:
        done.set()
        writer.join()
    assert sizes == sorted(sizes)


def test_two_indexes_saved_into_one_folder_at_once(tmp_path: Path) -> None:
    indexes = [Index.from_codes(random_codes(10 * (i + 1), i)) for i in range(3)]

    def write(index: Index) -> None:
        for _ in range(10):
            index.add(random_codes(1))
            index.save(tmp_path)

    threads = [threading.Thread(target=write, args=(index,)) for index in indexes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers(Index.load(tmp_path)) in [answers(index) for index in indexes]


def test_a_full_disk_is_one_clear_error_and_nothing_is_lost(tmp_path: Path, monkeypatch) -> None:
    index = an_index()
    index.save(tmp_path)
    old = answers(index)
    index.add(random_codes(30, 5))

    def full(*arguments: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.npy, "write_array", full)
    with pytest.raises(IndexFileError, match="No space left on device; the index was not saved"):
        index.save(tmp_path)
    assert answers(Index.load(tmp_path)) == old
