"""What grouping a gallery gives: groups of pictures, each from its middle outwards, and a map of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from grainhash.clusters.names import Named

ClusterMethod = Literal["majority", "density"]


@dataclass(frozen=True, slots=True)
class Member:
    """A picture of a group."""

    id: int
    uri: str
    distance: int | None
    """Bits to the group's medoid; `None` for a picture in no group."""


@dataclass(frozen=True, slots=True)
class Group:
    """Pictures that are alike."""

    number: int
    """From 1; the largest group comes first, of equals that with the lowest id."""
    named: Named | None
    """The metadata that tell it from the others, if any do."""
    members: list[Member]
    """The medoid first, the member nearest to all the others together, and so on outwards."""
    spread: float
    """Bits from the medoid to the others in the mean."""

    @property
    def title(self) -> str:
        """Its name, or its number."""
        return f"group {self.number}" if self.named is None else self.named.value


@dataclass(frozen=True, slots=True)
class Place:
    """A picture on the map."""

    id: int
    uri: str
    group: int | None
    x: float
    """From 0, left, to 1."""
    y: float
    """From 0, at the top, to 1."""


@dataclass(frozen=True, slots=True)
class Clustering:
    """The groups of a gallery."""

    method: ClusterMethod
    n_pictures: int
    n_bits: int
    seed: int
    where: str | None
    groups: list[Group]
    alone: list[Member]
    """Pictures in no group, by id; there are none by k-majority."""
    tried: list[tuple[int, float]]
    """Numbers of groups and their silhouettes, where the number was chosen."""
    converged: bool
    places: list[Place]
    """Empty where no map was asked for."""
    notes: list[str]
    """What is worth knowing of how it came out, in sentences."""
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`, with these stable keys.

        Those of the fields, and in each of `groups` `number`, `title`, `size`, `spread`, `named` (null, or
        `key`, `value`, `share`, `lift`), `medoid` and `members`, each of these with `id`, `uri`, `distance`.
        """
        values = asdict(self)
        values["groups"] = [
            {
                "number": group.number,
                "title": group.title,
                "size": len(group.members),
                "spread": round(group.spread, 2),
                "named": group.named and asdict(group.named),
                "medoid": asdict(group.members[0]),
                "members": [asdict(member) for member in group.members],
            }
            for group in self.groups
        ]
        return values
