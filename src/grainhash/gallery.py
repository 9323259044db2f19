"""The gallery: a folder of codes that answers which pictures, and where in them, look like this one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from grainhash import duplicates
from grainhash.chance import score_of
from grainhash.classify import (
    Classification,
    ClassifyMethod,
    ClassifySettings,
    classify,
    labels_by_key,
    labels_by_table,
)
from grainhash.clusters import Clustering, ClusterMethod, ClusterSettings, cluster
from grainhash.codecache import CodeCache
from grainhash.duplicates import Acted, Duplicates, Leaks, Regions, Undone
from grainhash.encoder.encoder import Asked, Encoder
from grainhash.encoder.granules import as_boxes
from grainhash.errors import (
    EncoderMismatch,
    GalleryFormatError,
    GalleryWriteError,
    InputError,
    MetadataError,
    PictureChanged,
)
from grainhash.explain import Explanation, explain
from grainhash.folder import absolute, below, is_text
from grainhash.geometry import match_points
from grainhash.images import Source, read_bytes
from grainhash.indexing import Indexing, IndexReport
from grainhash.metadata import MetadataTable, check_metadata
from grainhash.refit import refit
from grainhash.search import WHOLE_PICTURE, Question, Ranking, rank_all
from grainhash.store import PictureRow, Store, encoder_folder
from grainhash.types import (
    WHOLE,
    Box,
    Codes,
    Found,
    Granularity,
    Hit,
    Order,
    PointKind,
    Progress,
    Stage,
    silent,
)
from grainhash.verification import points_of_hit, verified, with_match
from grainhash.where import BUILT_IN, compile_where

MAX_K = 1_000_000

MAX_VERIFIED = 1000
"""Each is a picture to read and look at again."""


@dataclass(frozen=True, slots=True)
class GalleryInfo:
    """What a gallery holds."""

    path: str
    pictures: int
    copies: int
    """Pictures whose content another picture has too."""
    regions: int
    n_bits: int
    encoder: str
    encoder_name: str
    hash_method: str
    bytes_on_disk: int
    skipped: list[tuple[str, str]]
    meta_keys: list[tuple[str, int]]


class Gallery:
    """A folder of codes: `gallery.sqlite` (the truth), `encoder/` and `cache/`.

    Open or create one with `Gallery.open`. Every method may be called from any thread, and other
    processes may read and write the same gallery meanwhile.
    """

    def __init__(self, path: Path, store: Store, encoder: Encoder) -> None:
        self.path = path
        self._store = store
        self._encoder = encoder
        self._codes = CodeCache(store, path / "cache")

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        create: bool = False,
        encoder: Encoder | None = None,
        runtime: str = "auto",
    ) -> Gallery:
        """Open the gallery at a path, or with `create` make one there if there is none.

        Args:
            path: the gallery's folder.
            create: make an empty gallery where there is none.
            encoder: for a new gallery; the shipped one by default. An existing gallery keeps its own.
            runtime: of the network; see `grainhash.encoder.network`.

        Raises:
            GalleryNotFound: no gallery there, and `create` is false.
            GalleryFormatError: the folder holds something else, or another format version.
            EncoderMismatch: an `encoder` other than the gallery's own was passed.
            GalleryWriteError: a new gallery cannot be written there.
        """
        path = absolute(path)
        file = path / "gallery.sqlite"
        if create and not file.exists():
            if path.exists() and (not path.is_dir() or _has_strangers(path)):
                raise GalleryFormatError(f"{path}: exists and is no gallery; choose a new or empty folder")
            new = encoder or Encoder.load(runtime=runtime)
            try:
                new.save(encoder_folder(path, new.fingerprint))
            except OSError as error:
                raise GalleryWriteError(
                    f"{path}: cannot create a gallery there ({error.strerror}); make room, or choose a "
                    "folder you may write to"
                ) from None
            Store.create(file, encoder=new.fingerprint, n_bits=new.n_bits)
        store = Store(file)
        own = Encoder.load(encoder_folder(path, store.info("encoder")), runtime=runtime)
        if own.fingerprint != store.info("encoder"):
            raise GalleryFormatError(
                f"{own.folder}: not the encoder that the gallery's codes were made by, or one that this "
                "version runs in another way; index the pictures into a new gallery"
            )
        if encoder is not None:
            store.check_encoder(encoder.fingerprint)
        return cls(path, store, own)

    def close(self) -> None:
        """Let go of the gallery's files."""
        self._store.close()

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._store)

    @property
    def encoder(self) -> Encoder:
        """The one encoder of this gallery."""
        return self._encoder

    # Filling

    def index(
        self,
        folder: Path | str,
        *,
        metadata: MetadataTable | None = None,
        boxes_of: Callable[[Path], Sequence[Box]] = lambda path: (),
        progress: Callable[[Progress], None] = silent,
        n_workers: int | None = None,
    ) -> IndexReport:
        """Bring the gallery in line with a folder: new, changed and vanished pictures.

        Interrupted at any moment, by an exception or by the end of the process, it leaves whole
        batches; running it again does what is left and nothing twice.

        Args:
            folder: searched with all folders below it; links to folders are not followed.
            metadata: values by path, beside folder names and EXIF.
            boxes_of: regions of a picture that a detector found, best first, by its path; called by several
                threads, for pictures that are new or changed. They take the place of as many proposals.
            progress: called after every picture.
            n_workers: cores to encode on; all of this process by default.

        Raises:
            InputError: there is no such folder.
            GalleryError: the folder is empty and the gallery has pictures from it.
            GalleryWriteError: disk full or read-only; all earlier batches are safe.
        """
        self._follow_encoder()
        run = Indexing(self._store, self._encoder, boxes_of=boxes_of, progress=progress, n_workers=n_workers)
        report = run.folder(folder, skip=self.path, metadata=metadata)
        self.refresh()
        return report

    def add(
        self,
        paths: Iterable[Path | str],
        *,
        meta: Mapping[str, Any] | None = None,
        progress: Callable[[Progress], None] = silent,
    ) -> IndexReport:
        """Add single picture files, each in place of what the gallery has of that path.

        Args:
            paths: files of any name.
            meta: metadata for all of them.
            progress: called after every picture.
        """
        self._follow_encoder()
        values = check_metadata(meta or {}, "meta")
        return Indexing(self._store, self._encoder, progress=progress).files(paths, values)

    def remove(self, what: Iterable[Path | str | int]) -> int:
        """Remove pictures by path, by id, or all below a folder; returns how many there were.

        Raises:
            InputError: one of them names nothing in the gallery. Nothing was removed.
        """
        what = list(what)
        ids: set[int] = set()
        for item in what:
            found = self._find(item)
            if not found:
                raise InputError(f"{item}: not in the gallery; nothing was removed")
            ids |= found
        removed = self._store.remove(sorted(ids))
        for item in what:
            if not isinstance(item, int):
                self._store.forget_skipped(below(absolute(item)))
        return removed

    def _find(self, item: Path | str | int) -> set[int]:
        if isinstance(item, int):
            return {row.id for row in self._store.pictures([item])} if 0 < item < 2**63 else set()
        uri = str(absolute(item))
        if not is_text(uri):
            return set()
        found = set(self._store.ids_of_uris([uri]).values())
        return found or set(self._store.ids_below(below(Path(uri))))

    # A hash function of the gallery's own

    def refit(
        self,
        *,
        progress: Callable[[Progress], None] = silent,
        n_workers: int | None = None,
    ) -> None:
        """Fit the hash function anew on the gallery's own pictures and give all pictures new codes.

        The new codes are made beside the present ones, which serve until all are there and then
        make way at once. Interrupted, a further call goes on where it was.

        Raises:
            InputError: too few pictures to fit on.
            GalleryError: some pictures can no longer be read; the present codes stay.
        """
        self._follow_encoder()
        refit(self._store, self._encoder, progress=progress, n_workers=n_workers)
        self.refresh()

    # Asking

    def refresh(self) -> None:
        """Take in what other processes have changed; `search` does so by itself."""
        self._follow_encoder()
        self._codes.refresh()

    def _follow_encoder(self) -> None:
        """Load the gallery's encoder anew if some process has refitted it."""
        if self._store.info("encoder") != self._encoder.fingerprint:
            self._encoder = Encoder.load(
                encoder_folder(self.path, self._store.info("encoder")),
                runtime=self._encoder.runtime,
                limits=self._encoder.limits,
            )

    def search(
        self,
        source: Source,
        *,
        region: Box = WHOLE,
        parts: int = 0,
        k: int = 10,
        granularity: Granularity = "both",
        order: Order = "asymmetric",
        verify: int = 0,
        points: PointKind = "map",
        min_score: float = 0.0,
        where: str | None = None,
        bits: int | None = None,
        name: str | None = None,
    ) -> list[Hit]:
        """Find the pictures that look most like a picture, or like a part of it.

        Args:
            source: path, bytes, `uint8 (h, w, 3)` array or PIL image.
            region: the part of it to look for.
            parts: how many boxes that fit things within that to look for too, at most.
            k: see `find`, and so the rest.
            granularity: whole, part or both.
            order: asymmetric or hamming.
            verify: how many of the best to match local points of.
            points: what those are found and described by: map, orb or sift.
            min_score: from 0 to 1.
            where: a filter on metadata.
            bits: compare so many first bits alone.
            name: how errors call the picture.

        Returns:
            Hits in descending order of score, equal ones by ascending id.

        Raises:
            PictureError: the picture cannot be used.
            WhereError: the filter does not parse.
            InputError: something else that makes no sense here; see `find`.
        """
        self._check_question(k, granularity, order, min_score, verify, bits)
        if points not in get_args(PointKind):
            raise InputError(f"points {points!r}: choose map, orb or sift")
        while True:
            self.refresh()
            encoder = self._encoder
            question = encoder.ask(
                source, region=region, parts=parts, points=points if verify else None, name=name
            )
            try:
                return self.find(
                    question,
                    k=k,
                    granularity=granularity,
                    order=order,
                    verify=verify,
                    min_score=min_score,
                    where=where,
                    bits=bits,
                    encoder=encoder.fingerprint,
                ).hits
            except EncoderMismatch:  # a refit ended since: the query needs codes of the new encoder
                continue

    def find(
        self,
        question: Asked,
        *,
        k: int = 10,
        granularity: Granularity = "both",
        order: Order = "asymmetric",
        verify: int = 0,
        min_score: float = 0.0,
        where: str | None = None,
        bits: int | None = None,
        encoder: str | None = None,
    ) -> Found:
        """Find the pictures that match what this gallery's encoder saw in a query.

        Args:
            question: made by `Encoder.ask`: a picture or a part of it, and perhaps parts of that. A picture
                matches as well as its best granule matches the part that fits it best.
            k: how many pictures, at most.
            granularity: compare with `"whole"` pictures, with the best `"part"` of each, or with `"both"`.
            order: `"asymmetric"` orders by how sure the query is of its bits, of ten times as many candidates
                as are asked for; `"hamming"` by codes alone, which is exact.
            verify: how many of the best are read again, to see whether local points of the query lie in them
                alike; those where they do come forward. The question must have points.
            min_score: leave out what scores less; see `grainhash.chance`.
            where: a filter on metadata; see `docs/where.md`.
            bits: compare so many first bits alone, as if codes were no longer; a multiple of 8. Distances,
                chance and order are of those bits. Nested codes lose least by it.
            encoder: fingerprint of the encoder that made the question.

        Returns:
            Hits in descending order of score, equal ones by ascending id, and what each stage did.

        Raises:
            WhereError: the filter does not parse.
            InputError: `k`, `granularity`, `order`, `verify`, `min_score` or `bits` makes no sense here.
            MissingExtra: points are to be matched, and OpenCV is not installed.
            EncoderMismatch: by now the gallery has codes of another encoder than `encoder`.
        """
        (found,) = self.find_all(
            [question],
            k=k,
            granularity=granularity,
            order=order,
            verify=verify,
            min_score=min_score,
            where=where,
            bits=bits,
            encoder=encoder,
        )
        return found

    def find_all(
        self,
        questions: Sequence[Asked],
        *,
        k: int = 10,
        granularity: Granularity = "both",
        order: Order = "asymmetric",
        verify: int = 0,
        min_score: float = 0.0,
        where: str | None = None,
        bits: int | None = None,
        encoder: str | None = None,
    ) -> list[Found]:
        """Find what matches each of several questions: what `find` does for each of them, in less time.

        It raises what `find` does. The seconds of a stage are those of all questions with as many parts.
        """
        self._check_question(k, granularity, order, min_score, verify, bits)
        if verify and any(question.points is None for question in questions):
            raise InputError("the question has no points to match; make it by Encoder.ask(..., points='map')")
        asked = [
            Question(each.codes, each.projections if order == "asymmetric" else None).first(
                bits or self._encoder.n_bits
            )
            for each in questions
        ]
        boxes = [question.boxes for question in questions]
        answers = self._answers(asked, boxes, max(k, verify), granularity, where, encoder)
        if verify:
            answers = [self._verified(*each, verify) for each in zip(questions, answers, strict=True)]
        return [
            replace(found, hits=[hit for hit in found.hits[:k] if hit.score >= min_score])
            for found in answers
        ]

    def _verified(self, question: Asked, found: Found, n: int) -> Found:
        """An answer with the best of it matched by local points."""
        if question.points is None:
            return found
        started = perf_counter()
        best, others = found.hits[:n], found.hits[n:]
        digests = {row.id: row.sha256 for row in self._store.pictures([hit.id for hit in best])}

        def content_of(hit: Hit) -> bytes:
            return self._unchanged(hit.uri, digests.get(hit.id, ""))

        best = verified(best, question.points, question.boxes[0], self._encoder, found.n_pictures, content_of)
        hits = [*best, *others]  # none of these is better than the last of those was, by codes alone
        n_matched = sum(hit.match is not None for hit in hits)
        what = f"{len(question.points)} {question.points.kind} points with those of the best {len(best)}"
        stage = Stage("verify", what, n_matched, perf_counter() - started)
        return replace(found, hits=hits, stages=[*found.stages, stage])

    def search_code(
        self,
        code: Codes,
        *,
        k: int = 10,
        granularity: Granularity = "both",
        min_score: float = 0.0,
        where: str | None = None,
        encoder: str | None = None,
    ) -> list[Hit]:
        """Find the pictures nearest to a code `(n_bytes,)` of this gallery's encoder; see `find`.

        Raises:
            EncoderMismatch: by now the gallery has codes of another encoder than `encoder`.
        """
        self._check_question(k, granularity, "hamming", min_score)
        (found,) = self._answers([Question(code[None])], [[WHOLE]], k, granularity, where, encoder)
        return [hit for hit in found.hits if hit.score >= min_score]

    def explain(
        self,
        source: Source,
        hit: Path | str | int,
        *,
        region: Box = WHOLE,
        parts: int = 0,
        points: PointKind | None = None,
        bits: int | None = None,
        name: str | None = None,
    ) -> Explanation:
        """Say why a picture of the gallery is a hit for a query, and where in both of them.

        The granules explained are those that `search` finds to match best, with its score; that of a search
        that verifies, where points are matched.

        Args:
            source: the query; see `search`.
            hit: the picture, by path or by id.
            region: the part of the query that is looked for.
            parts: how many boxes that fit things within that are looked for too, at most.
            points: match local points too, found and described by this: map, orb or sift.
            bits: explain so many first bits alone; see `find`.
            name: how errors call the query.

        Raises:
            MissingExtra: points are to be matched, and OpenCV is not installed.
            InputError: `hit` is not one picture of the gallery.
            PictureError: one of the two cannot be used, or is gone.
            PictureChanged: the hit's file has changed since it was indexed.
        """
        id = self._one(hit)
        self._check_bits(bits)
        while True:
            self.refresh()
            encoder = self._encoder
            asked = encoder.ask(source, region=region, parts=parts, points=points, name=name)
            question = Question(asked.codes, asked.projections).first(bits or encoder.n_bits)
            with suppress(EncoderMismatch):  # a refit ended since: the query needs codes of the new encoder
                (answer,) = self._answers(
                    [question], [asked.boxes], 1, "both", None, encoder.fingerprint, only=id
                )
                break
        if not answer.hits:
            raise _removed(hit)
        (found,) = answer.hits
        query_box, hit_box = found.query_box, found.box
        content = self._content(id)
        if asked.points is not None:
            match = match_points(asked.points, points_of_hit(found, content, asked.points, encoder), region)
            found = with_match(found, match, answer.n_pictures)
        return replace(
            explain(
                encoder,
                encoder.decode(source, region=region, name=name).rgb,
                encoder.decode(content, name=found.uri).rgb,
                query_box=query_box,
                hit_box=hit_box,
                bits=bits,
            ),
            found=found,
        )

    def _one(self, picture: Path | str | int) -> int:
        """The id of one picture."""
        ids = self._find(picture)
        if len(ids) != 1:
            what = f"{len(ids)} pictures of the gallery" if ids else "not in the gallery"
            raise InputError(f"{picture}: {what}; name one picture by its path or id")
        return ids.pop()

    def _content(self, id: int) -> bytes:
        """The file that the codes of a picture were made from."""
        row = next(iter(self._store.pictures([id])), None)
        if row is None:
            raise _removed(id)
        return self._unchanged(row.uri, row.sha256)

    def _unchanged(self, uri: str, sha256: str) -> bytes:
        data = read_bytes(uri, self._encoder.limits)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise PictureChanged(f"{uri}: changed since it was indexed; run: grainhash add {uri}")
        return data

    def _answers(
        self,
        questions: Sequence[Question],
        boxes: Sequence[Sequence[Box]],
        k: int,
        granularity: Granularity,
        where: str | None,
        encoder: str | None,
        *,
        only: int | None = None,
    ) -> list[Found]:
        filtering: list[Stage] = []
        allow = None if only is None else np.array([only])
        if where is not None:
            started = perf_counter()
            allow = self._store.ids_where(compile_where(where))
            filtering = [Stage("filter", where, len(allow), perf_counter() - started)]
        with self._codes.current() as (wholes, regions):
            if encoder is not None:
                self._store.check_encoder(encoder)
            as_of_all = only is not None
            rankings = rank_all(wholes, regions, questions, k, granularity, allow=allow, as_of_all=as_of_all)
            started = perf_counter()
            answers = self._hits(rankings, boxes)
            seconds = perf_counter() - started
            return [
                Found(
                    hits,
                    [
                        *filtering,
                        *ranking.stages,
                        Stage("read", "paths, boxes and metadata", len(hits), seconds),
                    ],
                    len(wholes),
                )
                for ranking, hits in zip(rankings, answers, strict=True)
            ]

    def _check_question(
        self,
        k: int,
        granularity: str,
        order: str,
        min_score: float,
        verify: int = 0,
        bits: int | None = None,
    ) -> None:
        if not _is_whole(k) or not 0 <= k <= MAX_K:
            raise InputError(f"k = {k}: ask for 0 to {MAX_K} pictures")
        if granularity not in get_args(Granularity):
            raise InputError(f"granularity {granularity!r}: choose whole, part or both")
        if order not in get_args(Order):
            raise InputError(f"order {order!r}: choose asymmetric or hamming")
        if not _is_whole(verify) or not 0 <= verify <= MAX_VERIFIED:
            raise InputError(f"verify = {verify}: match the points of 0 to {MAX_VERIFIED} pictures")
        if not 0 <= min_score <= 1:
            raise InputError(f"min_score = {min_score}: a score is from 0 to 1")
        if granularity == "part" and not self._encoder.granules.has_regions:
            raise InputError("this gallery has codes of whole pictures only, no parts to search")
        self._check_bits(bits)

    def _check_bits(self, bits: int | None) -> None:
        n_bits = self._encoder.n_bits
        if bits is not None and (not _is_whole(bits) or bits % 8 or not 8 <= bits <= n_bits):
            raise InputError(f"bits = {bits}: ask for a multiple of 8, from 8 to {n_bits}")

    def _hits(self, rankings: Sequence[Ranking], boxes: Sequence[Sequence[Box]]) -> list[list[Hit]]:
        ids = {id for ranking in rankings for id in ranking.ids.tolist()}
        matched = {
            (id, region)
            for ranking in rankings
            for id, region in zip(ranking.ids.tolist(), ranking.regions.tolist(), strict=True)
            if region != WHOLE_PICTURE
        }
        with self._store.reading():
            rows = {row.id: row for row in self._store.pictures(list(ids))}
            places = self._store.boxes_of(matched)
        return [
            self._hits_of(ranking, rows, places, own) for ranking, own in zip(rankings, boxes, strict=True)
        ]

    def _hits_of(
        self,
        ranking: Ranking,
        rows: Mapping[int, PictureRow],
        places: Mapping[tuple[int, int], Box],
        boxes: Sequence[Box],
    ) -> list[Hit]:
        n_bits = self._encoder.n_bits
        columns = (
            ranking.ids,
            ranking.expected,
            ranking.distances,
            ranking.whole,
            ranking.part,
            ranking.regions,
            ranking.parts,
        )
        return [
            Hit(
                id=id,
                uri=rows[id].uri,
                score=score_of(expected),
                false_matches=expected,
                distance=distance,
                whole_distance=whole,
                part_distance=part if part <= n_bits else None,
                box=places.get((id, region), WHOLE),
                query_box=boxes[asked],
                width=rows[id].width,
                height=rows[id].height,
                meta=rows[id].meta,
            )
            for id, expected, distance, whole, part, region, asked in zip(
                *(column.tolist() for column in columns), strict=True
            )
            if id in rows  # otherwise removed by another process since the codes were read
        ]

    # All pictures at once

    def cluster(
        self,
        *,
        k: int | None = None,
        method: ClusterMethod = "majority",
        min_size: int = 5,
        seed: int = 0,
        restarts: int = 4,
        with_map: bool = False,
        where: str | None = None,
        store: str | None = None,
        replace: bool = False,
        progress: Callable[[Progress], None] = silent,
    ) -> Clustering:
        """Group the pictures by the codes of their wholes. No picture is read again.

        Args:
            k: how many groups by majority; by default as many as have the best silhouette.
            method: `"majority"` for groups around centres (k-means of bits); `"density"` for groups where
                codes lie densely, as many as there are, with the other pictures in none.
            min_size: pictures of the smallest dense group.
            seed: of all that is random; with the same the groups are the same on any number of cores.
            restarts: how often groups are sought from other first centres; the best are kept.
            with_map: find each picture a place in the plane too, near to those that it is like.
            where: a filter on metadata: only the pictures that pass it.
            store: a metadata key to keep the number of each picture's group under; one in none loses it.
            replace: whether that key may be there already.
            progress: called after each stage.

        Raises:
            WhereError: the filter does not parse.
            InputError: no pictures, more groups asked for than pictures, or a value that makes no sense.
            MetadataError: a key that may not be stored, or is there already. Nothing was changed.
            MissingExtra: density or a map without scikit-learn.
            GalleryWriteError: the groups could not be stored. Nothing was changed.
        """
        settings = ClusterSettings(
            k=k, method=method, min_size=min_size, seed=seed, restarts=restarts, with_map=with_map
        )
        self._check_key(store, replace)
        pictures, codes = self._wholes(where)
        found = cluster(pictures, codes, settings, where=where, leave_out=store, progress=progress)
        if store is not None:
            values: dict[int, dict[str, Any]] = {member.id: {} for member in found.alone}
            values |= {member.id: {store: group.number} for group in found.groups for member in group.members}
            self._store.merge_meta(values, drop=[store], new=[] if replace else [store])
        return found

    def classify(
        self,
        *,
        label: str = "label",
        table: MetadataTable | None = None,
        unlabelled: Collection[str] = (),
        method: ClassifyMethod = "vote",
        held_out: float = 0.0,
        min_confidence: float = 0.0,
        radius: int | None = None,
        seed: int = 0,
        max_classes: int | None = None,
        where: str | None = None,
        store: str | None = None,
        replace: bool = False,
    ) -> Classification:
        """Label the pictures that have no label like those that have one, by the codes of their wholes.

        Args:
            label: the metadata key, or the column of the table, that says what a picture shows.
            table: paths and labels, instead of the gallery's metadata; see `grainhash.metadata.read_table`.
            unlabelled: values that are no label, such as the name of a folder yet to be sorted.
            method: `"vote"` of the nearest labelled pictures, or `"linear"` for weights of bits.
            held_out: share of each class to judge by instead of by leaving out each picture in turn.
            min_confidence: less is none of these.
            radius: bits from all labelled pictures beyond which one is none of these; chosen by default.
            seed: of what is held out.
            max_classes: more are refused: time and memory grow with the labelled pictures times the classes.
            where: a filter on metadata: only the pictures that pass it, with a label or without.
            store: a metadata key to keep labels under, and the confidence of each under this key and
                `_confidence`. A picture that has a label keeps it, with confidence 1; one that is none of
                these has neither.
            replace: whether these keys may be there already.

        Raises:
            WhereError: the filter does not parse.
            LabelsError: too few labels to learn from or to judge by, too many classes, or what is no label.
            MetadataError: a key that may not be stored, or is there already. Nothing was changed.
            InputError: a value that makes no sense.
            GalleryWriteError: the labels could not be stored. Nothing was changed.
        """
        settings = ClassifySettings(method, held_out, min_confidence, radius, seed, max_classes)
        keys = [] if store is None else [store, f"{store}_confidence"]
        if table is None and label in keys:
            raise InputError(f"store {store!r}: labels are learned from {label!r}; store under another key")
        for key in keys:
            self._check_key(key, replace)
        pictures, codes = self._wholes(where)
        if table is None:
            given = labels_by_key(pictures, label, unlabelled)
        else:
            given = labels_by_table(pictures, table, label, unlabelled)
        unmatched = [] if table is None else table.unmatched()
        found = classify(pictures, codes, given, settings, where=where, unmatched=unmatched)
        if store is not None:
            answers = [(id, name, 1.0) for id, name in given.items()]
            answers += [(seen.id, seen.label, seen.confidence) for seen in found.predictions if seen.label]
            values: dict[int, dict[str, Any]] = {seen.id: {} for seen in found.predictions}
            values |= {id: dict(zip(keys, (name, sure), strict=True)) for id, name, sure in answers}
            self._store.merge_meta(values, drop=keys, new=[] if replace else keys)
        return found

    def duplicates(
        self,
        *,
        radius: int | None = None,
        parts: bool = False,
        verify: bool = False,
        where: str | None = None,
        progress: Callable[[Progress], None] = silent,
    ) -> Duplicates:
        """Find copies of pictures, and say which of each to keep. No picture is read again unless asked for.

        Args:
            radius: bits within which codes are of copies; chosen by default. With 0 only files with the same
                bytes are copies.
            parts: find pictures that lie inside others too; copies are left out there. With `verify` they
                are found anyway.
            verify: look at every picture again, and tell copies by what is in them, however far apart their
                codes are: copies that are cut, turned, written over or pasted into others are found too.
            where: a filter on metadata: only the pictures that pass it.
            progress: called as codes are compared, where that takes long, and as pictures are looked at.

        Raises:
            WhereError: the filter does not parse.
            InputError: no pictures, or a radius that is none, far too large, or beside `verify`.
            GalleryWriteError: `verify`, and no room for what is looked at.
            MissingExtra: `verify`, and OpenCV is not installed.
        """
        if verify:
            _no_radius(radius)
            return self._verified_copies(where, progress)
        pictures, codes = self._wholes(where)
        found = duplicates.find_copies(pictures, codes, radius, where=where, progress=progress)
        if not parts or not found.radius:
            return found
        started = perf_counter()
        copies = {copy.id for copy in found.copies}
        kept = np.array([row.id not in copies for row in pictures])
        rows = [row for row, stays in zip(pictures, kept.tolist(), strict=True) if stays]
        regions = self._regions(np.array([row.id for row in rows], np.int64))
        inside = duplicates.find_inside(
            rows, codes[kept], regions, found.radius, box_of=self._store.box, progress=progress
        )
        return replace(found, inside=inside, seconds=found.seconds + perf_counter() - started)

    def _verified_copies(self, where: str | None, progress: Callable[[Progress], None]) -> Duplicates:
        started = perf_counter()
        pictures, codes = self._wholes(where)
        rows = duplicates.originals(pictures)
        near = self._nearest(codes[rows], [pictures[row] for row in rows.tolist()], progress)
        limits = self._encoder.limits
        found = duplicates.verified_copies(
            pictures, codes, rows[near], limits, where=where, progress=progress
        )
        return replace(found, seconds=perf_counter() - started)

    def leaks(
        self,
        other: Gallery,
        *,
        radius: int | None = None,
        verify: bool = False,
        where: str | None = None,
        progress: Callable[[Progress], None] = silent,
    ) -> Leaks:
        """Find the pictures that another gallery has too, such as one to train on and one to test on.

        Args:
            other: a gallery of the same encoder.
            radius: see `duplicates`.
            verify: see `duplicates`; pictures that share a part are found too.
            where: a filter on the metadata of both.
            progress: see `duplicates`.

        Raises:
            EncoderMismatch: the other gallery has codes of another encoder.
            InputError: no pictures, or a radius that is none, far too large, or beside `verify`.
            GalleryWriteError: `verify`, and no room for what is looked at.
            MissingExtra: `verify`, and OpenCV is not installed.
        """
        started = perf_counter()
        self._follow_encoder()
        other._store.check_encoder(self._encoder.fingerprint)
        own, others = self._wholes(where), other._wholes(where)
        if not verify:
            return duplicates.find_leaks(*own, *others, radius, progress=progress)
        _no_radius(radius)
        near = other._nearest(own[1], others[0], progress)
        back = self._nearest(others[1], own[0], progress)
        candidates = np.concatenate([near, back[:, ::-1]])
        limits = self._encoder.limits
        found = duplicates.verified_leaks(*own, *others, candidates, limits, progress=progress)
        return replace(found, seconds=perf_counter() - started)

    def move_copies(self, found: Duplicates, folder: Path | str) -> Acted:
        """Move the files of copies into a folder, and take them out of the gallery.

        A copy stays if its file or that of the picture to keep is no longer what was indexed. Moves are noted
        in the folder; `move_back` takes them back.

        Raises:
            GalleryWriteError: the folder cannot be written. Nothing was moved.
        """
        return self._without(duplicates.move(found, absolute(folder), self._rows_of(found)))

    def delete_copies(self, found: Duplicates) -> Acted:
        """Delete the files of copies for good, and take them out of the gallery; see `move_copies`."""
        return self._without(duplicates.delete(found, self._rows_of(found)))

    def move_back(self, folder: Path | str) -> Undone:
        """Move the files that `move_copies` moved back, and add them again with their metadata.

        A file stays in the folder if it has changed, or if there is something where it was.

        Raises:
            InputError: the folder has no journal of moves, or a damaged one. Nothing was moved.
        """
        undone = duplicates.undo(absolute(folder))
        for path, meta in undone.back.items():
            self.add([path], meta=meta)
        return undone

    def _rows_of(self, found: Duplicates) -> dict[int, PictureRow]:
        ids = [copy.id for group in found.groups for copy in (group.keep, *group.copies)]
        return {row.id: row for row in self._store.pictures(ids)}

    def _without(self, acted: Acted) -> Acted:
        self._store.remove(sorted(copy.id for copy, _ in acted.done))
        return acted

    def _regions(self, ids: NDArray[np.int64]) -> Regions:
        """The regions of some pictures, whose ids ascend."""
        codes: list[Codes] = [np.empty((0, self._encoder.n_bits // 8), np.uint8)]
        owners, numbers = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for batch in self._store.codes_after(0):
            places, counts = np.searchsorted(ids, batch.ids), np.diff(batch.offsets)
            wanted = np.repeat(np.isin(batch.ids, ids), counts)
            within = np.arange(len(batch.regions)) - np.repeat(batch.offsets[:-1], counts)
            codes.append(batch.regions[wanted])
            owners.append(np.repeat(places, counts)[wanted])
            numbers.append(within[wanted])
        return Regions(np.concatenate(codes), np.concatenate(owners), np.concatenate(numbers))

    def _wholes(self, where: str | None) -> tuple[list[PictureRow], Codes]:
        """The pictures that pass a filter, by id, and the codes of their wholes, at one moment."""
        condition = None if where is None else compile_where(where)
        with self._codes.current() as (wholes, _), self._store.reading():
            ids = wholes.ids
            if condition is not None:
                ids = np.intersect1d(ids, self._store.ids_where(condition), assume_unique=True)
            rows = self._store.pictures(ids.tolist())
            ids = np.array([row.id for row in rows], np.int64)  # one may be gone since the codes were read
            return rows, wholes.member_codes(ids, np.zeros(len(ids), np.int64))

    def _nearest(
        self, codes: Codes, pictures: Sequence[PictureRow], progress: Callable[[Progress], None]
    ) -> NDArray[np.int64]:
        """Rows of codes, and of the gallery's pictures that they are nearest to."""
        ids = np.array([row.id for row in pictures], np.int64)
        with self._codes.current() as (wholes, regions):
            return duplicates.nearest(codes, ids, wholes, regions, progress=progress)

    def _check_key(self, key: str | None, replace: bool) -> None:
        """Say before the work that a key may not be stored, not after."""
        if key is None:
            return
        if not key or key in BUILT_IN:
            raise MetadataError(f"key {key!r}: every picture has a field of that name; choose another")
        check_metadata({key: 0}, "store")
        if not replace:
            self._store.check_new([key])

    def browse(self, *, after: int = 0, limit: int = 100, where: str | None = None) -> list[PictureRow]:
        """The next pictures in ascending order of id, without any query.

        Args:
            after: the id that the last one before had.
            limit: how many, at most.
            where: a filter on metadata.

        Raises:
            WhereError: the filter does not parse.
        """
        if where is None:
            return self._store.pictures(self._store.ids_after(after, limit))
        ids = self._store.ids_where(compile_where(where))
        first = int(np.searchsorted(ids, after, side="right"))
        return self._store.pictures(ids[first : first + limit].tolist())

    def picture(self, picture: Path | str | int) -> PictureRow:
        """What the gallery knows of one picture.

        Raises:
            InputError: not one picture of the gallery.
        """
        id = self._one(picture)
        row = next(iter(self._store.pictures([id])), None)
        if row is None:
            raise _removed(picture)
        return row

    def pictures(self, ids: Iterable[int]) -> list[PictureRow]:
        """What the gallery knows of some pictures, by ascending id, without those that it has not."""
        return self._store.pictures(sorted(set(ids)))

    def regions_of(self, picture: Path | str | int) -> list[Box]:
        """The boxes of a picture's regions.

        Raises:
            InputError: not one picture of the gallery.
        """
        return as_boxes(self._store.boxes([self._one(picture)])[0])

    def content(self, picture: Path | str | int) -> bytes:
        """The file that the codes of a picture were made from.

        Raises:
            InputError: not one picture of the gallery.
            PictureError: the file is gone, or cannot be read.
            PictureChanged: the file has changed since it was indexed.
        """
        return self._content(self._one(picture))

    def info(self) -> GalleryInfo:
        """What the gallery holds."""
        self._follow_encoder()
        return GalleryInfo(
            path=str(self.path),
            pictures=len(self),
            copies=self._store.n_copies(),
            regions=self._store.n_regions(),
            n_bits=self._encoder.n_bits,
            encoder=self._encoder.fingerprint,
            encoder_name=self._encoder.config.name,
            hash_method=self._encoder.hash_function.method,
            bytes_on_disk=_bytes_below(self.path),
            skipped=self._store.skipped(),
            meta_keys=self._store.meta_keys(),
        )


def _no_radius(radius: int | None) -> None:
    if radius is not None:
        raise InputError(f"a radius of {radius} bits: pictures that are looked at are copies at any distance")


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _removed(picture: Path | str | int) -> InputError:
    return InputError(f"{picture}: no longer in the gallery; another process has removed it")


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # another process tidies up
            total += path.lstat().st_size if path.is_file() else 0
    return total


def _has_strangers(path: Path) -> bool:
    """Whether a folder holds anything but what an interrupted creation of a gallery leaves."""
    return any(
        item.name != "encoder" and not item.name.startswith(".gallery.sqlite") for item in path.iterdir()
    )
