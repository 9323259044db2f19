"""What the API takes and gives, as its schema says it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, Field

from grainhash.types import WHOLE, Box, Granularity, Order, PointKind

MAX_K = 1000
MAX_VERIFIED = 100
MAX_PARTS = 100
MAX_BITS = 512

Corners = Annotated[list[float], Field(min_length=4, max_length=4, examples=[[0.04, 0.16, 0.5, 0.5]])]
"""A box: left, top, right and bottom as fractions of the upright picture."""


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field(examples=["about:blank"])
    title: str = Field(examples=["Content Too Large"])
    status: int = Field(examples=[413])
    detail: str = Field(examples=["the picture: 40000 x 40000 pixels are too many"])


class MetaKey(BaseModel):
    """A key of metadata, and how many pictures have it."""

    key: str
    pictures: int


class Info(BaseModel):
    """What the gallery holds and what this server allows."""

    version: str
    name: str
    pictures: int
    copies: int
    regions: int
    n_bits: int
    encoder_name: str
    hash_method: str
    bit_lengths: list[int]
    """Lengths that codes can be cut to, ascending; the last is their own."""
    is_nested: bool
    """Whether those are what the codes were trained for; the bits of other codes lose more by it."""
    has_parts: bool
    meta_keys: list[MetaKey]
    writable: bool
    """Whether anybody may write."""
    may_write: bool
    """Whether whoever asked may."""
    max_upload_bytes: int
    max_k: int


class PointMatch(BaseModel):
    """Local points that lie in query and hit alike."""

    places: int
    outline: list[list[float]]


class Hit(BaseModel):
    """A picture of an answer; distances are in bits, lower is better."""

    rank: int
    id: int
    name: str
    uri: str | None
    score: float
    false_matches: float
    distance: int
    whole_distance: int
    part_distance: int | None
    box: Corners
    query_box: Corners
    width: int
    height: int
    meta: dict[str, Any]
    points: PointMatch | None


class SignIn(BaseModel):
    """Who wants to be known by a cookie."""

    token: str = Field(max_length=4096)


class Step(BaseModel):
    """One step of a search."""

    name: str
    what: str
    n: int
    seconds: float


class Answer(BaseModel):
    """What a search found."""

    query: str
    query_box: Corners | None
    where: str | None
    granularity: str
    n_bits: int
    n_pictures: int
    seconds: dict[str, float]
    plan: list[Step]
    hits: list[Hit]


class BatchItem(BaseModel):
    """The answer to one picture of a batch, or why there is none."""

    name: str
    answer: Answer | None = None
    problem: Problem | None = None


class Batch(BaseModel):
    """The answers to several pictures, in their order."""

    answers: list[BatchItem]


class Picture(BaseModel):
    """What the gallery knows of one picture."""

    id: int
    name: str
    uri: str | None
    width: int
    height: int
    added_at: str
    sha256: str
    meta: dict[str, Any]
    regions: list[Corners] | None = None


class Page(BaseModel):
    """Some pictures in order of id, and where the next page begins after."""

    pictures: list[Picture]
    next: int | None


class Core(BaseModel):
    """Where half of what agrees is."""

    share: float
    box: Corners


class Side(BaseModel):
    """One of two pictures that were compared."""

    box: Corners
    heat: list[list[float]]
    core: Core | None


class Sides(BaseModel):
    """Both of them."""

    query: Side
    hit: Side


class PointPairs(PointMatch):
    """The same, and where: `x, y` in the query, `x, y` in the hit."""

    pairs: list[Annotated[list[float], Field(min_length=4, max_length=4)]]


class Explained(BaseModel):
    """The picture that is explained."""

    id: int
    name: str
    uri: str | None
    score: float
    false_matches: float
    points: PointPairs | None


class Explanation(BaseModel):
    """Why a picture is a hit; the keys are those of `grainhash explain --json`."""

    query: str
    n_bits: int
    distance: int
    differing: list[int]
    method: str
    hit: Explained
    sides: Sides


class What(BaseModel):
    """What of a picture to look for."""

    region: str | None = Field(
        None, max_length=200, description="The part to look for: x0,y0,x1,y1.", examples=["0.5,0,1,0.5"]
    )
    parts: int = Field(0, ge=0, le=MAX_PARTS, description="Look for so many things in it too, at most.")
    bits: int = Field(
        0, ge=0, le=MAX_BITS, multiple_of=8, description="Compare so many first bits alone; 0 for all."
    )

    @property
    def box(self) -> Box:
        """The part to look for.

        Raises:
            BoxError: not a box.
        """
        return WHOLE if self.region is None else Box.parse(self.region)


class How(What):
    """How to search; the parameters of every search."""

    k: int = Field(20, ge=1, le=MAX_K, description="How many pictures, at most.")
    granularity: Granularity = Field("both", description="What to compare with.")
    order: Order = Field("asymmetric", description="By how sure the query is of its bits, or by bits alone.")
    verify: int = Field(0, ge=0, le=MAX_VERIFIED, description="Match local points with so many of the best.")
    points: PointKind = Field("map", description="What those are found by.")
    min_score: float = Field(0.0, ge=0, le=1, description="Leave out what scores less.")
    where: str | None = Field(
        None, max_length=4096, description="A filter on metadata.", examples=["width >= 500"]
    )


WhatQuery = Annotated[What, Query()]
HowQuery = Annotated[How, Query()]
