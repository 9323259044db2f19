"""What is measured of codes of one length: quality, bytes, time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


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
