"""Train a head on cached features by minibatches, and hand it over as a hash function.

The features of each kind are scaled to length 1, centred, and scaled one by one; the lengths stay a step of
the chain, the rest goes into its first affine map, so that the hash function takes features as a network
gives them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from grainhash.errors import InputError, LabelsError
from grainhash.hashing.function import HashFunction
from grainhash.hashing.method import check_features, check_more_rows, check_settings
from grainhash.labels import Labels
from grainhash.learning.fusion import FUSIONS, Scaling, block_sizes, chain, check_fusion, unit_blocks
from grainhash.learning.heads import Head
from grainhash.learning.losses import signs, similarity
from grainhash.learning.objective import Objective
from grainhash.learning.views import Views
from grainhash.types import Progress, silent

ROWS_SEEN = 150_000
"""Rows that training looks at where the number of epochs is left open."""

WARM_UP = 0.05
"""Share of training in which the learning rate grows to its full size."""

JUDGED_ROWS = 1000
"""Held-out rows that are judged at most."""


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How a head is trained; what every deep method has in common."""

    epochs: int | None = None
    """`None`: as many as make `ROWS_SEEN` looks at a row, from 10 to 100."""
    batch_size: int = 128
    learning_rate: float = 1e-3
    """At its highest: it grows for the first steps, then falls along a cosine (AdamW)."""
    weight_decay: float = 1e-4
    noise: float = 0.0
    """Share of the features left out at random in training."""
    validation: float = 0.0
    """Share of the rows held out for early stopping; 0 trains on all, to the end."""
    patience: int = 10
    """Epochs without a better held-out result until training stops."""
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = {
            "epochs": self.epochs is not None and self.epochs < 1,
            "batch_size": self.batch_size < 2,
            "learning_rate": not 0 < self.learning_rate < math.inf,
            "weight_decay": not 0 <= self.weight_decay < math.inf,
            "noise": not 0 <= self.noise < 1,
            "validation": not 0 <= self.validation < 1,
            "patience": self.patience < 1,
        }
        check_settings(self, wrong)

    def n_epochs(self, n_rows: int) -> int:
        """The number of epochs over `n_rows` rows."""
        return self.epochs or min(max(ROWS_SEEN // n_rows, 10), 100)


def fit_head(
    features: NDArray[np.floating[Any]],
    labels: Labels | None,
    *,
    head: Head,
    objective: Objective,
    settings: FitSettings,
    method: str,
    blocks: Sequence[int] = (),
    fusion: str = "concat",
    progress: Callable[[Progress], None] = silent,
) -> HashFunction:
    """Train `head` on features and return it as a hash function.

    The same seed, features, head and number of threads give the same function.

    Args:
        features: `(n, dim)`, or `(n_views, n, dim)` for several views of each picture, of which one (or as
            many as the objective wants) is drawn at random each time.
        labels: `(n,)`, or `None` for an objective that needs none.
        head: from `(n, dim)` features to `(n, n_bits)`; trained in place.
        objective: trained in place.
        settings: of training.
        method: the name the hash function keeps.
        blocks: columns of each kind of features, if there are several.
        fusion: what weighs the blocks, a name in `grainhash.learning.fusion.FUSIONS`.
        progress: told after every epoch.

    Raises:
        InputError: features that are not finite, all the same or no more than bits, blocks of another width,
            or settings that make training diverge.
        LabelsError: another number of labels than rows.
    """
    views = check_views(features)
    check_more_rows(method, views[0], head.n_bits)
    if labels is not None and len(labels) != views.shape[1]:
        raise LabelsError(f"{len(labels)} labels for {views.shape[1]} rows of features")
    sizes = block_sizes(check_fusion(fusion, blocks), views.shape[2])
    rows = unit_blocks(torch.from_numpy(views), sizes)
    scaling = Scaling.of(rows)
    targets = None if labels is None else torch.from_numpy(labels.indicator().astype(np.float32))
    with seeded(settings.seed):
        fused = FUSIONS[fusion](sizes, scaling)
        network = nn.Sequential(fused, head)
        _Trainer(scaling.apply_(rows), targets, labels, network, objective, settings).run(progress)
    return HashFunction(chain(fused, head), method)


def check_views(features: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Features as float32 `(n_views, n, dim)`, one view where they are `(n, dim)`; copied if need be.

    Raises:
        InputError: not finite, no views, or of another number of dimensions.
    """
    array = np.asarray(features)
    views = array[None] if array.ndim == 2 else array
    if views.ndim != 3 or not len(views):
        raise InputError(f"features of shape {array.shape} where (n, dim) or (n_views, n, dim) is expected")
    for view in views:
        check_features(view)
    return np.require(views, np.float32, ["C", "W"])


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """PyTorch's randomness set by `seed` within, and as it was before afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


class _Trainer:
    """One run of training over scaled features."""

    def __init__(
        self,
        features: Tensor,
        targets: Tensor | None,
        labels: Labels | None,
        network: nn.Module,
        objective: Objective,
        settings: FitSettings,
    ) -> None:
        n = features.shape[1]
        self.targets, self.network, self.objective, self.settings = targets, network, objective, settings
        self.graded = labels is not None and labels.kind == "hierarchy"
        generator = torch.Generator().manual_seed(settings.seed)
        order = torch.randperm(n, generator=generator)
        n_held = round(n * settings.validation)
        self.held, self.rows = order[:n_held], order[n_held:].sort().values
        if settings.validation and (n_held < 2 or len(self.rows) < 2):
            raise InputError(f"{n} rows cannot be split for a validation share of {settings.validation}")
        self.views = Views(
            features, objective.views, settings.noise, generator, of_neighbours=objective.of_neighbours
        )
        self.batch_size = min(settings.batch_size, len(self.rows))
        self.epochs = settings.n_epochs(len(self.rows))
        self.optimiser = torch.optim.AdamW(
            [*network.parameters(), *objective.parameters()],
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        steps = self.epochs * (len(self.rows) // self.batch_size)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, lambda step: _rate(step / steps))

    def run(self, progress: Callable[[Progress], None]) -> None:
        """All epochs, or until the held-out rows gain no more; then the best state is back in the network."""
        best, best_epoch, best_state = -math.inf, 0, None
        for epoch in range(self.epochs):
            self.objective.advance(epoch / self.epochs)
            self._epoch()
            progress(Progress("training", epoch + 1, self.epochs, 0))
            if not len(self.held):
                continue
            quality = self._quality()
            if quality > best:
                best, best_epoch, best_state = quality, epoch, copy.deepcopy(self.network.state_dict())
            elif epoch - best_epoch >= self.settings.patience:
                break
        if best_state is not None:
            self.network.load_state_dict(best_state)
        self.network.eval()

    def _epoch(self) -> None:
        self.network.train()
        self.objective.train()
        total = 0.0
        for x, rows in self.views.batches(self.rows, self.batch_size):
            loss = self.objective(self.network(x), None if self.targets is None else self.targets[rows], rows)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self.optimiser.step()
            self.schedule.step()
            total += loss.item()
        if not math.isfinite(total):
            raise InputError("training diverged; lower the learning rate")

    @torch.no_grad()
    def _quality(self) -> float:
        """Of the held-out rows: mAP of their codes among the training rows, without labels minus the loss."""
        self.network.eval()
        self.objective.eval()
        held = self.held[:JUDGED_ROWS]
        if self.targets is None:
            x = self.views.draw(held)
            return -float(self.objective(self.network(x), None, held.repeat(self.views.per_row)))
        known = signs(self.network(self.views.features[0, self.rows]))
        asked = signs(self.network(self.views.features[0, held]))
        wanted = similarity(self.targets[held], self.targets[self.rows], graded=self.graded)
        return mean_average_precision(asked @ known.T, wanted >= 1)


def mean_average_precision(scores: Tensor, relevant: Tensor) -> float:
    """Mean AP over all of `(n_queries, n)` scores, higher first; equal ones in the order they stand.

    Queries without a relevant row count for nothing. For early stopping: to compare methods, use
    `grainhash.evaluation`.
    """
    order = scores.argsort(dim=1, descending=True, stable=True)
    hits = relevant.gather(1, order).float()
    precision = hits.cumsum(dim=1) / torch.arange(1, hits.shape[1] + 1)
    n_relevant = hits.sum(dim=1)
    average = (precision * hits).sum(dim=1) / n_relevant.clamp(min=1)
    return float(average.sum() / (n_relevant > 0).sum().clamp(min=1))


def _rate(fraction: float) -> float:
    """The learning rate after a share of the steps: up a ramp, then down a cosine."""
    if fraction < WARM_UP:
        return (fraction + 0.1 * WARM_UP) / (1.1 * WARM_UP)
    return 0.5 * (1 + math.cos(math.pi * (fraction - WARM_UP) / (1 - WARM_UP)))
