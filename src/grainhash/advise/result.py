"""What advice is made of: the measurements of every length, and the recommendation drawn from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grainhash.advise.goal import Goal, Recommendation

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over queries and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float
    n: int
    """Queries."""


@dataclass(frozen=True, slots=True)
class Storage:
    """Bytes that a picture takes."""

    codes: float
    """Of its codes alone: granules times bytes of a code."""
    memory: float
    """What a search holds: codes, ids and offsets."""
    copy: float
    """Of the copy of all codes that a large gallery keeps beside its database, to be mapped into memory."""
    disk: float
    """Of all the gallery's files: database and copy. The codes are in both."""


@dataclass(frozen=True, slots=True)
class SearchTime:
    """Milliseconds that comparing one query with all codes takes, on all cores of this process."""

    median: float
    low: float
    """The tenth part of all searches is faster."""
    high: float
    """The tenth part of all searches is slower."""
    measured_at: int
    """Pictures that were searched. Fewer than asked for where memory ends; the times are scaled up then."""
    n_searches: int


@dataclass(frozen=True, slots=True)
class Length:
    """All that was measured of codes of one length."""

    n_bits: int
    quality: Mapping[str, Estimate]
    """By the name of the measure; see `grainhash.advise.quality.MEASURES`."""
    storage: Storage
    search: SearchTime


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
