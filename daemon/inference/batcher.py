"""Which frames share the next run: pure decisions, no socket and no clock.

A mailbox of depth one a camera, where the newest frame wins; the longest waiting first; a batch starts when it is full
or its oldest frame has waited `max_wait_ns`. Never waits for a camera: cameras pause for half a second around key
frames.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Generic, TypeVar

P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class Waiting(Generic[P]):
    """A frame in its camera's mailbox; `payload` is the caller's."""

    camera: str
    captured_ns: int
    queued_ns: int
    payload: P


def buckets_up_to(max_batch: int) -> tuple[int, ...]:
    """Return the batch sizes to warm: powers of two up to `max_batch`, and itself."""
    powers = [1 << n for n in range(max_batch.bit_length()) if 1 << n < max_batch]
    return (*powers, max_batch)


def bucket_for(count: int, buckets: tuple[int, ...]) -> int:
    """Return the smallest bucket that holds `count` frames."""
    return buckets[bisect_left(buckets, count)]


class Batcher(Generic[P]):
    """The mailboxes of all cameras."""

    def __init__(self, *, max_batch: int, max_wait_ns: int, max_age_ns: int) -> None:
        self._max_batch = max_batch
        self._max_wait_ns = max_wait_ns
        self._max_age_ns = max_age_ns
        self._boxes: dict[str, Waiting[P]] = {}

    def put(self, frame: Waiting[P]) -> Waiting[P] | None:
        """Take a frame in; return the older one of its camera that it pushes out."""
        # Popped first so that the newcomer stands last: dict order is the order of waiting.
        pushed_out = self._boxes.pop(frame.camera, None)
        self._boxes[frame.camera] = frame
        return pushed_out

    def forget(self, camera: str) -> Waiting[P] | None:
        """Empty a camera's mailbox, for its reader began anew."""
        return self._boxes.pop(camera, None)

    def take_stale(self, now_ns: int) -> list[Waiting[P]]:
        """Remove and return the frames that are too old to be worth a run."""
        stale = [frame for frame in self._boxes.values() if now_ns - frame.captured_ns > self._max_age_ns]
        for frame in stale:
            del self._boxes[frame.camera]
        return stale

    def take(self, now_ns: int) -> list[Waiting[P]]:
        """Remove and return the next batch, longest waiting first; empty while it is better to wait."""
        if self.wait_ns(now_ns) != 0:
            return []
        batch = list(self._boxes.values())[: self._max_batch]
        for frame in batch:
            del self._boxes[frame.camera]
        return batch

    def wait_ns(self, now_ns: int) -> int | None:
        """Return after how long a batch is due: 0 now, None when nothing waits."""
        if not self._boxes:
            return None
        if len(self._boxes) >= self._max_batch:
            return 0
        oldest = next(iter(self._boxes.values()))
        return max(0, oldest.queued_ns + self._max_wait_ns - now_ns)
