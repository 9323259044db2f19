"""Pictures with labels, and what the shipped network makes of them: computed once, kept on disk."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import harness  # noqa: F401 - finds what benchmarks and examples both use
import numpy as np
from fashion_mnist import HOME, TEST, TRAIN, read_part
from numpy.typing import NDArray
from PIL import Image

from grainhash.encoder import Encoder
from grainhash.evaluation.protocols import OWN, PROTOCOLS, Protocol, Split
from grainhash.labelled import LabelledPictures, read_labelled
from grainhash.labels import Labels
from grainhash.training.data import Material as Gathered
from grainhash.training.data import gather
from grainhash.training.features import View, cached_features

ROOT = Path(__file__).parents[2]
PICTURES = ROOT.parent / "shared" / "data"
CIFAR10 = PICTURES / "cifar10.parquet"
CALTECH101 = PICTURES / "caltech101.parquet"
FASHION_A_CLASS = 2000
CACHE = ROOT / "build" / "features"

SEEDS = (0, 1, 2)

FEATURES = "pooled+map:rmac+mid:avg"
POOLED, RMAC = (0, 1280), (1280, 2560)
"""Columns of average pooling and of R-MAC; the middle layer follows."""

QUICK_PICTURES = 40
"""Of each class at most, with --quick."""
QUICK_CLASSES = 10


@dataclass(frozen=True, eq=False)
class Material:
    """A data set, its features, and how it is split."""

    labels: Labels
    splits: NDArray[np.str_] | None
    plain: NDArray[np.float32]
    """`(n, 2672)`: average pooling and R-MAC of the last feature map, the mean of the last one at a sixteenth
    of the side, each scaled to length 1."""
    protocol: Protocol
    gathered: Gathered

    @property
    def rmac(self) -> NDArray[np.float32]:
        """R-MAC alone."""
        return self.plain[:, slice(*RMAC)]

    def to_learn_from(self, split: Split) -> tuple[NDArray[np.float32], Labels]:
        """The training pictures as they are and mirrored, `(2, n, 2672)`, and their labels."""
        rows = split.training
        contents = tuple(self.gathered.contents[row] for row in rows)
        learned_from = Gathered(self.gathered.pictures.take(rows), contents, {})
        return np.stack([self.plain[rows], _features(learned_from, "mirrored")]), self.labels.take(rows)

    def split(self, seed: int) -> Split:
        """Who asks, who is learned from, who is searched."""
        return self.protocol.split(self.labels, self.splits, seed=seed)


def material(name: str, *, quick: bool) -> Material | None:
    """A data set by name, or `None` if it is not on this machine, which is then said."""
    where, read, protocol = DATA_SETS[name]
    if not where.exists():
        print(f"{name}: not measured, there is no {where.name} on this machine")
        return None
    pictures = read(where)
    if quick:
        pictures, protocol = few(pictures, protocol)
    print(f"{name}: features of {len(pictures):,} pictures", flush=True)
    whole = replace(pictures, splits=None)
    gathered = gather(whole, name=name)
    return Material(pictures.labels, pictures.splits, _features(gathered, "plain"), protocol, gathered)


def _features(gathered: Gathered, view: View) -> NDArray[np.float32]:
    encoder = Encoder.load().with_features(FEATURES)
    rows, bad = cached_features(encoder, gathered, CACHE, view=view)
    if bad:
        raise SystemExit(f"pictures that cannot be read: {bad}")
    blocks = np.split(np.asarray(rows), [POOLED[1], RMAC[1]], axis=1)
    return np.concatenate([block / np.linalg.norm(block, axis=1, keepdims=True) for block in blocks], axis=1)


def few(pictures: LabelledPictures, protocol: Protocol) -> tuple[LabelledPictures, Protocol]:
    """A few pictures of a few classes, and the protocol with fewer of them."""
    rng = np.random.default_rng(0)
    ids = pictures.labels.ids
    chosen = [rng.permutation(np.flatnonzero(ids == c))[:QUICK_PICTURES] for c in range(QUICK_CLASSES)]
    taken = pictures.take(np.sort(np.concatenate(chosen)))
    names = [taken.labels.classes[c] for c in taken.labels.ids]
    smaller = replace(
        protocol,
        queries=protocol.queries and QUICK_PICTURES // 8,
        training=protocol.training and QUICK_PICTURES // 4,
    )
    return replace(taken, labels=Labels.single(names)), smaller


def _caltech(path: Path) -> LabelledPictures:
    """Its parts under the names that say what they are for: the database is learned from, too."""
    pictures = read_labelled(path)
    named = np.where(pictures.splits == "query", "test", "train")
    return replace(pictures, splits=named)


def _fashion(folder: Path) -> LabelledPictures:
    """Fashion-MNIST (Xiao, Rasul, Vollgraf, 2017): products of 28 x 28 pixels, as PNG; the first 2,000 of
    each of the ten classes."""
    parts = [read_part(folder, part) for part in (TRAIN, TEST)]
    pixels, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    chosen = np.sort(np.concatenate([np.flatnonzero(labels == c)[:FASHION_A_CLASS] for c in range(10)]))
    pixels, labels = pixels[chosen], labels[chosen]

    def read(row: int) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels[row]).save(file, "PNG", compress_level=1)
        return file.getvalue()

    names = tuple(f"Fashion-MNIST {row}" for row in range(len(pixels)))
    return LabelledPictures(names, Labels.single(labels.tolist()), None, read, np.arange(len(pixels)))


DATA_SETS: dict[str, tuple[Path, Callable[[Path], LabelledPictures], Protocol]] = {
    "cifar10-unsupervised": (CIFAR10, read_labelled, PROTOCOLS["cifar10-unsupervised"]),
    "cifar10-1": (CIFAR10, read_labelled, PROTOCOLS["cifar10-1"]),
    "caltech101": (CALTECH101, _caltech, OWN),
    "fashion-mnist": (
        HOME,
        _fashion,
        replace(PROTOCOLS["cifar10-1"], name="fashion-mnist", n_pictures=10 * FASHION_A_CLASS),
    ),
}
"""Where it is, how it is read, and its protocol: for Fashion-MNIST queries and labels as in `cifar10-1`."""
