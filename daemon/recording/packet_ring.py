"""The pre-roll: a camera's latest packets in memory, bounded in seconds and in bytes, always whole GOPs.

Pure. A GOP that alone exceeds the bound in bytes is given up as a whole, for its rest cannot be decoded without its
beginning.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from .timeline import TimedPacket


@dataclass(slots=True)
class _Gop:
    """A key frame and everything up to the next one, audio included."""

    packets: list[TimedPacket] = field(default_factory=list)
    size_bytes: int = 0


class PacketRing:
    """Packets from a key frame on; covers at least `span_ns` of arrival time when `max_bytes` allows."""

    def __init__(self, span_ns: int, max_bytes: int) -> None:
        self.span_ns = span_ns
        self.size_bytes = 0
        self._max_bytes = max_bytes
        self._gops: deque[_Gop] = deque()

    def append(self, packet: TimedPacket) -> int:
        """Take a packet; return how many were dropped for want of bytes (0 unless a GOP does not fit)."""
        if packet.is_video and packet.is_keyframe:
            self._gops.append(_Gop())
        elif not self._gops:
            return 1
        gop = self._gops[-1]
        gop.packets.append(packet)
        gop.size_bytes += len(packet.data)
        self.size_bytes += len(packet.data)
        while len(self._gops) > 1 and self._gops[1].packets[0].utc_ns <= packet.utc_ns - self.span_ns:
            self._drop_oldest()
        dropped = 0
        while self.size_bytes > self._max_bytes:
            dropped += self._drop_oldest()
        return dropped

    def since(self, utc_ns: int) -> list[TimedPacket]:
        """Return all packets from the key frame at or before `utc_ns` on; from the oldest one when none is so old."""
        start = 0
        for index, gop in enumerate(self._gops):
            if gop.packets[0].utc_ns <= utc_ns:
                start = index
        return [packet for gop in list(self._gops)[start:] for packet in gop.packets]

    def time_at(self, utc_ns: int) -> int:
        """Return the stream time of the packet that `since` would begin with; 0 when the ring is empty."""
        times = [gop.packets[0].time_ns for gop in self._gops if gop.packets[0].utc_ns <= utc_ns]
        oldest = self._gops[0].packets[0].time_ns if self._gops else 0
        return times[-1] if times else oldest

    def covers(self, utc_ns: int) -> bool:
        """Tell whether a video packet of this instant lies in the ring, between its oldest and its newest."""
        oldest, newest = self.oldest_utc_ns, self.newest_utc_ns
        return oldest is not None and newest is not None and oldest <= utc_ns <= newest

    @property
    def oldest_utc_ns(self) -> int | None:
        """Arrival of the oldest packet, a key frame; None when the ring is empty."""
        return self._gops[0].packets[0].utc_ns if self._gops else None

    @property
    def newest_utc_ns(self) -> int | None:
        """Arrival of the newest video packet; None when the ring is empty."""
        for gop in reversed(self._gops):
            for packet in reversed(gop.packets):
                if packet.is_video:
                    return packet.utc_ns
        return None

    def clear(self) -> None:
        """Forget everything: the connection is another one."""
        self._gops.clear()
        self.size_bytes = 0

    def _drop_oldest(self) -> int:
        gop = self._gops.popleft()
        self.size_bytes -= gop.size_bytes
        return len(gop.packets)
