"""What goes, in which order, and what never does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from daemon.config.settings import Camera, Recording, Settings
from daemon.config.settings import Retention as Limits
from daemon.recording.recording_index import Kind, MediaFile, RecordingIndex
from daemon.recording.retention import MAX_DELETIONS, NS_PER_DAY, Retention

GB = 10**9
NOW_NS = 100 * NS_PER_DAY


class Disk:
    """A disk whose free room follows what the index holds."""

    def __init__(self, index: RecordingIndex, size_gb: float) -> None:
        self.index = index
        self.size_gb = size_gb

    def free_bytes(self) -> int:
        return int(self.size_gb * GB) - sum(size for size, _ in self.index.totals().values())


def settings(keep_days: float = 14, max_gb: float = 1000, min_free_gb: float = 0) -> Settings:
    recording = Recording(retention=Limits(keep_days=keep_days, max_gb=max_gb), min_free_gb=min_free_gb)
    own = Recording(retention=Limits(keep_days=1, max_gb=1000), min_free_gb=min_free_gb)
    return Settings(recording=recording, cameras={"gate": Camera(url=""), "lab": Camera(url="", recording=own)})


@pytest.fixture
def index(tmp_path: Path) -> Iterator[RecordingIndex]:
    opened = RecordingIndex(tmp_path)
    yield opened
    opened.close()


def add(index: RecordingIndex, name: str, day: float, **changes: object) -> None:
    """Add a file of 1 GB (in the index) that ended on `day`."""
    kind = next(kind for kind in get_args(Kind) if kind[1] == name[1])
    values: dict[str, object] = {"camera": "gate", "complete": True, "pinned": False, **changes}
    path = index.state_dir / str(values["camera"]) / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x")
    utc_ns = int(day * NS_PER_DAY)
    relative = str(path.relative_to(index.state_dir))
    index.put(
        MediaFile(path=relative, kind=kind, start_utc_ns=utc_ns, end_utc_ns=utc_ns, size_bytes=GB, codec="", **values)
    )  # type: ignore[arg-type]


def left(index: RecordingIndex) -> list[str]:
    """Names of what is left, in index and on disk alike."""
    names = sorted(Path(row.path).name for row in index.all())
    assert names == sorted(path.name for path in index.state_dir.glob("*/*"))
    return names


def test_age_takes_everything_that_is_too_old_and_not_pinned(index: RecordingIndex) -> None:
    """Each camera by its own limit; cameras that are no longer configured by the common one."""
    for name, day in (("segment-a", 80), ("clip-b", 85.9), ("snapshot-c", 70), ("segment-d", 86.1)):
        add(index, name, day)
    add(index, "segment-pinned", 10, pinned=True)
    add(index, "segment-open", 10, complete=False)
    add(index, "segment-lab", 98, camera="lab")
    add(index, "segment-former", 98, camera="former")

    outcome = Retention(index, lambda: 10**15).enforce(settings(), NOW_NS)

    assert left(index) == ["segment-d", "segment-former", "segment-open", "segment-pinned"]
    assert {reason for _, reason in outcome.deleted} == {"age"}
    assert not outcome.disk_full


def test_bytes_take_the_oldest_segments_first_and_clips_only_after_them(index: RecordingIndex) -> None:
    """Evidence that an alert points to outlives the endless recording around it."""
    for name, day in (("clip-old", 90), ("segment-1", 91), ("segment-2", 92), ("segment-3", 93)):
        add(index, name, day)
    retention = Retention(index, lambda: 10**15)

    retention.enforce(settings(max_gb=3), NOW_NS)
    assert left(index) == ["clip-old", "segment-2", "segment-3"]

    retention.enforce(settings(max_gb=0.5), NOW_NS)
    assert left(index) == []


def test_a_full_disk_takes_the_oldest_segments_of_all_cameras_then_stops_recording(index: RecordingIndex) -> None:
    """Clips and pinned files stay; recording goes on only with some room above the minimum."""
    for name, day, camera in (("segment-1", 91, "gate"), ("segment-2", 92, "former"), ("segment-3", 93, "gate")):
        add(index, name, day, camera=camera)
    add(index, "clip-a", 90)
    add(index, "segment-pinned", 89, pinned=True)
    disk = Disk(index, 7)
    retention = Retention(index, disk.free_bytes)

    outcome = retention.enforce(settings(min_free_gb=4), NOW_NS)
    assert left(index) == ["clip-a", "segment-3", "segment-pinned"]
    assert not outcome.disk_full

    disk.size_gb = 4
    assert retention.enforce(settings(min_free_gb=4), NOW_NS).disk_full
    assert left(index) == ["clip-a", "segment-pinned"]

    disk.size_gb = 6.1
    assert retention.enforce(settings(min_free_gb=4), NOW_NS).disk_full
    disk.size_gb = 6.3
    assert not retention.enforce(settings(min_free_gb=4), NOW_NS).disk_full


def test_a_call_deletes_a_bounded_number_and_says_that_there_is_more(index: RecordingIndex) -> None:
    """The recorder's heartbeat goes on between calls."""
    for number in range(MAX_DELETIONS + 5):
        add(index, f"segment-{number}", 10)
    retention = Retention(index, lambda: 10**15)

    first = retention.enforce(settings(), NOW_NS)
    second = retention.enforce(settings(), NOW_NS)

    assert (len(first.deleted), first.more) == (MAX_DELETIONS, True)
    assert (len(second.deleted), second.more) == (5, False)
    assert left(index) == []


def test_empty_day_folders_go_with_their_last_file(index: RecordingIndex) -> None:
    """Years of empty folders would slow every look at the tree."""
    add(index, "segment-a", 10)

    Retention(index, lambda: 10**15).enforce(settings(), NOW_NS)

    assert not (index.state_dir / "gate").exists()


def test_a_file_that_is_gone_already_only_leaves_the_index(index: RecordingIndex) -> None:
    """Somebody deleted it by hand."""
    add(index, "segment-a", 10)
    (index.state_dir / "gate" / "segment-a").unlink()

    outcome = Retention(index, lambda: 10**15).enforce(settings(), NOW_NS)

    assert len(outcome.deleted) == 1
    assert index.all() == []


def test_the_index_is_summed_up_once_however_many_cameras_there_are(tmp_path: Path) -> None:
    """A sum a camera took 11 s with 100 cameras of 2,000 segments, in the recorder's loop; one takes 0.1 s."""
    sums = []

    class Counted(RecordingIndex):
        def totals(self) -> dict[str, tuple[int, int]]:
            sums.append(1)
            return super().totals()

    counted = Counted(tmp_path)
    for number in range(5):
        for name in ("segment-a", "segment-b", "segment-c"):
            add(counted, name, 99, camera=f"c{number}")

    outcome = Retention(counted, lambda: 10**15).enforce(settings(max_gb=2), NOW_NS)

    assert len(sums) == 1
    assert sorted(file.camera for file, _ in outcome.deleted) == [f"c{number}" for number in range(5)]
    counted.close()
