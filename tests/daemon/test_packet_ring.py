"""The pre-roll in memory: whole GOPs, bounded twice."""

from __future__ import annotations

import pytest

from daemon.clock import NS_PER_S
from daemon.recording.packet_ring import PacketRing
from daemon.recording.timeline import TimedPacket


def picture(second: float, *, key: bool = False, size: int = 10) -> TimedPacket:
    at_ns = int(second * NS_PER_S)
    return TimedPacket(0, bytes(size), 0, 0, 1, (1, 1), key, True, at_ns, at_ns)


def sound(second: float) -> TimedPacket:
    at_ns = int(second * NS_PER_S)
    return TimedPacket(1, bytes(1), 0, 0, 1, (1, 1), True, False, at_ns, at_ns)


def filled(ring: PacketRing, seconds: int, gop_s: int = 2) -> PacketRing:
    for second in range(seconds):
        ring.append(picture(second, key=second % gop_s == 0))
        ring.append(sound(second + 0.5))
    return ring


def seconds_of(packets: list[TimedPacket]) -> list[float]:
    return [packet.utc_ns / NS_PER_S for packet in packets if packet.is_video]


@pytest.mark.parametrize(
    ("wanted", "first"), [(7, 6), (6, 6), (5.9, 4), (100, 8), (0, 4)], ids=["inside", "at", "before", "late", "too old"]
)
def test_pre_roll_begins_with_the_key_frame_at_or_before_the_wanted_instant(wanted: float, first: float) -> None:
    """Never later than wanted, unless the ring is not that old."""
    ring = filled(PacketRing(4 * NS_PER_S, 10**6), 10)

    packets = ring.since(int(wanted * NS_PER_S))

    assert packets[0].is_keyframe
    assert seconds_of(packets) == list(range(int(first), 10))


def test_the_ring_covers_its_span_and_not_a_gop_more() -> None:
    """Bounded in seconds: the oldest GOP goes when the next one reaches back far enough."""
    ring = filled(PacketRing(4 * NS_PER_S, 10**6), 100)

    assert seconds_of(ring.since(0)) == [94, 95, 96, 97, 98, 99]
    assert ring.covers(94 * NS_PER_S)
    assert not ring.covers(93 * NS_PER_S)
    assert not ring.covers(100 * NS_PER_S)


def test_the_ring_stays_below_its_bytes_by_giving_up_whole_gops() -> None:
    """Bounded in bytes: what is left still begins with a key frame."""
    ring = PacketRing(1000 * NS_PER_S, 50)

    dropped = sum(ring.append(picture(second, key=second % 2 == 0)) for second in range(20))

    assert ring.size_bytes <= 50
    assert seconds_of(ring.since(0)) == [16, 17, 18, 19]
    assert dropped == 16


def test_a_gop_that_is_larger_than_the_ring_is_given_up_until_the_next_key_frame() -> None:
    """The bound holds even for a camera with endless GOPs; the drop is told to the caller."""
    ring = PacketRing(NS_PER_S, 35)

    dropped = [ring.append(picture(second, key=second in (0, 6))) for second in range(8)]

    assert dropped == [0, 0, 0, 4, 1, 1, 0, 0]
    assert seconds_of(ring.since(0)) == [6, 7]


def test_sound_before_the_first_picture_is_not_kept() -> None:
    """A file begins with a key frame."""
    ring = PacketRing(NS_PER_S, 100)

    assert ring.append(sound(0)) == 1
    assert ring.since(0) == []
    assert ring.newest_utc_ns is None
    assert not ring.covers(0)
