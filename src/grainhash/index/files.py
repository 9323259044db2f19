"""An index in a folder: arrays as `.npy` files that are written once, and a manifest that names them.

The manifest, `index.json`, is replaced in one step when everything it names is safe on disk, so a
folder always holds the index as it was before a `save`, or as it was after. Arrays are named by
a random key that a segment keeps: what is there already is not written again.
"""

from __future__ import annotations

import json
import math
import os
import re
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from grainhash.codes import check_n_bits
from grainhash.errors import IndexFileError
from grainhash.files import locked
from grainhash.index.checks import ascending, contiguous_codes, id_array, offset_array
from grainhash.index.multi_index import MultiIndex
from grainhash.index.plan import Plan
from grainhash.index.segment import Segment

FORMAT = "grainhash-index"
FORMAT_VERSION = 1
MANIFEST = "index.json"

JOINED_BYTES = 2**26
"""A loaded segment of fewer bytes is joined with what is added next, as if it had been added just now."""

_KEY = re.compile(r"[0-9a-f]{32}")
_OURS = re.compile(r"[0-9a-f]{32}\.[a-z]+\.npy(\.draft)?")
_TABLES = ("bounds", "starts", "entries")
_IDS = range(-(2**63), 2**63)

# Whatever reading a header or a manifest of arbitrary bytes can end in.
_DAMAGE = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    EOFError,
    SyntaxError,
    MemoryError,
    RecursionError,
    OverflowError,
    tokenize.TokenError,
    Warning,
)


def open_codes(path: os.PathLike[str] | str) -> NDArray[Any]:
    """Map the array of a `.npy` file, whatever it holds.

    Raises:
        IndexFileError: the file is missing, truncated, or no `.npy` file.
    """
    try:
        return _map(Path(path))
    except OSError as error:
        raise IndexFileError(f"{path}: {error.strerror or error}") from None
    except _DAMAGE as error:
        raise IndexFileError(f"{path} is no .npy file of codes: {error}") from None


def save(
    folder: os.PathLike[str] | str, n_bits: int, last_id: int | None, segments: Iterable[Segment]
) -> None:
    """Write what is not there yet, then the manifest, then delete what it no longer names.

    Raises:
        IndexFileError: the folder cannot be written, or holds something else.
    """
    folder, segments = Path(folder), tuple(segments)
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "n_bits": n_bits,
        "last_id": last_id,
        "segments": [_entry(segment) for segment in segments],
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / "lock"):  # whoever cleans up must not delete what another just wrote
            _check_ours(folder)
            named = set()
            for segment in segments:
                for name, array in _arrays(segment):
                    _write_array(folder / name, array)
                    named.add(name)
            _sync(folder)
            _write_manifest(folder, manifest)
            _sync(folder)
            for path in folder.iterdir():
                if _OURS.fullmatch(path.name) and path.name not in named:
                    path.unlink()
    except OSError as error:
        raise IndexFileError(
            f"{folder}: {error.strerror or error}; the index was not saved, what was saved before stands"
        ) from None


def load(folder: os.PathLike[str] | str) -> tuple[int, int | None, tuple[Segment, ...]]:
    """Map what `save` wrote: the number of bits, the highest id ever added, and the segments.

    Raises:
        IndexFileError: there is no index, or it is damaged, incomplete or of another format version.
    """
    folder = Path(folder)
    try:
        text = (folder / MANIFEST).read_bytes()
        while True:
            try:
                return _read(folder, text)
            except FileNotFoundError as error:
                before, text = text, (folder / MANIFEST).read_bytes()
                if text == before:
                    raise IndexFileError(f"{folder} is incomplete: {error.filename} is missing") from None
                # Another process has saved the index meanwhile, and deleted what it replaced.
    except FileNotFoundError:
        raise IndexFileError(f"{folder} holds no index: there is no {MANIFEST}") from None
    except OSError as error:
        raise IndexFileError(f"{folder}: {error.strerror or error}") from None
    except _DAMAGE as error:
        raise IndexFileError(f"{folder} holds no index, or a damaged one: {error!r}") from None


def _entry(segment: Segment) -> dict[str, Any]:
    """A segment in the manifest: names of its arrays, and what is no array."""
    return {
        "key": segment.key,
        "first_id": segment.first_id,
        "ids": segment.given_ids is not None,
        "offsets": segment.offsets is not None,
        "live": None if segment.live is None else segment.live_key,
        "tables": None if segment.tables is None else segment.tables_key,
        "plan": None if segment.plan is None else segment.plan.as_json(),
    }


def _arrays(segment: Segment) -> Iterator[tuple[str, NDArray[Any]]]:
    """The arrays of a segment, each with the name of its file."""
    yield f"{segment.key}.codes.npy", segment.codes
    if segment.given_ids is not None:
        yield f"{segment.key}.ids.npy", segment.given_ids
    if segment.offsets is not None:
        yield f"{segment.key}.offsets.npy", segment.offsets
    if segment.live is not None:
        yield f"{segment.live_key}.live.npy", np.packbits(segment.live)
    if segment.tables is not None:
        arrays = segment.tables.arrays()
        yield from ((f"{segment.tables_key}.{name}.npy", arrays[name]) for name in _TABLES)


def _read(folder: Path, text: bytes) -> tuple[int, int | None, tuple[Segment, ...]]:
    manifest = json.loads(text)
    if manifest["format"] != FORMAT:
        raise ValueError(f"it is no {FORMAT}")
    if manifest["format_version"] != FORMAT_VERSION:
        raise IndexFileError(
            f"{folder} has format version {manifest['format_version']}; this grainhash reads {FORMAT_VERSION}"
        )
    n_bits = check_n_bits(_whole(manifest["n_bits"]))
    last_id = None if manifest["last_id"] is None else _whole(manifest["last_id"])
    segments = tuple(_read_segment(folder, entry, n_bits) for entry in manifest["segments"])
    if any(before.last_id >= after.first_id for before, after in pairwise(segments)):
        raise ValueError("the ids of the segments do not ascend")
    if segments and (last_id is None or last_id < segments[-1].last_id):
        raise ValueError("the highest id is below one that is there")
    return n_bits, last_id, segments


def _read_segment(folder: Path, entry: dict[str, Any], n_bits: int) -> Segment:
    def array(key: Any, name: str) -> NDArray[Any]:
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} names no array")
        return _map(folder / f"{key}.{name}.npy")

    codes = contiguous_codes(array(entry["key"], "codes"), n_bits)
    ids = ascending(id_array(array(entry["key"], "ids"))) if entry["ids"] else None
    offsets = offset_array(array(entry["key"], "offsets"), None, len(codes)) if entry["offsets"] else None
    joinable = codes.nbytes < JOINED_BYTES
    segment = Segment(codes, _whole(entry["first_id"]), ids, offsets, joinable, key=entry["key"])
    n_items = segment.n_items
    if not n_items or segment.last_id not in _IDS:
        raise ValueError("a segment without items, or beyond all ids")
    if ids is not None and (len(ids) != n_items or ids[0] != segment.first_id):
        raise ValueError("the ids of a segment do not fit its codes")
    if entry["live"] is not None:
        packed = array(entry["live"], "live")
        if packed.dtype != np.uint8 or packed.shape != (-(-n_items // 8),):
            raise ValueError("the list of what was removed does not fit the codes")
        live = np.unpackbits(packed, count=n_items).view(np.bool_)
        segment = replace(segment.with_live(live), live_key=entry["live"])
    if entry["tables"] is not None:
        arrays = {name: array(entry["tables"], name) for name in _TABLES}
        tables = MultiIndex.from_arrays(arrays, len(codes), n_bits)
        segment = replace(segment, tables=tables, tables_key=entry["tables"])
    return segment if entry["plan"] is None else replace(segment, plan=Plan.from_json(entry["plan"]))


def _whole(value: Any) -> int:
    """A whole number that an int64 holds."""
    if type(value) is not int or value not in _IDS:
        raise ValueError(f"{value!r} is no whole number of 64 bits")
    return value


def _map(path: Path) -> NDArray[Any]:
    """The array of a `.npy` file, mapped read-only, if the file is exactly as long as its header says."""
    with path.open("rb") as file:
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran_order, dtype = read_header(file)
        start, size = file.tell(), os.fstat(file.fileno()).st_size
    n_bytes = dtype.itemsize * math.prod(shape)
    if start % dtype.alignment:
        raise ValueError(f"{path.name} has numbers at places that are not multiples of their size")
    if dtype.hasobject or min(shape, default=0) < 0 or start + n_bytes != size:
        raise ValueError(f"{path.name} has {size} bytes where its header says {dtype} {shape}")
    if not n_bytes:
        return np.empty(shape, dtype)
    return np.asarray(np.memmap(path, dtype, "r", start, shape, "F" if fortran_order else "C"))


def _write_array(path: Path, array: NDArray[Any]) -> None:
    if path.exists():  # renamed when it was complete, and never written again
        return
    draft = path.with_name(f"{path.name}.draft")
    with draft.open("wb") as file:
        npy.write_array(file, array, version=(1, 0), allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    draft = folder / f"{MANIFEST}.draft"
    with draft.open("w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / MANIFEST)


def _check_ours(folder: Path) -> None:
    """Refuse a folder whose manifest is not that of an index."""
    try:
        if json.loads((folder / MANIFEST).read_bytes())["format"] == FORMAT:
            return
    except FileNotFoundError:
        return
    except _DAMAGE:
        pass
    raise IndexFileError(f"{folder / MANIFEST} is not that of an index; choose another folder")


def _sync(folder: Path) -> None:
    """Make renames in a folder safe on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
