"""Joint hashing: several methods fitted to the same pictures, their bits side by side in one code.

    parts = (Part("itq", 32, columns=(0, 1280)), Part("itq", 32, columns=(1280, 2560)))
    Joint(n_bits=64, parts=parts).fit(features)

Each part may see features of its own, such as one layer or one kind, or have other settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from grainhash.errors import InputError
from grainhash.hashing.function import HashFunction
from grainhash.hashing.method import Features, HashMethod
from grainhash.hashing.side_by_side import side_by_side
from grainhash.labels import Labels
from grainhash.methods import method
from grainhash.types import Progress


@dataclass(frozen=True)
class Part:
    """Some of the bits of a joint code."""

    method: str
    """By its name in `grainhash.methods`."""
    n_bits: int
    columns: tuple[int, int] | None = None
    """The first column of the features that it sees and the one after the last; `None` for all."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the method, beside `n_bits`."""

    def __post_init__(self) -> None:
        if self.columns is not None:
            if len(self.columns) != 2:
                raise InputError(
                    f"a joint part takes the columns {self.columns}; give the first and one past the last"
                )
            start, stop = self.columns
            object.__setattr__(self, "columns", (start, stop))

    def of(self, rows: Features) -> Features:
        """The columns that it sees.

        Raises:
            InputError: the features do not have them.
        """
        if self.columns is None:
            return rows
        start, stop = self.columns
        if not 0 <= start < stop <= rows.shape[1]:
            raise InputError(
                f"a joint part takes the columns {start} to {stop} of features that have {rows.shape[1]}"
            )
        return rows[:, start:stop]

    def make(self, seed: int) -> HashMethod:
        """The method, not fitted.

        Raises:
            InputError: an unknown method or setting.
        """
        try:
            return method(self.method)(self.n_bits, **{"seed": seed, **self.settings})
        except TypeError as error:
            raise InputError(f"joint part {self.method}: {error}") from None


@dataclass
class Joint(HashMethod):
    """Methods side by side. Part `i` has the seed `seed + i` unless its settings name one.

    Labels, where given, go to every part.
    """

    parts: tuple[Part, ...] = ()
    """In the order of their bits, which add up to `n_bits`."""

    name: ClassVar[str] = "joint"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.parts = tuple(Part(**part) if isinstance(part, Mapping) else part for part in self.parts)
        total = sum(part.n_bits for part in self.parts)
        if not self.parts or total != self.n_bits:
            raise InputError(
                f"the {len(self.parts)} parts of a joint code have {total} bits together, not "
                f"{self.n_bits}; give parts whose bits add up"
            )

    def _fit(
        self, rows: Features, labels: Labels | None, progress: Callable[[Progress], None]
    ) -> HashFunction:
        functions = [
            part.make(self.seed + position).fit(part.of(rows), labels, progress=progress).function
            for position, part in enumerate(self.parts)
        ]
        columns = [part.columns for part in self.parts]
        return side_by_side(functions, columns=columns, n_features=rows.shape[1], method=self.name)
