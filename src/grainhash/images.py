"""Bytes, a path, an array or a Pillow image in; upright RGB out, within limits on hostile input.

JPEG goes through libjpeg-turbo (simplejpeg), which can decode straight to a half, a quarter or an eighth;
every other format, and what simplejpeg refuses, goes through Pillow. Formats are chosen by their first bytes,
never by the file's name. Pillow's plugins are opened one by one rather than through `Image.open`: that one
warns about large pictures by a process-wide setting, where the limits here belong to the call.
"""

from __future__ import annotations

import importlib
import io
import math
import os
import stat
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from grainhash.errors import GrainhashError, InputError, PictureDamaged, PictureTooLarge, PictureUnreadable

Rgb = NDArray[np.uint8]
"""Pixels, `(height, width, 3)`, sRGB as the file has them."""

Source = bytes | bytearray | memoryview | str | os.PathLike[str] | NDArray[Any] | Image.Image
"""What `decode` takes."""

PICTURE_SUFFIXES = frozenset(
    f".{suffix}"
    for line in (
        "jpg jpeg jpe jfif mpo png apng gif webp avif heic heif hif",
        "tif tiff bmp jp2 j2k ppm pgm pbm pnm",
    )
    for suffix in line.split()
)
"""Suffixes, in lower case, that a walk through a folder considers."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one picture may cost before it is refused."""

    max_pixels: int = 64_000_000
    """Pixels in memory at once: after reduction for a baseline JPEG, all of them for anything else, and
    twice as many for WebP and JPEG 2000, whose decoders keep copies."""
    max_bytes: int = 512 * 1024**2
    """Size of the file."""
    max_header_pixels: int = 256_000_000
    """Pixels a JPEG may declare, however few of them are held: decoding still walks through all."""
    max_scanned_pixels: int = 2_000_000_000
    """Pixels of all scans of a progressive JPEG together: decoding walks through all of them for each scan.
    Ten scans are usual; a file of a few kilobytes can hold thousands."""
    max_side: int = 200_000
    """Pixels along a side: every row takes memory and time of its own, however short it is."""


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """An upright picture and what its file says about it."""

    rgb: Rgb
    """`(h, w, 3)` uint8, C-contiguous, after EXIF rotation, possibly reduced."""
    width: int
    """The picture's own width in pixels, after EXIF rotation and before reduction."""
    height: int
    taken: str | None = None
    """When, by EXIF, as ISO 8601 without a zone: `2024-05-01T12:00:00`."""
    camera: str | None = None
    """Maker and model by EXIF, such as `Canon EOS 5D`."""


def read_bytes(path: str | os.PathLike[str], limits: Limits = DEFAULT_LIMITS) -> bytes:
    """The content of a picture file.

    Raises:
        PictureUnreadable: missing, forbidden, not a regular file (a pipe is refused, not waited for), or an
            I/O error.
        PictureTooLarge: the file is larger than `limits.max_bytes`; nothing of it was read.
        PictureDamaged: the file is empty.
    """
    name = os.fspath(path)
    if "\0" in name:
        raise PictureUnreadable(name, "a path cannot hold a null character")
    try:
        with open(name, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise PictureUnreadable(name, f"is {_kind_of_file(status.st_mode)}, not a file")
            _check_bytes(status.st_size, name, limits)
            data = file.read(limits.max_bytes + 1)
    except OSError as error:
        raise PictureUnreadable(name, (error.strerror or "cannot be read").lower()) from None
    if not data:
        raise PictureDamaged(name, "the file is empty")
    _check_bytes(len(data), name, limits)
    return data


def decode(
    source: Source, *, min_side: int = 0, name: str | None = None, limits: Limits = DEFAULT_LIMITS
) -> Picture:
    """Decode a picture to upright RGB.

    Transparent pixels show white. The first frame stands for an animation. 16-bit channels are scaled to 8;
    32-bit greyscale is taken as 0..1 (floats), 0..255 or 0..65535, whichever holds its values, and otherwise
    stretched from its lowest value to its highest. The same source and `min_side` always give the same
    pixels.

    Args:
        source: the bytes of a file, its path, a Pillow image, or an array of shape `(h, w)` or
            `(h, w, 1|3|4)` with bool, uint8, uint16 or floats in 0..1; the fourth channel is alpha.
        min_side: above 0, the picture may come at a half, a quarter or an eighth of its size, as long as
            neither side falls below this; 0 keeps every pixel.
        name: what errors call the picture; the path or such as `<bytes>` by default.
        limits: how much the picture may cost.

    Raises:
        PictureUnreadable: the file cannot be read.
        PictureDamaged: truncated, empty, no picture in a known format, or an array that cannot be one.
        PictureTooLarge: more pixels or bytes than `limits` allows; found before decoding.
        InputError: `source` is none of the types above.
    """
    if isinstance(source, str | os.PathLike):
        name = name or os.fspath(source)
        source = read_bytes(source, limits)
    name = name or f"<{'bytes' if isinstance(source, bytearray | memoryview) else type(source).__name__}>"
    try:
        if isinstance(source, bytes | bytearray | memoryview):
            return _decode_bytes(bytes(source), min_side, name, limits)
        if isinstance(source, Image.Image):
            return _decode_pillow(source, min_side, name, limits)
        if isinstance(source, np.ndarray):
            return _decode_pillow(_image_of(source, name), min_side, name, limits)
    except GrainhashError:
        raise
    except (MemoryError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureTooLarge(name, f"decoding takes too much memory ({_one_line(error)})") from None
    except Exception as error:  # decoders raise whatever the bytes make them: OSError, struct.error, ...
        raise PictureDamaged(name, f"cannot be decoded: {_one_line(error)}") from None
    raise InputError(
        f"cannot read a picture from {type(source).__name__}; give bytes, a path, an array or a Pillow image"
    )


def fit(rgb: Rgb, side: int) -> Rgb:
    """`(h, w, 3)` shrunk, antialiased, until its longest side is at most `side` pixels; never enlarged."""
    if max(rgb.shape[:2]) <= side:
        return rgb
    image = Image.fromarray(rgb)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.asarray(image)


def encode_jpeg(rgb: Rgb, *, quality: int = 85) -> bytes:
    """`(h, w, 3)` as the bytes of a JPEG file, for thumbnails; `quality` is 1 to 100."""
    encoded: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(rgb), quality, "RGB", "420")
    return encoded


# --- JPEG ------------------------------------------------------------------------------------------------

_JPEG_START = b"\xff\xd8\xff"
_JPEG_END = b"\xff\xd9"
_JPEG_SCAN = 0xDA
_JPEG_SCAN_MARKER = b"\xff\xda"
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Start of frame, by coding: 0xC0 and 0xC1 sequential, 0xC2 progressive, and rare ones."""
_JPEG_BARE = frozenset({0x00, 0x01, *range(0xD0, 0xDA)})
"""Markers without a segment behind them."""


class _JpegHeader(NamedTuple):
    width: int
    height: int
    components: int
    streamed: bool
    """Whether it decodes row by row; otherwise all its coefficients are held, at full size."""
    exif: bytes


def _decode_jpeg(data: bytes, min_side: int, name: str, limits: Limits) -> Picture:
    header = _read_jpeg_header(data)
    width, height = _check_size((header.width, header.height), name, limits)
    if width * height > limits.max_header_pixels:
        raise _too_large(name, width, height, width * height, limits.max_header_pixels, "max_header_pixels")
    scale = _reduction(width, height, min_side)
    reduced = math.ceil(width / scale), math.ceil(height / scale)
    held = math.prod(reduced) if header.streamed else width * height
    _check_held(held, width, height, name, limits)
    scanned = width * height * (1 if header.streamed else data.count(_JPEG_SCAN_MARKER))
    if scanned > limits.max_scanned_pixels:
        raise _too_large(name, width, height, scanned, limits.max_scanned_pixels, "max_scanned_pixels")

    facts = _read_exif(header.exif)
    with _turn(held):
        rgb = None if header.components == 4 else _decode_dct(data, reduced, name)
        if rgb is None:
            image = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
            image.draft(None, (max(1, width // scale), max(1, height // scale)))
            image.load()
            rgb = _render(image)
    if facts.orientation >= 5:
        width, height = height, width
    return Picture(_upright(rgb, facts.orientation), width, height, facts.taken, facts.camera)


def _read_jpeg_header(data: bytes) -> _JpegHeader:
    """Walk the segments up to the first scan (ITU-T T.81, annex B), skipping stray bytes as libjpeg does."""
    at, frame_kind, frame, exif = 2, 0, b"", b""
    while (at := data.find(b"\xff", at)) >= 0 and at + 4 <= len(data):
        kind = data[at + 1]
        if kind == 0xFF:  # padding before a marker
            at += 1
            continue
        if kind in _JPEG_BARE:
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4])
        segment = data[at + 4 : at + 2 + length]
        if kind == _JPEG_SCAN and len(frame) >= 6 and segment:
            height, width, components = struct.unpack_from(">xHHB", frame)
            # Only one scan with all components in it can be decoded row by row.
            streamed = frame_kind in (0xC0, 0xC1) and segment[0] == components
            return _JpegHeader(width, height, components, streamed, exif)
        if kind in _JPEG_FRAMES:
            frame_kind, frame = kind, segment
        elif kind == 0xE1 and segment.startswith(b"Exif\0") and not exif:
            exif = segment
        at += 2 + max(length, 2)
    raise EOFError("truncated: the file ends within its header")


def _decode_dct(data: bytes, size: tuple[int, int], name: str) -> Rgb | None:
    """Decode by simplejpeg to `size`, the reduced width and height; `None` where Pillow should try.

    libjpeg goes on after most damage. What a picture loses its end to is refused here; the rest (stray bytes
    between segments, odd parameters) passes on to Pillow, which decodes it as browsers do.
    """
    width, height = size
    try:
        # The accurate transform: the fast ones save at most 8 % here and move pixels by 1 to 1.5 levels.
        rgb: Rgb = simplejpeg.decode_jpeg(data, "RGB", min_width=width, min_height=height)
    except ValueError as error:
        message = str(error).lower()
        if "premature end of jpeg file" in message and not data.endswith(_JPEG_END):
            # All rows may be there with only the end marker missing.
            return _decode_dct(data + _JPEG_END, size, name)
        if "premature end" in message:
            raise PictureDamaged(name, "truncated: the file ends before the picture does") from None
        return None
    return rgb


# --- Every other format ----------------------------------------------------------------------------------


def _gif_frame(data: bytes) -> tuple[int, int]:
    """Right and bottom edge of a GIF's first frame, which may exceed the size its header declares."""
    has_palette, palette_bits = data[10] & 0x80, (data[10] & 7) + 1
    at = 13 + (3 << palette_bits if has_palette else 0)
    while data[at] == 0x21:  # an extension: a label, then blocks that each start with their length
        at += 2
        while data[at]:
            at += 1 + data[at]
        at += 1
    if data[at] != 0x2C:
        raise SyntaxError("no frame where one should start")
    x, y, width, height = struct.unpack_from("<4H", data, at + 1)
    return x + width, y + height


def _webp_canvas(data: bytes) -> tuple[int, int]:
    """Width and height of a WebP picture, whose decoder allocates its canvas on being opened."""
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<2H", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _open_isobmff(file: io.BytesIO) -> Image.Image:
    """AVIF and HEIC: the same container, told apart by the brands in its first box."""
    head = file.read(256)
    file.seek(0)
    brands = head[8 : int.from_bytes(head[:4])]
    if b"avif" in brands or b"avis" in brands:
        return AvifImagePlugin.AvifImageFile(file)
    if not any(brand in brands for brand in (b"heic", b"heix", b"hevc", b"mif1", b"msf1")):
        raise SyntaxError("not a picture in a known format")
    try:
        plugin: Any = importlib.import_module("pillow_heif")
    except ImportError:
        raise SyntaxError("HEIC needs pillow-heif; run: pip install 'grainhash[heif]'") from None
    image: Image.Image = plugin.HeifImageFile(file)
    return image


class _Format(NamedTuple):
    magic: bytes
    offset: int
    media_type: str
    open: Callable[[io.BytesIO], Image.Image]
    early_size: Callable[[bytes], tuple[int, int]] | None = None
    """For a plugin that allocates, or warns, by the picture's size while it opens."""
    copies: int = 1
    """How many pictures' worth of memory decoding takes: measured, about 8 bytes a pixel each."""


_FORMATS = (
    _Format(b"\x89PNG\r\n\x1a\n", 0, "image/png", PngImagePlugin.PngImageFile),
    _Format(b"GIF87a", 0, "image/gif", GifImagePlugin.GifImageFile, _gif_frame),
    _Format(b"GIF89a", 0, "image/gif", GifImagePlugin.GifImageFile, _gif_frame),
    _Format(b"WEBPVP8", 8, "image/webp", WebPImagePlugin.WebPImageFile, _webp_canvas, copies=2),
    _Format(b"II*\0", 0, "image/tiff", TiffImagePlugin.TiffImageFile),
    _Format(b"MM\0*", 0, "image/tiff", TiffImagePlugin.TiffImageFile),
    _Format(b"II+\0", 0, "image/tiff", TiffImagePlugin.TiffImageFile),
    _Format(b"MM\0+", 0, "image/tiff", TiffImagePlugin.TiffImageFile),
    _Format(b"ftyp", 4, "image/heif", _open_isobmff),
    _Format(b"jP  \r\n\x87\n", 4, "image/jp2", Jpeg2KImagePlugin.Jpeg2KImageFile, copies=2),
    _Format(b"\xff\x4f\xff\x51", 0, "image/jp2", Jpeg2KImagePlugin.Jpeg2KImageFile, copies=2),
    _Format(b"BM", 0, "image/bmp", BmpImagePlugin.BmpImageFile),
    *(
        _Format(b"P%d" % kind, 0, "image/x-portable-anymap", PpmImagePlugin.PpmImageFile)
        for kind in range(1, 7)
    ),
)


def _format_of(data: bytes) -> _Format | None:
    """The format of anything but a JPEG, by its first bytes."""
    return next((form for form in _FORMATS if data.startswith(form.magic, form.offset)), None)


def media_type(data: bytes) -> str:
    """What kind of picture bytes are, such as `image/jpeg`, by how they begin: never by what anybody says."""
    if data.startswith(_JPEG_START):
        return "image/jpeg"
    form = _format_of(data)
    if form is None:
        return "application/octet-stream"
    return (
        "image/avif" if form.open is _open_isobmff and data[8:12] in (b"avif", b"avis") else form.media_type
    )


def _decode_bytes(data: bytes, min_side: int, name: str, limits: Limits) -> Picture:
    if not data:
        raise PictureDamaged(name, "there are no bytes")
    _check_bytes(len(data), name, limits)
    if data.startswith(_JPEG_START):
        return _decode_jpeg(data, min_side, name, limits)
    form = _format_of(data)
    if form is None:
        raise PictureDamaged(name, "not a picture in a known format")
    if form.early_size:
        width, height = form.early_size(data)
        _check_held(form.copies * width * height, width, height, name, limits)
    image = form.open(io.BytesIO(data))
    picture = _decode_pillow(image, min_side, name, limits, form.copies)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        facts = _read_exif(data)  # a TIFF has the layout of an EXIF block
        return replace(picture, taken=facts.taken, camera=facts.camera)
    return picture


def _decode_pillow(image: Image.Image, min_side: int, name: str, limits: Limits, copies: int = 1) -> Picture:
    width, height = _check_size(image.size, name, limits)
    held = copies * max(width * height, _tile_pixels(image))
    _check_held(held, width, height, name, limits)
    with _turn(held):
        image.load()
        width, height = image.size  # Pillow turns a TIFF upright as it loads
        rgb = _render(image, _reduction(width, height, min_side))
    facts = _read_exif(_exif_block(image))
    if facts.orientation >= 5:
        width, height = height, width
    return Picture(_upright(rgb, facts.orientation), width, height, facts.taken, facts.camera)


def _tile_pixels(image: Image.Image) -> int:
    """Pixels of one tile of a TIFF, which is decoded whole even where it exceeds the picture; else 0."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 0
    tags = image.tag_v2
    return int(tags.get(TiffImagePlugin.TILEWIDTH, 0)) * int(tags.get(TiffImagePlugin.TILELENGTH, 0))


def _image_of(array: NDArray[Any], name: str) -> Image.Image:
    """An array of pixels as a Pillow image of 8-bit channels."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)) or not array.size:
        raise PictureDamaged(name, f"shape {array.shape} is not (h, w) or (h, w, 1|3|4) with h, w >= 1")
    if array.dtype == np.bool_:
        array = array * np.uint8(255)
    elif array.dtype == np.uint16:
        array = np.round(array / 257)
    elif array.dtype.kind == "f":
        if not (array.min() >= 0 and array.max() <= 1):  # false for NaN, too
            raise PictureDamaged(name, "floats must be finite and lie in 0..1; divide by 255 or use uint8")
        array = np.round(array * 255)
    elif array.dtype != np.uint8:
        raise PictureDamaged(name, f"dtype {array.dtype} is not bool, uint8, uint16 or a float")
    return Image.fromarray(np.ascontiguousarray(array, np.uint8))


# --- Pixels ----------------------------------------------------------------------------------------------

_STRIP_PIXELS = 4_000_000


def _render(image: Image.Image, scale: int = 1) -> Rgb:
    """A loaded Pillow image of any mode as RGB, each side divided by `scale`, rounded up.

    Goes by strips, so that the copies that conversion takes stay small beside the picture itself.
    """
    width, height = image.size
    rgb = np.empty((math.ceil(height / scale), math.ceil(width / scale), 3), np.uint8)
    to_rgb = _converter(image)
    for top, bottom in _strips(width, height):
        whole = (top, bottom) == (0, height)
        strip = to_rgb(image if whole else image.crop((0, top, width, bottom)))
        if scale > 1:
            strip = strip.reduce(scale)
        rgb[top // scale : math.ceil(bottom / scale)] = np.asarray(strip)
    return rgb


def _strips(width: int, height: int) -> Iterator[tuple[int, int]]:
    """Top and bottom rows of strips whose height every scale divides."""
    rows = max(1, _STRIP_PIXELS // (8 * width)) * 8
    for top in range(0, height, rows):
        yield top, min(height, top + rows)


def _converter(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """What turns strips of this image into RGB."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        low, high = _grey_range(image)
        return lambda strip: _scale_grey(strip, low, high)
    return _over_white if image.has_transparency_data else lambda strip: strip.convert("RGB")


def _over_white(strip: Image.Image) -> Image.Image:
    strip = strip.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip).convert("RGB")


def _grey_range(image: Image.Image) -> tuple[float, float]:
    """The values of a 16 or 32-bit greyscale image that become black and white."""
    if image.mode.startswith("I;16"):
        return 0.0, 65535.0
    low, high = (float(value) for value in image.getextrema())  # type: ignore[arg-type]
    if not math.isfinite(low) or not math.isfinite(high):
        raise ValueError("holds values that are not finite")
    for white in (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0):
        if low >= 0 and high <= white:
            return 0.0, white
    return low, max(high, low + 1)


def _scale_grey(strip: Image.Image, low: float, high: float) -> Image.Image:
    values = np.asarray(strip, np.float64)
    if not np.isfinite(values).all():
        raise ValueError("holds values that are not finite")
    grey = np.round((values - low) * (255 / (high - low))).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


_UPRIGHT: dict[int, Callable[[Rgb], Rgb]] = {
    2: lambda rgb: rgb[:, ::-1],
    3: lambda rgb: rgb[::-1, ::-1],
    4: lambda rgb: rgb[::-1],
    5: lambda rgb: rgb.transpose(1, 0, 2),
    6: lambda rgb: rgb[::-1].transpose(1, 0, 2),
    7: lambda rgb: rgb[::-1, ::-1].transpose(1, 0, 2),
    8: lambda rgb: rgb[:, ::-1].transpose(1, 0, 2),
}
"""How to show pixels stored with each EXIF orientation; 1 is upright already."""


def _upright(rgb: Rgb, orientation: int) -> Rgb:
    turn = _UPRIGHT.get(orientation)
    return np.ascontiguousarray(turn(rgb) if turn else rgb)


def _reduction(width: int, height: int, min_side: int) -> int:
    """By how much to divide the sides so that both stay at `min_side` or above.

    Only powers of two: libjpeg-turbo has SIMD code for them, and its other factors (3/8, 5/8, 3/4, 7/8) take
    longer than the next power above them.
    """
    for scale in (8, 4, 2):
        if 0 < min_side <= math.ceil(min(width, height) / scale):
            return scale
    return 1


# --- EXIF ------------------------------------------------------------------------------------------------

_MAKE, _MODEL, _ORIENTATION, _DATE_TIME, _EXIF_IFD, _TAKEN = 0x010F, 0x0110, 0x0112, 0x0132, 0x8769, 0x9003
_ASCII, _SHORT, _LONG, _IFD = 2, 3, 4, 13


class _Facts(NamedTuple):
    orientation: int
    taken: str | None
    camera: str | None


def _read_exif(block: bytes) -> _Facts:
    """What a picture's EXIF block says, as far as it can be read.

    Own code because Pillow's reader warns about damaged blocks, and warnings cannot be silenced for one
    thread alone; and because it is on the path of every JPEG.
    """
    tiff = block.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return _Facts(1, None, None)
    tags = _read_ifd(tiff, order, struct.unpack_from(order + "I", tiff, 4)[0])
    sub_ifd = tags.get(_EXIF_IFD)
    if isinstance(sub_ifd, int):
        tags = _read_ifd(tiff, order, sub_ifd) | tags
    orientation = tags.get(_ORIENTATION)
    return _Facts(
        orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1,
        _iso_date(tags.get(_TAKEN)) or _iso_date(tags.get(_DATE_TIME)),
        _camera(tags.get(_MAKE), tags.get(_MODEL)),
    )


def _read_ifd(tiff: bytes, order: str, offset: int) -> dict[int, str | int]:
    """Text and single integers of one TIFF directory (TIFF 6.0, section 2), keyed by tag."""
    (count,) = struct.unpack_from(order + "H", tiff, offset) if offset + 2 <= len(tiff) else (0,)
    entries = tiff[offset + 2 : offset + 2 + 12 * count]
    found: dict[int, str | int] = {}
    for tag, kind, length, value in struct.iter_unpack(order + "HHI4s", entries[: len(entries) // 12 * 12]):
        if kind == _SHORT and length == 1:
            found[tag] = struct.unpack_from(order + "H", value)[0]
        elif kind in (_LONG, _IFD) and length == 1:
            found[tag] = struct.unpack(order + "I", value)[0]
        elif kind == _ASCII and length <= 256:
            start = struct.unpack(order + "I", value)[0]
            text = value[:length] if length <= 4 else tiff[start : start + length]
            found[tag] = text.decode("utf-8", "replace").split("\0")[0].strip()
    return found


def _iso_date(text: str | int | None) -> str | None:
    try:
        return datetime.strptime(str(text), "%Y:%m:%d %H:%M:%S").isoformat()
    except ValueError:
        return None


def _camera(make: str | int | None, model: str | int | None) -> str | None:
    """`Canon` and `Canon EOS 5D` make `Canon EOS 5D`; `NIKON CORPORATION` and `NIKON D70`, `NIKON D70`."""
    makers, models = (_printable(text).split() if isinstance(text, str) else [] for text in (make, model))
    doubled = makers and models and makers[0].casefold() == models[0].casefold()
    return " ".join(models if doubled else makers + models) or None


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def _exif_block(image: Image.Image) -> bytes:
    """The EXIF block of a loaded image; empty where it has none."""
    block = image.info.get("exif")
    if isinstance(block, bytes):
        return block
    exif = image.getexif()  # tags that somebody set by hand, or that came as XMP
    return exif.tobytes() if exif else b""


# --- Limits ----------------------------------------------------------------------------------------------

_LARGE_PIXELS = 16_000_000
_large = threading.Lock()


def _turn(held: int) -> threading.Lock | nullcontext[None]:
    """Large pictures decode one at a time, so that a pool of threads stays within the memory of one."""
    return _large if held > _LARGE_PIXELS else nullcontext()


def _check_size(size: tuple[int, int], name: str, limits: Limits) -> tuple[int, int]:
    if min(size) < 1:
        raise ValueError("has no pixels")
    if max(size) > limits.max_side:
        raise PictureTooLarge(
            name,
            f"{size[0]} x {size[1]} is over the limit of {limits.max_side:,} pixels along a side; "
            "make it smaller, or raise Limits.max_side",
        )
    return size


def _check_held(held: int, width: int, height: int, name: str, limits: Limits) -> None:
    if held > limits.max_pixels:
        raise _too_large(name, width, height, held, limits.max_pixels, "max_pixels")


def _too_large(name: str, width: int, height: int, pixels: int, limit: int, field: str) -> PictureTooLarge:
    return PictureTooLarge(
        name,
        f"{width} x {height} takes {pixels / 1e6:.1f} megapixels, over the limit of {limit / 1e6:g}; "
        f"make it smaller, or raise Limits.{field}",
    )


def _check_bytes(size: int, name: str, limits: Limits) -> None:
    if size > limits.max_bytes:
        raise PictureTooLarge(
            name,
            f"{size / 1024**2:.1f} MiB, over the limit of {limits.max_bytes / 1024**2:g}; "
            "make it smaller, or raise Limits.max_bytes",
        )


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting: to read a pipe blocks until somebody writes to it, unless asked not to."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _kind_of_file(mode: int) -> str:
    return "a pipe" if stat.S_ISFIFO(mode) else "a device or socket"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
