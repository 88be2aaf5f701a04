"""The orders for clips and snapshots that the recorder knows: what they want recorded, and what was answered.

Pure. An order is a lease: events repeats it every second, and one that is not renewed no longer keeps a camera
recording, for whoever sent it may be dead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from ..clock import NS_PER_S
from ..messages import MediaOrder, MediaReady

Kind = Literal["snapshot", "clip"]
LEASE_NS: Final = 10 * NS_PER_S
FORGET_NS: Final = 180 * NS_PER_S  # over the longest post-roll, so a clip is cut even when events died meanwhile
NEW_NS: Final = NS_PER_S
PATIENCE_NS: Final = 5 * NS_PER_S  # how long packets that should be there are waited for
MAX_ORDERS: Final = 2000


@dataclass(slots=True)
class Entry:
    """One event's order and how far it is."""

    order: MediaOrder
    first_ns: int
    renewed_ns: int
    begun: set[Kind] = field(default_factory=set)
    answers: dict[Kind, MediaReady] = field(default_factory=dict)

    def wants(self, kind: Kind) -> bool:
        """Tell whether this file has yet to be begun."""
        return kind not in self.begun and kind not in self.answers


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a camera's recording is."""

    camera: str
    pre_roll_ns: int
    post_roll_ns: int
    written_utc_ns: int  # arrival of the last packet written; 0 when there was none
    utc_ns: int
    now_ns: int


class OrderBook:
    """All orders, by event."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def get(self, event_id: str) -> Entry | None:
        """Return an event's entry."""
        return self._entries.get(event_id)

    def take(self, order: MediaOrder, now_ns: int) -> Entry | None:
        """Enter or renew an order; None when the book is full, so that a later repetition must do."""
        entry = self._entries.get(order.event_id)
        if entry is None:
            if len(self._entries) >= MAX_ORDERS:
                return None
            entry = self._entries[order.event_id] = Entry(order, now_ns, now_ns)
        entry.order = order
        entry.renewed_ns = now_ns
        return entry

    def record_from(self, progress: Progress) -> int | None:
        """Return since when a camera must be recorded for events; None when nothing asks for it."""
        starts = [
            entry.order.start_utc_ns - progress.pre_roll_ns
            for entry in self._entries.values()
            if entry.order.camera == progress.camera and _goes_on(entry, progress)
        ]
        return min(starts, default=None)

    def forget_old(self, now_ns: int) -> None:
        """Forget orders that have not been renewed for long."""
        old = [event_id for event_id, entry in self._entries.items() if now_ns - entry.renewed_ns > FORGET_NS]
        for event_id in old:
            del self._entries[event_id]


def _goes_on(entry: Entry, progress: Progress) -> bool:
    if not entry.wants("clip"):
        return False
    end_utc_ns = entry.order.end_utc_ns
    if end_utc_ns is None:
        return progress.now_ns - entry.renewed_ns < LEASE_NS
    if progress.now_ns - entry.first_ns < NEW_NS:
        return True  # the event may be over and yet lie in the pre-roll only
    to_utc_ns = end_utc_ns + progress.post_roll_ns
    return progress.written_utc_ns <= to_utc_ns and progress.utc_ns <= to_utc_ns + PATIENCE_NS
