"""One state for every moment, as a table."""

import pytest

from daemon.camera.camera_state import Sight, state_of
from daemon.clock import NS_PER_S

NOW = 100
GOOD = {"connected": True, "connected_ns": 10, "packet_ns": NOW, "frame_ns": NOW, "welcomed": True, "looked_at_ns": NOW}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ("seen", "")),
        ({"connected": False}, ("no_signal", "")),
        ({"connected": False, "reason": "auth"}, ("no_signal", "auth")),
        ({"connected": False, "reason": "decode"}, ("decode_error", "decode")),
        ({"connected": False, "reason": "no_keyframe"}, ("decode_error", "no_keyframe")),
        ({"frame_ns": NOW - 3, "packet_ns": NOW - 3}, ("no_signal", "timeout")),
        ({"frame_ns": NOW - 3}, ("decode_error", "decode")),
        ({"frame_ns": NOW - 1}, ("seen", "")),
        ({"connected_ns": NOW - 1, "frame_ns": 0}, ("seen", "")),
        ({"welcomed": False}, ("detector_down", "")),
        ({"oldest_in_flight_ns": NOW - 3}, ("detector_down", "")),
        ({"oldest_in_flight_ns": NOW - 1}, ("seen", "")),
        ({"shed_ns": NOW, "looked_at_ns": NOW - 5}, ("dropped", "")),
        ({"shed_ns": NOW, "looked_at_ns": NOW - 1}, ("seen", "")),
        # No frame was due: nothing was dropped either.
        ({"looked_at_ns": NOW - 50}, ("seen", "")),
    ],
)
def test_every_moment_has_one_state(changes: dict[str, object], expected: tuple[str, str]) -> None:
    """Seconds of the table become nanoseconds here."""
    values = GOOD | changes
    sight = Sight(**{key: value * NS_PER_S if key.endswith("_ns") else value for key, value in values.items()})

    assert state_of(sight, NOW * NS_PER_S, 5.0) == expected


def test_a_camera_that_is_looked_at_once_in_ten_seconds_is_not_dropped_after_two() -> None:
    """Patience is three of its own intervals."""
    sight = Sight(**{k: v * NS_PER_S if k.endswith("_ns") else v for k, v in GOOD.items()})
    sight.shed_ns, sight.looked_at_ns = NOW * NS_PER_S, (NOW - 12) * NS_PER_S

    assert state_of(sight, NOW * NS_PER_S, 0.1)[0] == "seen"
    assert state_of(sight, NOW * NS_PER_S, 5.0)[0] == "dropped"
