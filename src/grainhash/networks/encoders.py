"""A network of any origin to an encoder folder: export, quantise, put beside another, fit the hash function.

    export_encoder("torchvision:resnet50", "encoders/resnet", pictures=files, method=ITQ(256, whitening=0.5))

The folder is all that indexing and searching need; nothing of PyTorch is in it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grainhash.encoder.encoder import Encoder, EncoderConfig
from grainhash.encoder.granules import GranuleSettings
from grainhash.encoder.network import NetworkSpec, Pixels, load_network
from grainhash.encoder.pipeline import features_of_files
from grainhash.errors import EncoderError, InputError, LabelsError, MissingExtra, PictureError, first_line
from grainhash.features.parts import CLASSICAL, parse_parts
from grainhash.hashing.balanced import fit_balanced
from grainhash.hashing.function import Affine, HashFunction
from grainhash.hashing.method import HashMethod
from grainhash.networks.compose import BETWEEN, compose
from grainhash.networks.graph import POOLED, adopt, input_shape
from grainhash.types import Progress, silent

FIT_GRANULES = 12_000
"""Granules that a hash function is fitted on, about: what fits into memory beside everything else."""

CALIBRATION_PICTURES = 200
"""Pictures to quantise by: each as a whole and one of its regions."""

LEAST_COSINE = 0.9
"""Of quantised features to exact ones; below, the int8 graph would find other pictures."""


@dataclass(frozen=True, slots=True)
class OnnxInput:
    """How an ONNX file of one's own wants its pictures, and what to take from it.

    What is `None` is read from the graph: its input's size and layout, and its only output.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    input_size: int | None = None
    layout: str | None = None
    output: str | None = None


def export_encoder(
    network: str,
    out: Path | str,
    *,
    pictures: Sequence[Path],
    method: HashMethod,
    features: str | None = None,
    weights: Path | str | None = None,
    onnx_input: OnnxInput | None = None,
    int8: bool = False,
    calibration: Sequence[Path] | None = None,
    merge: Path | str | None = None,
    granules: GranuleSettings | None = None,
    progress: Callable[[Progress], None] = silent,
    n_workers: int | None = None,
) -> Encoder:
    """Write an encoder folder that `grainhash index --encoder` takes.

    Args:
        network: a name that `load_backbone` knows, or the path of an ONNX file.
        out: a new or empty folder.
        pictures: files to fit the hash function on, all granules of each; about 12,000 granules are taken,
            of pictures spread evenly over the list.
        method: what fits it, of those that need no labels.
        features: what the hash function takes, see `grainhash.features.parts`; `pooled` by default. With
            `merge`, outputs are named `NETWORK.pooled` and so on, and the default is both networks' own.
            Several parts count alike: each is brought to length 1.
        weights: of the network, see `load_backbone`.
        onnx_input: for an ONNX file.
        int8: quantise the network.
        calibration: files to quantise by; those of `pictures` by default.
        merge: an encoder folder whose network is put beside this one.
        granules: what is cut from every picture; by default what the shipped encoder cuts.
        progress: told of how far the fit is.
        n_workers: the cores of this process by default.

    Raises:
        InputError: no pictures, or fewer granules than bits; an unknown network.
        LabelsError: a method that learns from labels.
        EncoderError: a network that cannot be exported or loses too much by quantising; a folder in use.
        MissingExtra: something is not installed that this needs.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise EncoderError(f"{out}: is not empty; name a new folder")
    if not pictures:
        raise InputError("no pictures to fit the hash function on")
    if method.needs_labels:
        raise LabelsError(f"{method.name} learns from labels, which export has none of; choose itq or lsh")
    parse_parts(features or POOLED)
    granules = GranuleSettings() if granules is None else granules
    with tempfile.TemporaryDirectory() as drafts:
        folder = Path(drafts)
        origin: dict[str, Any] = {"network": network}
        name, spec = _export_network(network, folder / "network.onnx", weights, onnx_input)
        if int8:
            rows = _calibration_pixels(calibration or pictures, spec)
            origin["int8"] = _quantise(folder / "network.onnx", rows, spec)
            name += "-int8"
        parts = POOLED
        if merge is not None:
            name, spec, parts = _merge(Encoder.load(merge), name, folder / "network.onnx", spec)
        config = EncoderConfig(
            name=f"{name}-{method.name}{method.n_bits}",
            network=spec,
            network_name=name,
            network_sha256=hashlib.sha256((folder / "network.onnx").read_bytes()).hexdigest(),
            granules=granules,
            features=features or parts,
            provenance=origin,
        )
        bare = Encoder(folder, config, _placeholder())
        fitted = fit_encoder(bare, pictures, method, progress=progress, n_workers=n_workers)
        fitted.save(out)
    return Encoder.load(out)


def fit_encoder(
    encoder: Encoder,
    pictures: Sequence[Path],
    method: HashMethod,
    *,
    progress: Callable[[Progress], None] = silent,
    n_workers: int | None = None,
) -> Encoder:
    """The encoder with a hash function fitted on granules of these pictures, without labels.

    Features of several parts are brought to length 1 each before the hash function, so that they count
    alike whatever their numbers.

    Raises:
        InputError: no more granules than bits.
        LabelsError: a method that learns from labels.
    """
    chosen = _spread(pictures, max(1, FIT_GRANULES // encoder.granules.n_usual))
    rows: list[NDArray[np.float32]] = []
    for done, features in enumerate(features_of_files(encoder, chosen, n_workers=n_workers), 1):
        rows.append(features)
        progress(Progress("fitting", done, len(chosen), 0))
    n_granules = sum(map(len, rows))
    if n_granules <= method.n_bits:
        raise InputError(
            f"{len(rows)} pictures are too few to fit {method.n_bits} bits on: they have {n_granules} "
            f"granules, and more than {method.n_bits} are needed; name more pictures or fewer bits"
        )
    sizes = tuple(encoder.feature_sizes.values())
    function = fit_balanced(method, np.concatenate(rows), sizes=sizes)
    provenance = {**method.settings, "method": method.name, "pictures": len(rows), "granules": n_granules}
    return encoder.with_hash_function(function, provenance)


def _export_network(
    network: str, target: Path, weights: Path | str | None, onnx_input: OnnxInput | None
) -> tuple[str, NetworkSpec]:
    """Write the float32 graph; its name in plain letters, and how it wants its pictures."""
    source = Path(network)
    if source.suffix.lower() != ".onnx":
        _need_torch()
        from grainhash.networks.backbone import load_backbone
        from grainhash.networks.export import export_onnx

        backbone = load_backbone(network, weights=weights)
        export_onnx(backbone, backbone.spec, target)
        return _plain(network), backbone.spec
    if onnx_input is None:
        raise InputError(f"{source}: say with mean and std how the graph wants its pictures")
    spec = _spec_of(source, onnx_input)
    adopt(source, target, spec, output=onnx_input.output)
    _check_two_at_once(source, target, spec)
    return _plain(source.stem), spec


def _need_torch() -> None:
    if importlib.util.find_spec("torch") is None:
        raise MissingExtra("torch", "train")


def _spec_of(source: Path, asked: OnnxInput) -> NetworkSpec:
    """How an ONNX file wants its pictures, as far as said, and for the rest as its input's shape says."""
    shape = input_shape(source)
    layout = asked.layout or ("NHWC" if shape[3:] == [3] and shape[1:2] != [3] else "NCHW")
    size = asked.input_size or next((n for n in shape[2:3] if n), None)
    if size is None:
        raise InputError(f"{source}: the graph takes pictures of any size; choose one with --input-size")
    values = {"input_size": size, "mean": asked.mean, "std": asked.std, "layout": layout}
    return NetworkSpec.from_dict(values)


def _check_two_at_once(source: Path, network: Path, spec: NetworkSpec) -> None:
    """Refuse a graph that holds the number of pictures it was exported for somewhere inside."""
    loaded = load_network(network, spec=spec, outputs=(POOLED,))
    size = spec.input_size
    try:
        rows = loaded.run(np.zeros((2, size, size, 3), np.uint8))[POOLED]
    except Exception as error:  # the runtimes' errors share no base class
        raise EncoderError(
            f"{source}: cannot take two pictures at once ({first_line(error)}); {_EXPORT_FREE}"
        ) from None
    if len(rows) != 2:
        raise EncoderError(f"{source}: makes {len(rows)} rows of two pictures; {_EXPORT_FREE}")


_EXPORT_FREE = "export it with a free first axis"


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "network"


def _calibration_pixels(pictures: Sequence[Path], spec: NetworkSpec) -> Pixels:
    """Wholes and regions, `(n, size, size, 3)`; pictures that cannot be read are left out."""
    cutter = _cutter(spec)
    rng = np.random.default_rng(0)
    pixels: list[Pixels] = []
    for path in _spread(pictures, CALIBRATION_PICTURES):
        try:
            granules = cutter.cut(path).pixels
        except PictureError:
            continue
        pixels += [granules[0], granules[rng.integers(1, len(granules))]]
    if not pixels:
        raise InputError("none of the pictures to quantise by can be read")
    return np.stack(pixels)


def _quantise(path: Path, pixels: Pixels, spec: NetworkSpec) -> dict[str, Any]:
    """Replace a float32 graph by its int8 form; what it was quantised by and how close it came."""
    _need_torch()
    from grainhash.networks.quantise import likeness, quantise

    exact = path.with_name("float32.onnx")
    path.replace(exact)
    quantise(exact, path, pixels, spec=spec)
    cosines = likeness(exact, path, pixels[:: max(1, len(pixels) // 32)], spec=spec)
    if cosines.min() < LEAST_COSINE:
        raise EncoderError(
            f"the int8 network's features differ too much (cosine {cosines.min():.3f}, at least "
            f"{LEAST_COSINE} is needed); export it without int8"
        )
    return {"granules": len(pixels), "least cosine": round(float(cosines.min()), 4)}


def _merge(base: Encoder, name: str, network: Path, spec: NetworkSpec) -> tuple[str, NetworkSpec, str]:
    """Put the network of `base` into the file at `network`, beside that: name, spec and features of both."""
    first = _plain(base.config.network_name)
    second = name if name != first else f"{name}-2"
    own = network.with_name("own.onnx")
    network.replace(own)
    both = compose({first: (base.folder / "network.onnx", base.config.network), second: (own, spec)}, network)
    of_base = [
        part if part in CLASSICAL else first + BETWEEN + part for part in base.config.features.split("+")
    ]
    return f"{first}+{second}", both, "+".join([*of_base, second + BETWEEN + POOLED])


def _spread(pictures: Sequence[Path], n: int) -> list[Path]:
    """At most `n` of the pictures, evenly spread."""
    places = np.linspace(0, len(pictures) - 1, min(n, len(pictures))).round().astype(int)
    return [Path(pictures[place]) for place in places]


def _cutter(spec: NetworkSpec) -> Encoder:
    """An encoder without a network, to cut pictures by."""
    config = EncoderConfig("none", spec, "none", "", GranuleSettings(), "pooled", {})
    return Encoder(Path(), config, _placeholder())


def _placeholder() -> HashFunction:
    """A hash function that is there only to be replaced."""
    return HashFunction([Affine(np.zeros((1, 8), np.float32), np.zeros(8, np.float32))], "none")
