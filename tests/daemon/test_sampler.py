"""Which frames are chosen, with times as numbers."""

import pytest

from daemon.camera.sampler import Sampler
from daemon.clock import NS_PER_MS, NS_PER_S


def chosen(fps: float, times_ms: list[float]) -> int:
    sampler = Sampler(fps)
    return sum(sampler.wants(int(time_ms * NS_PER_MS)) for time_ms in times_ms)


@pytest.mark.parametrize(
    ("fps", "stream_fps", "expected"),
    [(5, 25, 50), (10, 25, 100), (25, 25, 250), (120, 25, 250), (7, 25, 70), (0.5, 25, 5), (5, 5, 50), (1, 0.5, 5)],
)
def test_ten_seconds_give_as_many_frames_as_asked(fps: float, stream_fps: float, expected: int) -> None:
    """Also where the rates do not divide; a slow stream is taken whole."""
    times_ms = [1000 * index / stream_fps for index in range(int(10 * stream_fps))]

    assert abs(chosen(fps, times_ms) - expected) <= 1


def test_jitter_of_arrival_loses_no_frame() -> None:
    """Frames of a 10 fps camera that come 20 ms early and late are all taken at 10 fps."""
    assert chosen(10, [100 * index + (20 if index % 2 else -20) for index in range(1, 101)]) >= 99


def test_a_burst_after_a_pause_is_not_taken_whole() -> None:
    """A camera that hung for a second and then delivers all at once gives one frame, not five."""
    times_ms = [0, 200, 400, *[1400 + index for index in range(25)]]

    assert chosen(5, times_ms) == 4


def test_the_first_frame_is_always_wanted() -> None:
    """Whatever the clock says."""
    assert Sampler(1).wants(123 * NS_PER_S)
