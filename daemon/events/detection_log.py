"""All detections, kept compactly: what rules are back-tested on and training pictures are chosen by.

One row of `detections.db` holds about a second of one camera. A frame is `<u4 microseconds after the row's time,
`<u2 count, and count rows of six `<u2: x1 y1 x2 y2 as 65535ths of the picture, score in 65535ths, class: 12 bytes a
detection, 0.03 pixels of 1920. A thread writes, so a slow disk delays no alert; it costs the oldest frames, counted.
This log is a convenience, the journal is not: when it cannot be written, alerts go on and the log says so.
"""

from __future__ import annotations

import queue
import sqlite3
import struct
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from ..clock import NS_PER_S, Clock
from ..errors import MediaError
from ..messages import Detections

QUEUE_SECONDS: Final = 30  # flushes that may wait for the disk
STORED_MAX: Final = 65535
PURGE_EVERY_S: Final = 60.0
PURGE_ROWS: Final = 5000
_FRAME: Final = struct.Struct("<IH")
_ROW_BYTES: Final = 12
_MAX_SPAN_NS: Final = 60 * NS_PER_S  # of one stored row
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS models (
    id INTEGER PRIMARY KEY, model_id TEXT NOT NULL, labels TEXT NOT NULL, UNIQUE (model_id, labels)
) STRICT;
CREATE TABLE IF NOT EXISTS batches (
    camera TEXT NOT NULL, utc_ns INTEGER NOT NULL, until_utc_ns INTEGER NOT NULL, model INTEGER NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL, frames INTEGER NOT NULL, data BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS batches_by_camera ON batches (camera, utc_ns);
CREATE INDEX IF NOT EXISTS batches_by_time ON batches (utc_ns);
"""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """What the model saw in one frame."""

    camera: str
    utc_ns: int
    model_id: str
    labels: tuple[str, ...]
    width: int
    height: int
    rows: NDArray[np.float32]  # [n, 6]: x1 y1 x2 y2 score class, camera pixels


@dataclass(frozen=True, slots=True)
class _Source:
    camera: str
    model_id: str
    labels: tuple[str, ...]
    width: int
    height: int


@dataclass(slots=True)
class _Batch:
    utc_ns: int
    until_utc_ns: int
    frames: int = 0
    data: bytearray = field(default_factory=bytearray)


_Batches = dict[_Source, list[_Batch]]


class DetectionLog:
    """detections.db, being written."""

    def __init__(self, path: Path, clock: Clock, keep_days: float) -> None:
        self.path = path
        self.keep_days = keep_days
        self.dropped = 0  # frames that the disk was too slow for, or refused
        self._clock = clock
        self._batches: _Batches = {}
        self._queue: queue.Queue[_Batches | None] = queue.Queue(QUEUE_SECONDS)
        self._thread = threading.Thread(target=self._write, name="detection_log", daemon=True)
        self._thread.start()

    def add(self, frame: Detections, utc_ns: int) -> None:
        """Keep a frame, captured at `utc_ns`, until the next flush."""
        source = _Source(frame.camera, frame.model_id, frame.labels, frame.width, frame.height)
        batches = self._batches.setdefault(source, [])
        if not batches or not 0 <= utc_ns - batches[-1].utc_ns < _MAX_SPAN_NS:
            batches.append(_Batch(utc_ns, utc_ns))
        batch = batches[-1]
        batch.frames += 1
        batch.until_utc_ns = max(batch.until_utc_ns, utc_ns)
        batch.data += pack(np.frombuffer(frame.rows, np.float32), frame.width, frame.height, utc_ns - batch.utc_ns)

    def flush(self) -> None:
        """Hand what was added to the writing thread; never waits."""
        if not self._batches:
            return
        batches, self._batches = self._batches, {}
        while True:
            try:
                self._queue.put_nowait(batches)
            except queue.Full:
                self._drop_oldest()
                continue
            return

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what is left, for as long as the timeout allows."""
        self.flush()
        try:
            self._queue.put(None, timeout=timeout_s)
        except queue.Full:
            log.warning("detection_log_not_finished", path=str(self.path))
            return
        self._thread.join(timeout_s)

    def _drop_oldest(self) -> None:
        try:
            batches = self._queue.get_nowait()
        except queue.Empty:
            return
        self.dropped += _count(batches)

    def _write(self) -> None:
        """Write in the thread; reopen after each failure, so that a disk that recovers is used again."""
        told = ""
        while True:
            try:
                with closing(_open(self.path)) as db:
                    self._write_on(db)
            except (sqlite3.Error, OSError) as exc:
                if told != str(exc):  # it is tried each second; `dropped` grows meanwhile
                    told = str(exc)
                    log.error("detection_log_failed", path=str(self.path), error=told, remedy="free or move the file")  # noqa: TRY400
                batches = self._queue.get()
                if batches is None:
                    return
                self.dropped += _count(batches)
            else:
                return

    def _write_on(self, db: sqlite3.Connection) -> None:
        next_purge_ns = 0
        while (batches := self._queue.get()) is not None:
            try:
                _insert(db, batches)
            except sqlite3.Error:
                self.dropped += _count(batches)
                raise
            now_ns = self._clock.monotonic_ns()
            if now_ns >= next_purge_ns:
                removed = _purge(db, self._clock.utc_ns() - round(self.keep_days * 86400 * NS_PER_S))
                # A bound was reached: go on with the next write, or many cameras would write more than ever goes.
                next_purge_ns = now_ns + (0 if removed == PURGE_ROWS else round(PURGE_EVERY_S * NS_PER_S))


def pack(rows: NDArray[np.float32], width: int, height: int, offset_ns: int) -> bytes:
    """Return a frame as it is stored; rows float32 [n * 6] or [n, 6], camera pixels."""
    rows = rows.reshape(-1, 6)[:STORED_MAX]
    scaled = np.nan_to_num(rows / _unit(width, height)).clip(0, STORED_MAX).round().astype("<u2")
    return _FRAME.pack(offset_ns // 1000, len(rows)) + scaled.tobytes()


def unpack(data: bytes, width: int, height: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield (nanoseconds after the batch's time, rows [n, 6]) of each frame in a batch.

    Raises MediaError when the batch is cut off.
    """
    at = 0
    while at < len(data):
        end = at + _FRAME.size
        if end > len(data) or (end := end + _FRAME.unpack_from(data, at)[1] * _ROW_BYTES) > len(data):
            raise MediaError("a batch of stored detections is damaged")
        offset_us, _ = _FRAME.unpack_from(data, at)
        stored = np.frombuffer(data[at + _FRAME.size : end], "<u2").reshape(-1, 6)
        yield offset_us * 1000, (stored * _unit(width, height)).astype(np.float32)
        at = end


def read_frames(path: Path, camera: str, since_utc_ns: int, until_utc_ns: int) -> Iterator[StoredFrame]:
    """Yield the stored frames of a camera in [since, until), by time; safe while the log is being written.

    Raises MediaError when the file cannot be read.
    """
    query = """SELECT b.utc_ns, m.model_id, m.labels, b.width, b.height, b.data FROM batches b JOIN models m
        ON m.id = b.model WHERE b.camera = ? AND b.utc_ns >= ? AND b.utc_ns < ? ORDER BY b.utc_ns"""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)) as db:
            for utc_ns, model_id, labels, width, height, data in db.execute(
                query, (camera, since_utc_ns - _MAX_SPAN_NS, until_utc_ns)
            ):
                names = tuple(msgspec.json.decode(labels, type=list[str]))
                for offset_ns, rows in unpack(data, width, height):
                    if since_utc_ns <= utc_ns + offset_ns < until_utc_ns:
                        yield StoredFrame(camera, utc_ns + offset_ns, model_id, names, width, height, rows)
    except sqlite3.Error as exc:
        raise MediaError(f"{path}: {exc}") from exc


def _unit(width: int, height: int) -> NDArray[np.float64]:
    return np.array([width, height, width, height, 1.0, STORED_MAX]) / STORED_MAX


def _count(batches: _Batches | None) -> int:
    return sum(batch.frames for of_source in (batches or {}).values() for batch in of_source)


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path, timeout=5.0, check_same_thread=False)
    db.execute("PRAGMA journal_mode=WAL")
    # NORMAL never damages the file; a power cut may cost the last seconds, which nobody was promised.
    db.execute("PRAGMA synchronous=NORMAL")
    db.executescript(_SCHEMA)
    return db


def _insert(db: sqlite3.Connection, batches: _Batches) -> None:
    with db:
        for source, of_source in batches.items():
            labels = msgspec.json.encode(source.labels).decode()
            db.execute("INSERT OR IGNORE INTO models (model_id, labels) VALUES (?, ?)", (source.model_id, labels))
            (model,) = db.execute(
                "SELECT id FROM models WHERE model_id = ? AND labels = ?", (source.model_id, labels)
            ).fetchone()
            db.executemany(
                "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        source.camera,
                        b.utc_ns,
                        b.until_utc_ns,
                        model,
                        source.width,
                        source.height,
                        b.frames,
                        bytes(b.data),
                    )
                    for b in of_source
                ],
            )


def _purge(db: sqlite3.Connection, before_utc_ns: int) -> int:
    """Remove at most PURGE_ROWS batches that began before; return how many."""
    with db:
        return db.execute(
            "DELETE FROM batches WHERE rowid IN (SELECT rowid FROM batches WHERE utc_ns < ? LIMIT ?)",
            (before_utc_ns, PURGE_ROWS),
        ).rowcount
