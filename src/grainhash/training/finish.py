"""The end of a training: backbone and head as an encoder folder that needs no PyTorch."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from grainhash.encoder import Encoder
from grainhash.encoder.encoder import EncoderConfig
from grainhash.encoder.granules import GranuleSettings
from grainhash.errors import EncoderError
from grainhash.hashing.function import HashFunction
from grainhash.learning.heads import ConvHead, Head
from grainhash.networks.backbone import Backbone, Features
from grainhash.networks.export import export_onnx
from grainhash.networks.quantise import quantise

MOST_FLIPPED_FLOAT = 0.01
MOST_FLIPPED_INT8 = 0.2
"""Shares of bits that may come out other than in PyTorch, more of them a sign of a graph gone wrong."""


@dataclass(frozen=True, slots=True)
class HashNetwork:
    """A trained backbone and head, on the CPU."""

    backbone: Backbone
    head: Head
    """Of the pooled features, or of the feature map where it is a `ConvHead`."""
    method: str

    def eval(self) -> None:
        """Put both into evaluation mode."""
        self.backbone.eval()
        self.head.eval()

    @torch.no_grad()
    def project(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The real numbers before the sign, `(n, n_bits)`, of `uint8 (n, size, size, 3)`, in PyTorch."""
        spec = self.backbone.spec
        rows = (torch.from_numpy(pixels).float() - torch.tensor(spec.mean)) / torch.tensor(spec.std)
        u: Tensor = self.head(self.pick(self.backbone(rows.permute(0, 3, 1, 2))))
        return u.float().numpy()

    def pick(self, seen: Features) -> Tensor:
        """Which of the backbone's outputs the head takes."""
        return seen.map if isinstance(self.head, ConvHead) else seen.pooled

    def graph(self) -> nn.Module:
        """What becomes the graph: the backbone, and as much of the head as is no step of a hash function."""
        if not isinstance(self.head, ConvHead):
            return self.backbone
        return _WithHead(self.backbone, self.head)


def write_encoder(
    out: Path,
    network: HashNetwork,
    pixels: NDArray[np.uint8],
    *,
    granules: GranuleSettings,
    provenance: Mapping[str, Any],
    int8: bool = False,
) -> Encoder:
    """Write the encoder folder, once its codes are found to be those of PyTorch.

    Args:
        out: the folder; replaced as a whole if it is an encoder already.
        network: what was trained.
        pixels: `uint8 (n, size, size, 3)` of training pictures: to compare by, and to quantise by.
        granules: what the encoder cuts.
        provenance: kept in `encoder.json`.
        int8: quantise the graph.

    Raises:
        EncoderError: the graph cannot be exported, or its codes are others.
    """
    network.eval()
    backbone = network.backbone
    hash_function = HashFunction(network.head.steps(), network.method)
    expected = network.project(pixels) > 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        graph = folder / "network.onnx"
        export_onnx(network.graph(), backbone.spec, graph)
        if int8:
            graph.rename(folder / "float.onnx")
            quantise(folder / "float.onnx", graph, pixels, spec=backbone.spec)
        config = EncoderConfig(
            name=f"{backbone.name}-{network.method}{hash_function.n_bits}",
            network=backbone.spec,
            network_name=backbone.name + ("-int8" if int8 else ""),
            network_sha256=hashlib.sha256(graph.read_bytes()).hexdigest(),
            granules=granules,
            features="pooled",
            provenance={},
        )
        encoder = Encoder(folder, config, hash_function)
        found = hash_function.project(encoder.features(pixels)) > 0
        flipped = float((found != expected).mean())
        most = MOST_FLIPPED_INT8 if int8 else MOST_FLIPPED_FLOAT
        if flipped > most:
            raise EncoderError(
                f"the exported graph gives other codes than PyTorch: {flipped:.1%} of the bits of "
                f"{len(pixels)} pictures differ where {most:.0%} may; nothing was written"
            )
        config = replace(config, provenance={**provenance, "bits_unlike_pytorch": round(flipped, 5)})
        Encoder(folder, config, hash_function).save(out)
    return Encoder.load(out)


class _WithHead(nn.Module):
    """A backbone whose pooled features are what a convolutional head makes of its map."""

    def __init__(self, backbone: Backbone, head: ConvHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.name = backbone.name

    def forward(self, x: Tensor) -> Features:
        seen = self.backbone(x)
        return Features(self.head.describe(seen.map), seen.map, seen.mid, seen.attention)
