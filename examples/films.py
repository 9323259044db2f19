"""Short videos made of photographs: a thing passes before several cameras, each in a place of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from grainhash import Box

SIZE = (640, 480)
RATE = 5
"""Frames a second."""


@dataclass(frozen=True)
class Camera:
    """Where a camera stands and how it sees."""

    place: Image.Image
    """What it sees while nothing passes."""
    width: float
    """Share of the picture's width that a thing takes: how near the camera is."""
    light: float
    """1 as it is; less is darker."""
    colour: float
    """1 as it is; less is paler."""


@dataclass(frozen=True)
class Moment:
    """A frame of a made video: which thing passes then, and where it is."""

    seconds: float
    thing: int
    box: Box


def write_film(
    path: Path, camera: Camera, things: Sequence[Image.Image], *, seconds: float, seed: int
) -> list[Moment]:
    """Write a video in which one thing after another passes before a camera, each for so many seconds."""
    moments = []

    def frames() -> Iterator[tuple[float, NDArray[np.uint8]]]:
        for moment, rgb in film(camera, things, seconds=seconds, seed=seed):
            moments.append(moment)
            yield moment.seconds, rgb

    write_video(path, frames())
    return moments


def film(
    camera: Camera, things: Sequence[Image.Image], *, seconds: float, seed: int
) -> Iterator[tuple[Moment, NDArray[np.uint8]]]:
    """The frames `(h, w, 3)` of such a video; each thing goes a straight way of its own."""
    rng = np.random.default_rng(seed)
    place = camera.place.convert("RGB").resize(SIZE)
    n = int(seconds * RATE)
    for number, thing in enumerate(things):
        cut, mask = cut_out(thing, round(camera.width * SIZE[0]))
        room = np.subtract(SIZE, cut.size)
        begin, end = rng.uniform(0, 1, (2, 2)) * room
        for step in range(n):
            x, y = (begin + (end - begin) * step / n).astype(int).tolist()
            frame = place.copy()
            frame.paste(cut, (x, y), mask)
            frame = ImageEnhance.Brightness(frame).enhance(camera.light)
            frame = ImageEnhance.Color(frame).enhance(camera.colour)
            corners = np.array([x, y, x + cut.width, y + cut.height]) / [*SIZE, *SIZE]
            yield Moment((number * n + step) / RATE, number, Box(*corners.tolist())), np.asarray(frame)


def cut_out(thing: Image.Image, width: int) -> tuple[Image.Image, Image.Image]:
    """A photograph cut to an oval with a soft edge, `width` pixels wide: the cut, and its mask."""
    height = min(round(width * thing.height / thing.width), int(0.9 * SIZE[1]))
    mask = Image.new("L", (width, height))
    ImageDraw.Draw(mask).ellipse((2, 2, width - 3, height - 3), fill=255)
    return thing.convert("RGB").resize((width, height)), mask.filter(ImageFilter.GaussianBlur(2))


def write_video(
    path: Path, frames: Iterable[tuple[float, NDArray[np.uint8]]], *, rotation: int = 0, codec: str = "mpeg4"
) -> Path:
    """Write frames with the seconds each is shown at; `rotation` is noted for players, in degrees."""
    tick = Fraction(1, 1000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.pix_fmt, stream.bit_rate, stream.codec_context.time_base = "yuv420p", 4_000_000, tick
        if rotation:
            stream.set_display_rotation(rotation)
        for seconds, rgb in frames:
            if not stream.codec_context.is_open:
                stream.height, stream.width = rgb.shape[:2]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
            frame.pts, frame.time_base = round(seconds / tick), tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
