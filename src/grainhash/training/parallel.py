"""One process or many: how a backbone's forward and backward pass is shared out.

Every strategy gives each process the features of the whole batch. Head and objective then run on the whole
batch in every process, from the same random state, so a loss over pairs sees all pairs and a batch norm in
the head all pictures; their gradients are the same everywhere without a word between the processes. Only
the backbone's are shared:

    one process   itself
    ddp           every process has the whole backbone and a part of the batch (DistributedDataParallel)
    fsdp          as ddp, with weights, gradients and optimiser state in parts, too (FSDP2, fully_shard)
    pipeline      every process has some of the backbone's blocks (torch.distributed.pipelining)

Processes are those of `torchrun`; they talk through NCCL on CUDA and Gloo on a CPU.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, distributed, nn
from torch.amp.grad_scaler import GradScaler
from torch.nn.functional import relu6

from grainhash.errors import InputError
from grainhash.networks.backbone import Backbone, Features
from grainhash.training.batch_norm import synchronise

Mode = Literal["ddp", "fsdp", "pipeline"]

TIMEOUT = timedelta(minutes=10)
"""How long a process waits for the others before it gives up."""

Pick = Callable[[Any], Tensor]
"""Which of a backbone's outputs the head takes."""


class Strategy(ABC):
    """How the backbone runs. Made with the backbone in place on its device."""

    layout: ClassVar[torch.memory_format] = torch.channels_last
    """Order of a weight's numbers in memory; this one is faster by a third on a CPU."""

    def __init__(self, backbone: Backbone, pick: Pick) -> None:
        self.backbone = backbone
        self.pick = pick

    @abstractmethod
    def own(self, batch_size: int) -> slice:
        """Which pictures of a batch this process loads."""

    @abstractmethod
    def forward(self, pictures: Tensor) -> Tensor:
        """Features of the whole batch, without gradient, from the pictures that this process loaded."""

    @abstractmethod
    def backward(self, pictures: Tensor, loss_of: Callable[[Tensor], Tensor], scaler: GradScaler) -> Tensor:
        """Gradients of `loss_of(features of the whole batch)`, in backbone, head and objective; the loss."""

    def whole(self, tensor: Tensor) -> Tensor:
        """A weight or a state of it, in whole."""
        return tensor.detach()

    def like(self, tensor: Tensor, weight: Tensor) -> Tensor:
        """A whole tensor in the form that `weight` has here."""
        return tensor.to(weight.device)

    def gathered(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of all processes together, by name."""
        return tensors

    def squared_norm(self, gradients: list[Tensor]) -> Tensor:
        """The squared norm of the backbone's gradients, over all processes."""
        return _squared_norm(gradients)


class OneProcess(Strategy):
    """No other process."""

    def own(self, batch_size: int) -> slice:
        return slice(0, batch_size)

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Tensor:
        return self.pick(self.backbone(pictures))

    def backward(self, pictures: Tensor, loss_of: Callable[[Tensor], Tensor], scaler: GradScaler) -> Tensor:
        loss = loss_of(self.pick(self.backbone(pictures)))
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return loss.detach()


class DataParallel(Strategy):
    """A part of the batch in every process, the whole backbone too."""

    def __init__(self, backbone: Backbone, pick: Pick) -> None:
        super().__init__(backbone, pick)
        synchronise(backbone)
        self.rank, self.world = distributed.get_rank(), distributed.get_world_size()
        self.runner = self._shared(_Picked(backbone, pick))

    def _shared(self, network: nn.Module) -> nn.Module:
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(network)

    def own(self, batch_size: int) -> slice:
        if batch_size % self.world:
            raise InputError(f"a batch of {batch_size} pictures cannot be shared by {self.world} processes")
        n = batch_size // self.world
        return slice(self.rank * n, (self.rank + 1) * n)

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Tensor:
        gathered: Tensor = _AllRows.apply(self.runner(pictures))  # type: ignore[no-untyped-call]
        return gathered

    def backward(self, pictures: Tensor, loss_of: Callable[[Tensor], Tensor], scaler: GradScaler) -> Tensor:
        loss = loss_of(_AllRows.apply(self.runner(pictures)))  # type: ignore[no-untyped-call]
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return loss.detach()


class Sharded(DataParallel):
    """A part of the batch in every process, and a part of every weight."""

    layout = torch.contiguous_format  # others cannot be cut in parts

    def _shared(self, network: nn.Module) -> nn.Module:
        from torch.distributed.fsdp import fully_shard

        for part in _blocks(network):
            fully_shard(part)
        fully_shard(network)
        return network

    def whole(self, tensor: Tensor) -> Tensor:
        from torch.distributed.tensor import DTensor

        if isinstance(tensor, DTensor):
            tensor = tensor.full_tensor()
        return tensor.detach()

    def like(self, tensor: Tensor, weight: Tensor) -> Tensor:
        from torch.distributed.tensor import DTensor, distribute_tensor

        if not isinstance(weight, DTensor):
            return tensor.to(weight.device)
        return distribute_tensor(tensor.to(weight.device), weight.device_mesh, weight.placements)

    def squared_norm(self, gradients: list[Tensor]) -> Tensor:
        local: list[Tensor] = [gradient.to_local() for gradient in gradients]  # type: ignore[attr-defined]
        total = _squared_norm(local)
        distributed.all_reduce(total)
        return total


class Pipeline(Strategy):
    """Some blocks of the backbone in every process, small batches passing through them one behind the other.

    The gradient of a loss over the whole batch cannot be had from small batches one by one. So they pass
    twice: forward for the features, whose gradient the loss then gives, and forward and back with that
    gradient (Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup, 2021).
    """

    MICROBATCHES_A_PROCESS = 2

    layout = torch.contiguous_format  # what is sent must be

    def __init__(self, backbone: Backbone, pick: Pick) -> None:
        super().__init__(backbone, pick)
        self.rank, self.world = distributed.get_rank(), distributed.get_world_size()
        self.stage_module = _lite_stage(backbone, pick, self.rank, self.world)
        self._schedules: dict[Any, Any] = {}

    def own(self, batch_size: int) -> slice:
        """All pictures in the first process, none in the others."""
        if batch_size % self._n_microbatches:
            raise InputError(
                f"a batch of {batch_size} pictures cannot be cut in {self._n_microbatches} for "
                f"{self.world} processes"
            )
        return slice(0, batch_size if self.rank == 0 else 0)

    @property
    def _n_microbatches(self) -> int:
        return self.MICROBATCHES_A_PROCESS * self.world

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Tensor:
        schedule = self._schedule(pictures.device)
        seen: Tensor | None = schedule.step(*([pictures] if self.rank == 0 else []))
        form: list[Any] = [None if seen is None else (seen.shape, seen.dtype)]
        distributed.broadcast_object_list(form, self.world - 1)
        shape, dtype = form[0]
        features = (
            torch.empty(shape, dtype=dtype, device=pictures.device) if seen is None else seen.contiguous()
        )
        distributed.broadcast(features, self.world - 1)
        return features

    def backward(self, pictures: Tensor, loss_of: Callable[[Tensor], Tensor], scaler: GradScaler) -> Tensor:
        features = self.forward(pictures).detach().requires_grad_()
        loss = loss_of(features)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        schedule = self._schedule(pictures.device, _along)
        if self.rank == 0:
            schedule.step(pictures)
        elif self.rank == self.world - 1:
            schedule.step(target=features.grad)
        else:
            schedule.step()
        return loss.detach()

    def _schedule(self, device: torch.device, loss: Callable[[Tensor, Tensor], Tensor] | None = None) -> Any:
        """How small batches pass through the processes: forward, and back too with a loss."""
        from torch.distributed.pipelining import PipelineStage, ScheduleGPipe

        if loss not in self._schedules:
            stage = PipelineStage(self.stage_module, self.rank, self.world, device)
            self._schedules[loss] = ScheduleGPipe(
                stage, self._n_microbatches, loss_fn=loss, scale_grads=False
            )
        return self._schedules[loss]

    def gathered(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        parts: list[dict[str, Tensor] | None] = [None] * self.world
        distributed.all_gather_object(parts, {name: tensor.cpu() for name, tensor in tensors.items()})
        return {name: tensor for part in parts for name, tensor in (part or {}).items()}

    def squared_norm(self, gradients: list[Tensor]) -> Tensor:
        total = _squared_norm(gradients)
        distributed.all_reduce(total)
        return total


STRATEGIES: dict[Mode | None, type[Strategy]] = {
    None: OneProcess,
    "ddp": DataParallel,
    "fsdp": Sharded,
    "pipeline": Pipeline,
}


@contextmanager
def processes(mode: Mode | None) -> Iterator[torch.device]:
    """The device of this process, joined to the others of `torchrun` if there are to be any.

    A process that has joined them already stays so.

    Raises:
        InputError: `mode` names a way to run in many processes and `torchrun` did not start this one, or
            the other way round.
    """
    under_torchrun = "LOCAL_RANK" in os.environ and "WORLD_SIZE" in os.environ
    if mode is None:
        if under_torchrun and int(os.environ["WORLD_SIZE"]) > 1:
            raise InputError("several processes were started; say how they share the work: --parallel ddp")
        yield torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return
    if not under_torchrun:
        raise InputError(
            f"--parallel {mode} needs several processes; run: torchrun --nproc-per-node N -m grainhash train"
        )
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
    joined_before = distributed.is_initialized()
    if not joined_before:
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield device
    finally:
        if not joined_before:
            distributed.destroy_process_group()


def is_first() -> bool:
    """Whether this process is the one that writes and reports."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def local_processes() -> int:
    """How many processes `torchrun` started on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def rank() -> int:
    """Which process this is."""
    return distributed.get_rank() if distributed.is_initialized() else 0


class _Picked(nn.Module):
    """A backbone that gives out what the head takes."""

    def __init__(self, backbone: Backbone, pick: Pick) -> None:
        super().__init__()
        self.backbone = backbone
        self.pick = pick

    def forward(self, x: Tensor) -> Tensor:
        return self.pick(self.backbone(x))


class _AllRows(torch.autograd.Function):
    """Rows of all processes, in order of rank.

    Every process computes the same loss of them, so the gradient of its own rows is there already. It is
    multiplied by the number of processes, over which the backbone's gradients are then averaged.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, rows.contiguous())
        ctx.n = len(rows)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        start = distributed.get_rank() * ctx.n
        return gradient[start : start + ctx.n] * distributed.get_world_size()


class _LiteStage(nn.Module):
    """Some blocks of an EfficientNet-Lite: with the stem in the first process, the head in the last."""

    def __init__(self, backbone: Backbone, pick: Pick, blocks: range, *, first: bool, last: bool) -> None:
        super().__init__()
        self.backbone = backbone
        self.blocks = blocks
        self.pick, self.first, self.last = pick, first, last

    def forward(self, x: Tensor) -> Tensor:
        network: Any = self.backbone.body.network
        if self.first:
            x = x.contiguous()
            x = relu6(network.bn0(network.conv_stem(x)))
        for index in self.blocks:
            x = network.blocks[index](x)
        if not self.last:
            return x
        last_map = relu6(network.bn1(network.conv_head(x)))
        return self.pick(Features(last_map.mean(dim=(2, 3)), last_map, None))


def _lite_stage(backbone: Backbone, pick: Pick, rank: int, world: int) -> nn.Module:
    """The part of a backbone that one process runs; the other parts are dropped from it."""
    from grainhash.networks.efficientnet_lite import EfficientNetLite

    network = getattr(backbone.body, "network", None)
    if not isinstance(network, EfficientNetLite):
        raise InputError(
            f"a pipeline can be made of EfficientNet-Lite, not of {backbone.name}; use ddp or fsdp"
        )
    if world > len(network.blocks):
        raise InputError(f"{world} processes for a pipeline of {len(network.blocks)} blocks")
    ends = [round(len(network.blocks) * i / world) for i in range(world + 1)]
    blocks = range(ends[rank], ends[rank + 1])
    first, last = rank == 0, rank == world - 1
    for index in range(len(network.blocks)):
        if index not in blocks:
            network.blocks[index] = nn.Identity()
    if not first:
        network.conv_stem, network.bn0 = nn.Identity(), nn.Identity()  # type: ignore[assignment]
    if not last:
        network.conv_head, network.bn1 = nn.Identity(), nn.Identity()  # type: ignore[assignment]
    return _LiteStage(backbone, pick, blocks, first=first, last=last)


def _blocks(network: nn.Module) -> Iterator[nn.Module]:
    """The members of the longest list of modules: what is gathered one after the other to save memory."""
    lists = [m for m in network.modules() if isinstance(m, nn.ModuleList | nn.Sequential) and len(m) > 1]
    yield from max(lists, key=len, default=[])


def _along(output: Tensor, gradient: Tensor) -> Tensor:
    """A loss whose gradient in `output` is `gradient`."""
    return (output * gradient).sum()


def _squared_norm(gradients: list[Tensor]) -> Tensor:
    if not gradients:
        return torch.zeros(())
    return torch.stack(torch._foreach_norm(gradients)).square().sum()
