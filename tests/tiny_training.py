"""A network and pictures so small that tests can train on them, and the processes that they start."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from grainhash.encoder.network import NetworkSpec
from grainhash.labelled import read_labelled
from grainhash.networks.backbone import Backbone, Features, load_backbone
from grainhash.training.augment import Augmentation
from grainhash.training.data import divide, gather
from grainhash.training.loop import Running, Training
from grainhash.training.parallel import Mode, processes
from grainhash.training.settings import Settings
from grainhash.types import silent

COLOURS = {"red": (200, 60, 60), "green": (60, 200, 60), "blue": (60, 60, 200)}
SIZE = 32
A_CLASS = 12

SETTINGS = Settings(
    network="tiny",
    n_bits=16,
    hidden=16,
    epochs=2,
    batch_size=8,
    validation=0.25,
    learning_rate=0.01,
    head_learning_rate=0.01,
    augmentation=Augmentation(least_area=0.5),
)


def draw_pictures(root: Path, *, a_class: int = A_CLASS) -> Path:
    """Noisy pictures of three colours, a folder each."""
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for number in range(a_class):
            pixels = np.array(colour) + rng.normal(0, 40, (40, 48, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / name / f"{number}.png")
    return root


class _Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=4, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 12, 3, stride=2, bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Features:
        last = self.blocks(x)
        return Features(last.mean(dim=(2, 3)), last, None)


def tiny_backbone() -> Backbone:
    """Three layers with batch norm, the same at every call."""
    torch.manual_seed(7)
    spec = NetworkSpec(SIZE, mean=(127.5,) * 3, std=(127.5,) * 3)
    return Backbone("tiny", spec, 12, _Body())


def train_to_checkpoint(
    pictures: Path, out: Path, mode: Mode | None, settings: Settings, backbone: Backbone
) -> None:
    """Train up to where an encoder would be written, leaving the last checkpoint."""
    material = gather(read_labelled(pictures), name="nested")
    division = divide(material, n_bits=settings.n_bits, name="nested", validation=settings.validation)
    running = Running(mode=mode, n_workers=1, log_every=1)
    with processes(mode) as device:
        Training(settings, running, material, division, backbone, device, out).run(silent, lambda line: None)


def lite_backbone() -> Backbone:
    """EfficientNet-Lite0 as published, for small pictures: features of one untrained would hardly differ."""
    backbone = load_backbone("efficientnet-lite0")
    backbone.spec = NetworkSpec(SIZE, backbone.spec.mean, backbone.spec.std)
    return backbone


def main() -> None:
    """Train in every mode that is named: FOLDER_OF_PICTURES OUT MODE ..."""
    torch.set_num_threads(1)
    pictures, out = map(Path, sys.argv[1:3])
    torch.distributed.init_process_group("gloo")
    for mode in sys.argv[3:]:
        backbone, settings = CASES[mode]
        train_to_checkpoint(pictures, out / mode, mode, settings, backbone())  # type: ignore[arg-type]
    torch.distributed.destroy_process_group()


CASES = {
    "ddp": (tiny_backbone, SETTINGS),
    "fsdp": (tiny_backbone, replace(SETTINGS, average=0.5)),
    "pipeline": (lite_backbone, replace(SETTINGS, batch_norm="frozen", epochs=1, batch_size=24)),
}
"""How each mode is tried: the pipeline for a step, on the network that it can cut, batch norm frozen."""


if __name__ == "__main__":
    main()
