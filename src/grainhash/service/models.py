"""What the API takes and gives, as its schema says it."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from grainhash.classify import ClassifyMethod, Evaluation
from grainhash.types import MAX_PARTS, WHOLE, Box, Granularity, Order, PointKind

MAX_K = 1000
MAX_VERIFIED = 100
MAX_BITS = 512

Corners = Annotated[list[float], Field(min_length=4, max_length=4, examples=[[0.04, 0.16, 0.5, 0.5]])]
"""A box: left, top, right and bottom as fractions of the upright picture."""


_META = {"label": "cat", "taken": "2024-05-01T09:30:00"}
_PICTURE = {
    "id": 7,
    "name": "cat.jpg",
    "uri": "/photos/cat.jpg",
    "width": 640,
    "height": 480,
    "added_at": "2026-01-31T12:00:00+00:00",
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "meta": _META,
}
_COPY = {**_PICTURE, "id": 9, "distance": 12, "is_exact": False}
_PREDICTION = {"label": "cat", "confidence": 0.93, "likeliest": "cat", "distance": 61}
_LABELS = {
    "method": "vote",
    "settings": {"k": 3, "scale": 5.12, "temperature": 0.7},
    "labels": ["cat", "dog"],
    "n_labelled": 8,
    "n_bits": 256,
    "seed": 0,
    "where": "width >= 500",
    "radius": 92,
    "share_known": 0.75,
    "evaluation": {
        "how": "left out",
        "n_learned": 7,
        "n_judged": 8,
        "accuracy": 0.875,
        "accepted": 1.0,
        "accuracy_accepted": 0.875,
        "classes": [
            {"label": "cat", "pictures": 4, "precision": 1.0, "recall": 0.75},
            {"label": "dog", "pictures": 4, "precision": 0.8, "recall": 1.0},
        ],
        "confusion": [[3, 1], [0, 4]],
        "calibration": {"error": 0.06, "bins": [[2, 0.7, 0.5], [6, 0.94, 1.0]]},
    },
    "n_pictures": 12,
    "groups": [{"label": "cat", "size": 1, "pictures": [{**_PICTURE, **_PREDICTION}]}],
    "predictions": [{"id": 7, "name": "cat.jpg", "uri": "/photos/cat.jpg", **_PREDICTION}],
    "stored": "guess",
    "seconds": 0.02,
}
_OUTLINE = [[0.1, 0.2], [0.6, 0.2], [0.6, 0.7], [0.1, 0.7]]
_HIT = {
    "rank": 1,
    "id": 7,
    "name": "cat.jpg",
    "uri": "/photos/cat.jpg",
    "score": 0.9987,
    "false_matches": 0.0013,
    "distance": 41,
    "whole_distance": 55,
    "part_distance": 41,
    "box": [0.04, 0.16, 0.5, 0.5],
    "query_box": [0.5, 0.0, 1.0, 0.5],
    "width": 640,
    "height": 480,
    "meta": _META,
    "points": {"places": 5, "outline": _OUTLINE},
}
_ANSWER = {
    "query": "the picture",
    "query_box": [0.5, 0.0, 1.0, 0.5],
    "where": "width >= 500",
    "granularity": "both",
    "n_bits": 256,
    "n_pictures": 120000,
    "seconds": {"encode": 0.009, "search": 0.006},
    "plan": [
        {"name": "candidates", "what": "the nearest 200 by wholes and by regions", "n": 310, "seconds": 0.004}
    ],
    "hits": [_HIT],
}
_PROBLEM = {
    "type": "about:blank",
    "title": "Content Too Large",
    "status": 413,
    "detail": "the picture: 40000 x 40000 pixels are too many",
}
_SIDE = {
    "box": [0.04, 0.16, 0.5, 0.5],
    "heat": [[0.8, 0.1], [0.4, -0.1]],
    "core": {"share": 0.25, "box": [0.04, 0.16, 0.27, 0.33]},
}
_EXPLANATION = {
    "query": "the picture",
    "n_bits": 256,
    "distance": 3,
    "differing": [4, 77, 200],
    "method": "exact",
    "hit": {
        **{key: _HIT[key] for key in ("id", "name", "uri", "score", "false_matches")},
        "points": {"places": 1, "outline": _OUTLINE, "pairs": [[0.6, 0.1, 0.2, 0.3]]},
    },
    "sides": {"query": _SIDE, "hit": _SIDE},
}
_INFO = {
    "version": "0.1.0",
    "name": "gallery",
    "pictures": 120000,
    "copies": 12,
    "regions": 1920000,
    "n_bits": 256,
    "encoder_name": "efficientnet-lite0-itq256",
    "hash_method": "itq",
    "bit_lengths": [16, 32, 64, 128, 256],
    "is_nested": False,
    "has_parts": True,
    "meta_keys": [{"key": "label", "pictures": 120000}],
    "writable": True,
    "may_write": False,
    "max_upload_bytes": 33554432,
    "max_k": 1000,
}


def _example(value: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [value]})


class Problem(BaseModel):
    """An error (RFC 9457)."""

    model_config = _example(_PROBLEM)

    type: str = Field(examples=["about:blank"])
    title: str = Field(examples=["Content Too Large"])
    status: int = Field(examples=[413])
    detail: str = Field(examples=["the picture: 40000 x 40000 pixels are too many"])


class Health(BaseModel):
    """The server answers, and its gallery can be read."""

    model_config = _example({"status": "ok"})
    status: str


class MetaKey(BaseModel):
    """A key of metadata, and how many pictures have it."""

    key: str
    pictures: int


class Info(BaseModel):
    """What the gallery holds and what this server allows."""

    model_config = _example(_INFO)

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

    model_config = _example(_HIT)

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

    model_config = _example({"token": "what --token was"})

    token: str = Field(max_length=4096)


class Step(BaseModel):
    """One step of a search."""

    name: str
    what: str
    n: int
    seconds: float


class Answer(BaseModel):
    """What a search found."""

    model_config = _example(_ANSWER)

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

    model_config = _example(
        {"answers": [{"name": "cat.jpg", "answer": _ANSWER}, {"name": "x.txt", "problem": _PROBLEM}]}
    )

    answers: list[BatchItem]


class Picture(BaseModel):
    """What the gallery knows of one picture."""

    model_config = _example(_PICTURE)

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

    model_config = _example({"pictures": [_PICTURE], "next": 7})

    pictures: list[Picture]
    next: int | None


class PictureGroup(BaseModel):
    """Pictures that are alike, the one in their middle first, 24 at most."""

    number: int
    title: str
    named: bool
    """Whether the title is what metadata say; it is a number otherwise."""
    size: int
    spread: float
    pictures: list[Picture]


class Place(BaseModel):
    """Where a picture is on the map, `x` and `y` from 0 to 1."""

    id: int
    name: str
    group: int | None
    x: float
    y: float


class Groups(BaseModel):
    """All pictures by what they are like."""

    model_config = _example(
        {
            "n_pictures": 12,
            "n_bits": 256,
            "groups": [
                {
                    "number": 1,
                    "title": "cat",
                    "named": True,
                    "size": 5,
                    "spread": 61.5,
                    "pictures": [_PICTURE],
                }
            ],
            "places": [{"id": 7, "name": "cat.jpg", "group": 1, "x": 0.25, "y": 0.75}],
        }
    )

    n_pictures: int
    n_bits: int
    groups: list[PictureGroup]
    places: list[Place]


class PictureCopy(Picture):
    """A picture of a group of copies; `distance` in bits from the one to keep."""

    model_config = _example(_COPY)

    distance: int
    is_exact: bool
    """Whether the files are the same."""


class CopyGroup(BaseModel):
    """A picture to keep and its copies, 24 at most; and how many more there are."""

    keep: PictureCopy
    copies: list[PictureCopy]
    more: int


class Duplicates(BaseModel):
    """Copies among all pictures."""

    model_config = _example(
        {
            "n_pictures": 12,
            "n_bits": 256,
            "radius": 35,
            "n_groups": 1,
            "groups": [
                {
                    "keep": {**_PICTURE, "distance": 0, "is_exact": True},
                    "copies": [_COPY],
                    "more": 0,
                }
            ],
        }
    )

    n_pictures: int
    n_bits: int
    radius: int
    n_groups: int
    groups: list[CopyGroup]


class Seen(BaseModel):
    """What a picture without label shows."""

    label: str | None
    """`null` for none of these."""
    confidence: float
    """That `likeliest` is right if the picture is of one of the classes, 0 to 1."""
    likeliest: str
    """The likeliest of the classes, even where the answer is none of these."""
    distance: int
    """Bits to the nearest labelled picture."""


class Prediction(Seen):
    """The label of one picture."""

    id: int
    name: str
    uri: str | None


class LabelledPicture(Picture, Seen):
    """The same, with all that is known of the picture."""

    model_config = _example({**_PICTURE, **_PREDICTION})


class LabelGroup(BaseModel):
    """The pictures that got a label, the surest first, or those that are none of these; 24 at most."""

    label: str | None
    size: int
    pictures: list[LabelledPicture]


class Labels(BaseModel):
    """Labels of the pictures that have none; most keys are those of `grainhash classify --json`."""

    model_config = _example(_LABELS)

    method: str
    settings: dict[str, float]
    """What was chosen: `k`, `scale`, or `strength`; and `temperature`."""
    labels: list[str]
    n_labelled: int
    n_bits: int
    seed: int
    where: str | None
    radius: int
    """Bits; a picture farther than this from all labelled ones is none of these."""
    share_known: float
    """Of the pictures without label, estimated to be of one of the classes."""
    evaluation: Evaluation
    n_pictures: int
    """Without label."""
    groups: list[LabelGroup]
    """The largest first, 200 at most, and none of these last."""
    predictions: list[Prediction] | None
    """All of them by id, where they were asked for."""
    stored: str | None
    """The key of metadata that they are kept under; the confidence is under this and `_confidence`."""
    seconds: float


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

    model_config = _example(_EXPLANATION)

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


class Finding(NamedTuple):
    """What searches of different pictures have in common, where they can be searched for together.

    The arguments of `Gallery.find_all`.
    """

    k: int
    granularity: Granularity
    order: Order
    verify: int
    min_score: float
    where: str | None
    bits: int | None


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

    @property
    def finding(self) -> Finding:
        """How to find what matches, whatever it is that is asked for."""
        return Finding(
            self.k,
            self.granularity,
            self.order,
            self.verify,
            self.min_score,
            self.where,
            self.bits or None,
        )


class Labelling(BaseModel):
    """How to label; the parameters of reading labels and of storing them."""

    label: str = Field("label", min_length=1, max_length=200, description="Metadata that has the labels.")
    unlabelled: list[Annotated[str, Field(max_length=1000)]] = Field(
        [], max_length=100, description="A value that is no label; may be repeated."
    )
    method: ClassifyMethod = Field(
        "vote", description="A vote of the nearest labelled pictures, or weights of bits."
    )
    held_out: float = Field(
        0.0,
        ge=0,
        le=0.99,
        description="Share of each class to judge by; 0 to leave each picture out in turn.",
    )
    min_confidence: float = Field(0.0, ge=0, le=1, description="Less is none of these.")
    radius: int | None = Field(
        None,
        ge=0,
        le=MAX_BITS,
        description="Bits beyond which a picture is none of these; chosen by default.",
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Of what is held out.")
    where: str | None = Field(
        None, max_length=4096, description="A filter on metadata.", examples=["width >= 500"]
    )
    predictions: bool = Field(False, description="Answer the label of every picture too.")


class Storing(Labelling):
    """How to label, and where to keep the labels."""

    store: str = Field(
        min_length=1, max_length=200, description="Keep them as metadata under this key.", examples=["guess"]
    )
    replace: bool = Field(False, description="The key may be there already.")


LabellingQuery = Annotated[Labelling, Query()]
StoringQuery = Annotated[Storing, Query()]
WhatQuery = Annotated[What, Query()]
HowQuery = Annotated[How, Query()]
