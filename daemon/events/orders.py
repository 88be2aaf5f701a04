"""Files that events want from the recorder: ordered when an event opens, repeated until both were reported.

Pure book-keeping: what is pending, as the journal keeps it. A killed events process or recorder finds all of it again.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import msgspec

from ..clock import NS_PER_S
from ..messages import MediaOrder, MediaReady
from .alert_schema import Paths
from .lifecycle import Event

GIVE_UP_S: Final = 900.0  # after an event's end; then its files are reported as never coming
KINDS: Final = ("snapshot", "clip")


class Pending(msgspec.Struct, frozen=True):
    """An order and what is still missing of it."""

    order: MediaOrder
    missing: tuple[str, ...] = KINDS


_encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Pending).decode


class Orders:
    """All pending orders."""

    def __init__(self, pending: Iterable[Pending] = ()) -> None:
        """Begin with what was pending in an earlier life."""
        self._pending = {each.order.event_id: each for each in pending}

    def __len__(self) -> int:
        return len(self._pending)

    def all(self) -> list[MediaOrder]:
        """Return the orders that must be repeated."""
        return [pending.order for pending in self._pending.values()]

    def place(self, event: Event, paths: Paths) -> MediaOrder:
        """Order the files of an event that opened."""
        order = MediaOrder(
            event_id=event.id,
            camera=event.camera,
            start_utc_ns=event.started_utc_ns,
            end_utc_ns=None,
            snapshot_utc_ns=event.moment.utc_ns,
            box=event.relative_box,
            caption=f"{event.label} {event.score:.2f}",
            snapshot_path=paths.snapshot,
            clean_snapshot_path=paths.clean_snapshot,
            clip_path=paths.clip,
        )
        self._pending[event.id] = Pending(order)
        return order

    def finish(self, event_id: str, end_utc_ns: int) -> MediaOrder | None:
        """Tell how long the clip must be; None when nothing is pending."""
        if (pending := self._pending.get(event_id)) is None:
            return None
        order = msgspec.structs.replace(pending.order, end_utc_ns=end_utc_ns)
        self._pending[event_id] = msgspec.structs.replace(pending, order=order)
        return order

    def take(self, ready: MediaReady) -> bool:
        """Note that a file was reported; return False when that is no news."""
        pending = self._pending.get(ready.event_id)
        if pending is None or ready.kind not in pending.missing:
            return False
        missing = tuple(kind for kind in pending.missing if kind != ready.kind)
        self._pending[ready.event_id] = msgspec.structs.replace(pending, missing=missing)
        if not missing:
            del self._pending[ready.event_id]
        return True

    def overdue(self, utc_ns: int) -> list[MediaReady]:
        """Return a report of failure for every file that should long have come; it is to be taken like any other."""
        return [
            MediaReady(
                event_id=pending.order.event_id,
                camera=pending.order.camera,
                kind="snapshot" if kind == "snapshot" else "clip",
                path=pending.order.snapshot_path if kind == "snapshot" else pending.order.clip_path,
                error=f"the recorder did not answer within {GIVE_UP_S:.0f} s",
            )
            for pending in self._pending.values()
            if pending.order.end_utc_ns is not None and utc_ns - pending.order.end_utc_ns > GIVE_UP_S * NS_PER_S
            for kind in pending.missing
        ]

    def stored(self, event_id: str) -> bytes | None:
        """Return what the journal is to keep about an event's order, for `decode`; None when nothing is pending."""
        pending = self._pending.get(event_id)
        return None if pending is None else _encode(pending)


def paths_of(camera: str, event_id: str, utc_ns: int) -> Paths:
    """Return where the files of an event lie, by the UTC day on which it began."""
    day = datetime.fromtimestamp(utc_ns // NS_PER_S, UTC)
    stem = f"media/{camera}/{day:%Y/%m/%d}/{event_id}"
    return Paths(f"{stem}.jpg", f"{stem}.clean.jpg", f"{stem}.mp4")
