"""The journal: every alert and health entry, numbered without holes, on disk before it is sent.

One process writes; anybody may read. Numbers are never used twice, also when everything was deleted (AUTOINCREMENT
keeps the highest one ever given). Entries go only from the old end, so what is missing is always one gap at the
beginning. Beside the entries lies a small table of what holds now (open events, pending orders, last health), changed
in the same transaction, for it must outlive the entries that retention removes.

synchronous=FULL: an alert that was published must be found again after a power cut; a commit then costs one fsync.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..errors import FatalError

VERSION: Final = 1
BUSY_TIMEOUT_S: Final = 5.0
DELETE_LIMIT: Final = 5000  # bounds how long one removal holds the writer
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS entries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    utc_ns INTEGER NOT NULL,
    topic TEXT NOT NULL,
    payload BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS state (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One numbered message, as it was and will be sent."""

    seq: int
    utc_ns: int
    topic: str
    payload: bytes  # JSON


class JournalError(FatalError):
    """Raised when the journal cannot be read or written; the text names the file and the remedy."""


class Journal:
    """journal.db, open for writing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._alive = path.with_suffix(".alive")
        with self._translated():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._check_version()
            self._db.executescript(_SCHEMA)
            self._db.execute("INSERT OR IGNORE INTO state VALUES ('journal_id', ?)", (secrets.token_hex(8).encode(),))
            highest = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'entries'").fetchone()
            self.last_seq: int = highest[0] if highest else 0
            self.id: str = self.state("journal_id")["journal_id"].decode()

    def append(self, entries: Sequence[Entry], state: Mapping[str, bytes | None] | None = None) -> None:
        """Commit entries, which must go on from `last_seq`, and changes of state (None removes a key), as one.

        Raises ValueError when the numbers do not go on, JournalError when the disk does not take them.
        """
        expected = range(self.last_seq + 1, self.last_seq + 1 + len(entries))
        if [entry.seq for entry in entries] != list(expected):
            raise ValueError(f"the next number is {self.last_seq + 1}, not {entries[0].seq}")
        rows = [(entry.seq, entry.utc_ns, entry.topic, entry.payload) for entry in entries]
        changes = state or {}
        with self._translated(), self._transaction():
            self._db.executemany("INSERT INTO entries VALUES (?, ?, ?, ?)", rows)
            self._db.executemany(
                "INSERT OR REPLACE INTO state VALUES (?, ?)", [(k, v) for k, v in changes.items() if v is not None]
            )
            self._db.executemany("DELETE FROM state WHERE key = ?", [(k,) for k, v in changes.items() if v is None])
        self.last_seq += len(entries)

    def first_seq(self) -> int:
        """Return the lowest number that is still here; last_seq + 1 when nothing is."""
        with self._translated():
            row = self._db.execute("SELECT min(seq) FROM entries").fetchone()
        return self.last_seq + 1 if row[0] is None else int(row[0])

    def after(self, seq: int, limit: int) -> list[Entry]:
        """Return at most `limit` entries with a higher number, oldest first."""
        with self._translated():
            rows = self._db.execute(
                "SELECT seq, utc_ns, topic, payload FROM entries WHERE seq > ? ORDER BY seq LIMIT ?", (seq, limit)
            )
            return [Entry(*row) for row in rows]

    def state(self, prefix: str) -> dict[str, bytes]:
        """Return what holds now under keys that begin with `prefix`."""
        with self._translated():
            rows = self._db.execute(
                "SELECT key, value FROM state WHERE substr(key, 1, ?) = ? ORDER BY key", (len(prefix), prefix)
            )
            return dict(rows.fetchall())

    def delete_before(self, utc_ns: int, limit: int = DELETE_LIMIT) -> int:
        """Remove at most `limit` entries from the old end, up to the first one of `utc_ns` or later; return how many.

        Only a prefix ever goes, also when the host's clock has jumped: a hole in the middle could not be announced.
        """
        with self._translated(), self._transaction():
            row = self._db.execute(
                "SELECT seq FROM entries WHERE utc_ns >= ? ORDER BY seq LIMIT 1", (utc_ns,)
            ).fetchone()
            first_kept = row[0] if row else self.last_seq + 1
            first_kept = min(first_kept, self.first_seq() + limit)
            return self._db.execute("DELETE FROM entries WHERE seq < ?", (first_kept,)).rowcount

    def note_alive(self, utc_ns: int) -> None:
        """Remember that somebody was watching at this time.

        It is the time of a file, not a row: a commit a second would wear flash memory for a number that need not
        survive a power cut to the second; what is lost only makes the time without a watch look longer.
        """
        with self._translated():
            self._alive.touch()
            os.utime(self._alive, ns=(utc_ns, utc_ns))

    def alive_utc_ns(self) -> int | None:
        """Return when somebody was last watching: the last note or the last entry; None when there was never one."""
        with self._translated():
            row = self._db.execute("SELECT utc_ns FROM entries ORDER BY seq DESC LIMIT 1").fetchone()
            noted = [self._alive.stat().st_mtime_ns] if self._alive.exists() else []
        return max([*noted, *(row or ())], default=None)

    def close(self) -> None:
        """Close; nothing is pending, for every append has committed."""
        self._db.close()

    def _check_version(self) -> None:
        found = self._db.execute("PRAGMA user_version").fetchone()[0]
        if found not in (0, VERSION):
            raise JournalError(
                f"{self.path} has layout {found}, this program knows {VERSION}: run the program that wrote it, or move"
                " the file away to begin a new journal"
            )
        self._db.execute(f"PRAGMA user_version = {VERSION}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as exc:
            raise JournalError(f"{self.path}: {exc}; is the disk full, or the folder not writable?") from exc
        except sqlite3.IntegrityError as exc:
            raise JournalError(f"{self.path}: {exc}; does another leptond write to the same state_dir?") from exc
        except sqlite3.DatabaseError as exc:
            raise JournalError(
                f"{self.path} is damaged ({exc}): move it and its -wal and -shm files away; a new journal begins at 1"
            ) from exc
        except OSError as exc:
            raise JournalError(f"{self.path}: {exc}; is the folder writable by this user?") from exc


def iter_entries(path: Path, topic: str = "") -> Iterator[Entry]:
    """Yield the entries whose topic begins with `topic`, oldest first, of a journal that may be being written.

    Raises JournalError when the file cannot be read.
    """
    query = "SELECT seq, utc_ns, topic, payload FROM entries WHERE substr(topic, 1, ?) = ? ORDER BY seq"
    uri = f"{path.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S)) as db:
            for row in db.execute(query, (len(topic), topic)):
                yield Entry(*row)
    except sqlite3.Error as exc:
        raise JournalError(f"{path}: {exc}; may this user read it, and its -wal and -shm files?") from exc


def read_entries(path: Path) -> list[Entry]:
    """Return all entries at once, as `iter_entries` yields them."""
    return list(iter_entries(path))
