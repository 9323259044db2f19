"""What every way of learning a hash function has in common: fit, project, encode, save, load.

    itq = ITQ(n_bits=64).fit(features)
    codes = itq.encode(features)        # uint8 (n, 8)
    itq.save(path); ITQ.load(path)

A method is a dataclass of its settings. Fitted, it holds a `HashFunction`, which is all that an
encoder needs of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from grainhash.codes import check_n_bits
from grainhash.errors import EncoderError, InputError, LabelsError, NotFitted
from grainhash.hashing.function import HashFunction
from grainhash.labels import Labels
from grainhash.types import Codes, Progress, silent

Features = NDArray[np.float32] | NDArray[np.float64]
"""`(n, n_features)`, one row a granule."""


@dataclass
class HashMethod(ABC):
    """A way to learn a hash function from features, and from labels where `needs_labels`.

    A subclass is a dataclass that sets `name` and implements `_fit`; its fields are its settings.
    """

    n_bits: int
    """Length of a code: a multiple of 8."""
    _: KW_ONLY
    seed: int = 0
    """Of everything random; the same seed and features give the same hash function."""
    _function: HashFunction | None = field(default=None, init=False, repr=False, compare=False)

    name: ClassVar[str]
    """What it is called on the command line and in files, such as `"itq"`."""
    needs_labels: ClassVar[bool] = False
    """Whether `fit` needs labels."""

    def __post_init__(self) -> None:
        check_n_bits(self.n_bits)
        check_settings(self, {"seed": self.seed < 0})

    def fit(
        self,
        features: Features,
        labels: Labels | Any | None = None,
        *,
        progress: Callable[[Progress], None] = silent,
    ) -> Self:
        """Learn the hash function.

        Args:
            features: `(n, n_features)`, as networks give them: neither centred nor normalised.
            labels: `Labels`, or what `Labels.of` takes; left unused by methods that need none.
            progress: told of long work.

        Raises:
            InputError: features that are not finite, not two-dimensional, or too few.
            LabelsError: labels that are missing, of another number than the features, or of one class.
        """
        rows = self._checked(features)
        known = None if labels is None else Labels.of(labels)
        if self.needs_labels:
            check_labels(self.name, rows.shape[-2], known)
        self._function = self._fit(rows, known, progress)
        return self

    def _checked(self, features: Features) -> Features:
        """The features that `_fit` gets, or an error that says what is wrong with them."""
        return check_features(features)

    @abstractmethod
    def _fit(
        self, rows: Features, labels: Labels | None, progress: Callable[[Progress], None]
    ) -> HashFunction:
        """The hash function of checked features and, where `needs_labels`, checked labels."""

    @property
    def function(self) -> HashFunction:
        """What `fit` learned.

        Raises:
            NotFitted: neither `fit` nor `load` was called.
        """
        if self._function is None:
            raise NotFitted(f"{self.name}: call fit first, or load a fitted one")
        return self._function

    def project(self, features: Features) -> NDArray[np.float64]:
        """`(n, n_bits)` real numbers, the bits before their sign; see `HashFunction.project`."""
        return self.function.project(features)

    def encode(self, features: Features) -> Codes:
        """`(n, n_bits / 8)` packed codes; see `HashFunction.encode`."""
        return self.function.encode(features)

    @property
    def settings(self) -> dict[str, Any]:
        """The fields of the dataclass, as kept with a saved hash function."""
        names = {setting.name for setting in fields(self) if setting.init}
        return {name: value for name, value in asdict(self).items() if name in names}

    def save(self, path: Path | str) -> None:
        """Write the hash function and the settings as one safetensors file."""
        self.function.save(Path(path), settings=self.settings)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what `save` wrote.

        Raises:
            EncoderError: missing, damaged, or of another method.
        """
        function, settings = HashFunction.load_with_settings(Path(path))
        if function.method != cls.name:
            raise EncoderError(f"{path}: fitted by {function.method}, not by {cls.name}")
        try:
            method = cls(**settings)
        except (TypeError, AttributeError, InputError) as error:
            raise EncoderError(f"{path}: settings that {cls.name} does not know ({error})") from None
        if method.n_bits != function.n_bits:
            raise EncoderError(
                f"{path}: settings for {method.n_bits} bits and a function of {function.n_bits}"
            )
        method._function = function
        return method


def check_settings(settings: object, wrong: Mapping[str, bool]) -> None:
    """Refuse settings that nothing can be learned with.

    Args:
        settings: an object with settings.
        wrong: by the name of a setting, whether it cannot be.

    Raises:
        InputError: names the first that is wrong, and its value.
    """
    for name in (name for name, is_wrong in wrong.items() if is_wrong):
        raise InputError(f"{name}={getattr(settings, name)} cannot be learned with")


def check_features(features: Features) -> Features:
    """Features as float32 or float64 `(n, n_features)`, or an error that says what is wrong with them."""
    array: Any = np.asarray(features)
    if array.dtype.kind not in "biuf":
        raise InputError(f"features of {array.dtype} where real numbers are expected")
    rows: Features = array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)
    if rows.ndim != 2 or 0 in rows.shape:
        raise InputError(f"features of shape {rows.shape} where (n, n_features) is expected")
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        raise InputError(
            f"{bad.sum()} of {len(rows)} rows of features hold NaN or infinity (first: row {bad.argmax()})"
        )
    return rows


def check_more_rows(name: str, rows: Features, n_bits: int) -> None:
    """Refuse as many samples as bits, or fewer: then the bits would only repeat one another."""
    if len(rows) <= n_bits:
        raise InputError(
            f"{name} of {n_bits} bits needs more than {n_bits} rows of features, not {len(rows)}"
        )


def check_labels(name: str, n_rows: int, labels: Labels | None) -> Labels:
    """Labels that something can be learned from, one a row.

    Raises:
        LabelsError: none, another number, fewer than two classes, classes that all pictures have, or, where
            pictures have one label each, a class with one picture.
    """
    if labels is None:
        raise LabelsError(f"{name} learns from labels; pass them to fit")
    if len(labels) != n_rows:
        raise LabelsError(f"{len(labels)} labels for {n_rows} rows of features")
    counts = labels.counts()
    if (counts > 0).sum() < 2:
        only = next((c for c, n in zip(labels.classes, counts, strict=True) if n), "none")
        raise LabelsError(f"{name} needs pictures of two classes or more; all are of one ({only})")
    if np.isin(counts, (0, n_rows)).all():
        raise LabelsError(
            f"{name} needs pictures of different labels; all have the same {(counts > 0).sum()}"
        )
    if labels.kind == "single" and (counts == 1).any():
        alone = [c for c, n in zip(labels.classes, counts, strict=True) if n == 1]
        raise LabelsError(
            f"{len(alone)} of {labels.n_classes} classes have one picture only (first: {alone[0]}); "
            "nothing can be learned from one: add pictures or leave the class out"
        )
    return labels
