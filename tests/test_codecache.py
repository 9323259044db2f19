from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest
from test_store import record

from grainhash import codecache
from grainhash.codecache import CodeCache
from grainhash.store import Store


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(codecache, "WORTH_WRITING", 3)
    return Store.create(tmp_path / "gallery.sqlite", encoder="enc", n_bits=32)


def fill(store, start, n):
    store.add([record(str(i), i, n_regions=i % 4) for i in range(start, start + n)], encoder="enc")


def contents(cache):
    with cache.current() as (wholes, regions):
        assert wholes.ids.tolist() == regions.ids.tolist()
        return {
            int(id): (wholes.codes_of(int(id)).tobytes(), regions.codes_of(int(id)).tobytes())
            for id in wholes.ids
        }


def truth(store):
    return {
        int(id): (
            batch.whole[i].tobytes(),
            batch.regions[batch.offsets[i] : batch.offsets[i + 1]].tobytes(),
        )
        for batch in store.codes_after(0)
        for i, id in enumerate(batch.ids)
    }


def test_it_follows_the_store(store, tmp_path):
    cache = CodeCache(store, tmp_path / "cache")
    assert contents(cache) == {}
    fill(store, 0, 5)
    assert contents(cache) == truth(store)
    store.remove([2, 5])
    fill(store, 10, 2)
    assert contents(cache) == truth(store)
    assert len(truth(store)) == 5


def test_a_copy_is_opened_memory_mapped_and_brought_up_to_date(store, tmp_path):
    fill(store, 0, 10)
    first = CodeCache(store, tmp_path / "cache")
    first.refresh()
    (copy,) = (tmp_path / "cache").glob("codes-*")
    store.remove([3])
    fill(store, 20, 2)
    read_from = []
    original = store.codes_after
    store.codes_after = lambda last_id, **more: read_from.append(last_id) or original(last_id, **more)
    second = CodeCache(store, tmp_path / "cache")
    found = contents(second)
    assert read_from == [10]
    store.codes_after = original
    assert found == truth(store)
    assert (copy / "manifest.json").exists()


def test_a_copy_is_renewed_when_much_has_changed_and_the_old_one_goes(store, tmp_path):
    cache = CodeCache(store, tmp_path / "cache")
    for start in (0, 10, 20):
        fill(store, start, 10)
        cache.refresh()
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert contents(CodeCache(store, tmp_path / "cache")) == truth(store)


@pytest.mark.parametrize(
    "damage", ["truncated", "no manifest", "garbage manifest", "another gallery's", "zeroed ids"]
)
def test_a_copy_that_is_not_whole_is_left_alone(store, tmp_path, damage):
    fill(store, 0, 10)
    cache = CodeCache(store, tmp_path / "cache")
    cache.refresh()
    (copy,) = (tmp_path / "cache").glob("codes-*")
    manifest = copy / "manifest.json"
    match damage:
        case "truncated":
            (copy / "whole.bin").write_bytes(b"short")
        case "zeroed ids":
            (copy / "ids.bin").write_bytes(bytes((copy / "ids.bin").stat().st_size))
        case "no manifest":
            manifest.unlink()
        case "garbage manifest":
            manifest.write_text("[]")
        case _:
            manifest.write_text(manifest.read_text().replace(store.info("gallery_id"), "f" * 32))
    assert contents(CodeCache(store, tmp_path / "cache")) == truth(store)


def test_an_interrupted_refresh_starts_over(store, tmp_path, monkeypatch):
    fill(store, 0, 6)
    cache = CodeCache(store, tmp_path / "cache")
    contents(cache)
    fill(store, 10, 4)
    monkeypatch.setattr(store, "removed_after", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        cache.refresh()
    monkeypatch.undo()
    assert contents(cache) == truth(store)


def test_many_small_changes_do_not_leave_many_segments(store, tmp_path):
    cache = CodeCache(store, tmp_path / "cache")
    for start in range(40):
        fill(store, start, 1)
        cache.refresh()
    with cache.current() as (wholes, regions):
        assert len(wholes._segments) <= 8
        assert len(regions._segments) <= 8


def test_a_folder_that_cannot_be_written_stops_nothing(store, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    fill(store, 0, 10)
    cache = CodeCache(store, tmp_path / "cache")
    cache.refresh()
    assert contents(cache) == truth(store)


def test_abandoned_drafts_are_removed_and_fresh_ones_left_alone(store, tmp_path):
    fill(store, 0, 10)
    for name in (".draft-old", ".draft-new"):
        (tmp_path / "cache" / name).mkdir(parents=True)
    os.utime(tmp_path / "cache/.draft-old", (1, 1))
    cache = CodeCache(store, tmp_path / "cache")
    cache.refresh()
    assert {path.name for path in (tmp_path / "cache").glob(".draft*")} == {".draft-new"}


def test_new_codes_for_all_pictures_start_the_indexes_over(store, tmp_path):
    fill(store, 0, 6)
    cache = CodeCache(store, tmp_path / "cache")
    before = contents(cache)
    store.start_recoding("next")
    store.add_next_codes({i: record("x", 100 + i).codes for i in range(1, 7)}, encoder="next")
    store.finish_recoding("next", n_bits=32)
    after = contents(cache)
    assert after == truth(store)
    assert not np.array_equal(list(before.values()), list(after.values()))
    assert contents(CodeCache(store, tmp_path / "cache")) == after


def test_many_threads_read_at_once_and_a_change_waits_for_them(store, tmp_path):
    fill(store, 0, 2)
    cache = CodeCache(store, tmp_path / "cache")
    both_inside, let_go = threading.Barrier(3, timeout=30), threading.Event()

    def read() -> tuple[int, int]:
        with cache.current() as (wholes, _):
            before = len(wholes)
            both_inside.wait()
            let_go.wait(30)
            return before, len(wholes)

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        both_inside.wait()
        fill(store, 2, 2)
        changed = pool.submit(contents, cache)
        assert wait([changed], timeout=0.2).not_done
        let_go.set()
        assert [reader.result(30) for reader in readers] == [(2, 2), (2, 2)]
        assert len(changed.result(30)) == 4
