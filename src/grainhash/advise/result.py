"""What advice is made of: the measurements of every length, and the recommendation drawn from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from grainhash.advise.goal import Goal, Recommendation
from grainhash.advise.lengths import Estimate, Length

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Advice:
    """Lengths of code side by side, and the one that serves the goal."""

    title: str
    codes: str
    """Where the codes come from, in words."""
    encoder: str
    seed: int
    at: int | None
    """R of mAP; `None` for the whole database."""
    n_pictures: int
    """Size of the gallery that bytes and times are for."""
    n_granules: float
    """Codes a picture, the whole and its regions, on average."""
    n_sampled: int
    """Pictures that quality was measured on, queries included."""
    n_queries: int
    n_database: int
    goal: Goal
    measure: str
    """The quality that the recommendation goes by."""
    lengths: tuple[Length, ...]
    """Ascending."""
    floats: Mapping[str, Estimate]
    """The same measures of the network's features by cosine, where that says something."""
    recommendation: Recommendation
    notes: tuple[str, ...]
    left_out: Mapping[int, str]
    """Lengths that could not be measured, and why."""
    skipped: Mapping[str, str]
    """Pictures that cannot be used, and why."""

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`; keys are the fields of this class."""
        document = asdict(self)
        document["left_out"] = {str(n_bits): why for n_bits, why in self.left_out.items()}
        return {"format_version": FORMAT_VERSION, **document}
