"""The encoder: network graph, granule settings and hash function as one folder with one fingerprint.

An encoder folder holds `encoder.json`, `network.onnx` and `hash.safetensors`. The folder shipped
with the package is `grainhash/encoder/default`.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grainhash.encoder.granules import RESAMPLING, GranuleSettings, cut
from grainhash.encoder.network import Network, NetworkSpec, load_network
from grainhash.errors import EncoderError
from grainhash.features.parts import Part, outputs_of, parse_parts
from grainhash.files import whole_file
from grainhash.hashing.function import HashFunction
from grainhash.images import DEFAULT_LIMITS, Limits, Source, decode
from grainhash.metadata import picture_metadata
from grainhash.types import WHOLE, Box, Codes, PictureCodes

FORMAT_VERSION = 1
DEFAULT_FOLDER = Path(__file__).parent / "default"


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
    """The granules of one picture, cut and ready for the network."""

    pixels: NDArray[np.uint8]
    """`(1 + n_regions, size, size, 3)`: the whole first."""
    boxes: NDArray[np.float32]
    """`(n_regions, 4)`."""
    width: int
    height: int
    meta: Mapping[str, Any]
    """What the file itself says of the picture: when it was taken, with which camera."""


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
        rows = self._rows_of_parts(np.zeros((1, size, size, 3), np.uint8))
        return {part.name: part_rows.shape[1] for part, part_rows in zip(self._parts, rows, strict=True)}

    @property
    def granules(self) -> GranuleSettings:
        """What is cut from every picture."""
        return self.config.granules

    @property
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
        path = self.folder / "network.onnx"
        if _sha256(path) != self.config.network_sha256:
            raise EncoderError(f"{path}: not the network that encoder.json was written for")
        outputs = outputs_of(self._parts)
        return load_network(path, spec=self.config.network, outputs=outputs, runtime=self.runtime)

    @cached_property
    def _parts(self) -> tuple[Part, ...]:
        return parse_parts(self.config.features)

    def prepare(self) -> None:
        """Compile the network now, where the features need it, so that threads do not race for it."""
        if outputs_of(self._parts):
            self.network  # noqa: B018

    def cut(self, source: Source, *, name: str | None = None) -> Granules:
        """Decode a picture and cut its granules; `name` says in errors which picture it was.

        Raises:
            PictureError: unreadable, damaged, or too large.
        """
        size = self.config.network.input_size
        picture = decode(source, min_side=self._min_side(WHOLE), name=name, limits=self.limits)
        boxes = self.granules.boxes(picture.width, picture.height)
        parts = [WHOLE, *(Box(*map(float, row)) for row in boxes)]
        pixels = cut(picture.rgb, parts, size)
        return Granules(pixels, boxes, picture.width, picture.height, picture_metadata(picture))

    def features(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The features of `uint8 (n, size, size, 3)` granules: `(n, n_features)`, parts side by side.

        Raises:
            EncoderError: features that the network does not give.
            MissingExtra: a classical feature whose library is not installed.
        """
        rows = self._rows_of_parts(pixels)
        return rows[0] if len(rows) == 1 else np.concatenate(rows, axis=1)

    def _rows_of_parts(self, pixels: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        outputs = self.network.run(pixels) if outputs_of(self._parts) else {}
        return [part.rows(pixels, outputs) for part in self._parts]

    def codes(self, granules: list[Granules]) -> list[PictureCodes]:
        """The codes of many pictures' granules, in one pass through the network."""
        if not granules:
            return []
        features = self.features(np.concatenate([cuts.pixels for cuts in granules]))
        ends = np.cumsum([len(cuts.pixels) for cuts in granules])[:-1]
        per_picture = np.split(self.hash_function.encode(features), ends)
        return [
            PictureCodes(cuts.width, cuts.height, codes[0], codes[1:], cuts.boxes)
            for cuts, codes in zip(granules, per_picture, strict=True)
        ]

    def encode(self, source: Source, *, name: str | None = None) -> PictureCodes:
        """All codes of one picture, as a gallery stores them."""
        return self.codes([self.cut(source, name=name)])[0]

    def encode_query(self, source: Source, *, region: Box = WHOLE, name: str | None = None) -> Codes:
        """The one code, `(n_bytes,)`, of a picture or of a part of it."""
        picture = decode(source, min_side=self._min_side(region), name=name, limits=self.limits)
        pixels = cut(picture.rgb, [region], self.config.network.input_size)
        code: Codes = self.hash_function.encode(self.features(pixels))[0]
        return code

    def _min_side(self, region: Box) -> int:
        """Pixels to decode a side to, so that no granule is enlarged that need not be.

        The same for gallery and query: a picture must get the same code in both roles.
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
