from __future__ import annotations

import hashlib
import threading
from contextlib import closing
from pathlib import Path
from time import sleep

import numpy as np
import pytest
from PIL import Image
from threadpoolctl import threadpool_info

from grainhash.encoder.granules import WHOLE_ONLY, GranuleSettings, Grid
from grainhash.encoder.pipeline import (
    CHUNKS_AHEAD,
    GRANULES_A_RUN,
    Encoded,
    Failed,
    encode_files,
    features_of_files,
    in_order,
    one_core_each,
)


@pytest.fixture(scope="module")
def light(encoder):
    """Four regions a picture: several pictures go through the network together."""
    return encoder.with_granules(GranuleSettings((Grid(2, 0.6),), proposals=0))


@pytest.fixture(scope="module")
def files(tmp_path_factory, photographs):
    """Small pictures of very different cost, every fourth of them bad."""
    folder = tmp_path_factory.mktemp("files")
    image = Image.open(photographs / "places/china.jpg")
    for number in range(40):
        path = folder / f"{number:02d}.png"
        if number % 4 == 3:
            path.write_bytes(b"" if number % 8 == 3 else b"no picture")
        else:
            side = (40, 300, 120)[number % 3]
            image.crop((number, number, number + side, number + side)).save(path)
    return sorted(folder.iterdir())


def same(a, b):
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("whole", "regions", "boxes"))


def test_results_come_in_the_order_of_the_paths_with_bad_files_in_place(light, files):
    results = list(encode_files(light, files, n_workers=3))
    assert [result.path for result in results] == files
    for number, result in enumerate(results):
        assert isinstance(result, Failed if number % 4 == 3 else Encoded)
    assert results[3].error.name == str(files[3])
    assert results[0].sha256 == hashlib.sha256(files[0].read_bytes()).hexdigest()


def test_the_number_of_workers_changes_no_code(light, files):
    good = [path for number, path in enumerate(files) if number % 4 != 3]
    alone = [light.encode(path) for path in good]
    for n_workers in (1, 2, 4):
        results = encode_files(light, good, n_workers=n_workers)
        assert all(same(result.codes, codes) for result, codes in zip(results, alone, strict=True))


def test_no_paths_and_missing_files(light, tmp_path):
    assert list(encode_files(light, [])) == []
    (result,) = encode_files(light, [tmp_path / "none.jpg"])
    assert isinstance(result, Failed)
    assert str(tmp_path / "none.jpg") in str(result.error)


def test_known_content_is_hashed_and_not_decoded(light, files, monkeypatch):
    known = {hashlib.sha256(files[n].read_bytes()).hexdigest() for n in (0, 5)}
    decoded = []
    cut = light.cut
    monkeypatch.setattr(
        light, "cut", lambda data, *, name: decoded.append(Path(name)) or cut(data, name=name)
    )
    results = list(encode_files(light, files, is_known=known.__contains__, n_workers=2))
    assert [
        n for n, result in enumerate(results) if isinstance(result, Encoded) and result.codes is None
    ] == [0, 5]
    assert {results[0].sha256, results[5].sha256} == known
    assert not {files[0], files[5]} & set(decoded)
    assert len(decoded) == 40 - 2 - 5  # those that are empty are not decoded either


@pytest.mark.parametrize("n_workers", [1, 3])
def test_paths_are_taken_only_a_window_ahead(light, files, n_workers):
    taken = 0

    def paths():
        nonlocal taken
        for path in files * 3:
            taken += 1
            yield path

    window = n_workers * CHUNKS_AHEAD * (GRANULES_A_RUN // light.granules.n_usual)
    with closing(encode_files(light, paths(), n_workers=n_workers)) as results:
        for n_given, _ in enumerate(results, start=1):
            assert taken < n_given + window
    assert taken == 120


def test_closing_early_stops_the_workers(light, files):
    before = threading.active_count()
    with closing(encode_files(light, files * 20, n_workers=2)) as results:
        next(results)
        assert threading.active_count() > before
    assert threading.active_count() == before


def test_an_error_in_the_paths_or_the_network_ends_the_run_and_its_workers(light, files, monkeypatch):
    before = threading.active_count()

    def paths():
        yield from files[:3]
        raise RuntimeError("the list broke")

    with pytest.raises(RuntimeError, match="the list broke"):
        list(encode_files(light, paths()))
    monkeypatch.setattr(light, "codes", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(encode_files(light, files))
    assert threading.active_count() == before


def test_a_chunk_of_nothing_but_bad_files_passes(encoder, files):
    whole = encoder.with_granules(WHOLE_ONLY)
    results = list(encode_files(whole, files[3::4] * 4, n_workers=1))
    assert len(results) == 40
    assert all(isinstance(result, Failed) for result in results)


def test_features_of_files_leave_bad_files_out(light, files):
    rows = list(features_of_files(light, files[:8], n_workers=2))
    assert [len(features) for features in rows] == [5] * 6
    alone = light.features(light.cut(files[4]).pixels)
    np.testing.assert_allclose(rows[3], alone, rtol=1e-4, atol=1e-5)


# The loop behind it all


def test_results_of_chunks_keep_their_order_whatever_each_takes():
    def slow_at_first(chunk):
        sleep(0.02 if chunk[0] == 0 else 0)
        return [number * number for number in chunk]

    chunks = list(in_order(slow_at_first, range(100), 7, n_workers=3))
    assert [len(chunk) for chunk in chunks] == [7] * 14 + [2]
    assert sum(chunks, []) == [number * number for number in range(100)]  # noqa: RUF017


def test_work_that_fails_ends_the_loop_and_what_was_ahead_is_not_begun():
    begun = []

    def fails_at_ten(chunk):
        begun.append(chunk[0])
        if chunk[0] == 10:
            raise ValueError("ten")
        return chunk[0]

    before = threading.active_count()
    results = in_order(fails_at_ten, range(10_000), 1, n_workers=2)
    with pytest.raises(ValueError, match="ten"):
        list(results)
    assert len(begun) <= 10 + 2 * CHUNKS_AHEAD + 2
    assert threading.active_count() == before


def test_each_thread_keeps_to_one_core(encoder):
    def cores_of_blas():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    before = cores_of_blas()
    with one_core_each(encoder):
        assert set(cores_of_blas()) == {1}
    assert cores_of_blas() == before
