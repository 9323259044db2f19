"""The pictures that advice is for: those of a gallery, a folder, a CSV or a Parquet file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from grainhash.encoder import Encoder
from grainhash.errors import InputError
from grainhash.folder import absolute, walk
from grainhash.labelled import LabelKind, LabelledPictures, labels_of, read_labelled
from grainhash.metadata import folder_labels
from grainhash.store import Store, encoder_folder

SAMPLE = 5000
"""Pictures that quality is measured on, at most, unless another number is asked for."""


@dataclass(frozen=True, slots=True, eq=False)
class Collection:
    """Pictures to measure on, and what is known of the gallery that they are or will be in."""

    title: str
    pictures: LabelledPictures
    """All of them, or a sample."""
    n_pictures: int
    """How many there are in all."""
    meta: Callable[[int], Mapping[str, Any]]
    """What a gallery keeps of the picture at a position, beside what its file says."""
    encoder: Encoder | None = None
    """The gallery's own, if it is a gallery."""
    notes: tuple[str, ...] = ()


def collect(
    path: Path | str,
    *,
    sample: int = SAMPLE,
    seed: int = 0,
    label: str = "label",
    unlabelled: bool = False,
    kind: LabelKind = "auto",
    runtime: str = "auto",
) -> Collection:
    """Find pictures, and their labels where they have some.

    Args:
        path: a gallery's folder, a folder of pictures, a `.csv` or a `.parquet` file.
        sample: so many of them at most; from a gallery spread evenly, else drawn.
        seed: of what is drawn.
        label: the column, or of a gallery the metadata key, that says what a picture shows.
        unlabelled: leave labels aside, such as folders named by year.
        kind: how labels are read.
        runtime: of a gallery's encoder; see `grainhash.encoder.network`.

    Raises:
        InputError: no pictures, or a sample of none.
        LabelsError: labels that do not match the pictures.
        GalleryError: the gallery cannot be opened.
    """
    if sample < 1:
        raise InputError(f"a sample of {sample} pictures; ask for 1 or more")
    path = absolute(path)
    if (path / "gallery.sqlite").is_file():
        return _from_gallery(path, sample, None if unlabelled else label, kind, runtime)
    if path.is_dir():
        found = _from_folder(path, unlabelled, kind)
    else:
        pictures = read_labelled(path, label=None if unlabelled else label, kind=kind)
        found = Collection(path.name, pictures, len(pictures), lambda position: {})
    return _sampled(found, sample, seed)


def _from_folder(root: Path, unlabelled: bool, kind: LabelKind) -> Collection:
    """Folders name classes, unless pictures lie in the root beside them."""
    files = [file.path for file in walk(root)]
    if not files:
        raise InputError(f"{root}: no pictures below it")
    bare = [file for file in files if file.parent == root]
    notes: tuple[str, ...] = ()
    if unlabelled or bare:
        pictures = _plain([str(file) for file in files])
        if bare and len(bare) < len(files) and not unlabelled:
            notes = ("pictures lie beside the folders, so these are not taken for classes",)
    else:
        pictures = read_labelled(root, kind=kind)
    own = [folder_labels(PurePath(file).relative_to(root)) for file in files]
    return Collection(root.name, pictures, len(files), lambda position: own[position], notes=notes)


def _from_gallery(path: Path, sample: int, label: str | None, kind: LabelKind, runtime: str) -> Collection:
    store = Store(path / "gallery.sqlite")
    try:
        uris, n_pictures = store.sample(sample), len(store)
        ids = store.ids_of_uris(uris)
        rows = store.pictures([ids[uri] for uri in uris])
        encoder = Encoder.load(encoder_folder(path, store.info("encoder")), runtime=runtime)
    finally:
        store.close()
    if not rows:
        raise InputError(f"{path}: the gallery is empty; index pictures first")
    values = [] if label is None else [row.meta.get(label) for row in rows]
    n_without = sum(value in (None, "") for value in values)
    notes: tuple[str, ...] = ()
    if 0 < n_without < len(rows):
        notes = (f"{n_without:,} of {len(rows):,} pictures have no {label!r}, so labels are left aside",)
    pictures = _plain([row.uri for row in rows])
    if values and not n_without:
        pictures = replace(pictures, labels=labels_of(values, kind, path))
    return Collection(path.name, pictures, n_pictures, lambda position: rows[position].meta, encoder, notes)


def _plain(uris: list[str]) -> LabelledPictures:
    """Files without labels."""
    return LabelledPictures(
        tuple(uris), None, None, lambda row: Path(uris[row]), np.arange(len(uris), dtype=np.int64)
    )


def _sampled(collection: Collection, n: int, seed: int) -> Collection:
    if n >= len(collection.pictures):
        return collection
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(collection.pictures), n, replace=False))
    meta = collection.meta
    return replace(
        collection,
        pictures=collection.pictures.take(chosen),
        meta=lambda position: meta(int(chosen[position])),
    )
