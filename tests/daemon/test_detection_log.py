"""The detection log: all detections, compactly, and never in the way of alerts."""

import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest

from daemon.clock import NS_PER_S, SystemClock
from daemon.errors import MediaError
from daemon.events.detection_log import PURGE_ROWS, QUEUE_SECONDS, DetectionLog, pack, read_frames, unpack
from daemon.messages import Detections

from .children import wait_for

START = 1_700_000_000 * NS_PER_S
FOREVER = 1 << 62


class FixedClock:
    """UTC stands still at START."""

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def utc_ns(self) -> int:
        return START


def frame(*rows: tuple[float, ...], camera: str = "gate", model_id: str = "m1", width: int = 1920) -> Detections:
    return Detections(
        camera=camera,
        sequence=1,
        model_id=model_id,
        width=width,
        height=1080,
        rows=np.array(rows, np.float32).tobytes(),
        labels=("person", "car"),
        captured_ns=0,
        decoded_ns=0,
        queued_ns=0,
        inferred_ns=0,
    )


def test_what_was_kept_comes_back(tmp_path: Path) -> None:
    """Times to the microsecond, boxes to a few hundredths of a pixel, frames without detections too."""
    path = tmp_path / "detections.db"
    log = DetectionLog(path, FixedClock(), keep_days=1)
    log.add(frame((10.5, 20.25, 300, 1080, 0.876, 1)), START)
    log.add(frame(), START + NS_PER_S // 5)
    log.flush()
    log.add(frame((0, 0, 640, 480, 0.5, 0), model_id="m2", width=640), START + NS_PER_S)
    log.add(frame((1, 1, 2, 2, 0.5, 0), camera="yard"), START)
    log.close()

    frames = list(read_frames(path, "gate", START, START + 2 * NS_PER_S))

    assert [f.utc_ns - START for f in frames] == [0, NS_PER_S // 5, NS_PER_S]
    assert [(f.model_id, f.labels, f.width, len(f.rows)) for f in frames] == [
        ("m1", ("person", "car"), 1920, 1),
        ("m1", ("person", "car"), 1920, 0),
        ("m2", ("person", "car"), 640, 1),
    ]
    assert frames[0].rows[0] == pytest.approx([10.5, 20.25, 300, 1080, 0.876, 1], abs=0.02)
    assert log.dropped == 0


def test_a_range_of_time_is_cut_inside_a_batch(tmp_path: Path) -> None:
    """From the first instant on, up to but not with the last."""
    path = tmp_path / "detections.db"
    log = DetectionLog(path, FixedClock(), keep_days=1)
    for i in range(10):
        log.add(frame(), START + i * NS_PER_S)
    log.close()

    frames = read_frames(path, "gate", START + 3 * NS_PER_S, START + 6 * NS_PER_S)

    assert [(f.utc_ns - START) // NS_PER_S for f in frames] == [3, 4, 5]


@pytest.mark.parametrize(
    "row", [(-50, -1, 5000, 5000, 1.5, 7), (float("nan"), 0, float("inf"), 10, 0.5, 0), (1, 2, 3, 4, -1, -1)]
)
def test_values_out_of_range_are_cut_to_the_picture(row: tuple[float, ...]) -> None:
    """A detector's nonsense cannot make the log unreadable."""
    data = pack(np.array([row], np.float32), 1920, 1080, 5000)

    ((offset_ns, rows),) = unpack(data, 1920, 1080)

    assert offset_ns == 5000
    assert np.isfinite(rows).all()
    assert (rows[:, :4] >= 0).all()
    assert (rows[:, 2] <= 1920).all()


def test_a_batch_that_is_cut_off_is_an_error() -> None:
    """Not fewer detections."""
    data = pack(np.ones((2, 6), np.float32), 100, 100, 0)

    with pytest.raises(MediaError, match="damaged"):
        list(unpack(data[:-1], 100, 100))


def test_old_detections_go(tmp_path: Path) -> None:
    """By their age in days."""
    path = tmp_path / "detections.db"
    log = DetectionLog(path, FixedClock(), keep_days=1)
    log.add(frame(), START - 2 * 86400 * NS_PER_S)
    log.add(frame(), START)
    log.close()

    assert [f.utc_ns for f in read_frames(path, "gate", 0, FOREVER)] == [START]


def test_while_the_disk_does_not_take_it_the_oldest_is_dropped_and_counted(tmp_path: Path) -> None:
    """Another process holds the file: adding never waits, and what came last is written in the end."""
    path = tmp_path / "detections.db"
    log = DetectionLog(path, FixedClock(), keep_days=1)
    wait_for(lambda: path.exists() and _has_tables(path), "the file")
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")

    for i in range(QUEUE_SECONDS + 10):
        log.add(frame(), START + i * NS_PER_S)
        log.flush()
    assert log.dropped >= 8  # up to two are in the writer's hands
    blocker.execute("ROLLBACK")
    blocker.close()
    log.close(timeout_s=30)

    frames = list(read_frames(path, "gate", 0, FOREVER))
    assert len(frames) + log.dropped == QUEUE_SECONDS + 10
    assert frames[-1].utc_ns == START + (QUEUE_SECONDS + 9) * NS_PER_S


def _has_tables(path: Path) -> bool:
    db = sqlite3.connect(path)
    try:
        return db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'batches'").fetchone()[0] == 1
    finally:
        db.close()


def test_a_file_that_is_no_database_stops_nothing(tmp_path: Path) -> None:
    """Alerts go on; what could not be kept is counted."""
    path = tmp_path / "detections.db"
    path.write_bytes(b"nonsense" * 1000)
    log = DetectionLog(path, SystemClock(), keep_days=1)

    log.add(frame(), START)
    log.close()

    assert log.dropped == 1
    with pytest.raises(MediaError):
        list(read_frames(path, "gate", 0, FOREVER))


def test_a_purge_that_reached_its_bound_goes_on_with_the_next_write(tmp_path: Path) -> None:
    """Else a hundred cameras, a row a second each, would fill the disk whatever `keep_detections_days` says."""
    path = tmp_path / "detections.db"
    old = START - 30 * 86400 * NS_PER_S
    first = DetectionLog(path, FixedClock(), keep_days=100)
    for i in range(PURGE_ROWS + 10):
        first.add(frame(), old - i * 61 * NS_PER_S)
    first.close()

    log = DetectionLog(path, FixedClock(), keep_days=1)
    for i in range(3):
        log.add(frame(), START + i)
        log.flush()
    log.close()

    assert [f.utc_ns for f in read_frames(path, "gate", 0, START)] == []
