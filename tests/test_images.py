from __future__ import annotations

import importlib.util
import io
import os
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import skimage.data
import sklearn.datasets
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageSequence

from grainhash import images
from grainhash.errors import (
    InputError,
    PictureDamaged,
    PictureError,
    PictureTooLarge,
    PictureUnreadable,
)
from grainhash.images import Limits, decode, encode_jpeg, fit, read_bytes

CHELSEA = skimage.data.chelsea()  # (300, 451, 3)
FLOWER = Path(sklearn.datasets.__file__).parent / "images" / "flower.jpg"


def saved(image: Image.Image | np.ndarray, form: str, **options: object) -> bytes:
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def exif(**tags: object) -> Image.Exif:
    block = Image.Exif()
    numbers = {"make": 0x10F, "model": 0x110, "orientation": 0x112, "date": 0x132}
    for name, value in tags.items():
        if name == "taken":
            block.get_ifd(0x8769)[0x9003] = value
        else:
            block[numbers[name]] = value
    return block


def difference(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    return float(np.abs(a.astype(float) - b).mean())


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def resized_jpeg(data: bytes, width: int, height: int) -> bytes:
    """The same JPEG with another size in its frame header."""
    at = next(data.index(marker) for marker in (b"\xff\xc0\x00\x11", b"\xff\xc2\x00\x11") if marker in data)
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


JPEG = saved(CHELSEA, "JPEG", quality=90)


# --- Sources ---------------------------------------------------------------------------------------------


def test_all_sources_give_the_same_picture(tmp_path: Path):
    png = saved(CHELSEA, "PNG")
    path = tmp_path / "chelsea.png"
    path.write_bytes(png)
    sources = [png, bytearray(png), memoryview(png), path, str(path), CHELSEA, Image.fromarray(CHELSEA)]
    for source in sources:
        picture = decode(source)
        np.testing.assert_array_equal(picture.rgb, CHELSEA)
        assert picture.rgb.dtype == np.uint8
        assert picture.rgb.flags.c_contiguous
        assert (picture.width, picture.height) == (451, 300)
        assert (picture.taken, picture.camera) == (None, None)


def test_a_real_jpeg_file_decodes_as_pillow_does():
    with Image.open(FLOWER) as image:
        expected = np.asarray(image.convert("RGB"))
    assert difference(decode(FLOWER).rgb, expected) < 0.5


def test_the_content_decides_not_the_suffix(tmp_path: Path):
    renamed = tmp_path / "really_a_png.jpg"
    renamed.write_bytes(saved(CHELSEA, "PNG"))
    np.testing.assert_array_equal(decode(renamed).rgb, CHELSEA)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (CHELSEA[:, :, 0], CHELSEA[:, :, [0, 0, 0]]),
        (CHELSEA[:, :, :1], CHELSEA[:, :, [0, 0, 0]]),
        (CHELSEA[::2, ::-3], CHELSEA[::2, ::-3]),
        (CHELSEA.astype(np.uint16) * 257, CHELSEA),
        (CHELSEA / np.float32(255), CHELSEA),
        (CHELSEA[:, :, 0] > 100, np.repeat((CHELSEA[:, :, :1] > 100) * 255, 3, 2)),
        (np.dstack([CHELSEA, np.full((300, 451), 0, np.uint8)]), np.full_like(CHELSEA, 255)),
    ],
    ids=["grey", "one channel", "strided", "uint16", "float", "bool", "transparent"],
)
def test_arrays(array: np.ndarray, expected: np.ndarray):
    np.testing.assert_array_equal(decode(array).rgb, expected)


@pytest.mark.parametrize(
    "array",
    [
        np.full((4, 4), np.nan),
        np.full((4, 4), 2.0),
        np.full((4, 4), -0.1),
        np.zeros((4, 4), np.int64),
        np.zeros((4, 4), complex),
        np.zeros((4, 4), object),
        np.zeros((0, 4), np.uint8),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_that_are_no_pictures(array: np.ndarray):
    with pytest.raises(PictureDamaged, match="<ndarray>") as caught:
        decode(array)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", [None, 3, ["a.jpg"], io.BytesIO(JPEG)])
def test_sources_of_other_types(source: object):
    with pytest.raises(InputError, match="give bytes, a path"):
        decode(source)  # type: ignore[arg-type]


def test_the_callers_array_is_not_shared():
    array = CHELSEA.copy()
    picture = decode(array)
    array[:] = 0
    np.testing.assert_array_equal(picture.rgb, CHELSEA)


# --- Reading files ---------------------------------------------------------------------------------------


def test_read_bytes(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"abc")
    assert read_bytes(tmp_path / "a") == b"abc"


def test_files_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(PictureUnreadable, match=r"nowhere\.jpg: no such file"):
        read_bytes(tmp_path / "nowhere.jpg")
    with pytest.raises(PictureUnreadable, match="is a directory"):
        read_bytes(tmp_path)
    with pytest.raises(PictureUnreadable, match="null"):
        read_bytes("a\0b")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(PictureDamaged, match="empty"):
        decode(tmp_path / "empty.jpg")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(PictureUnreadable, match="is a pipe"):
        read_bytes(tmp_path / "pipe.jpg")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="needs a user whom permissions bind (not root)"
)
def test_a_forbidden_file(tmp_path: Path):
    path = tmp_path / "secret.jpg"
    path.write_bytes(JPEG)
    path.chmod(0)
    with pytest.raises(PictureUnreadable, match="permission denied"):
        read_bytes(path)


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path):
    path = tmp_path / "sparse.jpg"
    with path.open("wb") as file:
        file.truncate(10 * 1024**3)
    with pytest.raises(PictureTooLarge, match=r"10240\.0 MiB, over the limit of 512; .*Limits\.max_bytes"):
        decode(path)
    with pytest.raises(PictureTooLarge, match="max_bytes"):
        decode(JPEG, limits=Limits(max_bytes=1000))


def test_a_jpeg_of_thousands_of_scans_is_refused_before_it_is_decoded():
    """Each takes a walk through all pixels, and a hundred bytes."""
    data = saved(Image.fromarray(CHELSEA).convert("L"), "JPEG", progressive=True)
    assert decode(data).rgb.shape == CHELSEA.shape
    last = data.rindex(b"\xff\xda")
    many = data[:last] + (data[last:-2] * 15_000) + data[-2:]
    with pytest.raises(PictureTooLarge, match=r"over the limit of 2000; .*Limits\.max_scanned_pixels"):
        decode(many)
    assert decode(data[:last] + data[last:-2] * 20 + data[-2:]).rgb.shape == CHELSEA.shape


def test_a_picture_of_millions_of_rows_is_refused_before_it_is_decoded():
    """Each takes memory and time, however short it is."""
    data = png_header(1, 60_000_000)
    for picture in (data, saved(Image.new("L", (1, 200_001)), "PNG"), Image.new("L", (200_001, 1))):
        with pytest.raises(PictureTooLarge, match=r"200,000 pixels along a side; .*Limits\.max_side"):
            decode(picture)
    assert decode(saved(Image.new("L", (1, 200_000)), "PNG")).rgb.shape == (200_000, 1, 3)


# --- Modes and formats -----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["PNG", "BMP", "PPM", "TIFF"])
def test_lossless_formats(form: str):
    np.testing.assert_array_equal(decode(saved(CHELSEA, form)).rgb, CHELSEA)


@pytest.mark.parametrize("form", ["WEBP", "AVIF", "JPEG2000"])
def test_lossy_formats(form: str):
    options = {} if form == "JPEG2000" else {"quality": 95}
    try:
        data = saved(CHELSEA, form, **options)
    except (KeyError, OSError):
        pytest.skip(f"this Pillow cannot write {form}")
    assert difference(decode(data).rgb, CHELSEA) < 3


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_modes(mode: str):
    image = Image.fromarray(CHELSEA).convert(mode)
    expected = np.asarray(image.convert("RGB"))
    assert difference(decode(saved(image, "JPEG", quality=95)).rgb, expected) < 3


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_opaque_png_modes(mode: str):
    image = Image.fromarray(CHELSEA).convert(mode)
    np.testing.assert_array_equal(decode(saved(image, "PNG")).rgb, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB"])
def test_pillow_images_of_every_mode_and_their_pixels_stay(mode: str):
    image = Image.fromarray(CHELSEA)
    image = image.convert("P").convert("PA") if mode == "PA" else _in_mode(image, mode)
    before = image.tobytes()
    np.testing.assert_array_equal(decode(image).rgb, np.asarray(image.convert("RGB")))
    assert image.tobytes() == before
    assert image.mode == mode


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    return Image.new("LAB", (8, 8), (128, 140, 120)) if mode == "LAB" else image.convert(mode)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_alpha_is_composited_over_white(mode: str, form: str):
    grey = Image.new("LA", (3, 1), (0, 255))
    for x, alpha in enumerate((0, 128, 255)):
        grey.putpixel((x, 0), (0, alpha))
    rgb = decode(saved(grey.convert(mode), form)).rgb
    assert rgb[0].tolist() == [[255] * 3, [127] * 3, [0] * 3]


def test_transparent_palettes_show_white():
    image = Image.new("P", (2, 1))
    image.putpalette([200, 0, 0, 0, 0, 100])
    image.putpixel((1, 0), 1)
    for form in ("PNG", "GIF"):
        assert decode(saved(image, form, transparency=0)).rgb[0].tolist() == [[255] * 3, [0, 0, 100]]
    half = saved(image, "PNG", transparency=bytes([51, 255]))
    assert decode(half).rgb[0].tolist() == [[244, 204, 204], [0, 0, 100]]


def test_16_bit_grey_is_scaled_and_not_clipped():
    values = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    for form in ("PNG", "TIFF"):
        assert decode(saved(values, form)).rgb[0, :, 0].tolist() == [0, 1, 1, 128, 255]
    big_endian = Image.frombytes("I;16B", (5, 1), values.astype(">u2").tobytes())
    assert decode(big_endian).rgb[0, :, 2].tolist() == [0, 1, 1, 128, 255]


def test_16_bit_colour():
    raw = (CHELSEA.astype(">u2") * 257).tobytes()
    ppm = b"P6 451 300 65535\n" + raw
    assert difference(decode(ppm).rgb, CHELSEA) < 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255]),
        (np.array([[0, 100, 255]], np.float32), [0, 100, 255]),
        (np.array([[0, 257, 65535]], np.int32), [0, 1, 255]),
        (np.array([[1, 0, 1]], np.int32), [1, 0, 1]),
        (np.array([[-100, 20, 100]], np.int32), [0, 153, 255]),
        (np.array([[-7, -7, -7]], np.float32), [0, 0, 0]),
    ],
)
def test_32_bit_grey(values: np.ndarray, expected: list[int]):
    assert decode(saved(values, "TIFF")).rgb[0, :, 0].tolist() == expected


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_32_bit_grey_that_is_not_finite(bad: float):
    for values in ([bad, 0, 1], [0, bad, 1]):
        with pytest.raises(PictureDamaged, match="not finite"):
            decode(saved(np.array([values], np.float32), "TIFF"))


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_many(form: str):
    first, second = (Image.new("RGB", (20, 10), colour) for colour in ((250, 0, 0), (0, 0, 250)))
    options = {"lossless": True} if form == "WEBP" else {}
    data = saved(first, form, save_all=True, append_images=[second], **options)
    with Image.open(io.BytesIO(data)) as image:
        assert sum(1 for _ in ImageSequence.Iterator(image)) == 2
    rgb = decode(data).rgb
    assert rgb.shape == (10, 20, 3)
    assert (rgb == (250, 0, 0)).all()


def test_mpo():
    data = saved(Image.fromarray(CHELSEA), "MPO", save_all=True, append_images=[Image.new("RGB", (9, 9))])
    assert difference(decode(data).rgb, CHELSEA) < 6


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("size", [(1, 16000), (16000, 1), (1, 1)])
def test_very_long_pictures(form: str, size: tuple[int, int]):
    data = saved(Image.new("RGB", size, (10, 200, 30)), form)
    picture = decode(data, min_side=224)
    assert (picture.width, picture.height) == size
    assert picture.rgb.shape == (size[1], size[0], 3)
    assert difference(picture.rgb, np.full_like(picture.rgb, (10, 200, 30))) < 3


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64


@pytest.mark.skipif(importlib.util.find_spec("pillow_heif") is not None, reason="pillow-heif is installed")
def test_heic_names_the_extra_that_reads_it():
    with pytest.raises(PictureDamaged, match=r"pip install 'grainhash\[heif\]'"):
        decode(HEIC)


@pytest.mark.skipif(importlib.util.find_spec("pillow_heif") is None, reason="needs pillow-heif")
def test_heic():
    import pillow_heif

    file = io.BytesIO()
    block = exif(orientation=6, model="iPhone").tobytes()
    pillow_heif.from_pillow(Image.fromarray(CHELSEA)).save(file, quality=90, exif=block)
    picture = decode(file.getvalue())
    assert (picture.width, picture.height, picture.camera) == (300, 451, "iPhone")
    assert difference(picture.rgb, np.rot90(CHELSEA, -1)) < 4


# --- Orientation and EXIF --------------------------------------------------------------------------------

AS_STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}
"""How a camera stores an upright scene under each orientation."""


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("min_side", [0, 70])
def test_every_orientation_comes_upright(orientation: int, form: str, min_side: int):
    stored = np.ascontiguousarray(AS_STORED[orientation](CHELSEA))
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(form, {})
    picture = decode(saved(stored, form, exif=exif(orientation=orientation), **options), min_side=min_side)
    assert (picture.width, picture.height) == (451, 300)
    scale = 4 if min_side else 1
    expected = np.asarray(Image.fromarray(CHELSEA).reduce(scale))
    assert difference(picture.rgb, expected) < 4
    assert picture.rgb.flags.c_contiguous


def test_pillows_own_transpose_agrees():
    data = saved(CHELSEA, "PNG", exif=exif(orientation=6))
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(decode(image).rgb, np.rot90(CHELSEA, -1))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_exif_facts(form: str):
    block = exif(
        make="Canon\0", model="Canon EOS 5D", date="2025:01:01 00:00:00", taken="2024:05:01 12:00:00"
    )
    picture = decode(saved(CHELSEA, form, exif=block))
    assert picture.taken == "2024-05-01T12:00:00"
    assert picture.camera == "Canon EOS 5D"


def test_exif_of_a_tiff():
    picture = decode(saved(CHELSEA, "TIFF", exif=exif(make="Leica", model="M10", date="2024:05:01 12:00:00")))
    assert (picture.taken, picture.camera) == ("2024-05-01T12:00:00", "Leica M10")


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("NIKON CORPORATION", "NIKON D70", "NIKON D70"),
        ("Apple", "iPhone 15", "Apple iPhone 15"),
        ("  SONY \0\0", "\0", "SONY"),
        ("", "X100\nV\x07", "X100 V"),
        ("", "", None),
    ],
)
def test_camera_names(make: str, model: str, camera: str | None):
    assert decode(saved(CHELSEA, "JPEG", exif=exif(make=make, model=model))).camera == camera


@pytest.mark.parametrize(
    ("taken", "date", "expected"),
    [
        ("0000:00:00 00:00:00", "2024:05:01 12:00:00", "2024-05-01T12:00:00"),
        ("", "2024:02:30 12:00:00", None),
        ("yesterday", "", None),
    ],
)
def test_malformed_dates(taken: str, date: str, expected: str | None):
    assert decode(saved(CHELSEA, "JPEG", exif=exif(taken=taken, date=date))).taken == expected


@given(block=st.binary(max_size=200), order=st.sampled_from([b"II*\0", b"MM\0*"]))
@settings(max_examples=100, deadline=None)
def test_a_damaged_exif_block_costs_only_its_facts(block: bytes, order: bytes):
    segment = b"Exif\0\0" + order + block
    data = JPEG[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + JPEG[2:]
    assert sorted(decode(data).rgb.shape) == [3, 300, 451]


# --- Reduced decoding ------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    ("min_side", "shape"),
    [
        (0, (300, 451)),
        (300, (300, 451)),
        (151, (300, 451)),
        (150, (150, 226)),
        (75, (75, 113)),
        (9, (38, 57)),
    ],
)
def test_the_smallest_scale_that_keeps_min_side(form: str, min_side: int, shape: tuple[int, int]):
    data = saved(CHELSEA, form)
    picture = decode(data, min_side=min_side)
    assert picture.rgb.shape[:2] == shape
    assert (picture.width, picture.height) == (451, 300)
    np.testing.assert_array_equal(picture.rgb, decode(data, min_side=min_side).rgb)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_reduced_pixels_are_those_of_the_whole(mode: str, progressive: bool):
    image = Image.fromarray(CHELSEA).convert(mode)
    picture = decode(saved(image, "JPEG", quality=95, progressive=progressive), min_side=75)
    assert difference(picture.rgb, np.asarray(image.convert("RGB").reduce(4))) < 3


@given(width=st.integers(1, 70), height=st.integers(1, 70), min_side=st.integers(0, 80))
@settings(max_examples=50, deadline=None)
def test_reduction_never_falls_below_min_side(width: int, height: int, min_side: int):
    image = Image.new("RGB", (width, height), (0, 100, 200))
    shapes = {decode(saved(image, form), min_side=min_side).rgb.shape for form in ("JPEG", "BMP")}
    assert len(shapes) == 1, "formats reduce alike"
    (shape,) = shapes
    assert min(shape[:2]) >= min(min_side, width, height)
    assert min_side > 0 or shape == (height, width, 3)


def test_strips_join_without_a_seam(monkeypatch: pytest.MonkeyPatch):
    data = saved(np.dstack([CHELSEA, CHELSEA[:, :, 0]]), "PNG")
    for min_side in (0, 30):
        whole = decode(data, min_side=min_side).rgb
        monkeypatch.setattr(images, "_STRIP_PIXELS", 451 * 16)
        np.testing.assert_array_equal(decode(data, min_side=min_side).rgb, whole)
        monkeypatch.undo()


# --- Damage ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello, world",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"RIFF\0\0\0\0WEBPVP8 ",
        b"BM",
        b"II*\0",
        b"MM\0*\xff\xff\xff\xff",
        b"P6",
        b"PK\x03\x04" + b"\0" * 100,
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<!doctype html>",
        b"%PDF-1.7",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"\0\0\0\x18ftypisom\0\0\0\0mp42isom",
        HEIC[:20],
        b"\0" * 1000,
    ],
)
def test_bytes_that_are_no_picture(data: bytes):
    with pytest.raises(PictureDamaged) as caught:
        decode(data, name="odd.jpg")
    assert str(caught.value).startswith("odd.jpg: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "AVIF", "JPEG2000"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_truncated_files(form: str, share: float):
    data = saved(CHELSEA, form)
    with pytest.raises(PictureDamaged):
        decode(data[: int(len(data) * share)])


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("end", [b"", b"\xff\xd9"])
def test_half_a_jpeg_is_truncated_even_with_an_end_marker(progressive: bool, end: bytes):
    data = saved(CHELSEA, "JPEG", progressive=progressive)
    with pytest.raises(PictureDamaged, match="truncated"):
        decode(data[: len(data) // 2] + end)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data + b"appended by a phone" * 50,
        lambda data: data[:-2],
        lambda data: data[:-2] + b"stray" + data[-2:],
        lambda data: data[:20] + b"stray" + data[20:],
    ],
    ids=["trailing bytes", "no end marker", "stray bytes before the end", "stray bytes between segments"],
)
def test_harmless_damage_still_decodes(damage: Callable[[bytes], bytes]):
    assert JPEG[20:22] == b"\xff\xdb", "a segment starts where the stray bytes go"
    np.testing.assert_array_equal(decode(damage(JPEG)).rgb, decode(JPEG).rgb)


SMALL = Image.fromarray(CHELSEA).resize((48, 32))
SEEDS = [
    saved(SMALL, "JPEG", exif=exif(orientation=6, model="M", taken="2024:05:01 12:00:00")),
    saved(SMALL, "JPEG", progressive=True),
    saved(SMALL.convert("CMYK"), "JPEG"),
    saved(SMALL, "PNG", exif=exif(orientation=8)),
    saved(SMALL.convert("P"), "PNG", transparency=3),
    saved(SMALL, "GIF", save_all=True, append_images=[SMALL.rotate(90)]),
    saved(SMALL, "WEBP"),
    saved(SMALL.convert("RGBA"), "WEBP", save_all=True, append_images=[SMALL.rotate(90)]),
    saved(SMALL, "TIFF", exif=exif(orientation=5)),
    saved(SMALL, "TIFF", compression="tiff_lzw"),
    saved(SMALL, "TIFF", compression="tiff_adobe_deflate"),
    saved(SMALL.convert("1"), "TIFF", compression="group4"),
    saved(SMALL, "BMP"),
    saved(SMALL, "PPM"),
    saved(SMALL, "JPEG2000"),
]


def error_of(data: bytes, min_side: int = 0) -> str:
    """What is wrong with the picture, if anything; any error of another kind fails the test."""
    try:
        picture = decode(data, min_side=min_side, limits=Limits(max_pixels=1_000_000))
    except PictureError as error:
        return str(error)
    assert picture.rgb.dtype == np.uint8
    assert picture.rgb.shape[2:] == (3,)
    return ""


@given(data=st.data(), seed=st.sampled_from(SEEDS), min_side=st.sampled_from([0, 8]))
@settings(max_examples=600, deadline=None)
def test_any_bytes_give_a_picture_or_a_picture_error(data: st.DataObject, seed: bytes, min_side: int):
    mutated = bytearray(seed)
    # Headers are where a byte matters most.
    places = st.one_of(st.integers(0, min(64, len(seed) - 1)), st.integers(0, len(seed) - 1))
    for at, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=6)):
        mutated[at] = value
    end = data.draw(st.one_of(st.just(len(seed)), st.integers(0, len(seed))))
    assert "\n" not in error_of(bytes(mutated[:end]), min_side)


@given(junk=st.binary(max_size=300), start=st.sampled_from([seed[:n] for seed in SEEDS for n in (2, 12, 30)]))
@settings(max_examples=200, deadline=None)
def test_junk_behind_a_real_beginning(junk: bytes, start: bytes):
    assert "\n" not in error_of(start + junk)


# --- Bombs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(60000, 60000), (10000, 10000), (2**31 - 1, 2**31 - 1), (12000, 10000)])
def test_a_png_that_declares_too_much(size: tuple[int, int]):
    with pytest.raises(PictureTooLarge) as caught:
        decode(png_header(*size))
    message = str(caught.value)
    assert f"{size[0]} x {size[1]}" in message
    assert "over the limit of" in message
    assert "raise Limits.max_" in message


def test_a_real_picture_of_100_megapixels_in_a_few_bytes():
    data = saved(Image.new("1", (10000, 10000)), "PNG")
    assert len(data) < 50_000
    with pytest.raises(PictureTooLarge, match=r"10000 x 10000 takes 100\.0 megapixels"):
        decode(data)
    picture = decode(data, min_side=224, limits=Limits(max_pixels=100_000_000))
    assert (picture.width, picture.rgb.shape) == (10000, (1250, 1250, 3))


def test_jpegs_count_what_they_hold():
    limits = Limits(max_pixels=CHELSEA[:, :, 0].size // 4)
    assert decode(JPEG, min_side=75, limits=limits).rgb.shape == (75, 113, 3)
    with pytest.raises(PictureTooLarge, match="max_pixels"):
        decode(JPEG, limits=limits)
    with pytest.raises(PictureTooLarge, match="max_pixels"):
        decode(saved(CHELSEA, "JPEG", progressive=True), min_side=75, limits=limits)
    with pytest.raises(PictureTooLarge, match="max_header_pixels"):
        decode(resized_jpeg(JPEG, 65000, 65000), min_side=75)


def test_a_sequential_jpeg_in_several_scans_counts_in_full():
    # The first scan says that it holds one component of three, which makes libjpeg keep all coefficients.
    at = JPEG.index(b"\xff\xda")
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    data = JPEG[:at] + scan + JPEG[at + 14 :]
    with pytest.raises(PictureTooLarge, match="max_pixels"):
        decode(data, min_side=75, limits=Limits(max_pixels=CHELSEA[:, :, 0].size // 4))


@pytest.mark.parametrize("form", ["GIF", "WEBP", "TIFF", "BMP", "JPEG2000"])
def test_other_formats_are_measured_before_decoding(form: str):
    with pytest.raises(PictureTooLarge, match="451 x 300"):
        decode(saved(CHELSEA, form), limits=Limits(max_pixels=100_000))


def test_sizes_that_a_plugin_would_act_on_while_opening():
    gif = bytearray(saved(Image.new("P", (8, 8)), "GIF"))
    frame = gif.index(b"\x2c\0\0\0\0\x08\0\x08\0")
    gif[frame + 5 : frame + 9] = struct.pack("<HH", 10000, 10000)
    webp = bytearray(saved(SMALL.convert("RGBA"), "WEBP", exif=exif(orientation=6)))
    assert webp[12:16] == b"VP8X"
    webp[24:30] = (10000).to_bytes(3, "little") * 2
    tiff = bytearray(saved(SMALL, "TIFF"))
    entries = struct.unpack_from("<I", tiff, 4)[0] + 2
    struct.pack_into("<HHII", tiff, entries + 12, 257, 4, 1, 10_000_000)
    for data in (gif, webp, tiff):
        with pytest.raises(PictureTooLarge, match=r"megapixels|along a side"):
            decode(bytes(data))


def test_a_small_tiff_with_a_huge_tile():
    file = io.BytesIO()
    tifffile.imwrite(file, np.asarray(SMALL), tile=(32, 48), photometric="rgb", compression="deflate")
    tiff = bytearray(file.getvalue())
    assert decode(bytes(tiff)).rgb.shape == (32, 48, 3)
    with tifffile.TiffFile(io.BytesIO(tiff)) as opened:
        tags = opened.pages[0].tags
    for tag in ("TileWidth", "TileLength"):
        tiff[tags[tag].valueoffset : tags[tag].valueoffset + 2] = struct.pack("<H", 60000)
    with pytest.raises(PictureTooLarge, match="megapixels"):
        decode(bytes(tiff))


def test_arrays_and_pillow_images_are_measured_too():
    with pytest.raises(PictureTooLarge):
        decode(CHELSEA, limits=Limits(max_pixels=1000))
    with pytest.raises(PictureTooLarge):
        decode(Image.fromarray(CHELSEA), limits=Limits(max_pixels=1000))


def test_pillows_own_limit_stays_and_does_not_speak():
    before = Image.MAX_IMAGE_PIXELS
    limits = Limits(max_pixels=200_000_000)
    # Between its limit and twice its limit, Pillow would warn, and beyond that raise.
    for size in ((10000, 9999), (19000, 10000)):
        with pytest.raises(PictureDamaged):
            decode(png_header(*size), min_side=1, limits=limits)
    assert before == Image.MAX_IMAGE_PIXELS


def test_large_pictures_decode_one_at_a_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(images, "_LARGE_PIXELS", 1000)
    inside, most = 0, 0
    real = simplejpeg.decode_jpeg

    def counting(*args: object, **options: object) -> np.ndarray:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        rgb = real(*args, **options)
        inside -= 1
        return rgb

    monkeypatch.setattr(simplejpeg, "decode_jpeg", counting)
    threads = [threading.Thread(target=decode, args=(JPEG,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


# --- Thumbnails ------------------------------------------------------------------------------------------


def test_fit_and_encode():
    small = fit(CHELSEA, 90)
    assert small.shape == (60, 90, 3)
    assert fit(small, 90) is small
    assert fit(np.zeros((2000, 1, 3), np.uint8), 50).shape == (50, 1, 3)
    data = encode_jpeg(CHELSEA)
    assert difference(decode(data).rgb, CHELSEA) < 6
    assert len(encode_jpeg(CHELSEA, quality=30)) < len(data)
    assert encode_jpeg(CHELSEA[:, ::-1]) == encode_jpeg(CHELSEA[:, ::-1].copy())


def test_suffixes():
    assert {".jpg", ".jpeg", ".png", ".gif", ".webp", ".tif", ".heic"} <= images.PICTURE_SUFFIXES
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in images.PICTURE_SUFFIXES)
