"""The journal: no hole, no number twice, nothing lost that was committed."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.events.journal import Entry, Journal, JournalError, read_entries

S = 1_000_000_000


def entries(first: int, count: int) -> list[Entry]:
    return [Entry(seq, seq * S, "alert.gate.person", b'{"seq":%d}' % seq) for seq in range(first, first + count)]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.db")


def test_what_was_appended_is_found_again_in_order(journal: Journal) -> None:
    """Also by whoever opens the file next."""
    journal.append(entries(1, 3))
    journal.append(entries(4, 2))
    journal.close()

    again = Journal(journal.path)

    assert again.after(2, 2) == entries(3, 2)
    assert (again.first_seq(), again.last_seq, again.id) == (1, 5, journal.id)
    assert read_entries(journal.path) == entries(1, 5)


@pytest.mark.parametrize("first", [1, 3, 5])
def test_a_number_that_does_not_go_on_is_refused(journal: Journal, first: int) -> None:
    """Neither a repeated number nor a hole can be written."""
    journal.append(entries(1, 3))

    with pytest.raises(ValueError, match="the next number is 4"):
        journal.append(entries(first, 1))


def test_numbers_are_never_used_again_also_when_everything_was_deleted(journal: Journal) -> None:
    """A subscriber that stands at 3 must not take a new 3 for one that it has."""
    journal.append(entries(1, 3))
    assert journal.delete_before(100 * S) == 3
    journal.close()

    again = Journal(journal.path)

    assert (again.first_seq(), again.last_seq) == (4, 3)
    again.append(entries(4, 1))
    assert again.after(0, 10) == entries(4, 1)


def test_only_the_old_end_goes_also_when_the_clock_has_jumped(journal: Journal) -> None:
    """An entry with an old date behind a newer one stays: a hole could not be announced."""
    journal.append([Entry(seq, utc_s * S, "t", b"{}") for seq, utc_s in enumerate([1, 2, 9, 3, 10], start=1)])

    assert journal.delete_before(5 * S) == 2
    assert [entry.seq for entry in journal.after(0, 10)] == [3, 4, 5]


def test_one_removal_is_bounded(journal: Journal) -> None:
    """The writer is not held for a million rows."""
    journal.append(entries(1, 10))

    assert [journal.delete_before(9 * S, limit=3) for _ in range(4)] == [3, 3, 2, 0]


def test_state_changes_with_the_entries_and_outlives_them(journal: Journal) -> None:
    """What holds now does not go with the entry that once said it."""
    journal.append(entries(1, 1), {"health:camera.gate": b"down", "event:a": b"1"})
    journal.append([], {"event:a": None, "event:b": b"2"})
    journal.delete_before(100 * S)

    assert journal.state("event:") == {"event:b": b"2"}
    assert journal.state("health:") == {"health:camera.gate": b"down"}


def test_it_knows_when_somebody_was_last_watching(journal: Journal) -> None:
    """The later of the last note and the last entry; so a time without a watch can be told."""
    assert journal.alive_utc_ns() is None

    journal.append(entries(1, 3))
    assert journal.alive_utc_ns() == 3 * S
    journal.note_alive(5 * S)
    assert Journal(journal.path).alive_utc_ns() == 5 * S


def test_entries_that_cannot_all_be_written_are_not_written_at_all(journal: Journal) -> None:
    """A failed append leaves neither a part nor a number behind."""
    broken = [*entries(1, 1), Entry(2, 2, "t", None)]  # type: ignore[arg-type]

    with pytest.raises(JournalError):
        journal.append(broken)

    assert (journal.last_seq, journal.after(0, 10)) == (0, [])
    journal.append(entries(1, 1))


def test_a_file_that_is_no_journal_is_named_with_the_remedy(tmp_path: Path) -> None:
    """The operator learns which file, and what to do with it."""
    path = tmp_path / "journal.db"
    path.write_bytes(b"this is no database at all" * 100)

    with pytest.raises(JournalError, match=r"journal\.db is damaged .* move it"):
        Journal(path)


def test_a_journal_of_a_later_program_is_refused(tmp_path: Path) -> None:
    """Rather than written to by one that does not know its layout."""
    path = tmp_path / "journal.db"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()

    with pytest.raises(JournalError, match="layout 99"):
        Journal(path)


WRITER = """
import sys
from pathlib import Path
from daemon.events.journal import Entry, Journal
journal = Journal(Path(sys.argv[1]))
while True:
    seq = journal.last_seq + 1
    journal.append([Entry(seq + i, 1, "t", b"{}") for i in range(3)])
    print(journal.last_seq, flush=True)
"""


def test_a_writer_that_is_killed_loses_nothing_that_it_had_committed(tmp_path: Path) -> None:
    """A kill -9 in the middle of appends, twice: no hole, no part of an append, every number that was said is there."""
    path = tmp_path / "journal.db"
    said = 0
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            for _ in range(20):
                said = int(writer.stdout.readline())
            os.kill(writer.pid, signal.SIGKILL)
            said = max([said, *(int(line) for line in writer.stdout.read().split(b"\n")[:-1])])

    found = [entry.seq for entry in read_entries(path)]

    assert found == list(range(1, len(found) + 1))
    assert len(found) >= said
    assert len(found) % 3 == 0
