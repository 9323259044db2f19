from __future__ import annotations

import sqlite3
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grainhash.errors import EncoderMismatch, GalleryFormatError, GalleryNotFound, GalleryWriteError
from grainhash.store import Record, Store
from grainhash.types import File, PictureCodes
from grainhash.where import compile_where

N_BYTES = 4


def codes(seed, n_regions=3):
    rng = np.random.default_rng(seed)
    boxes = np.sort(rng.random((n_regions, 2, 2), np.float32), axis=1).reshape(n_regions, 4)
    return PictureCodes(
        width=640,
        height=480,
        whole=rng.integers(256, size=N_BYTES, dtype=np.uint8),
        regions=rng.integers(256, size=(n_regions, N_BYTES), dtype=np.uint8),
        boxes=boxes,
    )


def record(name, seed=0, *, known=False, mtime=1, meta=None, n_regions=3):
    picture = None if known else codes(seed, n_regions)
    return Record(File(f"/p/{name}", 100, mtime), f"sha-{seed}", picture, meta or {})


@pytest.fixture
def store(tmp_path):
    return Store.create(tmp_path / "gallery.sqlite", encoder="enc", n_bits=8 * N_BYTES)


def uris(store):
    return [row.uri for row in store.pictures(list(range(1, 1000)))]


def test_what_is_added_comes_back_as_it_was(store):
    pictures = [codes(1), codes(2, n_regions=0), codes(3, n_regions=5)]
    records = [
        Record(File(f"/p/{i}", 10, i), f"s{i}", picture, {"label": "ä"}) for i, picture in enumerate(pictures)
    ]
    assert store.add(records, encoder="enc") == ["added"] * 3
    (batch,) = store.codes_after(0)
    assert batch.ids.tolist() == [1, 2, 3]
    assert batch.offsets.tolist() == [0, 3, 3, 8]
    np.testing.assert_array_equal(batch.whole, [picture.whole for picture in pictures])
    np.testing.assert_array_equal(batch.regions, np.concatenate([picture.regions for picture in pictures]))
    row = store.pictures([2])[0]
    assert (row.uri, row.sha256, row.width, row.height, row.meta) == ("/p/1", "s1", 640, 480, {"label": "ä"})
    boxes = store.boxes_of([(3, 4), (1, 0), (9, 0)])
    assert sorted(boxes) == [(1, 0), (3, 4)]
    for (id, region), box in boxes.items():
        np.testing.assert_allclose(box.corners, pictures[id - 1].boxes[region], atol=1 / 65535)


def test_small_batches_hold_the_same_codes(store):
    store.add([record(str(i), i) for i in range(10)], encoder="enc")
    (large,) = store.codes_after(0)
    small = list(store.codes_after(0, batch=3))
    assert [len(batch.ids) for batch in small] == [3, 3, 3, 1]
    np.testing.assert_array_equal(np.concatenate([batch.regions for batch in small]), large.regions)


def test_changed_content_gets_a_new_id_and_keeps_its_metadata(store):
    store.add([record("a", 1, meta={"by": "hand"})], encoder="enc")
    assert store.add([record("a", 2, meta={"label": "x"})], encoder="enc") == ["updated"]
    assert store.ids_of_uris(["/p/a"]) == {"/p/a": 2}
    assert store.pictures([2])[0].meta == {"by": "hand", "label": "x"}
    assert store.removed_after(0).tolist() == [1]


def test_a_touched_file_keeps_its_id(store):
    store.add([record("a", 1)], encoder="enc")
    assert store.add([record("a", 1, mtime=9, known=True)], encoder="enc") == ["unchanged"]
    assert store.state() == ("enc", 1, 0)
    difference = store.compare_folder("/p/", [File("/p/a", 100, 9)])
    assert difference.n_todo == 0


def test_a_copy_takes_its_codes_and_exif_from_the_original(store):
    store.add([record("a", 1, meta={"taken": "2024", "label": "cats"})], encoder="enc")
    assert store.add([record("b", 1, known=True)], encoder="enc") == ["added"]
    (batch,) = store.codes_after(0)
    np.testing.assert_array_equal(batch.whole[0], batch.whole[1])
    assert store.pictures([2])[0].meta == {"taken": "2024"}
    assert (store.n_copies(), store.n_regions()) == (1, 6)


def test_a_copy_without_an_original_is_an_orphan(store):
    assert store.add([record("b", 1, known=True), record("c", 2)], encoder="enc") == ["orphan", "added"]
    assert uris(store) == ["/p/c"]


def test_codes_of_another_encoder_are_refused_and_nothing_is_added(store):
    with pytest.raises(EncoderMismatch, match="gallery's own encoder"):
        store.add([record("a", 1)], encoder="other")
    assert len(store) == 0


def test_removed_ids_are_listed_and_never_given_again(store):
    store.add([record(name, i) for i, name in enumerate("abc")], encoder="enc")
    assert store.remove([3, 1, 77]) == 2
    assert store.removed_after(0).tolist() == [3, 1]
    store.add([record("d", 9)], encoder="enc")
    assert store.ids_of_uris(["/p/d"]) == {"/p/d": 4}
    assert store.state() == ("enc", 4, 2)


def test_a_failed_batch_leaves_nothing_behind(store):
    bad = Record(File("/p/b", 1, 1), None, codes(2), {})  # type: ignore[arg-type]  sha256 may not be NULL
    with pytest.raises(sqlite3.IntegrityError):
        store.add([record("a", 1), bad], encoder="enc")
    assert len(store) == 0
    assert store.add([record("a", 1)], encoder="enc") == ["added"]


def test_the_folder_difference_lists_new_changed_and_vanished(store):
    store.add([record(name, i) for i, name in enumerate(["a", "b", "c"])], encoder="enc")
    store.add([Record(File("/pp/x", 1, 1), "s", codes(9), {})], encoder="enc")
    seen = [File("/p/a", 100, 1), File("/p/b", 100, 2), File("/p/d", 5, 5)]
    difference = store.compare_folder("/p/", seen)
    assert [file.uri for file in difference.todo(chunk=1)] == ["/p/b", "/p/d"]
    assert [uri for _, uri in difference.vanished()] == ["/p/c"]
    assert [uri for _, uri, _ in difference.known(chunk=2)] == ["/p/a", "/p/b", "/p/c"]
    assert (difference.n_seen, difference.n_todo, difference.n_known) == (3, 2, 3)


def test_filters_run_in_the_store(store):
    store.add([record(name, i, meta={"label": name}) for i, name in enumerate("abc")], encoder="enc")
    assert store.ids_where(compile_where("label in (a, c)")).tolist() == [1, 3]


def test_skipped_files_are_remembered_until_they_are_added(store):
    store.note_skipped({"/p/a": "truncated", "/p/b": "empty"})
    store.add([record("a", 1)], encoder="enc")
    assert store.skipped() == [("/p/b", "empty")]


def test_recoding_swaps_all_codes_at_once(store):
    store.add([record(name, i) for i, name in enumerate("abc")], encoder="enc")
    before = next(store.codes_after(0)).whole
    store.start_recoding("next")
    store.add_next_codes({1: codes(11), 2: codes(12)}, encoder="next")
    assert not store.finish_recoding("next", n_bits=32)
    np.testing.assert_array_equal(next(store.codes_after(0)).whole, before)
    store.start_recoding("next")
    assert store.to_recode("next") == [(3, "/p/c", "sha-2")]
    store.add_next_codes({3: codes(13), 99: codes(1)}, encoder="next")
    assert store.finish_recoding("next", n_bits=32)
    assert (store.info("encoder"), store.next_encoder()) == ("next", None)
    np.testing.assert_array_equal(next(store.codes_after(0)).whole, [codes(s).whole for s in (11, 12, 13)])


def test_recoding_to_a_third_encoder_starts_over(store):
    store.add([record("a", 1)], encoder="enc")
    store.start_recoding("second")
    store.add_next_codes({1: codes(2)}, encoder="second")
    store.start_recoding("third")
    assert store.to_recode("third") == [(1, "/p/a", "sha-1")]


@pytest.mark.parametrize("ended", [True, False])
def test_codes_of_two_recodings_never_mix(store, ended):
    store.add([record("a", 1), record("b", 2)], encoder="enc")
    store.start_recoding("second")
    store.add_next_codes({1: codes(11)}, encoder="second")
    store.start_recoding("third")
    if ended:
        store.add_next_codes({1: codes(21), 2: codes(22)}, encoder="third")
        assert store.finish_recoding("third", n_bits=32)
    for late in (
        lambda: store.to_recode("second"),
        lambda: store.n_to_recode("second"),
        lambda: store.add_next_codes({2: codes(12)}, encoder="second"),
        lambda: store.finish_recoding("second", n_bits=32),
    ):
        with pytest.raises(EncoderMismatch, match="another refit"):
            late()
    assert store.info("encoder") == ("third" if ended else "enc")


def test_what_a_file_said_of_itself_is_void_when_its_content_changed(store):
    store.add([record("a", 1, meta={"taken": "2024", "by": "hand"})], encoder="enc")
    store.add([record("a", 2)], encoder="enc")
    assert store.pictures([2])[0].meta == {"by": "hand"}


def test_connections_of_ended_threads_are_closed(store):
    for _ in range(20):
        thread = threading.Thread(target=store.has_content, args=("x",))
        thread.start()
        thread.join()
    assert len(store._connections) <= 3


def test_a_file_that_is_fine_after_all_is_no_longer_skipped(store):
    store.add([record("a", 1)], encoder="enc")
    store.note_skipped({"/p/a": "could not be read"})
    store.add([record("a", 1, known=True)], encoder="enc")
    assert store.skipped() == []


def test_readers_see_one_state_while_another_writes(store):
    store.add([record("a", 1)], encoder="enc")
    other = Store(store.path)
    with other.reading():
        assert len(other) == 1
        store.add([record("b", 2)], encoder="enc")
        assert len(other) == 1
    assert len(other) == 2


def test_threads_share_a_store(store):
    failures = []

    def work(n):
        try:
            store.add([record(f"{n}-{i}", n * 100 + i) for i in range(5)], encoder="enc")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(store) == 40
    store.close()


def test_what_is_no_gallery_is_refused(tmp_path):
    path = tmp_path / "gallery.sqlite"
    with pytest.raises(GalleryNotFound, match="create one with"):
        Store(path)
    path.write_bytes(b"hello, I am not a database, but I am long enough to look at" * 20)
    with pytest.raises(GalleryFormatError, match="not a grainhash gallery"):
        Store(path)
    path.unlink()
    sqlite3.connect(path).execute("CREATE TABLE t (x)").connection.close()
    with pytest.raises(GalleryFormatError, match="not a grainhash gallery"):
        Store(path)


def test_another_format_version_is_refused(store):
    with store.writing() as db:
        db.execute("UPDATE info SET value = '99' WHERE key = 'format_version'")
    with pytest.raises(GalleryFormatError, match="format 99"):
        Store(store.path)


def test_a_full_disk_is_one_clear_error_and_nothing_is_lost(store):
    store.add([record("a", 1)], encoder="enc")
    db = store._db
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(GalleryWriteError, match=r"full.*all earlier ones are safe"):
        store.add([record(f"x{i}", i, n_regions=500) for i in range(50)], encoder="enc")
    assert uris(store) == ["/p/a"]
    db.execute("PRAGMA max_page_count = 1000000")
    store.add([record("b", 2)], encoder="enc")
    assert uris(store) == ["/p/a", "/p/b"]


names = st.sampled_from("abcd")
actions = st.lists(
    st.one_of(
        st.tuples(st.just("add"), names, st.integers(0, 5)),
        st.tuples(st.just("remove"), names, st.just(0)),
    ),
    max_size=12,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions)
def test_a_follower_of_ids_and_removals_always_has_the_store(tmp_path_factory, todo):
    """What the cache relies on: newer ids plus the removed list lead to the present state."""
    store = Store.create(tmp_path_factory.mktemp("s") / "gallery.sqlite", encoder="enc", n_bits=32)
    followed: dict[int, bytes] = {}
    last_id = last_removed = 0
    for kind, name, seed in todo:
        if kind == "add":
            store.add([record(name, seed)], encoder="enc")
        else:
            store.remove(store.ids_of_uris([f"/p/{name}"]).values())
        for batch in store.codes_after(last_id):
            followed |= {int(id): whole.tobytes() for id, whole in zip(batch.ids, batch.whole, strict=True)}
        for id in store.removed_after(last_removed).tolist():
            followed.pop(id, None)
        _, last_id, last_removed = store.state()
    truth = {
        int(id): whole.tobytes()
        for batch in store.codes_after(0)
        for id, whole in zip(batch.ids, batch.whole, strict=True)
    }
    assert followed == truth
    store.close()
