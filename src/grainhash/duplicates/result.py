"""What `duplicates` finds, as values and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from grainhash.types import Box


@dataclass(frozen=True, slots=True)
class Copy:
    """A picture of a group."""

    id: int
    uri: str
    width: int
    height: int
    bytes: int | None
    """Size of its file; `None` where there is none any more."""
    date: str
    """When it was taken if that is known, else when it was added; ISO 8601."""
    distance: int
    """In bits, of its code from that of the picture to keep."""
    is_exact: bool
    """Whether its file is the same, byte for byte, as that of the picture to keep."""


@dataclass(frozen=True, slots=True)
class CopyGroup:
    """Pictures that are copies of one: all within the radius of the one to keep."""

    number: int
    chain: int
    """Groups of the same number here are linked: some of one are within the radius of some of the other."""
    keep: Copy
    copies: list[Copy]
    """The others, nearest first, equal ones by ascending id."""


@dataclass(frozen=True, slots=True)
class Inside:
    """A picture that is found in a part of another: no copy, and never suggested to be removed."""

    id: int
    uri: str
    of_id: int
    of_uri: str
    box: Box
    """Where in the other."""
    distance: int


@dataclass(frozen=True, slots=True)
class Leak:
    """A picture of the gallery that another gallery has too."""

    id: int
    uri: str
    other_id: int
    other_uri: str
    distance: int
    is_exact: bool


@dataclass(frozen=True, slots=True)
class Duplicates:
    """What was found in a gallery."""

    n_pictures: int
    n_bits: int
    radius: int
    groups: list[CopyGroup]
    inside: list[Inside] = field(default_factory=list)
    where: str | None = None
    seconds: float = 0.0

    @property
    def copies(self) -> list[Copy]:
        """All pictures but those to keep, group by group."""
        return [copy for group in self.groups for copy in group.copies]

    def to_json(self) -> dict[str, Any]:
        """As plain values for `json.dumps`; the keys are the names here, a box `[x0, y0, x1, y1]`."""
        return {
            "n_pictures": self.n_pictures,
            "n_bits": self.n_bits,
            "radius": self.radius,
            "where": self.where,
            "seconds": round(self.seconds, 3),
            "groups": [asdict(group) for group in self.groups],
            "inside": [{**asdict(each), "box": each.box.corners} for each in self.inside],
        }


@dataclass(frozen=True, slots=True)
class Leaks:
    """What two galleries share."""

    n_pictures: int
    n_others: int
    n_bits: int
    radius: int
    leaks: list[Leak]
    """Nearest first, then by ascending ids."""
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As plain values for `json.dumps`; the keys are the names here."""
        return {**asdict(self), "seconds": round(self.seconds, 3)}
