"""What is learned from and what is kept back to judge by, checked before any time is spent.

material = gather(read_labelled("photos/"), name="nested")
division = divide(material, n_bits=64, name="nested", validation=0.1)
division.training, division.validation        # positions in material.pictures
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from grainhash.encoder.granules import cut
from grainhash.encoder.pipeline import in_order
from grainhash.errors import InputError, LabelsError, PictureError, SplitError
from grainhash.hashing.method import check_labels
from grainhash.images import decode
from grainhash.labelled import LabelledPictures
from grainhash.types import WHOLE, Progress, silent

HELD_OUT = frozenset({"test", "query"})
"""Parts of a data set that are for judging alone."""

LEAST_OF_A_CLASS = 2
"""Pictures of a class that always stay to be learned from."""

LEARNED_FROM = "train"
"""The part that is learned from unless another is named."""

A_TURN = 64
"""Pictures that one thread looks at before it asks for more."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """The pictures that may be learned from, each with a digest of its content."""

    pictures: LabelledPictures
    contents: tuple[str, ...]
    """SHA-256 of each picture's bytes, as hex."""
    skipped: dict[str, str]
    """Name and reason of every picture left out."""

    def without(self, bad: Mapping[int, str]) -> Material:
        """Leave out the pictures at some positions, for the reasons given."""
        kept = [position for position in range(len(self.pictures)) if position not in bad]
        reasons = {self.pictures.names[position]: reason for position, reason in bad.items()}
        contents = tuple(self.contents[position] for position in kept)
        return Material(self.pictures.take(kept), contents, self.skipped | reasons)

    @property
    def sha256(self) -> str:
        """Of contents and labels in their order: the same digest, the same data."""
        digest = hashlib.sha256("".join(self.contents).encode())
        labels = self.pictures.labels
        if labels is not None:
            digest.update("\0".join(labels.classes).encode())
            digest.update(np.packbits(labels.indicator()).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Division:
    """Which rows of a `Material` are learned from and which are kept back; no content is on both sides."""

    training: NDArray[np.int64]
    validation: NDArray[np.int64]
    """In a random order; empty where none were asked for."""


def gather(
    pictures: LabelledPictures,
    *,
    name: str,
    needs_labels: bool = True,
    split: str = LEARNED_FROM,
    decode_to: int = 0,
    progress: Callable[[Progress], None] = silent,
) -> Material:
    """Choose the pictures to learn from, read each once, and check that nothing leaks.

    Args:
        pictures: all there are. If they name parts, only `split` is learned from.
        name: what learns, for messages.
        needs_labels: whether it learns from labels.
        split: the part to learn from; where `pictures` names no parts, all are learned from.
        decode_to: above 0, every picture is also decoded, as for a network of this input size, to find
            those that cannot be.
        progress: told of the pictures read.

    Raises:
        SplitError: no such part, one that is for judging, or content both in it and in a part for judging.
        LabelsError: no labels, one class only, or a class with one picture.
    """
    chosen = _part_to_learn_from(pictures, split)
    if needs_labels and chosen.labels is None:
        raise LabelsError(f"{name} learns from labels, and the pictures have none; choose itq or name labels")
    if needs_labels:
        check_labels(name, len(chosen), chosen.labels)
    contents, bad = read_all(chosen, decode_to=decode_to, progress=progress)
    _check_leaks(pictures, chosen, contents, progress)
    return Material(chosen, tuple(contents), {}).without(bad)


def divide(
    material: Material,
    *,
    n_bits: int,
    name: str,
    needs_labels: bool = True,
    validation: float = 0.1,
    seed: int = 0,
) -> Division:
    """Keep a share of the pictures back to judge by, of each class where a picture has one label.

    Copies of one content all stay on the side of training, and so do the last two pictures of a class.

    Args:
        material: what there is to learn from.
        n_bits: of the code to be learned.
        name: what learns, for messages.
        needs_labels: whether it learns from labels.
        validation: the share, 0 to below 1.
        seed: of the draw.

    Raises:
        LabelsError: one class only, or a class with one picture, once what cannot be read is left out.
        InputError: fewer pictures than bits, or no such share.
    """
    check_share(validation)
    if needs_labels:
        check_labels(name, len(material.pictures), material.pictures.labels)
    kept_back = _draw(material, validation, seed)
    training = np.flatnonzero(~kept_back)
    if len(training) <= n_bits:
        raise InputError(
            f"{name} of {n_bits} bits needs more than {n_bits} pictures to learn from, "
            f"and there are {len(training)}"
        )
    rng = np.random.default_rng([seed, 1])
    return Division(training, rng.permutation(np.flatnonzero(kept_back)))


def check_share(validation: float) -> None:
    """Refuse a share of the pictures to keep back that is none.

    Raises:
        InputError: it is below 0, or 1 and more.
    """
    if not 0 <= validation < 1:
        raise InputError(f"the share for validation must be 0 or more and below 1, not {validation}")


def read_all(
    pictures: LabelledPictures, *, decode_to: int = 0, progress: Callable[[Progress], None] = silent
) -> tuple[list[str], dict[int, str]]:
    """SHA-256 of every picture's content, and the reason of every position that cannot be used."""

    def look(position: int) -> tuple[str, str]:
        try:
            data = pictures.content(position)
            if decode_to:
                decode(data, min_side=decode_to, name=pictures.names[position])
        except PictureError as error:
            return "", error.reason
        return hashlib.sha256(data).hexdigest(), ""

    contents: list[str] = []
    bad: dict[int, str] = {}
    for content, reason in in_threads(look, range(len(pictures))):
        if reason:
            bad[len(contents)] = reason
        contents.append(content)
        progress(Progress("read", len(contents), len(pictures), len(bad)))
    return contents, bad


def whole(pictures: LabelledPictures, position: int, size: int) -> NDArray[np.uint8]:
    """A picture as an encoder's network sees it whole: `uint8 (size, size, 3)`.

    Raises:
        PictureError: it cannot be decoded.
    """
    picture = decode(pictures.source(position), min_side=size, name=pictures.names[position])
    pixels: NDArray[np.uint8] = cut(picture.rgb, [WHOLE], size)[0]
    return pixels


def wholes(pictures: LabelledPictures, positions: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
    """Some pictures as an encoder's network sees them: `uint8 (len(positions), size, size, 3)`.

    Raises:
        PictureError: one cannot be decoded.
    """
    pixels = np.empty((len(positions), size, size, 3), np.uint8)
    views = in_threads(lambda position: whole(pictures, position, size), positions.tolist(), turn=8)
    for row, view in enumerate(views):
        pixels[row] = view
    return pixels


def in_threads(
    do: Callable[[int], T], positions: Sequence[int], *, n_threads: int | None = None, turn: int = A_TURN
) -> Iterator[T]:
    """What `do` gives for every position, in order, a few turns ahead on every core."""

    def one_turn(some: list[int]) -> list[T]:
        return [do(position) for position in some]

    with closing(in_order(one_turn, positions, turn, n_threads)) as turns:
        for results in turns:
            yield from results


def _part_to_learn_from(pictures: LabelledPictures, split: str) -> LabelledPictures:
    split = split.strip().lower()
    if split in HELD_OUT:
        raise SplitError(
            f"the split {split!r} is for judging; what learned from it could not be judged by it"
        )
    if pictures.splits is None:
        if split != LEARNED_FROM:
            raise SplitError(f"the pictures name no parts, so none is called {split!r}")
        return pictures
    if split not in pictures.splits:
        known = ", ".join(sorted(set(pictures.splits.tolist())))
        raise SplitError(f"no pictures of the split {split!r} to learn from; there are: {known}")
    return pictures.split(split)


def _check_leaks(
    pictures: LabelledPictures,
    chosen: LabelledPictures,
    contents: list[str],
    progress: Callable[[Progress], None],
) -> None:
    """Refuse to learn from what will be judged by."""
    if pictures.splits is None:
        return
    held_out = pictures.take(np.isin(np.char.lower(pictures.splits), sorted(HELD_OUT)))
    learned = {content: position for position, content in enumerate(contents) if content}
    others = read_all(held_out, progress=progress)[0]
    leaks = [position for position, content in enumerate(others) if content in learned]
    if leaks:
        first, same = held_out.names[leaks[0]], chosen.names[learned[others[leaks[0]]]]
        raise SplitError(
            f"{len(leaks)} of {len(held_out)} pictures to judge by are among those to learn from, byte for "
            f"byte (first: {first} is {same}); take them out of one of the two"
        )


def _draw(material: Material, share: float, seed: int) -> NDArray[np.bool_]:
    """`(n,)`: what is kept back."""
    n, labels = len(material.pictures), material.pictures.labels
    kept_back = np.zeros(n, np.bool_)
    order = np.random.default_rng([seed, 0]).permutation(n)
    _, content, copies = np.unique(np.array(material.contents), return_inverse=True, return_counts=True)
    order = order[copies[content[order]] == 1]
    if labels is None or labels.ids is None:
        kept_back[order[: _rounded(share * n)]] = True
        return kept_back
    for label, n_of_class in enumerate(
        labels.counts() if labels.kind == "single" else np.bincount(labels.ids)
    ):
        rows = order[labels.ids[order] == label]
        kept_back[rows[: min(_rounded(share * n_of_class), max(n_of_class - LEAST_OF_A_CLASS, 0))]] = True
    return kept_back


def _rounded(number: float) -> int:
    return int(number + 0.5)
