"""What labelling a gallery gives: a label and a confidence a picture, and how good they are."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from grainhash.classify.calibration import Calibration

ClassifyMethod = Literal["vote", "linear"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a picture without label shows."""

    id: int
    uri: str
    label: str | None
    """`None` for none of these."""
    confidence: float
    """That `likeliest` is right if the picture is of one of the classes, 0..1."""
    likeliest: str
    """The likeliest of the classes, even where the answer is none of these."""
    distance: int
    """Bits to the nearest labelled picture."""


@dataclass(frozen=True, slots=True)
class OfClass:
    """One row of the table of classes."""

    label: str
    pictures: int
    precision: float
    """Of those that were called so."""
    recall: float
    """Of those that are so."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How good labels are, on labelled pictures that were not learned from."""

    how: str
    """`held out`, or `left out` for each picture predicted from all others."""
    n_learned: int
    n_judged: int
    accuracy: float
    """Of the likeliest class, before any is refused."""
    accepted: float
    """Share that was not called none of these."""
    accuracy_accepted: float
    classes: list[OfClass]
    confusion: list[list[int]]
    """A row a true class, a column a likeliest one, in the order of `classes`."""
    calibration: Calibration


@dataclass(frozen=True, slots=True)
class Classification:
    """The labels of a gallery."""

    method: ClassifyMethod
    settings: dict[str, float]
    """What was chosen by leaving out: `k`, `scale`, or `strength`; and `temperature`."""
    labels: list[str]
    n_labelled: int
    n_bits: int
    seed: int
    where: str | None
    radius: int
    """Bits; a picture farther than this from all labelled ones is none of these."""
    share_known: float
    """Of the pictures without labels, estimated to be of one of the classes."""
    predictions: list[Prediction]
    """Of the pictures without labels, by id."""
    evaluation: Evaluation
    unmatched: list[str]
    """Paths of the table of labels that no picture has."""
    seconds: float

    def by_label(self) -> list[tuple[str | None, list[Prediction]]]:
        """The pictures of each label that any was given, the most pictures first, the surest of each first.

        None of these comes last, as `None`, its pictures by how near they are to a labelled one.
        """
        found: dict[str | None, list[Prediction]] = {}
        for seen in self.predictions:
            found.setdefault(seen.label, []).append(seen)
        none = found.pop(None, [])
        groups: list[tuple[str | None, list[Prediction]]] = [
            (label, sorted(group, key=lambda seen: -seen.confidence))
            for label, group in sorted(found.items(), key=lambda item: (-len(item[1]), str(item[0])))
        ]
        return groups + ([(None, sorted(none, key=lambda seen: seen.distance))] if none else [])

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`; the keys are those of the fields and stable."""
        return asdict(self)
