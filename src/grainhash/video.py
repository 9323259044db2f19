"""Videos as pictures: frames sampled by the times they are shown at, upright, as files that a gallery takes.

Frames are decoded by PyAV, which brings its own FFmpeg.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from grainhash.errors import InputError, MissingExtra, PictureUnreadable, VideoError, first_line
from grainhash.files import whole_file
from grainhash.folder import absolute, look_at
from grainhash.images import DEFAULT_LIMITS, Limits, Rgb, encode_jpeg
from grainhash.types import Progress, silent

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

TABLE = "frames.csv"
COLUMNS = ("path", "video", "seconds")
"""Of that table: the path is relative to it, the video a file's name."""

Rows = dict[str, tuple[str, str]]
"""Video and seconds by path."""

LEAST_STEP = 0.001
"""Seconds between frames, at least: file names tell milliseconds."""

QUALITY = 90
"""Of the JPEGs."""

SHORTENED = 1.0
"""Seconds that may lack at the end of a video before that is said: its sound may be longer."""

USUAL_RATE = Fraction(25)
"""Frames a second, of a stream that says nothing of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One moment of a video."""

    seconds: float
    """From the beginning of the video, to the millisecond."""
    rgb: Rgb
    """`(h, w, 3)` uint8, upright and with square pixels, as players show it."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """What became of one video."""

    video: str
    """Its path, as it was given."""
    folder: str
    """Where its frames are."""
    frames: int
    """That were sampled."""
    new: int
    """Of these, that were written; the others were there already."""
    problem: str | None
    """What of it could not be read, if anything."""


def sample(
    video: Path | str,
    *,
    every: float = 1.0,
    limits: Limits = DEFAULT_LIMITS,
    report: Callable[[str], None] = lambda problem: None,
) -> Iterator[Frame]:
    """The first frame that begins in each `every` seconds of a video, in order of time.

    Time is what the video says of each frame, not its number, so that a variable frame rate counts for what
    it is. Where no frame begins for longer than `every`, there is none of that time. All frames are decoded;
    one is in memory at a time.

    Args:
        video: a file; of several streams of pictures, the one that a player would show.
        every: seconds, .001 or more.
        limits: frames of more than `max_pixels` are refused.
        report: called at the end with what could not be read of a video that is damaged or cut off.

    Raises:
        VideoError: no such file, no video, or none of its frames can be read.
        InputError: `every` makes no sense.
        MissingExtra: PyAV is not installed.
    """
    step = _step(every)
    with _opened(video) as container:
        reading = _Reading(container, _stream(container, video, limits), limits)
        last = -1
        for time, frame in reading.frames():
            if time // step <= last:
                continue
            if (rgb := reading.upright(frame)) is not None:
                last = int(time // step)
                yield Frame(round(float(time), 3), rgb)
        problem = reading.problem()
    if last < 0:
        raise VideoError(f"{video}: none of its frames can be read{problem and f' ({problem})'}")
    if problem:
        report(problem)


def extract(
    videos: Sequence[Path | str],
    into: Path | str,
    *,
    every: float = 1.0,
    limits: Limits = DEFAULT_LIMITS,
    progress: Callable[[Progress], None] = silent,
) -> list[Extracted]:
    """Write sampled frames as JPEG, and a table of them that `read_table` and `--metadata` take.

    `door.mp4` at 2.5 seconds becomes `door/door-000002.500.jpg`, and a row of `frames.csv` with the columns
    `path`, `video` and `seconds`. Every file appears whole. The same call again writes nothing; frames and
    rows of other videos stay.

    Args:
        videos: files, each with a name of its own.
        into: a folder; made if it is not there.
        every: see `sample`.
        limits: see `sample`.
        progress: called after every video.

    Returns:
        What became of each video. One that cannot be read stops no other.

    Raises:
        InputError: two videos of one name, a `frames.csv` that is something else, or a file in the way of a
            frame; nothing is overwritten.
        MissingExtra: PyAV is not installed.
    """
    _step(every)
    _av()
    into = absolute(into)
    if into.exists() and not into.is_dir():
        raise InputError(f"{into}: is a file; name a folder")
    folders = _folders(videos, into)
    rows = _read_rows(into / TABLE)
    done: list[Extracted] = []
    for video, folder in zip(videos, folders, strict=True):
        before = dict(rows)
        done.append(_extract(video, folder, into, every, limits, rows))
        if rows != before:
            _write_rows(into / TABLE, rows)
        n_bad = sum(each.problem is not None for each in done)
        progress(Progress("videos", len(done), len(videos), n_bad))
    return done


def _extract(
    video: Path | str,
    folder: Path,
    into: Path,
    every: float,
    limits: Limits,
    rows: Rows,
) -> Extracted:
    """Write the frames of one video, and note them in `rows`."""
    problems: list[str] = []
    n = new = 0
    try:
        for frame in sample(video, every=every, limits=limits, report=problems.append):
            path = folder / f"{folder.name}-{frame.seconds:010.3f}.jpg"
            new += _write_new(path, encode_jpeg(frame.rgb, quality=QUALITY))
            n += 1
            rows[path.relative_to(into).as_posix()] = Path(video).name, str(frame.seconds)
    except VideoError as error:
        problems.append(str(error).removeprefix(f"{video}: "))
    return Extracted(str(video), str(folder), n, new, problems[0] if problems else None)


def _write_new(path: Path, data: bytes) -> bool:
    """Write a file, or leave it where it is just that already; whether it was written."""
    if path.exists():
        if path.is_file() and path.read_bytes() == data:
            return False
        raise InputError(f"{path}: there is something else of that name; choose another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as draft:
        draft.write_bytes(data)
    return True


def _folders(videos: Sequence[Path | str], into: Path) -> list[Path]:
    names = [Path(video).stem.lstrip(".") or "video" for video in videos]  # a hidden one is not indexed
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise InputError(f"{min(twice)}: two videos of that name; rename one, or write to another folder")
    return [into / name for name in names]


def _read_rows(table: Path) -> Rows:
    """Video and seconds of each path of a table that an earlier call wrote."""
    if not table.exists():
        return {}
    try:
        with table.open(newline="", encoding="utf-8") as file:
            header, *rows = [tuple(row) for row in csv.reader(file, strict=True)] or [()]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table}: cannot be read as a table of frames ({first_line(error)})") from None
    if header != COLUMNS or any(len(row) != len(COLUMNS) for row in rows):
        raise InputError(f"{table}: is no table of frames; choose another folder")
    return {path: (video, seconds) for path, video, seconds in rows}


def _write_rows(table: Path, rows: Rows) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((path, *values) for path, values in rows.items())
    with whole_file(table) as draft:
        draft.write_text(text.getvalue(), encoding="utf-8", newline="")


# --- Decoding ---------------------------------------------------------------------------------------------


def _av() -> Any:
    try:
        import av
    except ImportError:
        raise MissingExtra("PyAV", "video") from None
    return av


def _step(every: float) -> Fraction:
    """Seconds as they are written: in binary, three tenths are not three times a tenth."""
    if not LEAST_STEP <= every < float("inf"):
        raise InputError(f"every = {every}: sample a frame every {LEAST_STEP} seconds or more")
    return Fraction(str(every))


def _opened(video: Path | str) -> InputContainer:
    av = _av()
    try:
        file = look_at(absolute(video))
        # A path from the root is a file, whatever its name; and of files FFmpeg lets none open a socket.
        container: InputContainer = av.open(file.uri, metadata_errors="replace")
    except PictureUnreadable as error:
        raise VideoError(f"{video}: {error.reason.lower()}") from None
    except av.FFmpegError as error:
        raise VideoError(f"{video}: no video, or cut off before its index ({_reason(error)})") from None
    return container


def _stream(container: InputContainer, video: Path | str, limits: Limits) -> VideoStream:
    if container.format.name.endswith("_pipe") or container.format.name == "image2":
        raise VideoError(f"{video}: is a picture; index it as it is")
    stream = container.streams.best("video")
    if stream is None or stream.disposition & _av().stream.Disposition.attached_pic:
        raise VideoError(f"{video}: holds no moving pictures")
    if reason := _too_large(stream.width, stream.height, limits):  # type: ignore[attr-defined]
        raise VideoError(f"{video}: {reason}")
    stream.thread_type = "AUTO"  # type: ignore[attr-defined]
    return stream  # type: ignore[return-value]


def _too_large(width: int, height: int, limits: Limits) -> str:
    if width * height <= limits.max_pixels:
        return ""
    return f"{width} x {height} pixels are over the limit of {limits.max_pixels / 1e6:g} megapixels"


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or first_line(error)).lower()


class _Reading:
    """The frames of one stream with their times, and what of it cannot be read."""

    def __init__(self, container: InputContainer, stream: VideoStream, limits: Limits) -> None:
        self._container, self._stream, self._limits = container, stream, limits
        self._errors: type[Exception] = _av().FFmpegError
        self._length = Fraction(1) / (stream.average_rate or USUAL_RATE)
        self._begins = None if container.start_time is None else Fraction(container.start_time, 1_000_000)
        self._shift = self._last = self._end = Fraction(0)
        self._damaged = 0
        self._reason = ""

    def frames(self) -> Iterator[tuple[Fraction, VideoFrame]]:
        """Every frame that can be decoded, with the seconds since the beginning, which never fall."""
        try:
            for packet in self._container.demux(self._stream):
                for frame in self._decoded(packet):
                    yield self._time(frame), frame
        except self._errors as error:  # the file itself, not a piece of it
            self._reason = _reason(error)

    def _decoded(self, packet: Any) -> list[VideoFrame]:
        try:
            frames = packet.decode()
        except self._errors as error:
            self._damage(error)
            return []
        whole = [frame for frame in frames if not frame.is_corrupt]
        self._damaged += len(frames) - len(whole)
        return whole

    def _time(self, frame: VideoFrame) -> Fraction:
        tick = frame.time_base or Fraction(0)
        time = self._end if frame.pts is None else frame.pts * tick + self._shift
        if frame.pts is not None:
            if self._begins is None:
                self._begins = time
            time -= self._begins
            if time < self._last:  # a recorder that began anew: go on from where it was
                self._shift += self._end - time
                time = self._end
        self._last = max(time, Fraction(0))
        self._end = self._last + (frame.duration * tick or self._length)
        return self._last

    def upright(self, frame: VideoFrame) -> Rgb | None:
        """The frame's pixels as a player shows them; `None` if there are none that can be had."""
        width, height = frame.width, frame.height
        width = round(width * (self._stream.sample_aspect_ratio or 1)) or width
        if reason := _too_large(max(width, frame.width), height, self._limits):
            self._reason = reason
            return None
        try:
            rgb: Any = frame.to_ndarray(format="rgb24", width=width, height=height)
        except (self._errors, ValueError) as error:
            self._damage(error)
            return None
        return _turned(rgb, frame.side_data.get("DISPLAYMATRIX"))

    def _damage(self, error: Exception) -> None:
        self._damaged += 1
        self._reason = self._reason or _reason(error)

    def problem(self) -> str:
        """What could not be read, in words; empty where all could."""
        said = []
        if self._damaged:
            said.append(f"{self._damaged:,} damaged pieces are left out")
        if self._reason:
            said.append(self._reason)
        length = self._declared()
        if length - self._end > SHORTENED:
            said.append(f"it ends at {float(self._end):.1f} s of {float(length):.1f} s")
        return "; ".join(said)

    def _declared(self) -> Fraction:
        """Seconds that the file says it has; 0 where it says nothing."""
        stream = self._stream
        if stream.duration is not None and stream.time_base is not None:
            return Fraction(stream.duration * stream.time_base)
        return Fraction(self._container.duration or 0, 1_000_000)


def _turned(rgb: Rgb, matrix: Any) -> Rgb:
    """Pixels as a display matrix says to show them, to the nearest quarter turn; mirrored where it says so.

    The matrix takes a place `(x, y)` to `(a x + c y, b x + d y)`; it is `a, b, u, c, d, v, x, y, w` (ISO/IEC
    14496-12, 8.3.2).
    """
    if matrix is None:
        return rgb
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        rgb, a, d = rgb.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(rgb[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
