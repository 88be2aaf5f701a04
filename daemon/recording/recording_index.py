"""The index of recordings in SQLite: which file holds which time of which camera. One writer, the recorder.

A row is complete once its file is; it goes after its file has gone. After any kill, a file without a row, a row without
a file and a row that was never completed are the known cases, which `recording_check.reconcile` puts right.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import structlog

from ..errors import MediaError

log = structlog.get_logger()
Kind = Literal["segment", "clip", "snapshot"]
BUSY_S: Final = 5.0
INDEX_NAME: Final = "recordings.db"
_DAMAGED: Final = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
RECORDINGS_NAME: Final = "recordings"

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY,          -- relative to the state directory
    kind TEXT NOT NULL,             -- segment, clip, snapshot
    camera TEXT NOT NULL,
    start_utc_ns INTEGER NOT NULL,
    end_utc_ns INTEGER NOT NULL,    -- of a segment being written: its start
    bytes INTEGER NOT NULL,
    codec TEXT NOT NULL,
    complete INTEGER NOT NULL,      -- 0: being written, or its writer was killed
    pinned INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS files_by_time ON files (camera, kind, start_utc_ns);
"""
_COLUMNS: Final = "path, kind, camera, start_utc_ns, end_utc_ns, bytes, codec, complete, pinned"
_PINNED: Final = f"SELECT {_COLUMNS} FROM files NOT INDEXED WHERE pinned"  # noqa: S608 - our own constants


@dataclass(frozen=True)
class MediaFile:
    """One row: a file below the state directory."""

    path: str
    kind: Kind
    camera: str
    start_utc_ns: int
    end_utc_ns: int
    size_bytes: int
    codec: str
    complete: bool
    pinned: bool = False


class IndexDamaged(MediaError):  # noqa: N818 - says what is, as WireTimeout does
    """Raised when the database file is not, or no longer, a sound one."""


class RecordingIndex:
    """The open database. Every method raises MediaError when SQLite fails (disk full, file damaged)."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.path = state_dir / INDEX_NAME
        with _translated(self.path):
            self._db = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)
            self._db.row_factory = sqlite3.Row
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = NORMAL")
                self._db.executescript(_SCHEMA)
                self._db.execute("SELECT count(*) FROM files").fetchone()  # reads every page of the table
            except sqlite3.Error:
                self._db.close()
                raise

    def put(self, file: MediaFile) -> None:
        """Insert or replace the row of a file; a pinned one stays pinned."""
        values = (
            file.path,
            file.kind,
            file.camera,
            file.start_utc_ns,
            file.end_utc_ns,
            file.size_bytes,
            file.codec,
            file.complete,
            file.pinned,
        )
        with _translated(self.path):
            self._db.execute(
                f"INSERT INTO files ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?) ON CONFLICT (path) DO UPDATE SET "  # noqa: S608
                "start_utc_ns = excluded.start_utc_ns, end_utc_ns = excluded.end_utc_ns, bytes = excluded.bytes, "
                "codec = excluded.codec, complete = excluded.complete, pinned = max(pinned, excluded.pinned)",
                values,
            )

    def remove(self, path: str) -> None:
        """Forget a file that is gone."""
        with _translated(self.path):
            self._db.execute("DELETE FROM files WHERE path = ?", (path,))

    def get(self, path: str) -> MediaFile | None:
        """Return the row of a file."""
        return next(iter(self._select("WHERE path = ?", path)), None)

    def all(self) -> list[MediaFile]:
        """Return every row, by path."""
        return self._select("ORDER BY path")

    def segments(self, camera: str, from_utc_ns: int, to_utc_ns: int) -> list[MediaFile]:
        """Return segments that overlap the range, oldest first; those being written are among them."""
        return self._select(
            "WHERE camera = ? AND kind = 'segment' AND start_utc_ns < ? AND (end_utc_ns > ? OR NOT complete) "
            "ORDER BY start_utc_ns",
            camera,
            to_utc_ns,
            from_utc_ns,
        )

    def latest_segment(self, camera: str) -> MediaFile | None:
        """Return the camera's newest segment."""
        rest = "WHERE camera = ? AND kind = 'segment' ORDER BY start_utc_ns DESC LIMIT 1"
        return next(iter(self._select(rest, camera)), None)

    def oldest(self, kinds: tuple[Kind, ...], camera: str | None = None, limit: int = 1) -> list[MediaFile]:
        """Return the oldest complete unpinned files of one camera, or of all."""
        marks = ",".join("?" * len(kinds))
        where = f"WHERE kind IN ({marks}) AND complete AND NOT pinned"
        return self._select(
            where + (" AND camera = ?" if camera else "") + " ORDER BY start_utc_ns LIMIT ?",
            *kinds,
            *((camera,) if camera else ()),
            limit,
        )

    def cameras(self) -> list[str]:
        """Return the cameras that files exist of, also those no longer configured."""
        with _translated(self.path):
            return [row[0] for row in self._db.execute("SELECT DISTINCT camera FROM files ORDER BY camera")]

    def totals(self) -> dict[str, tuple[int, int]]:
        """Return (bytes of all files, number of segments) by camera."""
        query = "SELECT camera, sum(bytes), sum(kind = 'segment') FROM files GROUP BY camera"
        with _translated(self.path):
            return {camera: (size, segments) for camera, size, segments in self._db.execute(query)}

    def pin(self, camera: str, from_utc_ns: int, to_utc_ns: int) -> int:
        """Keep all files that touch the range for ever; return how many."""
        with _translated(self.path):
            cursor = self._db.execute(
                "UPDATE files SET pinned = 1 "
                "WHERE camera = ? AND start_utc_ns < ? AND (end_utc_ns > ? OR NOT complete)",
                (camera, to_utc_ns, from_utc_ns),
            )
            return cursor.rowcount

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def _select(self, rest: str, *values: object) -> list[MediaFile]:
        with _translated(self.path):
            rows = self._db.execute(f"SELECT {_COLUMNS} FROM files {rest}", values)  # noqa: S608 - our own constants
            return [_row(row) for row in rows]


def open_existing(state_dir: Path) -> RecordingIndex:
    """Open the index for a command.

    Raises MediaError when there is none.
    """
    if not (state_dir / INDEX_NAME).is_file():
        raise MediaError(
            f"no recordings below {state_dir}: is service.state_dir right, and has leptond recorded there?"
        )
    return RecordingIndex(state_dir)


def open_index(state_dir: Path) -> RecordingIndex:
    """Open the index; a damaged one is moved aside and built again from the files, for they are the truth.

    Only the index knows what is pinned: that is read out of the damaged one as far as it goes.
    Raises MediaError when it cannot be opened for another reason, as when the disk is full.
    """
    try:
        return RecordingIndex(state_dir)
    except IndexDamaged as exc:
        damaged = state_dir / INDEX_NAME
        pinned = _salvage_pinned(damaged)
        log.error(  # noqa: TRY400 - the text says all
            "recording_index_damaged",
            error=str(exc),
            kept_as=f"{damaged}.damaged",
            pins_saved=len(pinned),
            remedy="pin again what must stay and was not saved: leptond clip --pin",
        )
        damaged.rename(f"{damaged}.damaged")
        for rest in ("-wal", "-shm"):
            damaged.with_name(damaged.name + rest).unlink(missing_ok=True)
        index = RecordingIndex(state_dir)
        for file in pinned:
            index.put(file)
        return index


def _salvage_pinned(path: Path) -> list[MediaFile]:
    """Return the pinned rows that can still be read, marked incomplete, so that `reconcile` looks at their files."""
    found: list[MediaFile] = []
    with suppress(sqlite3.Error, ValueError), closing(sqlite3.connect(path, timeout=BUSY_S)) as db:
        db.row_factory = sqlite3.Row
        found.extend(replace(_row(row), complete=False) for row in db.execute(_PINNED))
    return found


def _row(row: sqlite3.Row) -> MediaFile:
    return MediaFile(
        path=row["path"],
        kind=row["kind"],
        camera=row["camera"],
        start_utc_ns=row["start_utc_ns"],
        end_utc_ns=row["end_utc_ns"],
        size_bytes=row["bytes"],
        codec=row["codec"],
        complete=bool(row["complete"]),
        pinned=bool(row["pinned"]),
    )


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as exc:
        if getattr(exc, "sqlite_errorname", "") in _DAMAGED:
            raise IndexDamaged(f"recording index {path}: {exc}") from exc
        raise MediaError(f"recording index {path}: {exc}") from exc
