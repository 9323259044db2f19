"""Advice from start to end: features once, then codes, quality, bytes and time at every length."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grainhash.advise.altered import near_copies
from grainhash.advise.collection import Collection
from grainhash.advise.cost import Known, granules_a_picture, search_time, storage
from grainhash.advise.goal import QUALITY, Goal, recommend
from grainhash.advise.lengths import Estimate, Length
from grainhash.advise.quality import (
    DEPTH,
    average_precisions,
    estimate,
    nearest_by_features,
    recalls,
)
from grainhash.advise.result import Advice
from grainhash.codes import check_n_bits
from grainhash.encoder import Encoder
from grainhash.errors import InputError, LabelsError, PictureError
from grainhash.evaluation.distances import Cosine, Distances, Hamming
from grainhash.evaluation.encoding import contents, encode_pictures
from grainhash.evaluation.protocols import OWN, Positions
from grainhash.evaluation.run import NESTED, is_nested
from grainhash.hashing.method import HashMethod, check_features, check_labels
from grainhash.images import decode
from grainhash.labelled import LabelledPictures
from grainhash.labels import Labels
from grainhash.metadata import picture_metadata
from grainhash.methods import method as method_named
from grainhash.types import Codes, Progress, silent

LENGTHS = (16, 32, 64, 128, 256, 512)

MIN_PICTURES = 40
"""With fewer, intervals are so wide that nothing can be said."""

MIN_QUERIES, MAX_QUERIES = 50, 1000
"""One picture in ten asks, within these bounds; of few pictures no more than a third."""

MAX_COPIES = 200
"""Pictures of the database that are sought by an altered copy."""

LOOKED_AT = 100
"""Pictures whose size and EXIF facts are read, to know what a gallery would keep of them."""

Rows = NDArray[np.float32]
Coder = Callable[[Rows], Codes]


def advise(
    collection: Collection,
    *,
    goal: Goal | None = None,
    encoder: Encoder | None = None,
    method: str = "itq",
    settings: Mapping[str, Any] | None = None,
    bits: Sequence[int] = LENGTHS,
    n_pictures: int | None = None,
    at: int | None = None,
    seed: int = 0,
    progress: Callable[[Progress], None] = silent,
) -> Advice:
    """Measure codes of several lengths on one's own pictures, and recommend one.

    Codes of an encoder whose codes are nested are cut to each length as they are. Otherwise `method` is
    fitted on the features of all pictures that do not ask, anew for every length; a nested method once.

    Args:
        collection: see `grainhash.advise.collect`.
        goal: what to choose for; quality by default.
        encoder: whose features; the gallery's own, else the shipped one, by default.
        method: one of `grainhash.methods`.
        settings: of the method.
        bits: lengths to compare.
        n_pictures: size of the gallery that bytes and times are for; as it is by default.
        at: R of mAP; the whole database by default.
        seed: of all that is drawn.
        progress: told of every stage.

    Raises:
        InputError: too few pictures, no length, or a goal that these pictures cannot be judged by.
        CodesError: a length that codes cannot have.
        LabelsError: pictures of one class only, or labels that the method cannot learn from.
        MissingExtra: the method needs PyTorch, which is not installed.
    """
    goal = goal or Goal()
    lengths = sorted({check_n_bits(n_bits) for n_bits in bits})
    if not lengths:
        raise InputError("no length of code to measure; name some, such as 16,32,64")
    if n_pictures is not None and n_pictures < 1:
        raise InputError(f"a gallery of {n_pictures} pictures; ask for 1 or more")
    encoder = encoder or collection.encoder or Encoder.load()
    chosen_method = None if is_nested(encoder) else method_named(method)
    _check_before(collection.pictures, chosen_method, goal)
    if chosen_method is not None:
        _check_settings(chosen_method, lengths[0], settings or {})
    sample = _prepared(collection, encoder, seed, progress)
    coders, left_out = _coders(encoder, chosen_method, settings or {}, lengths, sample, seed, progress)
    questions = _questions(sample, at)
    measure = _measure(goal, questions)
    size = n_pictures or collection.n_pictures
    measured, values = [], {}
    for done, (n_bits, coder) in enumerate(coders.items(), 1):
        codes = {name: coder(rows) for name, rows in sample.features.items()}
        found = {name: ask(Hamming(codes[who], codes["database"])) for name, (who, ask) in questions.items()}
        measured.append(_length(n_bits, found, codes, sample.known, encoder, size, seed))
        values[n_bits] = found[measure]
        progress(Progress("measure", done, len(coders), 0))
    return Advice(
        title=collection.title,
        codes=_origin(encoder, method, chosen_method),
        encoder=encoder.config.name,
        seed=seed,
        at=at,
        n_pictures=size,
        n_granules=granules_a_picture(sample.known, encoder.granules),
        n_sampled=len(sample.features["query"]) + len(sample.features["database"]),
        n_queries=len(sample.features["query"]),
        n_database=len(sample.features["database"]),
        goal=goal,
        measure=measure,
        lengths=tuple(measured),
        floats=_floats(sample, questions, seed),
        recommendation=recommend(measured, values, goal, measure, n_pictures=size, seed=seed),
        notes=(*collection.notes, *sample.notes, *_notes(measured, size)),
        left_out=left_out,
        skipped=sample.skipped,
    )


def _check_before(pictures: LabelledPictures, method: type[HashMethod] | None, goal: Goal) -> None:
    """What can be seen before anything is computed."""
    if len(pictures) < MIN_PICTURES:
        raise InputError(
            f"{len(pictures)} pictures are too few to compare lengths of code on; pass {MIN_PICTURES} or more"
        )
    if pictures.labels is not None and (pictures.labels.counts() > 0).sum() < 2:
        raise LabelsError(
            "all pictures are of one class, which every code finds; pass more classes, or leave labels aside"
        )
    if pictures.labels is None and goal.quality == "mAP":
        raise LabelsError("mAP needs labels, and these pictures have none; choose neighbours or copies")
    if pictures.labels is None and method is not None and method.needs_labels:
        raise LabelsError(f"{method.name} learns from labels, and these pictures have none")


def _check_settings(method: type[HashMethod], n_bits: int, settings: Mapping[str, Any]) -> None:
    try:
        method(n_bits, **settings)
    except TypeError as error:
        raise InputError(f"settings that {method.name} does not know ({error})") from None


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    """Features of all that takes part."""

    features: dict[str, Rows]
    """Of `query`, `database`, `training` and `copy`: altered pictures of the database."""
    labels: dict[str, Labels] | None
    """Of the first three."""
    originals: Positions
    """In the database, of each copy."""
    known: list[Known]
    notes: tuple[str, ...]
    skipped: dict[str, str] = field(default_factory=dict)


def _prepared(
    collection: Collection, encoder: Encoder, seed: int, progress: Callable[[Progress], None]
) -> _Sample:
    """Take exact copies out, cut the pictures into parts, and compute their features."""
    pictures = collection.pictures
    digests, skipped = contents(pictures, progress=progress)
    firsts = {digest: position for position, digest in reversed(list(enumerate(digests))) if digest}
    positions = np.array(sorted(firsts.values()), np.int64)
    n_repeated = len(pictures) - len(skipped) - len(positions)
    notes = [f"{n_repeated:,} exact copies are left out"] if n_repeated else []
    encoded, unusable = encode_pictures([encoder], pictures, positions, with_features=True, progress=progress)
    skipped |= unusable
    positions = np.setdiff1d(positions, list(unusable))
    if len(positions) < MIN_PICTURES:
        raise InputError(
            f"of {len(pictures)} pictures {len(positions)} are left, without copies and those that cannot be "
            f"read: too few to compare lengths of code on; pass {MIN_PICTURES} or more"
        )
    features = encoded[0].features
    assert features is not None  # they were asked for
    features = features[positions]
    check_features(features)
    own = pictures.take(positions)
    parts = _parts(own, seed)
    copies, originals = _copies(own, parts["database"], encoder, seed, progress)
    labels = own.labels
    return _Sample(
        features={name: features[part] for name, part in parts.items()} | {"copy": copies},
        labels=None if labels is None else {name: labels.take(part) for name, part in parts.items()},
        originals=originals,
        known=_known(own, [collection.meta(int(position)) for position in positions]),
        notes=tuple(notes),
        skipped={pictures.names[position]: reason for position, reason in sorted(skipped.items())},
    )


def _parts(pictures: LabelledPictures, seed: int) -> dict[str, Positions]:
    """Who asks, who is searched, and who is learned from: the last never asks."""
    n = len(pictures)
    n_queries = min(MAX_QUERIES, max(n // 10, min(MIN_QUERIES, n // 3)))
    labels = pictures.labels or Labels.single(np.zeros(n, np.int64))  # only their number is looked at
    split = replace(OWN, queries=n_queries).split(labels, pictures.splits, seed=seed)
    split = split.only_queries(min(len(split.query), MAX_QUERIES), seed=seed)
    training = split.training if len(split.training) else split.database
    return {"query": split.query, "database": split.database, "training": training}


def _copies(
    pictures: LabelledPictures,
    database: Positions,
    encoder: Encoder,
    seed: int,
    progress: Callable[[Progress], None],
) -> tuple[Rows, Positions]:
    """Features of altered pictures of the database, and where in the database their originals are."""
    rng = np.random.default_rng(seed)
    originals = np.sort(rng.choice(len(database), min(MAX_COPIES, len(database)), replace=False))
    altered = near_copies(pictures.take(database[originals]), seed)
    encoded, unusable = encode_pictures(
        [encoder],
        altered,
        np.arange(len(altered)),
        with_features=True,
        progress=lambda done: progress(replace(done, stage="copies")),
    )
    features = encoded[0].features
    assert features is not None
    usable = np.setdiff1d(np.arange(len(altered)), list(unusable))
    return features[usable], originals[usable]


def _known(pictures: LabelledPictures, meta: Sequence[Mapping[str, Any]]) -> list[Known]:
    """What a gallery would keep of some of the pictures, spread evenly."""
    known = []
    for position in np.unique(np.linspace(0, len(pictures) - 1, LOOKED_AT).astype(np.int64)).tolist():
        name = pictures.names[position]
        try:
            picture = decode(pictures.source(position), min_side=1, name=name)
        except PictureError:  # read a moment ago, and gone since
            continue
        facts = {**picture_metadata(picture), **meta[position]}
        known.append(Known(name, picture.width, picture.height, facts))
    return known


def _coders(
    encoder: Encoder,
    method: type[HashMethod] | None,
    settings: Mapping[str, Any],
    lengths: Sequence[int],
    sample: _Sample,
    seed: int,
    progress: Callable[[Progress], None],
) -> tuple[dict[int, Coder], dict[int, str]]:
    """How features become codes of each length, and why some lengths cannot be had.

    Raises:
        InputError: no length can be had.
        LabelsError: labels that the method cannot learn from.
    """
    coders: dict[int, Coder] = {}
    left_out: dict[int, str] = {}
    training = sample.features["training"]
    labels = None if sample.labels is None else sample.labels["training"]
    if method is not None and method.needs_labels:
        check_labels(method.name, len(training), labels)
    nested = encoder.hash_function.encode if method is None else None
    longest = encoder.n_bits if method is None else max(lengths)
    for done, n_bits in enumerate(reversed(lengths), 1):  # of a nested method the longest comes first
        try:
            if nested is not None:
                if n_bits > longest:
                    raise InputError(f"the encoder's codes have {longest} bits")
                coders[n_bits] = _prefix(nested, n_bits)
            elif method is not None:
                fitted = method(n_bits, seed=seed, **settings).fit(training, labels)
                coders[n_bits] = fitted.encode
                if method.name.startswith(NESTED):
                    nested, longest = fitted.encode, n_bits
        except LabelsError:
            raise
        except InputError as error:  # of this length: features and labels were looked at before
            left_out[n_bits] = str(error)
        progress(Progress("fit", done, len(lengths), len(left_out)))
    if not coders:
        raise InputError(f"no length of code can be had; {min(left_out)} bits: {left_out[min(left_out)]}")
    return dict(sorted(coders.items())), dict(sorted(left_out.items()))


def _prefix(encode: Coder, n_bits: int) -> Coder:
    return lambda rows: np.ascontiguousarray(encode(rows)[:, : n_bits // 8])


def _length(
    n_bits: int,
    found: Mapping[str, NDArray[np.float64]],
    codes: Mapping[str, Codes],
    known: Sequence[Known],
    encoder: Encoder,
    n_pictures: int,
    seed: int,
) -> Length:
    """What was found, a value a query, with an interval; and what these codes cost."""
    n_regions = round(granules_a_picture(known, encoder.granules)) - 1
    return Length(
        n_bits,
        {name: estimate(values, seed) for name, values in found.items()},
        storage(known, encoder.granules, n_bits, n_pictures),
        search_time(codes["query"], codes["database"], n_pictures=n_pictures, n_regions=n_regions, seed=seed),
    )


Question = tuple[str, Callable[[Distances], NDArray[np.float64]]]
"""Who asks, and what makes a value a query of its distances to the database."""


def _questions(sample: _Sample, at: int | None) -> dict[str, Question]:
    """The measures that these pictures allow, by name."""
    questions: dict[str, Question] = {}
    database, labels = sample.features["database"], sample.labels
    if labels is not None:
        questions["mAP"] = (
            "query",
            lambda distances: average_precisions(distances, labels["query"], labels["database"], at),
        )
    nearest = nearest_by_features(sample.features["query"], database)
    for name in ("neighbours", "neighbours-100"):
        if len(database) > 2 * DEPTH[name]:  # else much is found whatever the codes are
            questions[name] = ("query", _finds(nearest, DEPTH[name]))
    if len(sample.originals):
        questions["copies"] = ("copy", _finds(sample.originals[:, None], DEPTH["copies"]))
    return questions


def _finds(sought: Positions, depth: int) -> Callable[[Distances], NDArray[np.float64]]:
    return lambda distances: recalls(distances, sought, depth)


def _measure(goal: Goal, questions: Mapping[str, Question]) -> str:
    """The measure that the goal goes by.

    Raises:
        InputError: these pictures cannot be judged by it.
    """
    name = next(iter(questions)) if goal.quality == QUALITY else goal.quality
    if name not in questions:
        raise InputError(f"too few pictures to judge by {name}; there are {', '.join(questions)}")
    return name


def _floats(sample: _Sample, questions: Mapping[str, Question], seed: int) -> dict[str, Estimate]:
    """The same of the features themselves; that they find their own neighbours says nothing."""
    features = sample.features
    return {
        name: estimate(ask(Cosine(features[who], features["database"])), seed)
        for name, (who, ask) in questions.items()
        if name in ("mAP", "copies")
    }


def _origin(encoder: Encoder, method: str, fitted: type[HashMethod] | None) -> str:
    if fitted is None:
        return f"prefixes of the encoder's {encoder.n_bits} nested bits"
    if fitted.name.startswith(NESTED):
        return f"{method}, fitted once and cut to every length"
    return f"{method}, fitted for every length"


def _notes(measured: Sequence[Length], n_pictures: int) -> list[str]:
    """What a reader should know of the times."""
    scaled = [length for length in measured if length.search.measured_at < n_pictures]
    return [
        f"{length.n_bits} bits: searched {length.search.measured_at:,} pictures, as memory allows, and "
        f"scaled to {n_pictures:,}"
        for length in scaled
    ]
