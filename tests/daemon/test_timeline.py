"""Time stamps as cameras really send them."""

from __future__ import annotations

import pytest

from daemon.clock import NS_PER_S
from daemon.messages import Packet
from daemon.recording.timeline import Timeline, ns_to_ticks, ticks_to_ns

MS = (1, 1000)


def packet(dts: int, pts: int | None = None, *, stream_index: int = 0, duration: int = 40) -> Packet:
    return Packet(
        camera="gate",
        stream_id=1,
        stream_index=stream_index,
        data=b"",
        pts=dts if pts is None else pts,
        dts=dts,
        duration=duration,
        time_base=MS,
        is_keyframe=False,
        received_ns=0,
    )


@pytest.mark.parametrize(
    ("stamps", "healed", "counted"),
    [
        ([0, 40, 80], [0, 40, 80], {}),
        ([0, 40, 40, 80], [0, 40, 41, 80], {"dts_repeated": 1}),
        ([0, 40, 30, 80], [0, 40, 41, 80], {"dts_repeated": 1}),
        ([5000, 5040, 0, 40], [5000, 5040, 5080, 5120], {"dts_jump": 1}),
        ([0, 40, 90_000, 90_040], [0, 40, 80, 120], {"dts_jump": 1}),
    ],
    ids=["sound", "repeated", "shuffled", "clock set back", "clock set forward"],
)
def test_decode_times_only_grow(stamps: list[int], healed: list[int], counted: dict[str, int]) -> None:
    """A repeated stamp moves its packet by a tick; a clock that was set moves everything after it."""
    timeline = Timeline(0)

    placed = [timeline.place(packet(dts), number * NS_PER_S // 25) for number, dts in enumerate(stamps)]

    assert [each.dts for each in placed] == healed
    assert [each.pts for each in placed] == healed
    assert timeline.drain_healed() == counted
    assert timeline.drain_healed() == {}


def test_a_pause_that_the_wall_clock_saw_as_well_is_no_jump() -> None:
    """A camera that was silent for a minute has a minute's gap in its file."""
    timeline = Timeline(0)
    timeline.place(packet(0), 0)

    assert timeline.place(packet(60_000), 60 * NS_PER_S).dts == 60_000


def test_a_picture_is_never_shown_before_it_is_decoded() -> None:
    """A pts before its dts is what no muxer takes."""
    timeline = Timeline(0)

    assert timeline.place(packet(40, 20), 0).pts == 40
    assert timeline.drain_healed() == {"pts_before_dts": 1}


def test_streams_are_healed_each_by_itself() -> None:
    """Sound with an own start does not look like a jump of the picture."""
    timeline = Timeline(1)

    sound = timeline.place(packet(700_000, stream_index=0), 0)
    picture = timeline.place(packet(0, stream_index=1), 0)

    assert (sound.is_video, picture.is_video) == (False, True)
    assert (sound.time_ns, picture.time_ns) == (700 * NS_PER_S, 0)
    assert timeline.drain_healed() == {}


@pytest.mark.parametrize("time_base", [(1, 90_000), (1, 12_800), (1, 16_000), (1001, 30_000)])
def test_ticks_survive_the_way_through_nanoseconds(time_base: tuple[int, int]) -> None:
    """Segments join to the tick only if no rounding is left over."""
    for ticks in (0, 1, 7, 12_345, 10**9 + 1):
        assert ns_to_ticks(ticks_to_ns(ticks, time_base), time_base) == ticks
