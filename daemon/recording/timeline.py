"""Puts a camera's packets on one timeline: decode times that only grow, in spite of what cameras send.

Pure: the UTC time of arrival comes in with the packet. A timeline lives as long as one connection (`stream_id`), so
segments of the same connection join exactly, to the tick.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from ..clock import NS_PER_S
from ..messages import Packet

Healing = Literal["dts_repeated", "dts_jump", "pts_before_dts"]
SMALL_STEP_BACK_NS: Final = NS_PER_S  # less is a repeated or shuffled stamp; more is a clock that was set
JUMP_NS: Final = 10 * NS_PER_S  # ahead of the wall clock by more than this is a clock that was set


@dataclass(frozen=True, slots=True)
class TimedPacket:
    """A compressed packet with healed times; `pts`, `dts` and `duration` in units of `time_base`."""

    stream_index: int
    data: bytes
    pts: int
    dts: int
    duration: int
    time_base: tuple[int, int]
    is_keyframe: bool
    is_video: bool
    time_ns: int  # dts in the stream's own time
    utc_ns: int  # of arrival; read from a file: of the segment's start plus the stream time since

    @property
    def duration_ns(self) -> int:
        """Length of the packet in stream time."""
        return ticks_to_ns(self.duration, self.time_base)


def ticks_to_ns(ticks: int, time_base: tuple[int, int]) -> int:
    """Return `ticks` of `time_base` seconds in nanoseconds."""
    return ticks * time_base[0] * NS_PER_S // time_base[1]


def ns_to_ticks(ns: int, time_base: tuple[int, int]) -> int:
    """Return nanoseconds in ticks of `time_base`, rounded to the nearest."""
    unit = time_base[0] * NS_PER_S
    return (ns * time_base[1] + unit // 2) // unit


@dataclass(slots=True)
class _Last:
    """What one stream of the connection showed last."""

    dts: int
    duration: int
    utc_ns: int
    shift: int = 0  # ticks added to everything since a clock was set


class Timeline:
    """The times of one connection's streams, healed."""

    def __init__(self, video_index: int) -> None:
        self._healed: dict[Healing, int] = {}
        self._video_index = video_index
        self._last: dict[int, _Last] = {}

    def place(self, packet: Packet, utc_ns: int) -> TimedPacket:
        """Return `packet` with a decode time after its predecessor's and a pts that is not before it."""
        last = self._last.get(packet.stream_index)
        shift = last.shift if last else 0
        dts = packet.dts + shift
        if last and _is_jump(packet, dts, last, utc_ns):
            # A clock that was set moves all that follow.
            self._count("dts_jump")
            shift += last.dts + max(last.duration, 1) - dts
            dts = packet.dts + shift
        elif last and dts <= last.dts:
            self._count("dts_repeated")
            dts = last.dts + 1
        if packet.pts < packet.dts:
            self._count("pts_before_dts")
        pts = dts + max(0, packet.pts - packet.dts)
        self._last[packet.stream_index] = _Last(dts, packet.duration, utc_ns, shift)
        return TimedPacket(
            packet.stream_index,
            packet.data,
            pts,
            dts,
            packet.duration,
            packet.time_base,
            packet.is_keyframe,
            packet.stream_index == self._video_index,
            ticks_to_ns(dts, packet.time_base),
            utc_ns,
        )

    def _count(self, kind: Healing) -> None:
        self._healed[kind] = self._healed.get(kind, 0) + 1

    def drain_healed(self) -> dict[Healing, int]:
        """Return how many stamps were healed since the last call, by kind."""
        healed, self._healed = self._healed, {}
        return healed


def _is_jump(packet: Packet, dts: int, last: _Last, utc_ns: int) -> bool:
    step_ns = ticks_to_ns(dts - last.dts, packet.time_base)
    return step_ns < -SMALL_STEP_BACK_NS or step_ns > utc_ns - last.utc_ns + JUMP_NS
