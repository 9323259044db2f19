"""Evaluations from start to end: of encoders on pictures, or of arrays of codes that anyone made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grainhash.codes import check_n_bits
from grainhash.encoder import Encoder
from grainhash.errors import CodesError, LabelsError
from grainhash.evaluation.distances import Asymmetric, Cosine, Distances, Hamming, of_arrays
from grainhash.evaluation.encoding import Encoded, contents, encode_pictures
from grainhash.evaluation.judge import AnyLabels, Evaluation, judge
from grainhash.evaluation.protocols import Protocol, Split
from grainhash.labelled import LabelledPictures
from grainhash.types import Progress, silent

NESTED = "nested"
"""What the method of a hash function is called whose prefixes are codes."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Evaluations of the same queries against the same database, and what they are."""

    title: str
    protocol: str
    about: str
    seed: int | None
    """What the split was drawn with; `None` where the data or the caller name it."""
    n_queries: int
    n_database: int
    n_training: int
    evaluations: tuple[Evaluation, ...]
    notes: tuple[str, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)
    """Name and reason of every picture that cannot be used."""


def evaluate(
    encoders: Sequence[tuple[str, Encoder]],
    pictures: LabelledPictures,
    protocol: Protocol,
    *,
    bits: Sequence[int] | None = None,
    at: int | None = None,
    n_queries: int | None = None,
    seed: int = 0,
    asymmetric: bool = False,
    floats: bool = False,
    title: str = "pictures",
    progress: Callable[[Progress], None] = silent,
) -> Comparison:
    """Judge encoders side by side on labelled pictures.

    Args:
        encoders: name and encoder.
        pictures: with labels; the protocol cuts them.
        protocol: who asks and who is searched.
        bits: lengths of codes; prefixes where an encoder's codes are nested. By default its own length.
        at: R of average precision; the protocol's by default.
        n_queries: so many of the protocol's queries.
        seed: of what is drawn.
        asymmetric: judge the order by the queries' real numbers too.
        floats: judge the features before the hash function by cosine too.
        title: what the pictures are called.
        progress: told of three stages: comparing contents, encoding, judging.

    Raises:
        LabelsError: pictures without labels.
        CodesError: a length that an encoder's codes do not have.
        SplitError: the pictures do not fit the protocol, or the same picture is on two sides.
    """
    if pictures.labels is None:
        raise LabelsError("these pictures have no labels to judge by; put them in folders named by class")
    lengths = [lengths_of(name, encoder, bits) for name, encoder in encoders]
    split = protocol.split(pictures.labels, pictures.splits, seed=seed)
    if n_queries is not None:
        split = split.only_queries(n_queries, seed=seed)
    digests, unread = contents(pictures, progress=progress)
    split.check_contents(digests, pictures.names)
    split = split.without(list(unread))
    encoded, undecoded = encode_pictures(
        [encoder for _, encoder in encoders],
        pictures,
        np.union1d(split.query, split.database),
        with_projections=asymmetric,
        with_features=floats,
        progress=progress,
    )
    split = split.without(list(undecoded))
    at = protocol.at if at is None else at
    evaluations = [
        judge(
            distances,
            pictures.labels.take(split.query),
            pictures.labels.take(split.database),
            name=name,
            at=at,
            progress=progress,
        )
        for name, distances in _judged([name for name, _ in encoders], encoded, lengths, split)
    ]
    return Comparison(
        title=title,
        protocol=protocol.name,
        about=protocol.about,
        seed=split.seed,
        n_queries=len(split.query),
        n_database=len(split.database),
        n_training=len(split.training),
        evaluations=tuple(evaluations),
        notes=split.notes,
        skipped={
            pictures.names[position]: reason for position, reason in sorted((unread | undecoded).items())
        },
    )


def evaluate_codes(
    queries: NDArray[Any],
    database: NDArray[Any],
    query_labels: AnyLabels,
    database_labels: AnyLabels,
    *,
    name: str = "codes",
    at: int | None = None,
    progress: Callable[[Progress], None] = silent,
) -> Comparison:
    """Judge packed codes (uint8, by Hamming distance) or float vectors (by cosine) of any origin.

    Raises:
        CodesError, InputError, LabelsError: as `judge`, and for arrays that do not fit one another.
    """
    distances = of_arrays(queries, database)
    evaluation = judge(distances, query_labels, database_labels, name=name, at=at, progress=progress)
    return Comparison(
        title=name,
        protocol="as given",
        about="queries and database as given; whether they overlap cannot be seen from codes",
        seed=None,
        n_queries=len(queries),
        n_database=len(database),
        n_training=0,
        evaluations=(evaluation,),
    )


def lengths_of(name: str, encoder: Encoder, bits: Sequence[int] | None) -> list[int]:
    """The lengths at which an encoder's codes are judged.

    Raises:
        CodesError: a length that they do not have, or a prefix of codes that are not nested.
    """
    if not bits:
        return [encoder.n_bits]
    for n_bits in bits:
        check_n_bits(n_bits)
        if n_bits > encoder.n_bits:
            raise CodesError(f"{name}: codes of {encoder.n_bits} bits have no {n_bits}")
        if n_bits < encoder.n_bits and not is_nested(encoder):
            raise CodesError(
                f"{name}: the first {n_bits} of {encoder.n_bits} bits are a code only where codes are "
                f"nested, and these were fitted by {encoder.hash_function.method}; leave the lengths out"
            )
    return list(bits)


def is_nested(encoder: Encoder) -> bool:
    """Whether prefixes of the encoder's codes are codes."""
    return encoder.hash_function.method.startswith(NESTED)


def _judged(
    names: Sequence[str], encoded: Sequence[Encoded], lengths: Sequence[list[int]], split: Split
) -> list[tuple[str, Distances]]:
    """What is compared, by name: every length of every encoder, and what was asked for beside."""
    judged: list[tuple[str, Distances]] = []
    for name, rows, own in zip(names, encoded, lengths, strict=True):
        for n_bits in own:
            codes = rows.codes[:, : n_bits // 8]
            queries, database = (np.ascontiguousarray(codes[part]) for part in (split.query, split.database))
            judged.append((name, Hamming(queries, database)))
            if rows.projections is not None:
                judged.append(
                    (f"{name}, asymmetric", Asymmetric(rows.projections[split.query, :n_bits], database))
                )
        if rows.features is not None:
            judged.append(
                (f"{name}, floats", Cosine(rows.features[split.query], rows.features[split.database]))
            )
    return judged
