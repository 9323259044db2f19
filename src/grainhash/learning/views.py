"""Batches of features for training: which rows, which view of each, and views made where there are none."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import normalize

NEIGHBOURS = 8
"""Rows that may stand for another view of a row."""

DIMENSIONS = 128
"""Principal components that neighbours are found in."""

BLOCK = 1024
"""Rows compared with all others at once."""


class Views:
    """Features `(n_views, n, dim)` from which batches are drawn, a view of each row at random.

    Args:
        features: `(n_views, n, dim)`.
        per_row: views of each row in a batch, 1 or 2.
        noise: share of the features left out at random, so that no two looks at a row are the same.
        generator: of everything drawn.
        of_neighbours: whether the second view of a row is one of a near neighbour; always so with one view.
    """

    def __init__(
        self,
        features: Tensor,
        per_row: int,
        noise: float,
        generator: torch.Generator,
        *,
        of_neighbours: bool = False,
    ) -> None:
        self.features = features
        self.per_row = per_row
        self.noise = noise
        self.generator = generator
        wanted = per_row > 1 and (of_neighbours or len(features) == 1)
        self.near = neighbours(features[0]) if wanted else None

    def batches(self, rows: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch over `rows`, shuffled: features `(per_row * m, dim)` and the rows that they belong to.

        What is left over after the last whole batch waits for another epoch.
        """
        shuffled = rows[torch.randperm(len(rows), generator=self.generator)]
        for start in range(0, len(rows) - batch_size + 1, batch_size):
            chosen = shuffled[start : start + batch_size]
            yield self.draw(chosen), chosen.repeat(self.per_row)

    def draw(self, rows: Tensor) -> Tensor:
        """`(per_row * m, dim)`: views of `m` rows; with two, other ones of the same rows below."""
        view = self._random(len(self.features), len(rows))
        parts = [self.features[view, rows]]
        if self.per_row > 1:
            parts.append(self._second(view, rows))
        batch = torch.cat(parts)
        if not self.noise:
            return batch
        kept = torch.rand(batch.shape, generator=self.generator) >= self.noise
        return batch.mul_(kept).div_(1 - self.noise)

    def _second(self, view: Tensor, rows: Tensor) -> Tensor:
        """Another view of each row, or any view of a near neighbour."""
        n_views = len(self.features)
        if self.near is None:
            step = 1 + self._random(n_views - 1, len(rows))
            return self.features[(view + step) % n_views, rows]
        choice = self._random(self.near.shape[1], len(rows))
        return self.features[self._random(n_views, len(rows)), self.near[rows, choice]]

    def _random(self, below: int, n: int) -> Tensor:
        return torch.randint(below, (n,), generator=self.generator)


def neighbours(features: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """`(n, k)`: each row itself and its nearest others by cosine in the leading principal components."""
    centred = features - features.mean(dim=0)
    _, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    unit = normalize(centred @ vectors[:, -DIMENSIONS:], dim=1)
    return torch.cat([(part @ unit.T).topk(min(k, len(unit))).indices for part in torch.split(unit, BLOCK)])
