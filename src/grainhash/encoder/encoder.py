"""The encoder: network graph, granule settings and hash function as one folder with one fingerprint.

An encoder folder holds `encoder.json`, `network.onnx` and `hash.safetensors`. The folder shipped
with the package is `grainhash/encoder/default`.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from grainhash.codes import pack
from grainhash.encoder.granules import RESAMPLING, GranuleSettings, Grid, as_boxes, as_rows, cut, on_steps
from grainhash.encoder.network import Features as Outputs
from grainhash.encoder.network import Network, NetworkSpec, load_network
from grainhash.encoder.points import CORNER_SIDE, corner_points, map_points
from grainhash.encoder.proposals import propose, without_likenesses
from grainhash.errors import EncoderError, InputError, PictureError
from grainhash.features.parts import Part, outputs_of, parse_parts
from grainhash.files import whole_file
from grainhash.hashing.function import HashFunction
from grainhash.images import DEFAULT_LIMITS, Limits, Picture, Source, decode
from grainhash.metadata import picture_metadata
from grainhash.types import MAX_PARTS, WHOLE, Box, Codes, PictureCodes, PointKind, Points

FORMAT_VERSION = 1
DEFAULT_FOLDER = Path(__file__).parent / "default"

ATTENTION = "attention"
"""The output of a transformer's graph that says what of the picture it attends to."""

POINT_TILE = 0.6
"""Local points are found on the map of the whole, and on those of 2 x 2 tiles of this side."""

POINT_PROPOSALS = 8
"""Those of a query on regions as well, at most so many: it may have what is looked for in a small part."""


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """What `encoder.json` says beside the format version and the checksums of its two neighbours."""

    name: str
    network: NetworkSpec
    network_name: str
    network_sha256: str
    granules: GranuleSettings
    features: str
    """What the hash function takes, such as `pooled` or `pooled+map:rmac`; see `grainhash.features.parts`."""
    provenance: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Granules:
    """The granules of one picture, as far as they are known before the network has seen it."""

    pixels: NDArray[np.uint8]
    """`(1 + n_boxes, size, size, 3)`: the whole first."""
    boxes: NDArray[np.float32]
    """`(n_boxes, 4)`."""
    width: int
    height: int
    meta: Mapping[str, Any]
    """What the file itself says of the picture: when it was taken, with which camera."""
    rgb: NDArray[np.uint8]
    """The picture, `(h, w, 3)`, from which regions are cut once they are proposed."""
    n_proposals: int
    """How many regions are still to be proposed, at most."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the network saw in one picture."""

    features: NDArray[np.float32]
    """`(1 + n_regions, n_features)`: of the whole first."""
    boxes: NDArray[np.float32]
    """`(n_regions, 4)`."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is to be looked for; see `Encoder.ask`."""

    source: Source
    region: Box = WHOLE
    parts: int = 0
    points: PointKind | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.region, Box):
            raise InputError(f"region {self.region!r}: a Box is needed, such as Box(0.5, 0, 1, 0.5)")
        if not isinstance(self.parts, int) or not 0 <= self.parts <= MAX_PARTS:
            raise InputError(f"parts = {self.parts!r}: look for 0 to {MAX_PARTS} things")
        if self.points is not None and self.points not in get_args(PointKind):
            raise InputError(f"points {self.points!r}: choose {', '.join(get_args(PointKind))}")


@dataclass(frozen=True, slots=True)
class Asked:
    """A query: its parts, the first of them all that is asked for."""

    boxes: list[Box]
    """Of each part, in the whole picture."""
    projections: NDArray[np.float64]
    """`(n_parts, n_bits)`: the real numbers whose signs are the bits."""

    points: Points | None = None
    """Of what is asked for, where they are to be matched."""

    @property
    def codes(self) -> Codes:
        """`(n_parts, n_bytes)`."""
        return pack(self.projections)


class Encoder:
    """Turns pictures into codes. Safe to use from many threads at once; open one with `Encoder.load`.

    Args:
        folder: where `network.onnx` is.
        config: what `encoder.json` says.
        hash_function: from the config's features to bits.
        runtime: `"openvino"`, `"onnxruntime"`, or `"auto"` for the best that is installed.
        limits: on hostile input.
    """

    def __init__(
        self,
        folder: Path,
        config: EncoderConfig,
        hash_function: HashFunction,
        *,
        runtime: str = "auto",
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self.folder = folder
        self.config = config
        self.hash_function = hash_function
        self.runtime = runtime
        self.limits = limits

    @classmethod
    def load(
        cls, folder: Path | str | None = None, *, runtime: str = "auto", limits: Limits = DEFAULT_LIMITS
    ) -> Encoder:
        """Open an encoder folder; the one shipped with the package by default.

        Raises:
            EncoderError: the folder is missing, damaged, or of another format version.
        """
        folder = Path(folder) if folder is not None else DEFAULT_FOLDER
        config = _read_config(folder)
        hash_function = HashFunction.load(folder / "hash.safetensors")
        return cls(folder, config, hash_function, runtime=runtime, limits=limits)

    @property
    def n_bits(self) -> int:
        """Length of a code."""
        return self.hash_function.n_bits

    @property
    def n_features(self) -> int:
        """Width of the features."""
        return sum(self.feature_sizes.values())

    @cached_property
    def feature_sizes(self) -> dict[str, int]:
        """Width of every part of the features, in their order; the first use compiles the network."""
        size = self.config.network.input_size
        pixels = np.zeros((1, size, size, 3), np.uint8)
        outputs = self._outputs(pixels)
        return {part.name: part.rows(pixels, outputs).shape[1] for part in self._parts}

    @property
    def granules(self) -> GranuleSettings:
        """What is cut from every picture."""
        return self.config.granules

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, as hex, of everything that decides a code; galleries are bound to it."""
        decisive = {
            "network": self.config.network_sha256,
            "input": self.config.network.to_dict(),
            "granules": self.granules.to_dict(),
            "resampling": RESAMPLING,
            "features": self.config.features,
            "hash": self.hash_function.fingerprint,
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    @cached_property
    def network(self) -> Network:
        """The compiled network; the first use takes the time that compiling takes."""
        outputs = outputs_of(self._parts)
        maps = _map_names(outputs)  # on the way to the other outputs, as a rule
        return self._load_network(
            outputs, maps if self.granules.proposals or not set(maps) & set(outputs) else ()
        )

    def _load_network(
        self, outputs: Sequence[str], one_of: Sequence[str], also: Sequence[str] = ()
    ) -> Network:
        path = self.folder / "network.onnx"
        if _sha256(path) != self.config.network_sha256:
            raise EncoderError(f"{path}: not the network that encoder.json was written for")
        return load_network(
            path,
            spec=self.config.network,
            outputs=outputs,
            one_of=one_of,
            also=also,
            runtime=self.runtime,
        )

    @cached_property
    def _parts(self) -> tuple[Part, ...]:
        return parse_parts(self.config.features)

    def prepare(self) -> None:
        """Compile the network now, where the features need it, so that threads do not race for it."""
        if outputs_of(self._parts):
            self.network  # noqa: B018

    def decode(self, source: Source, *, region: Box = WHOLE, name: str | None = None) -> Picture:
        """A picture as granules are cut from it: with the pixels that they and `region` need, if it has them.

        Raises:
            PictureError: unreadable, damaged, or too large.
        """
        return decode(source, min_side=self._min_side(region), name=name, limits=self.limits)

    def cut(self, source: Source, *, name: str | None = None, boxes: Sequence[Box] = ()) -> Granules:
        """Decode a picture and cut of it what needs no look at it: the whole, tiles, and given boxes.

        Args:
            source: the picture.
            name: how errors call it.
            boxes: regions that somebody else found, best first; as many are taken as the encoder proposes
                at most, none that is much like a tile or another, or too thin for a store to keep.

        Raises:
            PictureError: unreadable, damaged, or too large.
        """
        picture = self.decode(source, name=name)
        tiles = self.granules.tiles(picture.width, picture.height)
        n_proposals = self.granules.proposals
        given = without_likenesses(_with_area(as_rows(boxes)), n_proposals, taken=tiles)
        return self._cut(picture, np.concatenate([tiles, given]), n_proposals - len(given))

    def cut_at(self, source: Source, boxes: NDArray[np.float32], *, name: str | None = None) -> Granules:
        """Decode a picture and cut the whole and exactly these boxes, `(n, 4)`, of it: no tile, no proposal.

        Raises:
            PictureError: see `cut`.
        """
        picture = self.decode(source, name=name)
        return self._cut(picture, boxes, 0)

    def _cut(self, picture: Picture, boxes: NDArray[np.float32], n_proposals: int) -> Granules:
        boxes = on_steps(boxes)
        pixels = cut(picture.rgb, [WHOLE, *as_boxes(boxes)], self.config.network.input_size)
        meta = picture_metadata(picture)
        return Granules(pixels, boxes, picture.width, picture.height, meta, picture.rgb, n_proposals)

    def features(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The features of `uint8 (n, size, size, 3)` granules: `(n, n_features)`, parts side by side.

        Raises:
            EncoderError: features that the network does not give.
            MissingExtra: a classical feature whose library is not installed.
        """
        return self._features(pixels, self._outputs(pixels))

    def _outputs(self, pixels: NDArray[np.uint8]) -> Outputs:
        return self.network.run(pixels) if outputs_of(self._parts) else {}

    def feature_map(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """The feature map behind the features of `uint8 (n, size, size, 3)` granules.

        It is the one that the first part pools if it pools one, else the last one of the same network.

        Returns:
            `(n, channels, rows, columns)`; `None` where the network gives no map, or the features need none.
        """
        return self.inside(pixels)[0]

    def inside(
        self, pixels: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
        """What is behind the features of `uint8 (n, size, size, 3)` granules, to show it.

        Returns:
            The map that `feature_map` has, and what of the picture a transformer's last layer attends to,
            `(n, heads, rows, columns)`; `None` where the network gives no such thing.
        """
        network = self._showing_network
        if network is None:
            return None, None
        outputs = network.run(pixels)
        attention = next((name for name in outputs if name.rpartition(".")[2] == ATTENTION), "")
        maps = (seen for name, seen in outputs.items() if seen.ndim == 4 and name != attention)
        return next(maps, None), outputs.get(attention)

    @cached_property
    def _showing_network(self) -> Network | None:
        """The network as `inside` needs it, so that no other look at a picture computes as much."""
        part = next((part for part in self._parts if part.output is not None), None)
        if part is None or part.output is None:
            return None
        one_of = () if part.pooling else reversed(_map_names([part.output]))
        return self._load_network([part.output], list(one_of), [_beside(part.output, ATTENTION)])

    def _features(self, pixels: NDArray[np.uint8], outputs: Outputs) -> NDArray[np.float32]:
        rows = [part.rows(pixels, outputs) for part in self._parts]
        return rows[0] if len(rows) == 1 else np.concatenate(rows, axis=1)

    def see(self, granules: Sequence[Granules]) -> list[Seen]:
        """Look at many pictures' granules, and at the regions that this look proposes.

        The network runs twice at most: over all that is cut already, and over all that is proposed.
        """
        if not granules:
            return []
        pixels = np.concatenate([each.pixels for each in granules])
        starts = np.cumsum([0, *(len(each.pixels) for each in granules)])
        outputs = self._outputs(pixels)
        rows = np.split(self._features(pixels, outputs), starts[1:-1])
        proposed = [
            self._propose(each, outputs, start) for each, start in zip(granules, starts[:-1], strict=True)
        ]
        size = self.config.network.input_size
        cuts = [cut(each.rgb, as_boxes(boxes), size) for each, boxes in zip(granules, proposed, strict=True)]
        of_proposed = self.features(np.concatenate(cuts)) if any(map(len, cuts)) else rows[0][:0]
        further = np.split(of_proposed, np.cumsum([len(pixels) for pixels in cuts])[:-1])
        return [
            Seen(np.concatenate([first, second]), np.concatenate([each.boxes, boxes]))
            for each, boxes, first, second in zip(granules, proposed, rows, further, strict=True)
        ]

    def _propose(self, granules: Granules, outputs: Outputs, whole: int) -> NDArray[np.float32]:
        """Boxes that fit what is in a picture, whose whole is row `whole` of the outputs."""
        maps = _map_of(outputs)
        seen = None if maps is None else maps[whole]
        return on_steps(propose(granules.rgb, seen, granules.n_proposals, taken=granules.boxes))

    def codes(self, granules: Sequence[Granules]) -> list[PictureCodes]:
        """The codes of many pictures' granules; see `see`."""
        seen = self.see(granules)
        if not seen:
            return []
        codes = self.hash_function.encode(np.concatenate([each.features for each in seen]))
        per_picture = np.split(codes, np.cumsum([len(each.features) for each in seen])[:-1])
        return [
            PictureCodes(cuts.width, cuts.height, own[0], own[1:], each.boxes)
            for cuts, each, own in zip(granules, seen, per_picture, strict=True)
        ]

    def encode(self, source: Source, *, name: str | None = None) -> PictureCodes:
        """All codes of one picture, as a gallery stores them."""
        return self.codes([self.cut(source, name=name)])[0]

    def encode_query(self, source: Source, *, region: Box = WHOLE, name: str | None = None) -> Codes:
        """The one code, `(n_bytes,)`, of a picture or of a part of it."""
        picture = self.decode(source, region=region, name=name)
        pixels = cut(picture.rgb, [region], self.config.network.input_size)
        code: Codes = self.hash_function.encode(self.features(pixels))[0]
        return code

    def ask(
        self,
        source: Source,
        *,
        region: Box = WHOLE,
        parts: int = 0,
        points: PointKind | None = None,
        name: str | None = None,
    ) -> Asked:
        """What a query looks like to the hash function: a picture or a part of it, and salient parts of that.

        Args:
            source: the picture.
            region: the part of it that is asked for.
            parts: how many boxes that fit things inside `region` are asked for too, at most.
            points: find its local points too, by this.
            name: how errors call the picture.

        Raises:
            InputError: `region`, `parts` or `points` makes no sense.
            PictureError: unreadable, damaged, or too large.
            EncoderError: points of a feature map, and the network gives none.
            MissingExtra: points of OpenCV's, which is not installed.
        """
        (asked,) = self.ask_all([Query(source, region, parts, points, name)])
        if isinstance(asked, PictureError):
            raise asked
        return asked

    def ask_all(self, queries: Sequence[Query]) -> list[Asked | PictureError]:
        """What several queries look like, each as `ask` says of it alone: the network sees them together.

        Returns:
            One for each query, in their order; the error, where a picture cannot be used.

        Raises:
            EncoderError: see `ask`.
            MissingExtra: see `ask`.
        """
        size = self.config.network.input_size
        decoded = [self._decoded(query) for query in queries]
        pictures = [
            (query, picture.rgb)
            for query, picture in zip(queries, decoded, strict=True)
            if isinstance(picture, Picture)
        ]
        if not pictures:
            return [error for error in decoded if isinstance(error, PictureError)]
        wholes = np.concatenate([cut(rgb, [query.region], size) for query, rgb in pictures])
        outputs = self._outputs(wholes)
        rows = self._features(wholes, outputs)
        maps = _map_of(outputs)
        boxes = [
            self._parts_of(query, rgb, None if maps is None else maps[at])
            for at, (query, rgb) in enumerate(pictures)
        ]
        of_parts = rows[:0]
        if any(boxes):
            cuts = [cut(rgb, own, size) for (_, rgb), own in zip(pictures, boxes, strict=True)]
            of_parts = self.features(np.concatenate(cuts))
        further = np.split(of_parts, np.cumsum([len(own) for own in boxes])[:-1])
        seen = iter(
            Asked(
                [query.region, *own],
                self.hash_function.project(np.concatenate([row[None], of_own])),
                self._points_of(query, rgb),
            )
            for (query, rgb), row, own, of_own in zip(pictures, rows, boxes, further, strict=True)
        )
        return [each if isinstance(each, PictureError) else next(seen) for each in decoded]

    def _decoded(self, query: Query) -> Picture | PictureError:
        try:
            return self.decode(query.source, region=query.region, name=query.name)
        except PictureError as error:
            return error

    def _parts_of(self, query: Query, rgb: NDArray[np.uint8], seen: NDArray[np.float32] | None) -> list[Box]:
        """Boxes that fit things in what is asked for, as boxes of the whole picture."""
        if not query.parts:
            return []
        found = propose(_inside(rgb, query.region), seen, query.parts)
        return [box.within(query.region) for box in as_boxes(on_steps(found))]

    def _points_of(self, query: Query, rgb: NDArray[np.uint8]) -> Points | None:
        if query.points is None:
            return None
        inside = _inside(rgb, query.region)
        return self._points(inside, query.points, (), POINT_PROPOSALS).within(query.region)

    def points(
        self,
        source: Source,
        kind: PointKind = "map",
        *,
        boxes: Sequence[Box] = (),
        name: str | None = None,
    ) -> Points:
        """The local points of a picture, to match those of a query with.

        Args:
            source: the picture.
            kind: what they are found and described by.
            boxes: parts to look at more closely, for points of a feature map.
            name: how errors call the picture.

        Raises:
            PictureError: unreadable, damaged, or too large.
            EncoderError: points of a feature map, and the network gives none.
            MissingExtra: points of OpenCV's, which is not installed.
        """
        smallest = math.ceil(self.config.network.input_size / POINT_TILE)
        least = smallest if kind == "map" else CORNER_SIDE
        picture = decode(source, min_side=least, name=name, limits=self.limits)
        return self._points(picture.rgb, kind, boxes, n_proposals=0)

    def _points(
        self, rgb: NDArray[np.uint8], kind: PointKind, given: Sequence[Box], n_proposals: int
    ) -> Points:
        if kind != "map":
            return corner_points(rgb, kind)
        height, width = rgb.shape[:2]
        size = self.config.network.input_size
        tiles = GranuleSettings((Grid(2, POINT_TILE),), 0).tiles(width, height)
        further = without_likenesses(as_rows(given), len(given), taken=tiles)
        boxes = np.concatenate([as_rows([WHOLE]), tiles, further])
        maps = self._maps(cut(rgb, as_boxes(boxes), size))
        if n_proposals:
            proposed = propose(rgb, maps[0], n_proposals, taken=tiles)
            boxes = np.concatenate([boxes, proposed])
            maps = np.concatenate([maps, self._maps(cut(rgb, as_boxes(proposed), size))])
        return map_points(maps, boxes, width, height)

    def _maps(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The feature map of each granule, `(n, channels, rows, columns)`."""
        maps = _map_of(self._outputs(pixels))
        if maps is None:
            raise EncoderError(
                f"{self.folder}: the network gives no feature map to find points on; choose orb or sift"
            )
        return maps

    def _min_side(self, region: Box = WHOLE) -> int:
        """Pixels to decode a side to, so that no granule is enlarged that need not be.

        The same for gallery and query: a picture must get the same code in both roles. Given boxes smaller
        than any granule of the encoder's own are enlarged, so that they change no other code.
        """
        smallest = min(self.granules.smallest_side, region.x1 - region.x0, region.y1 - region.y0)
        return math.ceil(self.config.network.input_size / smallest)

    def with_granules(self, granules: GranuleSettings) -> Encoder:
        """The same network and hash function with other granules."""
        return self._with(replace(self.config, granules=granules), self.hash_function)

    def with_features(self, features: str) -> Encoder:
        """The same network and granules with other features; its hash function must be replaced then.

        Raises:
            EncoderError: features that cannot be read; see `grainhash.features.parts`.
        """
        parse_parts(features)
        return self._with(replace(self.config, features=features), self.hash_function)

    def with_hash_function(self, hash_function: HashFunction, provenance: Mapping[str, Any]) -> Encoder:
        """The same network and granules with another hash function, and where that came from."""
        origins = {**self.config.provenance, "hash": dict(provenance)}
        return self._with(replace(self.config, provenance=origins), hash_function)

    def _with(self, config: EncoderConfig, hash_function: HashFunction) -> Encoder:
        return Encoder(self.folder, config, hash_function, runtime=self.runtime, limits=self.limits)

    def save(self, folder: Path) -> None:
        """Write an encoder folder that `Encoder.load(folder)` opens; replaces the files there.

        Each file appears whole, `encoder.json` last, so that an interrupted save can be repeated.
        """
        folder.mkdir(parents=True, exist_ok=True)
        network = folder / "network.onnx"
        if not (network.exists() and network.samefile(self.folder / "network.onnx")):
            with whole_file(network) as draft:
                shutil.copyfile(self.folder / "network.onnx", draft)
        with whole_file(folder / "hash.safetensors") as draft:
            self.hash_function.save(draft)
        document = {
            "format_version": FORMAT_VERSION,
            "name": self.config.name,
            "network": {
                "name": self.config.network_name,
                "sha256": self.config.network_sha256,
                **self.config.network.to_dict(),
            },
            "granules": self.granules.to_dict(),
            "features": self.config.features,
            "hash": {
                "method": self.hash_function.method,
                "n_bits": self.n_bits,
                "fingerprint": self.hash_function.fingerprint,
            },
            "provenance": dict(self.config.provenance),
        }
        with whole_file(folder / "encoder.json") as draft:
            draft.write_text(json.dumps(document, indent=2) + "\n")


def _map_names(outputs: Iterable[str]) -> list[str]:
    """Feature maps that proposals are read from, the finer one first, of the network that gives `outputs`."""
    first = next(iter(outputs), "")
    return [_beside(first, name) for name in ("mid", "map")]


def _beside(output: str, name: str) -> str:
    """Another output of the same network, which is one of several where it has a name before a dot."""
    network = output.rpartition(".")[0]
    return f"{network}.{name}" if network else name


def _inside(rgb: NDArray[np.uint8], region: Box) -> NDArray[np.uint8]:
    """The pixels of a part of a picture, one at least."""
    left, top, right, bottom = region.whole_pixels(*rgb.shape[1::-1])
    return rgb[top:bottom, left:right]


def _with_area(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Those that have an area on the steps that a store keeps."""
    kept = on_steps(boxes)
    return boxes[(kept[:, :2] < kept[:, 2:]).all(axis=1)]


def _map_of(outputs: Outputs) -> NDArray[np.float32] | None:
    """The finest feature map, `(n, channels, rows, columns)`; `None` where the network gives none."""
    return next((outputs[name] for name in _map_names(outputs) if name in outputs), None)


def _read_config(folder: Path) -> EncoderConfig:
    try:
        document = json.loads((folder / "encoder.json").read_text())
        version = document["format_version"]
        if version != FORMAT_VERSION:
            raise EncoderError(
                f"{folder}: encoder of format {version}, this grainhash reads {FORMAT_VERSION}"
            )
        network = dict(document["network"])
        return EncoderConfig(
            name=document["name"],
            network_name=network.pop("name"),
            network_sha256=network.pop("sha256"),
            network=NetworkSpec.from_dict(network),
            granules=GranuleSettings.from_dict(document["granules"]),
            features=document["features"],
            provenance=document["provenance"],
        )
    except FileNotFoundError:
        raise EncoderError(f"{folder}: no encoder there (encoder.json is missing)") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EncoderError(f"{folder}: encoder.json cannot be read ({error!r})") from None


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise EncoderError(f"{path}: {error.strerror}") from None
