"""Frames of small videos, made here: at the right times, the right way up, and whatever is wrong said."""

from __future__ import annotations

import csv
import json
import re
import socket
import sys
import threading
from contextlib import suppress

import av
import numpy as np
import pytest
from films import write_video
from PIL import Image

from grainhash import Gallery
from grainhash.errors import InputError, MissingExtra, VideoError
from grainhash.images import Limits, decode
from grainhash.metadata import read_table
from grainhash.video import extract, sample

UNEVEN = (0, 0.1, 0.2, 2.5, 2.6, 5, 9.7)
RED, GREEN, BLUE, GREY = (220, 30, 30), (30, 200, 30), (40, 40, 220), (128, 128, 128)


def corners(height=64, width=96):
    """Red at the top left, green at the top right, blue at the bottom left, grey at the bottom right."""
    rgb = np.empty((height, width, 3), np.uint8)
    rgb[: height // 2, : width // 2], rgb[: height // 2, width // 2 :] = RED, GREEN
    rgb[height // 2 :, : width // 2], rgb[height // 2 :, width // 2 :] = BLUE, GREY
    return rgb


def shown(rgb):
    """The colours of the four quarters of a picture, row by row."""
    height, width = rgb.shape[:2]
    names = {RED: "red", GREEN: "green", BLUE: "blue", GREY: "grey"}
    places = [(y, x) for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)]
    far = [{colour: np.abs(rgb[place] - np.array(colour)).sum() for colour in names} for place in places]
    return [names[min(colours, key=colours.__getitem__)] for colours in far]


@pytest.fixture
def video(tmp_path):
    """Writes a video whose frames are shown at some times, and grow brighter from 0 on."""

    def write(name, times, **options):
        shades = [np.full((64, 96, 3), 20 * number % 256, np.uint8) for number in range(len(times))]
        return write_video(tmp_path / name, zip(times, shades, strict=True), **options)

    return write


def long(video, name="long.mkv"):
    rng = np.random.default_rng(0)
    frames = ((number / 10, rng.integers(0, 256, (64, 96, 3), np.uint8)) for number in range(100))
    return write_video(video("unused.mkv", [0]).with_name(name), frames)


# Times


def test_frames_come_at_their_own_times(video):
    steady = video("steady.mp4", [number / 10 for number in range(35)])
    assert [frame.seconds for frame in sample(steady)] == [0, 1, 2, 3]
    assert [frame.seconds for frame in sample(steady, every=0.3)] == [
        round(0.3 * n, 1) for n in range(12)
    ]  # in binary the ninth would come too late
    assert [round(frame.rgb.mean() / 20) for frame in sample(steady)][:2] == [0, 10]


@pytest.mark.parametrize("name", ["uneven.mp4", "uneven.mkv"])
def test_a_variable_rate_counts_for_what_it_is(video, name):
    times = [frame.seconds for frame in sample(video(name, UNEVEN))]
    assert times == [0, 2.5, 5, 9.7]
    assert [frame.seconds for frame in sample(video(name, UNEVEN), every=0.01)] == list(UNEVEN)
    shades = [round(frame.rgb.mean() / 20) for frame in sample(video(name, UNEVEN))]
    assert shades == [0, 3, 5, 6]


def test_time_is_from_the_beginning_of_the_video(video):
    assert [frame.seconds for frame in sample(video("late.mkv", [3, 3.5, 4.2]))] == [0, 1.2]


def test_a_clock_that_starts_again_goes_on(video, tmp_path):
    """As cameras write that begin a new recording in the same file."""
    parts = [video(f"{part}.ts", [number / 10 for number in range(20)]) for part in (1, 2)]
    both = tmp_path / "both.ts"
    both.write_bytes(b"".join(part.read_bytes() for part in parts))
    times = [frame.seconds for frame in sample(both, every=0.5)]
    assert len(times) == 8
    assert times == sorted(times)
    assert 3.4 < times[-1] < 4.2


@pytest.mark.parametrize("every", [0, -1, 0.0001, float("nan"), float("inf")])
def test_steps_that_make_no_sense_are_refused(video, every):
    with pytest.raises(InputError, match="every ="):
        next(sample(video("steady.mp4", [0]), every=every))


# The way up


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_a_rotated_video_is_shown_upright(tmp_path, rotation):
    """Judged by the matrix that stands in the file: where the format says it takes the corners to."""
    path = write_video(tmp_path / "turned.mp4", [(0, corners()), (1, corners())], rotation=rotation)
    data = path.read_bytes()
    matrix = np.frombuffer(data, ">i4", 9, data.index(b"tkhd") + 44).reshape(3, 3) / 65536
    places = np.array([(x, y, 0) for y in (-1, 1) for x in (-1, 1)]) @ matrix
    colours = ["red", "green", "blue", "grey"]
    expected = [colour for _, colour in sorted(zip((places @ [1, 10, 0]).tolist(), colours, strict=True))]
    frame = next(sample(path))
    assert frame.rgb.shape == ((96, 64, 3) if rotation in (90, -90) else (64, 96, 3))
    assert shown(frame.rgb) == expected
    assert (expected == colours) == (rotation == 0)
    assert frame.rgb.flags.c_contiguous


def test_a_mirrored_video_is_shown_as_players_do(tmp_path):
    path = write_video(tmp_path / "selfie.mp4", [(0, corners()), (1, corners())], rotation=180)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    data[at + 16 : at + 20] = (65536).to_bytes(4)  # top stays top
    path.write_bytes(data)
    assert shown(next(sample(path)).rgb) == ["green", "red", "grey", "blue"]


def test_pixels_that_are_not_square_are_stretched(tmp_path):
    path = tmp_path / "wide.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=1)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = 2
        container.mux(stream.encode(av.VideoFrame.from_ndarray(corners(), format="rgb24")))
        container.mux(stream.encode())
    frame = next(sample(path))
    assert frame.rgb.shape == (64, 192, 3)
    assert shown(frame.rgb) == ["red", "green", "blue", "grey"]


def test_names_inside_that_are_no_utf8_do_no_harm(tmp_path):
    path = tmp_path / "latin.mkv"
    with av.open(str(path), "w", metadata_encoding="latin-1") as container:
        container.metadata["title"] = "Tür"
        stream = container.add_stream("mpeg4", rate=1)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(corners(), format="rgb24")))
        container.mux(stream.encode())
    assert b"T\xfcr" in path.read_bytes()
    assert len(list(sample(path))) == 1


# What is wrong


def test_a_video_that_was_cut_off_gives_what_is_there(video, tmp_path):
    whole = long(video)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    problems = []
    times = [frame.seconds for frame in sample(cut, report=problems.append)]
    assert times == [0, 1, 2, 3, 4]
    assert re.search(r"it ends at [45]\.\d s of 9\.9 s", *problems)
    assert len(list(sample(whole, report=pytest.fail))) == 10


def test_damage_inside_costs_what_is_damaged(video, tmp_path):
    whole = long(video, "long.mp4").read_bytes()
    damaged = tmp_path / "damaged.mp4"
    middle = len(whole) // 2
    damaged.write_bytes(whole[:middle] + bytes(range(256)) * 40 + whole[middle + 256 * 40 :])
    problems = []
    times = [frame.seconds for frame in sample(damaged, report=problems.append)]
    assert times[:4] == [0, 1, 2, 3]
    assert times[-1] == 9
    assert re.search(r"\d+ damaged pieces are left out", *problems)


def test_what_is_no_video_is_one_error(video, tmp_path):
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("no video " * 99)
    whole = long(video, "long.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])  # its index was at the end
    (tmp_path / "folder.mp4").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "picture.jpg")
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))
    for name, reason in {
        "empty.mp4": "no video, or cut off",
        "text.mp4": "no video, or cut off",
        "cut.mp4": "no video, or cut off before its index",
        "folder.mp4": "not a regular file",
        "missing.mp4": "no such file",
        "picture.jpg": "is a picture",
        "sound.wav": "no moving pictures",
        "http://127.0.0.1:9/a.mp4": "no such file",
    }.items():
        with pytest.raises(VideoError, match=reason) as error:
            list(sample(tmp_path / name if ":" not in name else name))
        assert "\n" not in str(error.value)


def test_a_playlist_opens_no_socket(tmp_path):
    came = []

    def accept():
        with suppress(OSError):  # when the server is closed
            while True:
                server.accept()[0].close()
                came.append(True)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, daemon=True).start()
        lines = (
            "#EXTM3U",
            "#EXT-X-TARGETDURATION:1",
            "#EXTINF:1,",
            "http://127.0.0.1:{}/1.ts",
            "#EXT-X-ENDLIST",
        )
        (tmp_path / "list.m3u8").write_text("\n".join(lines).format(server.getsockname()[1]))
        with pytest.raises(VideoError):
            list(sample(tmp_path / "list.m3u8"))
        server.shutdown(socket.SHUT_RDWR)
    assert not came


def test_frames_that_are_too_large_are_refused(video):
    with pytest.raises(VideoError, match=r"96 x 64 pixels are over the limit"):
        list(sample(video("large.mp4", [0, 1]), limits=Limits(max_pixels=6000)))


def test_the_message_names_what_to_install(video, monkeypatch):
    path = video("steady.mp4", [0])
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtra, match=r"pip install 'grainhash\[video\]'"):
        list(sample(path))


# Files


def table_of(folder):
    with (folder / "frames.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_frames_and_their_table_are_written_once(video, tmp_path):
    door, yard = video("door.mp4", UNEVEN), video("yard.mkv", [0, 1.5])
    into = tmp_path / "into"
    done = extract([door, yard], into, every=2)
    assert [(each.frames, each.new, each.problem) for each in done] == [(4, 4, None), (1, 1, None)]
    rows = table_of(into)
    assert [(row["video"], float(row["seconds"])) for row in rows][1:] == [
        ("door.mp4", 2.5),
        ("door.mp4", 5),
        ("door.mp4", 9.7),
        ("yard.mkv", 0),
    ]
    assert rows[1]["path"] == "door/door-000002.500.jpg"
    assert decode(into / rows[1]["path"]).rgb.mean() == pytest.approx(60, abs=6)
    files = {path: path.stat().st_mtime_ns for path in into.rglob("*") if path.is_file()}
    assert len(files) == 6
    assert [(each.frames, each.new) for each in extract([door, yard], into, every=2)] == [(4, 0), (1, 0)]
    assert {path: path.stat().st_mtime_ns for path in into.rglob("*") if path.is_file()} == files
    extract([yard], into)  # others stay, with their rows
    assert [row["path"] for row in table_of(into)][4:] == [
        "yard/yard-000000.000.jpg",
        "yard/yard-000001.500.jpg",
    ]


def test_the_table_is_what_index_takes(video, tmp_path):
    into = tmp_path / "into"
    extract([video("door.mp4", UNEVEN)], into, every=2)
    with Gallery.open(tmp_path / "gallery", create=True) as gallery:
        report = gallery.index(into, metadata=read_table(into / "frames.csv"))
        assert (report.added, report.skipped) == (4, {})
        hits = gallery.search(into / "door/door-000005.000.jpg", where="video = door.mp4 and seconds > 4.5")
        assert [hit.meta["seconds"] for hit in hits] == [5, 9.7]
        assert hits[0].meta["label"] == "door"


def test_nothing_is_overwritten(video, tmp_path):
    door, into = video("door.mp4", UNEVEN), tmp_path / "into"
    (into / "door").mkdir(parents=True)
    mine = into / "door/door-000002.500.jpg"
    mine.write_bytes(b"mine")
    with pytest.raises(InputError, match="something else of that name"):
        extract([door], into)
    assert mine.read_bytes() == b"mine"
    assert {path.name for path in into.rglob("*") if path.is_file()} == {
        "door-000000.000.jpg",
        "door-000002.500.jpg",
    }
    (into / "frames.csv").write_text("path,colour\na,b\n")
    with pytest.raises(InputError, match="is no table of frames"):
        extract([door], into)
    assert (into / "frames.csv").read_text() == "path,colour\na,b\n"
    with pytest.raises(InputError, match="is a file"):
        extract([door], mine)


def test_two_videos_of_one_name_are_refused(video, tmp_path):
    with pytest.raises(InputError, match="door: two videos of that name"):
        extract([video("door.mp4", [0]), video("door.mkv", [0])], tmp_path / "into")
    assert not (tmp_path / "into").exists()


def test_a_write_that_fails_leaves_no_half_file(video, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    into = tmp_path / "into"
    extract([video("door.mp4", [0, 1])], into, every=5)
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        extract([video("door.mp4", [0, 1])], into, every=0.5)
    monkeypatch.undo()
    assert [path.name for path in (into / "door").iterdir()] == ["door-000000.000.jpg"]
    assert len(table_of(into)) == 1


# The command


@pytest.fixture
def run(monkeypatch, capsys):
    from grainhash.cli import main

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["grainhash", "frames", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit:
            main()
        return exit.value.code or 0, *capsys.readouterr()

    return call


def test_the_command_writes_what_it_says(video, tmp_path, run):
    door, into = video("door.mp4", UNEVEN), tmp_path / "into"
    code, out, err = run(door, "--into", into, "--every", 2)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"{door}: 4 frames, 4 new, in {into}/door",
        f"use them with: grainhash index {into} --metadata {into}/frames.csv",
    ]
    code, out, _ = run(door, "--into", into, "--every", 2, "--json")
    assert [each["new"] for each in json.loads(out)] == [0]


def test_a_bad_video_stops_no_other(video, tmp_path, run):
    door, bad, into = video("door.mp4", UNEVEN), tmp_path / "bad.mp4", tmp_path / "into"
    bad.write_bytes(b"no video")
    code, out, err = run(bad, door, "--into", into)
    assert code == 1
    assert re.fullmatch(rf"grainhash: {bad}: no video, [^\n]+\n", err)
    assert f"{door}: 4 frames" in out
    assert not (into / "bad").exists()
    assert {row["video"] for row in table_of(into)} == {"door.mp4"}
    assert run(bad, "--into", tmp_path / "none")[0] == 1
    assert not (tmp_path / "none").exists()
