"""The settings of an end-to-end training, checked once; a checkpoint keeps them all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from grainhash.codes import check_n_bits
from grainhash.errors import InputError
from grainhash.training.augment import Augmentation
from grainhash.training.data import check_share

Precision = Literal["auto", "fp32", "bf16", "fp16"]
BatchNorm = Literal["train", "frozen"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides the result of an end-to-end training, with its data.

    Raises:
        InputError: a value out of its range.
    """

    network: str = "efficientnet-lite0"
    """A name that `grainhash.networks.backbone.load_backbone` knows."""
    weights: str | None = None
    """A file of weights, `random`, or `None` for the published ones."""
    input_size: int | None = None
    """Side of the pictures in pixels; the network's own by default."""
    objective: str = "nested"
    """A deep method that learns from labels, such as `nested` or `csq`."""
    objective_settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the objective's own, such as its margin."""
    head: str = "two-layer"
    """`linear`, `two-layer` or `conv`."""
    hidden: int = 512
    """Width between a head's layers."""
    n_bits: int = 64
    epochs: int = 10
    batch_size: int = 32
    """Of all processes together."""
    learning_rate: float = 3e-4
    """Of the backbone."""
    head_learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    """Of weights; none of biases and normalisations."""
    warm_up: float = 0.05
    """Share of the steps in which the learning rate rises from 0; it then falls to 0 by a cosine."""
    clip: float = 5.0
    """Largest norm of all gradients together; 0 for none."""
    average: float = 0.0
    """Decay of the exponential moving average of weights and batch-norm statistics that is judged and kept; 0
    for none."""
    patience: int = 0
    """Epochs without a better validation score before the training ends; 0 for never."""
    freeze: float = 0.0
    """Share of the backbone's weights, from its input on, that stay as they are."""
    batch_norm: BatchNorm = "train"
    """Whether the backbone's batch norm takes the statistics of the batch or those that it came with."""
    precision: Precision = "auto"
    validation: float = 0.1
    """Share of the pictures to keep back to judge by."""
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        check_n_bits(self.n_bits)
        if self.batch_size < 2 or self.epochs < 1:
            raise InputError(f"{self.epochs} epochs of batches of {self.batch_size} cannot be trained on")
        rates = (self.learning_rate, self.head_learning_rate, self.weight_decay, self.clip, self.patience)
        if not all(0 <= rate < math.inf for rate in rates):
            raise InputError("rates, weight decay, clip and patience are 0 or more")
        if self.hidden < 1 or self.seed < 0:
            raise InputError(f"{self.hidden} hidden units and the seed {self.seed} cannot be trained with")
        check_share(self.validation)
        if not (0 <= self.warm_up < 1 and 0 <= self.average < 1 and 0 <= self.freeze <= 1):
            raise InputError("warm-up and average are 0 to below 1, the share to freeze is 0 to 1")
        if self.input_size is not None and self.input_size < 32:
            raise InputError(f"pictures of {self.input_size} pixels a side are too small for a network")
        if self.precision not in ("auto", "fp32", "bf16", "fp16"):
            raise InputError(f"unknown precision {self.precision!r}; choose auto, fp32, bf16 or fp16")
        if self.batch_norm not in ("train", "frozen"):
            raise InputError(f"unknown batch norm {self.batch_norm!r}; choose train or frozen")

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them."""
        return asdict(self)
