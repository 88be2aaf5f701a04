"""Lets recordings go in the declared order: by age, by bytes of their camera, then for room on the disk.

Age takes everything that is not pinned; bytes take segments first, then clips and snapshots; room on the disk takes
segments of all cameras, oldest first. Pinned files and the segment being written are never touched. When nothing is
left to take and the disk is still too full, recording stops and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from ..config.settings import Recording, Settings
from ..errors import MediaError
from .recording_index import Kind, MediaFile, RecordingIndex

Reason = Literal["age", "bytes", "disk"]
NS_PER_DAY: Final = 86_400 * 10**9
BYTES_PER_GB: Final = 10**9
MAX_DELETIONS: Final = 100  # a call; the heartbeat must go on, and the next call comes soon
RESUME_FACTOR: Final = 1.05  # of the minimum: recording must not flutter around it
_ALL: Final[tuple[Kind, ...]] = ("segment", "clip", "snapshot")


@dataclass
class Outcome:
    """What a call did; `disk_full` says that recording must stop."""

    deleted: list[tuple[MediaFile, Reason]] = field(default_factory=list)
    disk_full: bool = False

    @property
    def more(self) -> bool:
        """Tell whether the bound of a call was reached, so that another must follow."""
        return len(self.deleted) >= MAX_DELETIONS


class Retention:
    """Applies the limits of the settings; `free_bytes` says how much room the disk has."""

    def __init__(self, index: RecordingIndex, free_bytes: Callable[[], int]) -> None:
        self._index = index
        self._free_bytes = free_bytes
        self._was_full = False

    def enforce(self, settings: Settings, utc_ns: int) -> Outcome:
        """Delete what must go now.

        Raises MediaError when a file cannot be deleted or the index fails.
        """
        outcome = Outcome()
        # Read once: it walks the whole index, and there may be a hundred cameras.
        for camera, (size_bytes, _) in self._index.totals().items():
            recording = settings.recording_of(camera) if camera in settings.cameras else settings.recording
            aged_bytes = self._by_age(camera, recording, utc_ns, outcome)
            self._by_bytes(camera, recording, size_bytes - aged_bytes, outcome)
        self._by_disk(settings.recording.min_free_gb, outcome)
        return outcome

    def _by_age(self, camera: str, recording: Recording, utc_ns: int, outcome: Outcome) -> int:
        """Delete what is too old; return its bytes."""
        deleted_bytes = 0
        limit_utc_ns = utc_ns - int(recording.retention.keep_days * NS_PER_DAY)
        for file in self._index.oldest(_ALL, camera, limit=MAX_DELETIONS):
            if file.end_utc_ns >= limit_utc_ns or outcome.more:
                break
            self._delete(file, "age", outcome)
            deleted_bytes += file.size_bytes
        return deleted_bytes

    def _by_bytes(self, camera: str, recording: Recording, size_bytes: int, outcome: Outcome) -> None:
        limit_bytes = int(recording.retention.max_gb * BYTES_PER_GB)
        kinds: tuple[Kind, ...]
        for kinds in (("segment",), ("clip", "snapshot")):
            for file in self._index.oldest(kinds, camera, limit=MAX_DELETIONS):
                if size_bytes <= limit_bytes or outcome.more:
                    return
                self._delete(file, "bytes", outcome)
                size_bytes -= file.size_bytes

    def _by_disk(self, min_free_gb: float, outcome: Outcome) -> None:
        wanted_bytes = int(min_free_gb * BYTES_PER_GB * (RESUME_FACTOR if self._was_full else 1.0))
        for file in self._index.oldest(("segment",), limit=MAX_DELETIONS):
            if self._free_bytes() >= wanted_bytes or outcome.more:
                break
            self._delete(file, "disk", outcome)
        outcome.disk_full = not outcome.more and self._free_bytes() < wanted_bytes
        self._was_full = outcome.disk_full

    def _delete(self, file: MediaFile, reason: Reason, outcome: Outcome) -> None:
        path = self._index.state_dir / file.path
        try:
            path.unlink(missing_ok=True)
        except OSError as exc:
            raise MediaError(f"{path} cannot be deleted: {exc}") from exc
        self._index.remove(file.path)
        outcome.deleted.append((file, reason))
        _remove_empty_folders(path.parent, self._index.state_dir)


def _remove_empty_folders(folder: Path, stop: Path) -> None:
    with suppress(OSError):  # not empty, as most of the time
        while folder != stop:
            folder.rmdir()
            folder = folder.parent
