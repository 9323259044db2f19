"""From the codes of all pictures and the labels of some to the labels of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from grainhash.classify.calibration import Floats, Ints, calibration_error, softmax
from grainhash.classify.linear import Linear
from grainhash.classify.novelty import Novelty
from grainhash.classify.result import Classification, ClassifyMethod, Evaluation, OfClass, Prediction
from grainhash.classify.vote import Vote
from grainhash.clusters.graph import neighbour_graph
from grainhash.errors import InputError, LabelsError
from grainhash.index import checks, kernels
from grainhash.store import PictureRow
from grainhash.types import Codes


@dataclass(frozen=True, slots=True)
class ClassifySettings:
    """How to label.

    Raises:
        InputError: a value that makes no sense.
    """

    method: ClassifyMethod = "vote"
    held_out: float = 0.0
    """Share of each class to judge by; 0 to judge each labelled picture by all the others."""
    min_confidence: float = 0.0
    """Less is none of these too."""
    radius: int | None = None
    """Bits from the nearest labelled picture beyond which a picture is none of these; chosen by default."""
    seed: int = 0
    """Of what is held out."""
    max_classes: int | None = None
    """More are refused: time and memory grow with the labelled pictures times the classes."""
    n_threads: int | None = None

    def __post_init__(self) -> None:
        if self.method not in get_args(ClassifyMethod):
            raise InputError(f"method {self.method!r}: choose vote or linear")
        if not 0 <= self.held_out < 1:
            raise InputError(f"held_out = {self.held_out}: a share of the labelled pictures, 0 to below 1")
        if not 0 <= self.min_confidence <= 1:
            raise InputError(f"min_confidence = {self.min_confidence}: a confidence is from 0 to 1")
        if self.radius is not None and self.radius < 0:
            raise InputError(f"radius = {self.radius}: it is a number of bits, at least 0")
        if self.seed < 0:
            raise InputError(f"seed = {self.seed}: it is at least 0")
        if self.max_classes is not None and self.max_classes < 2:
            raise InputError(f"max_classes = {self.max_classes}: it is at least 2")


def classify(
    pictures: Sequence[PictureRow],
    codes: Codes,
    given: Mapping[int, str],
    settings: ClassifySettings,
    *,
    where: str | None = None,
    unmatched: Sequence[str] = (),
) -> Classification:
    """Label the pictures that have no label.

    Args:
        pictures: in ascending order of id.
        codes: `(n, n_bytes)`, one each.
        given: labels of some of them, by id.
        settings: how.
        where: the filter that they passed, for the result.
        unmatched: for the result.

    Raises:
        LabelsError: fewer than two labelled pictures or classes, too many classes, or nothing left to learn
            from.
    """
    started = perf_counter()
    rows = np.array([i for i, row in enumerate(pictures) if row.id in given], np.int64)
    labels, classes = _classes([given[pictures[i].id] for i in rows.tolist()])
    _check(labels, classes, len(pictures), where)
    if settings.max_classes is not None and len(labels) > settings.max_classes:
        raise LabelsError(
            f"{len(labels):,} classes are more than can be learned here ({settings.max_classes:,}); give "
            "labels of fewer, or fewer pictures"
        )
    others = np.setdiff1d(np.arange(len(pictures)), rows, assume_unique=True)
    learned, unlabelled = np.ascontiguousarray(codes[rows]), np.ascontiguousarray(codes[others])

    model, novelty, distances, left_out = _fit(learned, classes, len(labels), unlabelled, settings)
    if settings.held_out:
        evaluation = _judge_held_out(learned, classes, labels, unlabelled, settings)
    else:
        found = softmax(model.left_out / model.temperature)
        refused = _refused(found, left_out, novelty.radius, settings)
        evaluation = _judged("left out", len(learned) - 1, found, classes, labels, refused)

    probabilities = model.probabilities(unlabelled, n_threads=settings.n_threads)
    refused = _refused(probabilities, distances, novelty.radius, settings)
    best = probabilities.argmax(axis=1)
    predictions = [
        Prediction(
            id=pictures[i].id,
            uri=pictures[i].uri,
            label=None if no else labels[number],
            confidence=round(confidence, 4),
            likeliest=labels[number],
            distance=distance,
        )
        for i, no, number, confidence, distance in zip(
            others.tolist(),
            refused.tolist(),
            best.tolist(),
            probabilities.max(axis=1, initial=0).tolist(),
            distances.tolist(),
            strict=True,
        )
    ]
    return Classification(
        method=settings.method,
        settings=_chosen(model),
        labels=labels,
        n_labelled=len(rows),
        n_bits=codes.shape[1] * 8,
        seed=settings.seed,
        where=where,
        radius=novelty.radius,
        share_known=novelty.share,
        predictions=predictions,
        evaluation=evaluation,
        unmatched=list(unmatched),
        seconds=perf_counter() - started,
    )


def _classes(names: Sequence[str]) -> tuple[list[str], Ints]:
    labels, classes = np.unique(np.array(names, object).astype(str), return_inverse=True)
    return labels.tolist(), classes.astype(np.int64)


def _check(labels: Sequence[str], classes: Ints, n_pictures: int, where: str | None) -> None:
    if not n_pictures:
        why = "the gallery is empty" if where is None else f"no picture passes the filter {where}"
        raise LabelsError(f"no pictures to learn from: {why}")
    if not len(classes):
        raise LabelsError(f"none of {n_pictures} pictures has a label; label a few of each class")
    if len(labels) < 2:
        raise LabelsError(
            f"all {len(classes)} labelled pictures are {labels[0]!r}; label a few of another class "
            "too, such as what it is not"
        )


def _fit(
    learned: Codes, classes: Ints, n_classes: int, unlabelled: Codes, settings: ClassifySettings
) -> tuple[Vote | Linear, Novelty, Ints, Ints]:
    """The classifier, the radius of its classes, bits to the nearest labelled from others and among them."""
    kind = Vote if settings.method == "vote" else Linear
    model = kind.fit(learned, classes, n_classes, n_threads=settings.n_threads)
    distances = nearest(learned, unlabelled, settings.n_threads)
    left_out = neighbour_graph(learned, 1, n_threads=settings.n_threads).distances[:, 0]
    if settings.radius is None:
        novelty = Novelty.fit(left_out, distances, learned.shape[1] * 8)
    else:
        within = distances <= settings.radius
        novelty = Novelty(settings.radius, float(within.mean()) if len(within) else 1.0)
    return model, novelty, distances, left_out


def nearest(learned: Codes, codes: Codes, n_threads: int | None) -> Ints:
    """Bits from each code to the nearest of others, `(n,)`."""
    return kernels.nearest_centres(codes, learned, checks.thread_count(n_threads))[1].astype(np.int64)


def _refused(
    probabilities: Floats, distances: NDArray[np.integer], radius: int, settings: ClassifySettings
) -> NDArray[np.bool_]:
    """Which pictures are none of these: too far from all, or too doubtful."""
    confidence = probabilities.max(axis=1, initial=0)
    return np.asarray((distances > radius) | (confidence < settings.min_confidence))


def _judge_held_out(
    codes: Codes, classes: Ints, labels: list[str], unlabelled: Codes, settings: ClassifySettings
) -> Evaluation:
    """Learn from a part of each class and judge by the rest."""
    is_judged = hold_out(classes, settings.held_out, settings.seed)
    if not is_judged.any():
        raise LabelsError(
            f"held_out = {settings.held_out} of {len(classes)} labelled pictures is none to judge by; label "
            "more, or leave it out"
        )
    rest, part = np.ascontiguousarray(codes[~is_judged]), np.ascontiguousarray(codes[is_judged])
    # What is held out counts as unlabelled: it is no evidence on labelled pictures.
    model, novelty, distances, _ = _fit(
        rest, classes[~is_judged], len(labels), np.concatenate([part, unlabelled]), settings
    )
    found = model.probabilities(part, n_threads=settings.n_threads)
    refused = _refused(found, distances[: len(part)], novelty.radius, settings)
    return _judged("held out", len(rest), found, classes[is_judged], labels, refused)


def hold_out(classes: Ints, share: float, seed: int) -> NDArray[np.bool_]:
    """Choose a share of each class, rounded, but never all of it: `(n,)`."""
    rng = np.random.default_rng(seed)
    held = np.zeros(len(classes), np.bool_)
    for number in np.unique(classes):
        members = np.flatnonzero(classes == number)
        n = min(round(share * len(members)), len(members) - 1)
        held[rng.choice(members, n, replace=False)] = True
    return held


def _judged(
    how: str, n_learned: int, found: Floats, classes: Ints, labels: list[str], refused: NDArray[np.bool_]
) -> Evaluation:
    n = len(labels)
    best = found.argmax(axis=1)
    right = best == classes
    confusion = np.bincount(classes * n + best, minlength=n * n).reshape(n, n)
    hits, called, are = confusion.diagonal(), confusion.sum(axis=0), confusion.sum(axis=1)
    return Evaluation(
        how=how,
        n_learned=n_learned,
        n_judged=len(classes),
        accuracy=float(right.mean()),
        accepted=float((~refused).mean()),
        accuracy_accepted=float(right[~refused].mean()) if not refused.all() else 0.0,
        classes=[
            OfClass(
                label,
                int(are[i]),
                float(hits[i] / called[i]) if called[i] else 0.0,
                float(hits[i] / are[i]) if are[i] else 0.0,
            )
            for i, label in enumerate(labels)
        ],
        confusion=confusion.tolist(),
        calibration=calibration_error(found.max(axis=1), right),
    )


def _chosen(model: Vote | Linear) -> dict[str, float]:
    own: dict[str, float] = (
        {"k": model.k, "scale": model.scale} if isinstance(model, Vote) else {"strength": model.strength}
    )
    return own | {"temperature": model.temperature}
