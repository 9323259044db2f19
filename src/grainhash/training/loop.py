"""The loop of an end-to-end training: batches in, weights, log and checkpoints out.

All that is random depends on seed, epoch, step and picture alone, so a training that was interrupted and
resumed ends where one that ran through does, and so does one that several processes shared.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from grainhash.codes import pack
from grainhash.cores import usable_cores
from grainhash.encoder.granules import GranuleSettings
from grainhash.errors import CheckpointError, GrainhashError, InputError
from grainhash.learning.deep import DEEP_METHODS, DeepMethod
from grainhash.learning.heads import make_head
from grainhash.learning.objectives import make_objective
from grainhash.networks.backbone import Backbone
from grainhash.training import parallel
from grainhash.training.augment import recolour
from grainhash.training.batch_norm import train_mode
from grainhash.training.batches import Batch, Batches
from grainhash.training.checkpoint import Checkpoint
from grainhash.training.data import Division, Material, wholes
from grainhash.training.finish import HashNetwork
from grainhash.training.log import Log
from grainhash.training.method import make_method
from grainhash.training.out import CHECKPOINT
from grainhash.training.score import validation_map
from grainhash.training.settings import Settings
from grainhash.types import Progress

MOST_VALIDATED = 2000
"""Pictures that each epoch is judged by, at most."""

MEMORY = "_extra_state"
"""PyTorch's name for what an objective remembers besides its buffers: tensors by name."""

STEP, OBJECTIVE = 1, 2
"""What a random state is for."""


@dataclass(frozen=True, slots=True)
class Running:
    """How a training runs and what it leaves, none of which decides the result.

    Raises:
        InputError: a value out of its range.
    """

    mode: parallel.Mode | None = None
    resume: bool = False
    log_every: int = 50
    """Steps."""
    checkpoint_every: int = 0
    """Steps; 0 for the end of every epoch alone, which has a checkpoint always."""
    tensorboard: bool = False
    int8: bool = False
    granules: GranuleSettings = field(default_factory=GranuleSettings)
    n_workers: int | None = None
    """Threads that load pictures, or processes for a GPU; one a core by default."""
    source: str = ""
    """Where the pictures come from, for the encoder's provenance."""

    def __post_init__(self) -> None:
        workers = 1 if self.n_workers is None else self.n_workers
        if min(self.log_every, workers) < 1 or self.checkpoint_every < 0:
            raise InputError("log_every and n_workers are 1 or more, checkpoint_every is 0 or more")
        if self.mode not in parallel.STRATEGIES:
            raise InputError(f"unknown way to share the work {self.mode!r}; choose ddp, fsdp or pipeline")


class Training:
    """Everything that changes from step to step."""

    def __init__(
        self,
        settings: Settings,
        running: Running,
        material: Material,
        division: Division,
        backbone: Backbone,
        device: torch.device,
        out: Path,
    ) -> None:
        settings = with_defaults(settings)
        self.settings, self.running, self.material, self.out = settings, running, material, out
        self.division = replace(division, validation=division.validation[:MOST_VALIDATED])
        self.device = device
        self.dtype = precision(settings, device, running.mode)
        self.pictures = material.pictures.take(division.training)
        labels = self.pictures.labels
        self.targets = None if labels is None else torch.from_numpy(labels.indicator()).float().to(device)
        if settings.batch_size > len(self.pictures):
            raise InputError(
                f"a batch of {settings.batch_size} pictures, and there are {len(self.pictures)} to learn from"
            )

        torch.manual_seed(settings.seed)
        head = make_head(settings.head, backbone.channels, settings.n_bits, hidden=settings.hidden)
        self.objective = make_objective(
            settings.objective,
            n_bits=settings.n_bits,
            labels=labels,
            seed=settings.seed,
            **settings.objective_settings,
        ).to(device)
        self.kept = HashNetwork(copy.deepcopy(backbone), copy.deepcopy(head), settings.objective)
        self.head = head.to(device)
        strategy = parallel.STRATEGIES[running.mode]
        self.backbone = backbone.to(device, memory_format=strategy.layout)  # type: ignore[call-overload]
        _freeze(self.backbone, settings.freeze)
        self.strategy = strategy(self.backbone, self.kept.pick)
        self.own = self.strategy.own(settings.batch_size)
        self.batches = Batches(
            self.pictures,
            backbone.spec.input_size,
            settings.batch_size,
            settings.seed,
            settings.augmentation,
            running.n_workers or max(1, usable_cores() // parallel.local_processes()),
            for_gpu=device.type == "cuda",
        )
        self.optimiser = torch.optim.AdamW(self._groups())
        self.scaler = GradScaler(device.type, enabled=self.dtype == torch.float16)
        self.average = {
            name: tensor.detach().clone() for name, tensor in self._averaged().items() if settings.average
        }
        self.best: dict[str, Tensor] = {}
        self.best_score = -math.inf
        self.best_epoch = -1
        self.step = 0
        self.loss = math.nan
        self.seconds = 0.0

    # --- what there is, by name ---

    @property
    def _modules(self) -> dict[str, nn.Module]:
        return {"backbone": self.backbone, "head": self.head, "objective": self.objective}

    def _weights(self) -> dict[str, nn.Parameter]:
        """What is trained here."""
        return {
            f"{part}.{name}": weight
            for part, module in self._modules.items()
            for name, weight in module.named_parameters()
            if weight.requires_grad
        }

    def _averaged(self) -> dict[str, Tensor]:
        """What is averaged: the weights, and the statistics of batch norms, which go with them."""
        statistics = {
            f"{part}.{name}": buffer
            for part in ("backbone", "head")
            for name, buffer in self._modules[part].named_buffers()
            if buffer.is_floating_point()
        }
        return {**self._weights(), **statistics}

    def _groups(self) -> list[dict[str, Any]]:
        """Backbone apart from the rest, and weights that decay apart from those that do not."""
        rates = {True: self.settings.learning_rate, False: self.settings.head_learning_rate}
        decays = {True: self.settings.weight_decay, False: 0.0}
        groups = []
        for in_backbone, rate in rates.items():
            for is_matrix, decay in decays.items():
                weights = [
                    weight
                    for name, weight in self._weights().items()
                    if name.startswith("backbone.") == in_backbone and (weight.ndim > 1) == is_matrix
                ]
                if weights:
                    groups.append({"params": weights, "lr": rate, "rate": rate, "weight_decay": decay})
        return groups

    # --- one step ---

    @property
    def n_steps(self) -> int:
        """Of the whole training."""
        return self.settings.epochs * self.batches.per_epoch

    def _take_step(self, batch: Batch) -> Tensor:
        """Learn from a batch; its loss."""
        factor = schedule(self.step, self.n_steps, self.settings.warm_up)
        for group in self.optimiser.param_groups:
            group["lr"] = group["rate"] * factor
        self.optimiser.zero_grad(set_to_none=True)
        pictures = self._normalised(batch.pixels, batch.colours)
        rows = batch.rows.to(self.device, non_blocking=True)
        targets = None if self.targets is None else self.targets[rows]

        def loss_of(features: Tensor) -> Tensor:
            self._set_random_state(OBJECTIVE)
            with torch.autocast(self.device.type, enabled=False):
                loss: Tensor = self.objective(self.head(features.float()), targets, rows)
            return loss

        self._set_random_state(STEP, parallel.rank())
        with self._autocast():
            loss = self.strategy.backward(pictures, loss_of, self.scaler)
        self.scaler.unscale_(self.optimiser)
        if self.settings.clip:
            self._clip()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.step += 1
        self._follow()
        return loss

    def _normalised(self, pixels: Tensor, colours: Tensor | None = None) -> Tensor:
        """`uint8 (n, s, s, 3)` as the backbone takes it, in the order in memory that is fastest for it."""
        rows = pixels.to(self.device, non_blocking=True).float()
        if colours is not None and self.settings.augmentation.jitter:
            rows = recolour(rows, colours.to(self.device, non_blocking=True))
        spec = self.backbone.spec
        normalised = (rows - rows.new_tensor(spec.mean)) / rows.new_tensor(spec.std)
        return normalised.permute(0, 3, 1, 2)

    def _set_random_state(self, *purpose: int) -> None:
        """For dropout and the like: of this step, whatever came before."""
        seed = np.random.SeedSequence([self.settings.seed, self.step, *purpose]).generate_state(1, np.uint64)
        torch.manual_seed(int(seed[0] >> np.uint64(1)))

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def _clip(self) -> None:
        """Scale all gradients together so that their norm is at most `clip`."""
        with_gradient = {name: w.grad for name, w in self._weights().items() if w.grad is not None}
        backbone = [grad for name, grad in with_gradient.items() if name.startswith("backbone.")]
        others = [grad for name, grad in with_gradient.items() if not name.startswith("backbone.")]
        squared = self.strategy.squared_norm(backbone)
        for grad in others:
            squared = squared + grad.square().sum()
        factor = (self.settings.clip / (squared.sqrt() + 1e-6)).clamp(max=1).item()
        if factor < 1:
            for grad in with_gradient.values():
                grad.mul_(factor)

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average of the weights towards them, faster at first."""
        if not self.average:
            return
        decay = min(self.settings.average, (1 + self.step) / (10 + self.step))
        now = self._averaged()
        of_a_kind: dict[type[Tensor], list[str]] = {}  # FSDP's weights are not of the kind of others
        for name, mean in self.average.items():
            of_a_kind.setdefault(type(mean), []).append(name)
        for names in of_a_kind.values():
            torch._foreach_lerp_([self.average[n] for n in names], [now[n] for n in names], 1 - decay)

    @torch.no_grad()
    def _swap_average(self) -> None:
        """Put the average in the weights' place; a second call puts them back."""
        if not self.average:
            return
        now = self._averaged()
        for name, mean in self.average.items():
            kept = now[name].clone()
            now[name].copy_(mean)
            mean.copy_(kept)

    # --- all steps ---

    def run(self, progress: Callable[[Progress], None], report: Callable[[str], None]) -> None:
        """Train to the end, or until the validation score has not risen for `patience` epochs."""
        if self.running.resume:
            self._load()
        first_epoch, done = divmod(self.step, self.batches.per_epoch)
        with Log(
            self.out if parallel.is_first() else None,
            from_step=self.step,
            tensorboard=self.running.tensorboard,
        ) as log:
            for epoch in range(first_epoch, self.settings.epochs):
                if self._out_of_patience(epoch):
                    break
                with closing(self.batches.of_epoch(epoch, first=done, own=self.own)) as batches:
                    self._run_epoch(epoch, batches, log, progress)
                done = 0
                score = self._judge(epoch)
                log.add(step=self.step, epoch=epoch + 1, seconds=self.seconds, validation_map=score)
                kept = "" if score is None else f", validation mAP {score:.4f}"
                report(f"epoch {epoch + 1} of {self.settings.epochs}: loss {self.loss:.4f}{kept}")
                self._save()
        self._keep_result()

    def _run_epoch(
        self, epoch: int, batches: Iterator[Batch], log: Log, progress: Callable[[Progress], None]
    ) -> None:
        self.objective.advance(epoch / self.settings.epochs)
        train_mode(self.backbone, frozen_batch_norm=self.settings.batch_norm == "frozen")
        self.head.train()
        self.objective.train()
        before, since = perf_counter(), self.step
        for batch in batches:
            loss = self._take_step(batch)
            n = self.settings.batch_size
            progress(Progress("train", self.step * n, self.n_steps * n, len(self.material.skipped)))
            last = self.step == (epoch + 1) * self.batches.per_epoch
            if last or self.step % self.running.log_every == 0:
                self.loss = float(loss)
                now = perf_counter()
                self.seconds += now - before
                log.add(
                    step=self.step,
                    epoch=epoch + 1,
                    loss=self.loss,
                    learning_rate=self.optimiser.param_groups[0]["lr"],
                    pictures_per_second=(self.step - since) * n / (now - before),
                    seconds=self.seconds,
                )
                before, since = now, self.step
                self._check_finite(loss)
            every = self.running.checkpoint_every
            if every and self.step % every == 0 and not last:
                self._check_finite(loss)
                self._save()

    def _check_finite(self, loss: Tensor) -> None:
        """Stop before anything that came of a loss without bounds takes the place of a checkpoint."""
        if not math.isfinite(float(loss)):
            raise GrainhashError(
                f"the loss is {float(loss)} at step {self.step}; train again with smaller learning "
                "rates or a smaller clip"
            )

    def _out_of_patience(self, epoch: int) -> bool:
        patience = self.settings.patience
        return patience > 0 and self.best_epoch >= 0 and epoch - self.best_epoch > patience

    # --- validation ---

    def _judge(self, epoch: int) -> float | None:
        """mAP among the pictures kept back; remember the weights that did best."""
        labels = self.material.pictures.labels
        rows = self.division.validation
        if labels is None or len(rows) < 2:
            return None
        self._swap_average()
        score = validation_map(pack(self._project(rows)), labels.take(rows))
        if score is not None and score > self.best_score:
            self.best_score, self.best_epoch = score, epoch
            self.best = self.whole_state()
        self._swap_average()
        return score

    @torch.no_grad()
    def _project(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """What backbone and head make of some pictures, seen whole: `(n, n_bits)`."""
        self.backbone.eval()
        self.head.eval()
        n, size = self.settings.batch_size, self.backbone.spec.input_size
        parts = []
        for start in range(0, len(rows), n):
            some = rows[start : start + n]
            padded = np.resize(some, n)[self.own]  # all batches of one size
            pictures = self._normalised(torch.from_numpy(wholes(self.material.pictures, padded, size)))
            with self._autocast():
                features = self.strategy.forward(pictures)[: len(some)]
            parts.append(self.head(features.float()).cpu().numpy())
        return np.concatenate(parts)

    # --- checkpoints ---

    @property
    def _configuration(self) -> dict[str, Any]:
        settings = {name: value for name, value in self.settings.to_dict().items() if name != "weights"}
        return {"settings": settings, "network": self.backbone.name, "data": self.material.sha256}

    def whole_state(self) -> dict[str, Tensor]:
        """Weights and buffers of all parts, whole, on the CPU."""
        found = {
            f"{part}.{name}": self.strategy.whole(tensor).cpu().clone()
            for part, module in self._modules.items()
            for name, tensor in _state_of(module).items()
        }
        return self.strategy.gathered(found)

    def _save(self) -> None:
        """Write a checkpoint; every process takes part, the first one writes."""
        tensors = {f"model.{name}": tensor for name, tensor in self.whole_state().items()}
        own: dict[str, Tensor] = {}
        for name, weight in self._weights().items():
            for key, value in self.optimiser.state.get(weight, {}).items():
                own[f"{key}.{name}"] = self.strategy.whole(value).cpu()
        own |= {f"average.{name}": self.strategy.whole(mean).cpu() for name, mean in self.average.items()}
        tensors |= self.strategy.gathered(own)
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        if not parallel.is_first():
            return
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "best_score": self.best_score if self.best_epoch >= 0 else None,
            "best_epoch": self.best_epoch,
            "scaler": self.scaler.state_dict(),
        }
        Checkpoint(self._configuration, state, tensors).save(self.out / CHECKPOINT)

    def _load(self) -> None:
        """Take up a training where its last checkpoint left it."""
        path = self.out / CHECKPOINT
        checkpoint = Checkpoint.load(path, self._configuration)
        try:
            self._restore(checkpoint.state, checkpoint.tensors)
        except (KeyError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(
                f"{path}: does not fit this network ({reason}); train into another folder"
            ) from None

    def _restore(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Put weights, what the optimiser keeps and counts in the place of those that are here."""
        self.step, self.seconds = state["step"], state["seconds"]
        if state["best_score"] is not None:
            self.best_score, self.best_epoch = state["best_score"], state["best_epoch"]
        self.scaler.load_state_dict(state["scaler"])
        self.best = _under("best.", tensors)
        with torch.no_grad():
            for part, module in self._modules.items():
                for name, tensor in module.state_dict().items():
                    if name != MEMORY:
                        tensor.copy_(self.strategy.like(tensors[f"model.{part}.{name}"], tensor))
            memory = _under(f"model.objective.{MEMORY}.", tensors)
            if MEMORY in self.objective.state_dict():
                self.objective.set_extra_state({n: tensor.to(self.device) for n, tensor in memory.items()})
            for name, mean in self.average.items():
                mean.copy_(self.strategy.like(tensors[f"average.{name}"], mean))
        for name, weight in self._weights().items():
            for key in ("step", "exp_avg", "exp_avg_sq"):
                if f"{key}.{name}" in tensors:
                    value = tensors[f"{key}.{name}"]
                    self.optimiser.state[weight][key] = (
                        value.clone() if key == "step" else self.strategy.like(value.clone(), weight)
                    )

    # --- the end ---

    def _keep_result(self) -> None:
        """Put the weights that did best, or the last ones, into the network that is kept."""
        if not self.best:
            self._swap_average()
            self.best = self.whole_state()
        self.kept.backbone.load_state_dict(_under("backbone.", self.best))
        self.kept.head.load_state_dict(_under("head.", self.best))


def with_defaults(settings: Settings) -> Settings:
    """With every setting of the objective's own, also those that were left to it.

    So a checkpoint and an encoder say what they were trained with whatever later versions have as defaults.

    Raises:
        InputError: an objective, or a setting of it, that there is not or that cannot be.
    """
    known = [name for name, method in DEEP_METHODS.items() if method.needs_labels]
    if settings.objective not in known:
        raise InputError(
            f"nothing learns end to end by the name of {settings.objective!r}; there are {', '.join(known)}"
        )
    of_features = {setting.name for setting in fields(DeepMethod)}
    method = make_method(
        DEEP_METHODS[settings.objective],
        settings.n_bits,
        settings.seed,
        settings.objective_settings,
        without=of_features,
    )
    own = [setting.name for setting in fields(method) if setting.name not in of_features]
    return replace(settings, objective_settings={name: getattr(method, name) for name in own})


def schedule(step: int, n_steps: int, warm_up: float) -> float:
    """The learning rate at a step, as a share of its highest: a line up, then half a cosine down to 0."""
    rising = max(1, round(warm_up * n_steps)) if warm_up else 0
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, n_steps - rising)))


def _freeze(backbone: Backbone, share: float) -> None:
    """Leave the first weights of a backbone, in order of its modules, as they are."""
    weights = list(backbone.parameters())
    for weight in weights[: round(share * len(weights))]:
        weight.requires_grad_(False)


def _state_of(module: nn.Module) -> dict[str, Tensor]:
    """Weights, buffers and memory of a module, by name."""
    state = module.state_dict()
    memory = state.pop(MEMORY, {})
    return {**state, **{f"{MEMORY}.{name}": tensor for name, tensor in memory.items()}}


def _under(prefix: str, tensors: Any) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def precision(settings: Settings, device: torch.device, mode: parallel.Mode | None) -> torch.dtype:
    """The type that the backbone computes in. bfloat16 gains nothing on a CPU: see docs/training.md.

    Raises:
        InputError: fp16 where gradients cannot be scaled.
    """
    if settings.precision == "auto":
        return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[settings.precision]
    if dtype == torch.float16 and (device.type != "cuda" or mode not in (None, "ddp")):
        raise InputError("fp16 is for CUDA, on one process or with ddp; choose bf16 or fp32")
    return dtype
