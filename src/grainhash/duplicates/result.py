"""What `duplicates` finds, as values and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from grainhash.types import Box

MOST = 0.75
"""Share that copies which were looked at show of one another at least, and another of a picture inside it."""


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
class Likeness:
    """Two pictures that were looked at and show the same, wholly or in part."""

    id: int
    uri: str
    other_id: int
    other_uri: str
    share: float
    """Of the first picture that the other shows too."""
    other_share: float
    box: Box
    """Where in the first."""
    other_box: Box
    alike: float
    """Share of what both show that looks alike when one is laid upon the other."""
    distance: int
    """In bits, of their codes."""

    def to_json(self) -> dict[str, Any]:
        """As plain values for `json.dumps`; the keys are the names here, boxes `[x0, y0, x1, y1]`."""
        shares = {name: round(getattr(self, name), 3) for name in ("share", "other_share", "alike")}
        boxes = {"box": self.box.corners, "other_box": self.other_box.corners}
        return {**asdict(self), **shares, **boxes}


@dataclass(frozen=True, slots=True)
class Unread:
    """A picture that could not be looked at."""

    id: int
    uri: str
    why: str


@dataclass(frozen=True, slots=True)
class Leak:
    """A picture of the gallery that another gallery has too."""

    id: int
    uri: str
    other_id: int
    other_uri: str
    distance: int
    is_exact: bool
    share: float | None = None
    """Of the picture that the other shows too, where they were looked at."""


@dataclass(frozen=True, slots=True)
class Duplicates:
    """What was found in a gallery."""

    n_pictures: int
    n_bits: int
    radius: int | None
    """`None` where pictures were looked at, whatever the distance."""
    groups: list[CopyGroup]
    inside: list[Inside] = field(default_factory=list)
    where: str | None = None
    seconds: float = 0.0
    likenesses: list[Likeness] = field(default_factory=list)
    """All pairs that were looked at and agree, by ascending ids. The first of files that are the same stands
    for all."""
    unread: list[Unread] = field(default_factory=list)
    """Pictures that should have been looked at and could not be: only files that are the same are copies."""

    @property
    def copies(self) -> list[Copy]:
        """All pictures but those to keep, group by group."""
        return [copy for group in self.groups for copy in group.copies]

    @property
    def overlaps(self) -> list[Likeness]:
        """Pairs that have a part in common, and neither is the other's copy or inside it."""
        return [each for each in self.likenesses if max(each.share, each.other_share) < MOST]

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
            "likenesses": [each.to_json() for each in self.likenesses],
            "unread": [asdict(each) for each in self.unread],
        }


@dataclass(frozen=True, slots=True)
class Leaks:
    """What two galleries share."""

    n_pictures: int
    n_others: int
    n_bits: int
    radius: int | None
    """`None` where pictures were looked at, whatever the distance."""
    leaks: list[Leak]
    """Nearest first, then by ascending ids."""
    seconds: float = 0.0
    unread: list[Unread] = field(default_factory=list)
    """Pictures of either that could not be looked at."""

    def to_json(self) -> dict[str, Any]:
        """As plain values for `json.dumps`; the keys are the names here."""
        return {**asdict(self), "seconds": round(self.seconds, 3)}
