"""Index and files: they agree after whatever happened."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from daemon.clock import NS_PER_S
from daemon.errors import MediaError
from daemon.recording.recording_check import disagreements, reconcile
from daemon.recording.recording_index import INDEX_NAME, MediaFile, RecordingIndex, open_existing, open_index
from daemon.recording.segments import SegmentNote, SegmentWriter

from .recording_material import START_UTC_NS, encoded, frame_numbers, timed_packets, write_segment

HEADER, PACKETS = timed_packets(encoded(seconds=3))


def row(name: str, start_s: float, end_s: float, *, camera: str = "gate", complete: bool = True) -> MediaFile:
    start_utc_ns, end_utc_ns = int(start_s * NS_PER_S), int(end_s * NS_PER_S)
    return MediaFile(name, "segment", camera, start_utc_ns, end_utc_ns, 10, "h264", complete)


def recorded(state_dir: Path, name: str = "recordings/gate/a.mp4") -> MediaFile:
    """Write a segment file and return the row that belongs to it."""
    writer = write_segment(state_dir / name, HEADER, PACKETS)
    start_utc_ns = PACKETS[0].utc_ns
    return MediaFile(name, "segment", "gate", start_utc_ns, writer.end_utc_ns, writer.size_bytes, "h264+aac", True)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[RecordingIndex]:
    opened = RecordingIndex(tmp_path)
    yield opened
    opened.close()


def problems(index: RecordingIndex) -> dict[str, str]:
    return {each.path: each.problem for each in disagreements(index)}


@pytest.mark.parametrize(
    ("from_s", "to_s", "names"),
    [(0, 100, "abcd"), (10, 20, "bd"), (9, 10, "ad"), (10, 10.5, "bd"), (25, 30, "cd"), (30, 99, "d"), (0, 0, "")],
)
def test_segments_of_a_range_are_those_that_overlap_it(
    index: RecordingIndex, from_s: float, to_s: float, names: str
) -> None:
    """Ends do not count; the open one may reach anywhere."""
    for each in (row("a", 0, 10), row("b", 10, 20), row("c", 20, 30), row("d", 5, 5, complete=False)):
        index.put(each)
    index.put(row("x", 0, 100, camera="yard"))

    found = index.segments("gate", int(from_s * NS_PER_S), int(to_s * NS_PER_S))

    assert sorted(each.path for each in found) == list(names)


def test_a_pinned_file_stays_pinned_and_is_never_the_oldest_to_go(index: RecordingIndex) -> None:
    """Writing its row again does not lose the pin."""
    for each in (row("a", 0, 10), row("b", 10, 20)):
        index.put(each)

    assert index.pin("gate", 3 * NS_PER_S, 4 * NS_PER_S) == 1
    index.put(row("a", 0, 11))

    assert [each.path for each in index.oldest(("segment",), limit=9)] == ["b"]
    assert index.totals() == {"gate": (20, 2)}


def test_after_a_kill_the_open_segment_is_closed_with_its_real_end(index: RecordingIndex, tmp_path: Path) -> None:
    """Its row said nothing of an end; the file does, and is cut after its last whole fragment."""
    name = "recordings/gate/a.mp4"
    first = PACKETS[0]
    writer = SegmentWriter(tmp_path / name, HEADER, SegmentNote("gate", 1, first.utc_ns, first.time_ns))
    index.put(MediaFile(name, "segment", "gate", first.utc_ns, first.utc_ns, 0, "h264+aac", False))
    for packet in PACKETS:
        writer.write(packet)
    durable_utc_ns = writer.durable_utc_ns
    with (tmp_path / name).open("ab") as file:
        file.write(b"\x00\x00\x10\x00moof and no more")

    repairs = reconcile(index, lambda: None)

    settled = index.get(name)
    assert settled is not None
    assert settled.complete
    assert settled.size_bytes == (tmp_path / name).stat().st_size
    assert abs(settled.end_utc_ns - durable_utc_ns) < NS_PER_S // 5
    assert len(frame_numbers(tmp_path / name)) >= 10
    assert repairs.segments_closed == 1
    assert problems(index) == {}
    writer.abandon()


def test_a_row_without_a_file_and_a_file_without_a_row_are_found_and_mended(
    index: RecordingIndex, tmp_path: Path
) -> None:
    """The doctor names them; the recorder's start puts them right; the doctor is content."""
    kept = recorded(tmp_path)
    index.put(row("recordings/gate/gone.mp4", 0, 10))
    for name, data in (("media/gate/2026/e.jpg", b"jpeg"), ("media/gate/2026/.e.mp4.part", b"half")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)

    assert problems(index) == {
        "recordings/gate/gone.mp4": "in the index, but there is no file",
        kept.path: "a file that the index does not know",
        "media/gate/2026/e.jpg": "a file that the index does not know",
    }
    repairs = reconcile(index, lambda: None)

    assert (repairs.rows_removed, repairs.files_indexed, repairs.drafts_removed) == (1, 2, 1)
    assert problems(index) == {}
    found = index.get(kept.path)
    assert found is not None
    assert (found.start_utc_ns, found.codec, found.complete) == (kept.start_utc_ns, "h264+aac", True)
    assert not (tmp_path / "media/gate/2026/.e.mp4.part").exists()


def test_a_size_that_the_index_does_not_say_is_found_and_mended(index: RecordingIndex, tmp_path: Path) -> None:
    """After a power cut a file may be shorter than its row."""
    kept = recorded(tmp_path)
    index.put(kept)
    os.truncate(tmp_path / kept.path, kept.size_bytes - 1000)

    assert "the index says" in problems(index)[kept.path]
    reconcile(index, lambda: None)

    assert problems(index) == {}
    shorter = index.get(kept.path)
    assert shorter is not None
    assert START_UTC_NS < shorter.end_utc_ns < kept.end_utc_ns


@pytest.mark.parametrize("data", [b"", HEADER.init_segment[:100]], ids=["no byte", "half a header"])
def test_a_segment_killed_before_its_first_fragment_leaves_no_row(
    index: RecordingIndex, tmp_path: Path, data: bytes
) -> None:
    """It holds nothing; an unreadable one with content is left for a person to look at."""
    name = "recordings/gate/a.mp4"
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_bytes(data)
    index.put(row(name, 0, 0, complete=False))

    repairs = reconcile(index, lambda: None)

    assert (repairs.segments_closed, repairs.unreadable) == ((1, 0) if not data else (0, 1))
    assert bool(problems(index)) == bool(data)


def test_a_clip_is_complete_once_it_has_its_name(index: RecordingIndex, tmp_path: Path) -> None:
    """Killed before the rename there is no clip and no row; after it, both."""
    for name in ("media/gate/made.mp4", "media/gate/never.mp4"):
        index.put(MediaFile(name, "clip", "gate", 1, 2, 0, "", False))
    (tmp_path / "media/gate").mkdir(parents=True)
    (tmp_path / "media/gate/made.mp4").write_bytes(b"clip")

    assert problems(index) == {}
    reconcile(index, lambda: None)

    assert [(each.path, each.complete, each.size_bytes) for each in index.all()] == [("media/gate/made.mp4", True, 4)]


def test_a_damaged_index_is_moved_aside_and_built_again_from_the_files(tmp_path: Path) -> None:
    """The files are the truth; not one recording is lost with the database."""
    kept = recorded(tmp_path)
    (tmp_path / INDEX_NAME).write_bytes(b"this is no database" * 1000)

    index = open_index(tmp_path)
    reconcile(index, lambda: None)

    assert [each.path for each in index.all()] == [kept.path]
    assert (tmp_path / f"{INDEX_NAME}.damaged").exists()
    assert problems(index) == {}
    index.close()


def test_what_was_pinned_stays_pinned_when_the_index_is_built_again(tmp_path: Path) -> None:
    """Files do not say that they are evidence; the damaged index does, as far as it can be read."""
    kept = recorded(tmp_path)
    index = RecordingIndex(tmp_path)
    index.put(kept)
    assert index.pin("gate", 0, kept.end_utc_ns) == 1
    index.close()
    with closing(sqlite3.connect(tmp_path / INDEX_NAME)) as db:
        (page,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'files_by_time'").fetchone()
        (page_bytes,) = db.execute("PRAGMA page_size").fetchone()
    with (tmp_path / INDEX_NAME).open("r+b") as file:
        file.seek((page - 1) * page_bytes)
        file.write(b"\xff" * page_bytes)

    index = open_index(tmp_path)
    reconcile(index, lambda: None)

    assert (tmp_path / f"{INDEX_NAME}.damaged").exists()
    assert [(each.path, each.pinned, each.complete) for each in index.all()] == [(kept.path, True, True)]
    assert problems(index) == {}
    index.close()


def test_the_heartbeat_goes_on_while_many_files_are_checked(index: RecordingIndex, tmp_path: Path) -> None:
    """A long check must not look like a hung process."""
    beats = []
    for number in range(5):
        index.put(row(f"recordings/gate/{number}.mp4", 0, 1))

    reconcile(index, lambda: beats.append(1))

    assert len(beats) == 5


def test_what_sqlite_says_becomes_our_error(index: RecordingIndex, tmp_path: Path) -> None:
    """Nobody above knows of sqlite3; a command without recordings says where it looked."""
    other = sqlite3.connect(tmp_path / INDEX_NAME)
    other.execute("DROP TABLE files")
    other.close()

    with pytest.raises(MediaError, match="no such table"):
        index.all()
    with pytest.raises(MediaError, match="no recordings below"):
        open_existing(tmp_path / "elsewhere")


def test_a_clip_that_a_power_cut_emptied_is_no_clip(index: RecordingIndex, tmp_path: Path) -> None:
    """Its name was on disk before its bytes: neither file nor row stays."""
    name = "media/gate/2026/01/01/e.mp4"
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).touch()
    index.put(MediaFile(name, "clip", "gate", 0, 10, 5000, "h264", True))

    assert reconcile(index, lambda: None).rows_removed == 1

    assert index.get(name) is None
    assert not (tmp_path / name).exists()
