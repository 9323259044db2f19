"""The gallery's SQLite file: the truth about which pictures there are and what their codes are.

A row is never changed under its id: a picture whose content changed is removed and added anew. So
whoever holds the codes of all ids up to some id needs only the newer rows and the `removed` list
to be up to date, and a cache can be kept by two numbers.

One process writes at a time, any number read beside it (WAL). A batch is one transaction, flushed
to disk before `add` returns.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from grainhash.errors import (
    EncoderMismatch,
    GalleryFormatError,
    GalleryNotFound,
    GalleryWriteError,
    MetadataError,
)
from grainhash.metadata import FILE_KEYS
from grainhash.types import BOX_STEPS, Box, File, PictureCodes
from grainhash.where import Where

FORMAT_VERSION = 1
BUSY_SECONDS = 60.0
"""How long a writer waits for another process to finish its batch."""

_SCHEMA = """
CREATE TABLE info (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE pictures (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    uri      TEXT NOT NULL UNIQUE,
    sha256   TEXT NOT NULL,
    width    INTEGER NOT NULL,
    height   INTEGER NOT NULL,
    n_bytes  INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    added_at TEXT NOT NULL,
    meta     TEXT NOT NULL
);
CREATE INDEX pictures_sha256 ON pictures (sha256);
CREATE TABLE codes (
    id      INTEGER PRIMARY KEY REFERENCES pictures (id) ON DELETE CASCADE,
    whole   BLOB NOT NULL,
    regions BLOB NOT NULL,
    boxes   BLOB NOT NULL
);
CREATE TABLE removed (seq INTEGER PRIMARY KEY AUTOINCREMENT, id INTEGER NOT NULL);
CREATE TRIGGER pictures_removed AFTER DELETE ON pictures
    BEGIN INSERT INTO removed (id) VALUES (old.id); END;
CREATE TABLE skipped (uri TEXT PRIMARY KEY, reason TEXT NOT NULL, at TEXT NOT NULL) WITHOUT ROWID;
"""

_NEXT_CODES = """
CREATE TABLE IF NOT EXISTS next_codes (
    id      INTEGER PRIMARY KEY REFERENCES pictures (id) ON DELETE CASCADE,
    whole   BLOB NOT NULL,
    regions BLOB NOT NULL,
    boxes   BLOB NOT NULL
)
"""

_Blobs = tuple[bytes, bytes, bytes]

Outcome = Literal["added", "updated", "unchanged", "orphan"]


@dataclass(frozen=True, slots=True)
class Record:
    """A picture to be added. `codes` is `None` for a copy of content that the store already has."""

    file: File
    sha256: str
    codes: PictureCodes | None
    meta: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PictureRow:
    """What the store knows about a picture beside its codes."""

    id: int
    uri: str
    sha256: str
    width: int
    height: int
    added_at: str
    meta: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CodeBatch:
    """Codes of some pictures in ascending order of id, as an index takes them."""

    ids: NDArray[np.int64]
    """`(n,)`."""
    whole: NDArray[np.uint8]
    """`(n, n_bytes)`."""
    regions: NDArray[np.uint8]
    """`(offsets[-1], n_bytes)`."""
    offsets: NDArray[np.int64]
    """`(n + 1,)`: the regions of picture `i` are rows `offsets[i]` to `offsets[i + 1]`."""


def encoder_folder(gallery: Path, fingerprint: str) -> Path:
    """Where a gallery keeps the encoder with this fingerprint."""
    return gallery / "encoder" / fingerprint[:16]


class Store:
    """One gallery's SQLite file. Safe to use from many threads: each has its own connection.

    Args:
        path: the file; see `create` for a new one.

    Raises:
        GalleryNotFound: no such file.
        GalleryFormatError: not a gallery, or one of another format version.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise GalleryNotFound(
                f"{path.parent}: no gallery there; create one with: grainhash index FOLDER -g {path.parent}"
            )
        self.path = path
        self._local = threading.local()
        self._connections: dict[threading.Thread, sqlite3.Connection] = {}
        self._opening = threading.Lock()
        try:
            version = self.info("format_version")
        except sqlite3.DatabaseError as error:
            raise GalleryFormatError(f"{path}: not a grainhash gallery, or damaged ({error})") from None
        if version != str(FORMAT_VERSION):
            raise GalleryFormatError(
                f"{path}: gallery of format {version}, this grainhash reads {FORMAT_VERSION}; "
                "open it with the version that wrote it, or index the pictures anew"
            )

    @classmethod
    def create(cls, path: Path, *, encoder: str, n_bits: int) -> Store:
        """Make a new, empty store for codes of the encoder with this fingerprint.

        Built under another name and renamed, so that a store is there whole or not at all. Where
        another process was faster, its store is opened.
        """
        draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(draft)
            with connection:
                connection.executescript(_SCHEMA)
                connection.executemany(
                    "INSERT INTO info VALUES (?, ?)",
                    [
                        ("format_version", str(FORMAT_VERSION)),
                        ("gallery_id", uuid.uuid4().hex),
                        ("encoder", encoder),
                        ("n_bits", str(n_bits)),
                    ],
                )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.close()
            _rename_to_new(draft, path)
        except (OSError, sqlite3.Error) as error:
            draft.unlink(missing_ok=True)
            raise GalleryWriteError(f"{path.parent}: cannot create a gallery there ({error})") from None
        return cls(path)

    def close(self) -> None:
        """Close every connection."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
        self._local = threading.local()

    # What is known about the gallery

    def info(self, key: str) -> str:
        """One value of the `info` table: `encoder`, `n_bits`, `gallery_id`, `format_version`."""
        row = self._db.execute("SELECT value FROM info WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise GalleryFormatError(f"{self.path}: not a grainhash gallery ({key} is missing)")
        return str(row[0])

    def state(self) -> tuple[str, int, int]:
        """Fingerprint of the encoder, highest id ever given, and length of the `removed` list.

        Any change of the codes changes one of the three.
        """
        encoder, last_id, last_removed = self._db.execute(
            "SELECT (SELECT value FROM info WHERE key = 'encoder'),"
            " coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'pictures'), 0),"
            " coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'removed'), 0)"
        ).fetchone()
        return encoder, last_id, last_removed

    def check_encoder(self, encoder: str) -> None:
        """Raise EncoderMismatch unless this fingerprint is that of the gallery's encoder."""
        mine = self.info("encoder")
        if mine != encoder:
            raise EncoderMismatch(
                f"{self.path.parent}: the gallery holds codes of encoder {mine[:12]}, not of {encoder[:12]}; "
                "use the gallery's own encoder, or make another gallery"
            )

    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM pictures").fetchone()[0])

    # Pictures

    def pictures(self, ids: Sequence[int]) -> list[PictureRow]:
        """The pictures of these ids, in the order asked; an id that is gone is left out."""
        rows = {
            id: PictureRow(id, uri, sha256, width, height, added_at, json.loads(meta))
            for id, uri, sha256, width, height, added_at, meta in self._in_chunks(
                "SELECT id, uri, sha256, width, height, added_at, meta FROM pictures WHERE id IN ({})", ids
            )
        }
        return [rows[id] for id in ids if id in rows]

    def boxes_of(self, regions: Collection[tuple[int, int]]) -> dict[tuple[int, int], Box]:
        """The boxes of some regions, by the picture's id and their number; of pictures that are not gone."""
        ids = list({id for id, _ in regions})
        blobs = dict(self._in_chunks("SELECT id, boxes FROM codes WHERE id IN ({})", ids))
        return {
            (id, number): Box(*_rows_of_boxes(blobs[id])[number].astype(np.float64).tolist())
            for id, number in regions
            if id in blobs
        }

    def box(self, id: int, region: int) -> Box:
        """The box of one region of a picture."""
        return self.boxes_of([(id, region)])[id, region]

    def boxes(self, ids: Sequence[int]) -> list[NDArray[np.float32]]:
        """The boxes of all regions of pictures, `(n_regions, 4)` each; none for a picture that is gone."""
        blobs = dict(self._in_chunks("SELECT id, boxes FROM codes WHERE id IN ({})", ids))
        return [_rows_of_boxes(blobs.get(id, b"")) for id in ids]

    def ids_where(self, where: Where) -> NDArray[np.int64]:
        """Ids of the pictures that a filter lets through, ascending."""
        rows = self._db.execute(
            f"SELECT p.id FROM pictures AS p WHERE {where.sql} ORDER BY p.id",
            where.parameters,
        )
        return np.fromiter((row[0] for row in rows), np.int64)

    def ids_of_uris(self, uris: Sequence[str]) -> dict[str, int]:
        """The ids of those of these pictures that are in the gallery."""
        return dict(self._in_chunks("SELECT uri, id FROM pictures WHERE uri IN ({})", uris))

    def ids_after(self, after: int, limit: int) -> list[int]:
        """The next `limit` ids above `after`, ascending."""
        rows = self._db.execute("SELECT id FROM pictures WHERE id > ? ORDER BY id LIMIT ?", (after, limit))
        return [row[0] for row in rows]

    def ids_below(self, prefix: str) -> list[int]:
        """Ids of the pictures below a folder, given as its uri with a trailing separator."""
        return [row[0] for row in self._db.execute(f"SELECT id FROM pictures WHERE {_BELOW}", _range(prefix))]

    def has_content(self, sha256: str) -> bool:
        """Whether some picture has exactly this content."""
        row = self._db.execute("SELECT 1 FROM pictures WHERE sha256 = ? LIMIT 1", (sha256,)).fetchone()
        return row is not None

    def n_regions(self) -> int:
        """Regions of all pictures together."""
        n_bytes = int(self.info("n_bits")) // 8
        return (
            int(self._db.execute("SELECT coalesce(sum(length(regions)), 0) FROM codes").fetchone()[0])
            // n_bytes
        )

    def sample(self, n: int) -> list[str]:
        """The uris of `n` pictures, or of all there are, spread evenly over the ids."""
        step = max(1, len(self) // max(n, 1))
        return [
            row[0]
            for row in self._db.execute(
                "SELECT uri FROM (SELECT uri, row_number() OVER (ORDER BY id) AS place FROM pictures)"
                " WHERE (place - 1) % ? = 0 LIMIT ?",
                (step, n),
            )
        ]

    def n_copies(self) -> int:
        """Pictures whose content is that of a picture of lower id."""
        row = self._db.execute("SELECT count(*) - count(DISTINCT sha256) FROM pictures").fetchone()
        return int(row[0])

    def meta_keys(self) -> list[tuple[str, int]]:
        """The metadata keys in use and how many pictures have each, most frequent first."""
        return self._db.execute(
            "SELECT j.key, count(*) FROM pictures AS p, json_each(p.meta) AS j"
            " GROUP BY j.key ORDER BY count(*) DESC, j.key"
        ).fetchall()

    # Codes

    def codes_after(self, last_id: int, *, batch: int = 50_000) -> Iterator[CodeBatch]:
        """The codes of all pictures with an id above `last_id`, ascending, in bounded memory."""
        n_bytes = int(self.info("n_bits")) // 8
        while rows := self._db.execute(
            "SELECT id, whole, regions FROM codes WHERE id > ? ORDER BY id LIMIT ?", (last_id, batch)
        ).fetchall():
            last_id = rows[-1][0]
            lengths = np.fromiter((len(row[2]) for row in rows), np.int64, len(rows)) // n_bytes
            yield CodeBatch(
                ids=np.fromiter((row[0] for row in rows), np.int64, len(rows)),
                whole=_rows_of_bytes((row[1] for row in rows), n_bytes),
                regions=_rows_of_bytes((row[2] for row in rows), n_bytes),
                offsets=np.concatenate([[0], np.cumsum(lengths)]),
            )

    def removed_after(self, last_removed: int) -> NDArray[np.int64]:
        """Ids removed since the `removed` list had this length."""
        rows = self._db.execute("SELECT id FROM removed WHERE seq > ? ORDER BY seq", (last_removed,))
        return np.fromiter((row[0] for row in rows), np.int64)

    # Writing

    def add(self, records: Sequence[Record], *, encoder: str) -> list[Outcome]:
        """Add pictures in one transaction, each in place of the one of the same uri, if any.

        Args:
            records: codes made by the encoder with the fingerprint `encoder`.

        Returns:
            What became of each record. `"orphan"` was not added: it has no codes, and the content it
            copies is no longer in the store.

        Raises:
            EncoderMismatch: the gallery holds codes of another encoder.
            GalleryWriteError: disk full, read-only, or locked for too long. Nothing was added.
        """
        with self.writing() as db:
            self.check_encoder(encoder)
            return [self._add(db, record) for record in records]

    def _add(self, db: sqlite3.Connection, record: Record) -> Outcome:
        file, meta = record.file, dict(record.meta)
        db.execute("DELETE FROM skipped WHERE uri = ?", (file.uri,))
        there = db.execute("SELECT id, sha256, meta FROM pictures WHERE uri = ?", (file.uri,)).fetchone()
        if there is not None:
            id, sha256, old_meta = there
            old_meta = json.loads(old_meta)
            if sha256 != record.sha256:  # another picture: what the file said of the old one is void
                old_meta = {key: value for key, value in old_meta.items() if key not in FILE_KEYS}
            meta = old_meta | meta
            if sha256 == record.sha256:
                db.execute(
                    "UPDATE pictures SET n_bytes = ?, mtime_ns = ?, meta = ? WHERE id = ?",
                    (file.n_bytes, file.mtime_ns, _json(meta), id),
                )
                return "unchanged"
        if record.codes is not None:
            size, blobs = (record.codes.width, record.codes.height), _blobs(record.codes)
        elif (original := self._content(record.sha256)) is not None:
            size, blobs, original_meta = original
            meta = {key: original_meta[key] for key in FILE_KEYS if key in original_meta} | meta
        else:
            return "orphan"
        db.execute("DELETE FROM pictures WHERE uri = ?", (file.uri,))
        cursor = db.execute(
            "INSERT INTO pictures (uri, sha256, width, height, n_bytes, mtime_ns, added_at, meta)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (file.uri, record.sha256, *size, file.n_bytes, file.mtime_ns, _now(), _json(meta)),
        )
        db.execute("INSERT INTO codes VALUES (?, ?, ?, ?)", (cursor.lastrowid, *blobs))
        return "updated" if there is not None else "added"

    def remove(self, ids: Iterable[int]) -> int:
        """Remove pictures by id in one transaction; returns how many were there."""
        with self.writing() as db:
            return sum(db.execute("DELETE FROM pictures WHERE id = ?", (id,)).rowcount for id in ids)

    def set_meta(self, metas: Mapping[int, Mapping[str, Any]]) -> None:
        """Replace the metadata of pictures by id."""
        with self.writing() as db:
            db.executemany(
                "UPDATE pictures SET meta = ? WHERE id = ?",
                [(_json(meta), id) for id, meta in metas.items()],
            )

    def check_new(self, keys: Iterable[str]) -> None:
        """Check that no picture has some keys of metadata.

        Raises:
            MetadataError: one has.
        """
        if taken := set(keys) & {key for key, _ in self.meta_keys()}:
            raise MetadataError(
                f"pictures of the gallery have {min(taken)!r} already; choose another key, or say that it "
                "may be replaced (--replace)"
            )

    def merge_meta(
        self, values: Mapping[int, Mapping[str, Any]], *, drop: Iterable[str] = (), new: Iterable[str] = ()
    ) -> int:
        """Set some keys of the metadata of pictures, and leave all others as they are, in one transaction.

        Args:
            values: by id; a picture that is gone is left out.
            drop: keys that are taken away from each of these pictures before its own are set.
            new: keys that no picture of the gallery may have yet.

        Returns:
            How many of the pictures were there.

        Raises:
            MetadataError: a picture has one of the keys that are to be new. Nothing was changed.
            GalleryWriteError: it could not be written. Nothing was changed.
        """
        dropped = set(drop)
        with self.writing() as db:
            self.check_new(new)
            n = 0
            for id, own in values.items():
                row = db.execute("SELECT meta FROM pictures WHERE id = ?", (id,)).fetchone()
                if row is not None:
                    kept = {key: value for key, value in json.loads(row[0]).items() if key not in dropped}
                    db.execute("UPDATE pictures SET meta = ? WHERE id = ?", (_json(kept | dict(own)), id))
                    n += 1
            return n

    def note_skipped(self, reasons: Mapping[str, str]) -> None:
        """Remember why files could not be indexed; a file that is added later is forgotten here."""
        now = _now()
        with self.writing() as db:
            db.executemany(
                "INSERT OR REPLACE INTO skipped VALUES (?, ?, ?)",
                [(uri, reason, now) for uri, reason in reasons.items()],
            )

    def forget_skipped(self, prefix: str) -> None:
        """Forget the files that could not be indexed below a folder, before it is looked at again."""
        with self.writing() as db:
            db.execute(f"DELETE FROM skipped WHERE {_BELOW}", _range(prefix))

    def skipped(self) -> list[tuple[str, str]]:
        """Files that the last attempt could not index, and the reason of each."""
        return self._db.execute("SELECT uri, reason FROM skipped ORDER BY uri").fetchall()

    # A folder against the store

    def compare_folder(self, prefix: str, files: Iterable[File]) -> FolderDifference:
        """Hold the files found below a folder against the pictures the store has from there.

        The list of files lives in a temporary table on disk: a folder of any size takes no memory.

        Args:
            prefix: the folder's uri with a trailing separator.
            files: everything found there.
        """
        db = self._db
        db.execute("DROP TABLE IF EXISTS temp.seen")
        db.execute(
            "CREATE TEMP TABLE seen (uri TEXT PRIMARY KEY, n_bytes INTEGER, mtime_ns INTEGER) WITHOUT ROWID"
        )
        with self._clear_errors(), db:
            db.execute("BEGIN")
            db.executemany(
                "INSERT OR REPLACE INTO temp.seen VALUES (?, ?, ?)",
                ((file.uri, file.n_bytes, file.mtime_ns) for file in files),
            )
        with self._clear_errors():
            return FolderDifference(db, prefix)

    # A new hash function for all pictures

    def start_recoding(self, encoder: str) -> None:
        """Make room for the codes of another encoder beside the present ones, or go on with them."""
        with self.writing() as db:
            started = db.execute("SELECT value FROM info WHERE key = 'next_encoder'").fetchone()
            if started is not None and started[0] != encoder:
                db.execute("DROP TABLE IF EXISTS next_codes")
            db.execute(_NEXT_CODES)
            db.execute("INSERT OR REPLACE INTO info VALUES ('next_encoder', ?)", (encoder,))

    def next_encoder(self) -> str | None:
        """Fingerprint of the encoder that an unfinished recoding goes to."""
        row = self._db.execute("SELECT value FROM info WHERE key = 'next_encoder'").fetchone()
        return None if row is None else str(row[0])

    def to_recode(self, encoder: str, *, limit: int = 10_000, after: int = 0) -> list[tuple[int, str, str]]:
        """Id, uri and SHA-256 of pictures that still lack their next codes, ascending from above `after`.

        Raises:
            EncoderMismatch: another recoding than that to `encoder` is under way, or none.
        """
        with self.reading():
            self._check_next_encoder(encoder)
            return self._db.execute(
                "SELECT id, uri, sha256 FROM pictures WHERE id > ?"
                " AND id NOT IN (SELECT id FROM next_codes) ORDER BY id LIMIT ?",
                (after, limit),
            ).fetchall()

    def n_to_recode(self, encoder: str) -> int:
        """How many pictures still lack their next codes; see `to_recode`."""
        with self.reading():
            self._check_next_encoder(encoder)
            return self._n_to_recode()

    def _n_to_recode(self) -> int:
        row = self._db.execute("SELECT count(*) FROM pictures WHERE id NOT IN (SELECT id FROM next_codes)")
        return int(row.fetchone()[0])

    def _check_next_encoder(self, encoder: str) -> None:
        if self.next_encoder() != encoder:
            raise EncoderMismatch(
                f"{self.path.parent}: another refit has begun or ended meanwhile; the gallery is whole, "
                "run the refit again if you still want it"
            )

    def add_next_codes(self, codes: Mapping[int, PictureCodes], *, encoder: str) -> None:
        """Keep the next codes of some pictures; those removed meanwhile are left out. See `to_recode`."""
        with self.writing() as db:
            self._check_next_encoder(encoder)
            for id, picture in codes.items():
                if db.execute("SELECT 1 FROM pictures WHERE id = ?", (id,)).fetchone():
                    db.execute(
                        "INSERT OR REPLACE INTO next_codes VALUES (?, ?, ?, ?)", (id, *_blobs(picture))
                    )

    def finish_recoding(self, encoder: str, *, n_bits: int) -> bool:
        """Put the next codes in place of the present ones, all at once; see `to_recode`.

        Returns:
            False, with nothing changed, if some picture still lacks its next codes.
        """
        with self.writing() as db:
            self._check_next_encoder(encoder)
            if self._n_to_recode():
                return False
            db.execute("DROP TABLE codes")
            db.execute("ALTER TABLE next_codes RENAME TO codes")
            db.execute(
                "UPDATE info SET value = (SELECT value FROM info WHERE key = 'next_encoder')"
                " WHERE key = 'encoder'"
            )
            db.execute("UPDATE info SET value = ? WHERE key = 'n_bits'", (str(n_bits),))
            db.execute("DELETE FROM info WHERE key = 'next_encoder'")
        return True

    # Connections

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Everything read inside sees one state of the gallery, whatever others write meanwhile."""
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("COMMIT")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: committed and flushed at the end, rolled back on any error."""
        db = self._db
        with self._clear_errors():
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        """Say of a failed write which gallery it was and what to do."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise GalleryWriteError(
                f"{self.path.parent}: the gallery could not be written ({error}); nothing of this batch was "
                "kept, all earlier ones are safe; make room or allow writing, then run the command again"
            ) from None

    @property
    def _db(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = _connect(self.path)
            with self._opening:
                for thread in [thread for thread in self._connections if not thread.is_alive()]:
                    self._connections.pop(thread).close()
                self._connections[threading.current_thread()] = connection
        return connection

    def _in_chunks(self, sql: str, values: Sequence[Any], size: int = 30_000) -> Iterator[tuple[Any, ...]]:
        """Rows of a query with an `IN ({})`, asked in chunks that SQLite can take."""
        for start in range(0, len(values), size):
            chunk = values[start : start + size]
            yield from self._db.execute(sql.format(",".join("?" * len(chunk))), chunk)

    def _content(self, sha256: str) -> tuple[tuple[int, int], _Blobs, dict[str, Any]] | None:
        """Size, codes and metadata of a picture with this content."""
        row = self._db.execute(
            "SELECT p.width, p.height, c.whole, c.regions, c.boxes, p.meta"
            " FROM pictures AS p JOIN codes AS c USING (id) WHERE p.sha256 = ? LIMIT 1",
            (sha256,),
        ).fetchone()
        return None if row is None else (row[:2], row[2:5], json.loads(row[5]))


class FolderDifference:
    """What differs between a folder and the store. Lists are read in chunks, so writes may go between."""

    def __init__(self, db: sqlite3.Connection, prefix: str) -> None:
        self._db = db
        self._range = _range(prefix)
        db.execute("DROP TABLE IF EXISTS temp.todo")
        db.execute(
            "CREATE TEMP TABLE todo AS SELECT s.uri, s.n_bytes, s.mtime_ns FROM temp.seen AS s"
            " LEFT JOIN pictures AS p ON p.uri = s.uri"
            " WHERE p.id IS NULL OR p.n_bytes <> s.n_bytes OR p.mtime_ns <> s.mtime_ns ORDER BY s.uri"
        )
        self.n_seen = self._count("SELECT count(*) FROM temp.seen")
        self.n_todo = self._count("SELECT count(*) FROM temp.todo")
        self.n_known = self._count(f"SELECT count(*) FROM pictures WHERE {_BELOW}", *self._range)

    def todo(self, *, chunk: int = 1000) -> Iterator[File]:
        """Files that are new or changed, by uri."""
        last = 0
        while rows := self._db.execute(
            "SELECT rowid, uri, n_bytes, mtime_ns FROM temp.todo WHERE rowid > ? ORDER BY rowid LIMIT ?",
            (last, chunk),
        ).fetchall():
            last = rows[-1][0]
            yield from (File(*row[1:]) for row in rows)

    def known(self, *, chunk: int = 1000) -> Iterator[tuple[int, str, dict[str, Any]]]:
        """Id, uri and metadata of the pictures that the store has from the folder, by uri."""
        start, end = self._range
        while rows := self._db.execute(
            f"SELECT id, uri, meta FROM pictures WHERE {_BELOW} ORDER BY uri LIMIT ?",
            (start, end, chunk),
        ).fetchall():
            start = rows[-1][1] + "\0"
            yield from ((id, uri, json.loads(meta)) for id, uri, meta in rows)

    def vanished(self) -> list[tuple[int, str]]:
        """Id and uri of pictures that the store has from the folder and the walk did not find."""
        return self._db.execute(
            f"SELECT id, uri FROM pictures WHERE {_BELOW}"
            " AND uri NOT IN (SELECT uri FROM temp.seen) ORDER BY id",
            self._range,
        ).fetchall()

    def _count(self, sql: str, *parameters: str) -> int:
        return int(self._db.execute(sql, parameters).fetchone()[0])


_BELOW = "uri >= ? AND uri < ?"


def _range(prefix: str) -> tuple[str, str]:
    """Bounds for `_BELOW`: what starts with a prefix sorts before the prefix with its last letter raised."""
    return prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)


def _connect(path: Path) -> sqlite3.Connection:
    """A connection, of a kind that cannot write where SQLite may not make the files that WAL needs."""
    try:
        return _open(path, "")
    except sqlite3.OperationalError:
        wal = path.with_name(path.name + "-wal")
        if wal.exists() and wal.stat().st_size:  # not read by the other kind: pictures would be missing
            raise
        return _open(path, "?immutable=1")


def _open(path: Path, options: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(os.fsencode(path))}{options}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _rename_to_new(draft: Path, path: Path) -> None:
    """Rename a file unless the new name is taken; then the draft goes and the other stays."""
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        draft.rename(path)
        return
    draft.unlink()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _json(meta: Mapping[str, Any]) -> str:
    return json.dumps(dict(meta), ensure_ascii=False, separators=(",", ":"))


def _blobs(codes: PictureCodes) -> _Blobs:
    boxes = np.rint(codes.boxes * BOX_STEPS).astype("<u2")
    return codes.whole.tobytes(), codes.regions.tobytes(), boxes.tobytes()


def _rows_of_boxes(blob: bytes) -> NDArray[np.float32]:
    return (np.frombuffer(blob, "<u2").reshape(-1, 4) / BOX_STEPS).astype(np.float32)


def _rows_of_bytes(blobs: Iterable[bytes], n_bytes: int) -> NDArray[np.uint8]:
    return np.frombuffer(bytearray(b"".join(blobs)), np.uint8).reshape(-1, n_bytes)
