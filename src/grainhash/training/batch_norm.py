"""Batch norm of a backbone under training: frozen, or over the batches of all processes together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn

_KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the pictures of all processes, each of which has as many.

    What `torch.nn.SyncBatchNorm` is on CUDA, for any device that processes can add up on.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, c, h, w)` to the same shape."""
        if not self.training or distributed.get_world_size() == 1:
            normed: Tensor = super().forward(x)
            return normed
        n = x.numel() // x.shape[1] * distributed.get_world_size()
        own = torch.stack([x.sum(dim=(0, 2, 3)), x.square().sum(dim=(0, 2, 3))]).float()
        sums: Tensor = _Sum.apply(own)  # type: ignore[no-untyped-call]
        mean = sums[0] / n
        variance = (sums[1] / n - mean.square()).clamp(min=0)
        self._remember(mean.detach(), variance.detach() * n / (n - 1))
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return x * scale[:, None, None].to(x.dtype) + shift[:, None, None].to(x.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        weight = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(variance, weight)


class _Sum(torch.autograd.Function):
    """The sum over all processes; the gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        distributed.all_reduce(total)
        return total


def synchronise(network: nn.Module) -> None:
    """Turn every two-dimensional batch norm into one over all processes, in place."""
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = GlobalBatchNorm2d


def train_mode(network: nn.Module, *, frozen_batch_norm: bool) -> None:
    """Put a network into training mode, batch norms that are frozen or have no gradient into `eval` mode."""
    network.train()
    for module in network.modules():
        if isinstance(module, _KINDS):
            weights = list(module.parameters())
            module.train(not frozen_batch_norm and any(weight.requires_grad for weight in weights))
