"""Health: levels in, edges out, each once."""

import pytest

from daemon.events.health_edges import DETECTOR, DOWN, UP, edges, forgotten
from daemon.messages import CameraHealth, CameraState, HealthReport, RecordingLevel


def report(*cameras: tuple[str, bool, CameraState], detector_up: bool = True) -> HealthReport:
    return HealthReport(
        cameras=tuple(
            CameraHealth(camera=name, up=up, state=state, reason="timeout", since_utc_ns=10**18)
            for name, up, state in cameras
        ),
        detector_up=detector_up,
        detector_reason="",
        detector_since_utc_ns=10**18,
    )


@pytest.mark.parametrize(
    ("told", "up", "state", "kinds"),
    [
        ({}, True, "seen", ["camera.up"]),
        ({}, True, "detector_down", ["camera.up"]),
        ({}, False, "no_signal", ["camera.down"]),
        ({"camera.gate": UP}, True, "seen", []),
        ({"camera.gate": UP}, True, "frozen", []),
        ({"camera.gate": UP}, False, "frozen", ["camera.down"]),
        ({"camera.gate": DOWN}, False, "no_signal", []),
        ({"camera.gate": DOWN}, True, "seen", ["camera.up"]),
        ({"camera.gate": UP}, False, "disabled", []),
    ],
)
def test_a_camera_is_told_of_when_it_changes(told: dict, up: bool, state: CameraState, kinds: list[str]) -> None:
    """Compared with what was told last, not with the last report."""
    found = edges(report(("gate", up, state)), told | {DETECTOR: UP}, 0)

    assert [edge.message.kind for edge in found] == kinds


@pytest.mark.parametrize(
    ("told", "level", "kinds", "left"),
    [
        (None, "up", [], []),
        (None, "", [], []),
        (None, "down", ["recording.down"], []),
        (DOWN, "down", [], []),
        (DOWN, "", [], []),
        (DOWN, "up", ["recording.up"], []),
        (UP, "down", ["recording.down"], []),
        (DOWN, "off", [], ["recording.gate"]),
    ],
)
def test_a_recording_is_told_of_when_it_fails_and_when_it_works_again(
    told: bytes | None, level: RecordingLevel, kinds: list[str], left: list[str]
) -> None:
    """That it works is news only after it did not; one that is switched off begins anew."""
    before = {"camera.gate": UP, DETECTOR: UP} | ({"recording.gate": told} if told else {})
    gate = CameraHealth(
        camera="gate",
        up=True,
        state="seen",
        reason="",
        since_utc_ns=10**18,
        recording=level,
        recording_reason="timeout",
        recording_since_utc_ns=10**18,
    )
    now = HealthReport(cameras=(gate,), detector_up=True, detector_reason="", detector_since_utc_ns=0)

    found = edges(now, before, 0)

    assert [edge.message.kind for edge in found] == kinds
    assert [(edge.subject, edge.level) for edge in found] == [("recording.gate", level.encode()) for _ in kinds]
    assert [edge.message.severity for edge in found] == ["critical" if k.endswith("down") else "info" for k in kinds]
    assert forgotten(now, before) == left


@pytest.mark.parametrize(
    ("told", "up", "kinds"),
    [({}, True, ["detector.up"]), ({DETECTOR: UP}, False, ["detector.down"]), ({DETECTOR: DOWN}, False, [])],
)
def test_the_detector_is_told_of_when_it_changes(told: dict, up: bool, kinds: list[str]) -> None:
    """Without a detector nothing is seen, which is critical."""
    found = edges(report(detector_up=up), told, 0)

    assert [edge.message.kind for edge in found] == kinds
    assert [edge.message.severity for edge in found] == ["critical" if k.endswith("down") else "info" for k in kinds]


def test_a_camera_that_is_gone_or_switched_off_begins_anew() -> None:
    """Other subjects of health stay."""
    told = {"camera.gate": DOWN, "camera.yard": UP, "camera.old": UP, DETECTOR: UP, "rule.unknown_label": b"x"}
    told |= {"recording.gate": DOWN}

    assert forgotten(report(("gate", True, "seen"), ("yard", False, "disabled")), told) == ["camera.yard", "camera.old"]
