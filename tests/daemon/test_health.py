"""Health in simulated time: states, edges that do not flap, and seconds that add up."""

from typing import Any

import msgspec
import pytest

from daemon.clock import NS_PER_S
from daemon.config.settings import Settings
from daemon.messages import CameraState, CameraStatus, HealthReport
from daemon.supervision.health import CAMERA_GRACE_S, DETECTOR_GRACE_S, DetectorNow, Health

UTC_NS = 1_700_000_000 * NS_PER_S
ALIVE, DEAD = DetectorNow(alive=True, reason=""), DetectorNow(alive=False, reason="killed")


def status(state: CameraState = "seen", reason: str = "") -> CameraStatus:
    """Return what a reader says."""
    return CameraStatus(camera="gate", state=state, reason=reason, since_utc_ns=0)


SEEN = status()


class World:
    """One camera, `gate`, a second at a time; whatever is not said differently is well."""

    def __init__(self, **camera: Any) -> None:
        self.settings = Settings.model_validate({"cameras": {"gate": {"url": "x", **camera}}})
        self.now_s = 0
        self.health = Health(self.settings, 0, UTC_NS)

    def live(self, seconds: int, said: CameraStatus | None = SEEN, detector: DetectorNow = ALIVE) -> None:
        """Let seconds go by in which the reader says this."""
        for _ in range(seconds):
            self.now_s += 1
            now_ns = self.now_s * NS_PER_S
            self.health.tick(now_ns, UTC_NS + now_ns, detector, {"gate": said} if said else {})

    @property
    def state(self) -> str:
        """Return the camera's state and its reason."""
        state, reason, _, _ = self.health.state("gate")
        return f"{state}: {reason}" if reason else state

    @property
    def up(self) -> bool | None:
        """Return whether the camera is up."""
        return self.health.state("gate")[3]

    def report(self) -> HealthReport:
        """Return the report, which must be there."""
        report = self.health.report()
        assert report is not None
        return report


@pytest.mark.parametrize(
    ("said", "detector", "expected"),
    [
        (SEEN, ALIVE, "seen"),
        (status("no_signal", "auth"), ALIVE, "no_signal: auth"),
        (status("decode_error", "decode"), ALIVE, "decode_error: decode"),
        (status("frozen"), ALIVE, "frozen"),
        (status("dropped"), ALIVE, "dropped"),
        (status("detector_down"), ALIVE, "detector_down"),
        (None, ALIVE, "no_signal: reader_away"),
        (SEEN, DEAD, "detector_down: killed"),
        (status("dropped"), DEAD, "detector_down: killed"),
        (status("no_signal", "timeout"), DEAD, "no_signal: timeout"),
    ],
)
def test_a_camera_is_in_one_state(said: CameraStatus | None, detector: DetectorNow, expected: str) -> None:
    """What the reader says of its stream comes first, then whether there is a detector."""
    world = World()
    world.live(5)

    world.live(5, said, detector)

    assert world.state == expected


def test_every_second_goes_to_exactly_one_state() -> None:
    """The seconds of all states add up to the time that has passed."""
    world = World()

    world.live(10)
    world.live(7, status("no_signal", "timeout"))
    world.live(4, detector=DEAD)
    world.live(20)

    seconds = world.health.seconds("gate")
    assert sum(seconds.values()) == 41
    assert seconds["no_signal"] == 1 + 7  # the first second is the one before the first word of the reader
    assert seconds["detector_down"] == 1  # it is down after detector_down_s = 3
    assert seconds["seen"] == 41 - 8 - 1


def test_a_disabled_camera_is_disabled_and_not_in_the_report() -> None:
    """Its seconds count as disabled; nobody is told of it."""
    world = World(enabled=False)

    world.live(40, None)

    assert world.state == "disabled"
    assert world.report().cameras == ()
    assert world.health.seconds("gate") == {"no_signal": 1, "disabled": 39}


def test_a_camera_is_down_only_after_camera_down_s_without_a_picture() -> None:
    """A short silence is a state, no edge; a long one is down since the last picture; the first picture is up."""
    world = World()
    world.live(10)

    world.live(5, status("no_signal", "timeout"))
    assert world.up is True
    world.live(1, status("no_signal", "timeout"))
    assert world.up is False
    (gate,) = world.report().cameras
    assert (gate.up, gate.state, gate.reason) == (False, "no_signal", "timeout")
    assert gate.since_utc_ns == UTC_NS + 10 * NS_PER_S

    world.live(1)
    (gate,) = world.report().cameras
    assert (gate.up, gate.since_utc_ns) == (True, UTC_NS + 17 * NS_PER_S)


def test_a_dead_detector_takes_no_camera_down() -> None:
    """Pictures come, so the camera is up; the detector is down since it was last alive."""
    world = World()
    world.live(10)

    world.live(30, detector=DEAD)

    report = world.report()
    assert world.up is True
    assert (report.detector_up, report.detector_reason) == (False, "killed")
    assert report.detector_since_utc_ns == UTC_NS + 10 * NS_PER_S


def test_a_record_stream_that_is_dead_while_the_camera_is_seen_is_said() -> None:
    """After the patience that pictures have; while the camera itself is down that says it all."""
    world, dead = World(), msgspec.structs.replace(SEEN, record_fault="timeout")
    world.live(10)
    assert world.health.recording("gate") == ("up", "")

    world.live(5, dead)
    assert world.health.recording("gate") == ("up", "")
    world.live(1, dead)
    (gate,) = world.report().cameras
    assert (gate.up, gate.recording, gate.recording_reason) == (True, "down", "timeout")
    assert gate.recording_since_utc_ns == UTC_NS + 10 * NS_PER_S

    world.live(20, status("no_signal", "timeout"))
    assert world.health.recording("gate")[0] == "down"
    world.live(1)
    assert world.health.recording("gate") == ("up", "")


def test_a_camera_that_is_not_to_be_recorded_has_no_recording_down() -> None:
    """Mode off is no fault."""
    world = World(recording={"mode": "off"})

    world.live(30)

    assert world.health.recording("gate")[0] == "off"


def test_a_quick_restart_of_the_worker_is_no_edge() -> None:
    """Two seconds without a worker stay under detector_down_s."""
    world = World()
    world.live(10)

    world.live(2, detector=DEAD)

    assert world.report().detector_up is True
    assert world.state == "seen"


def test_nothing_is_reported_before_everything_was_judged_once() -> None:
    """A camera that is missing from a report counts as forgotten, so the first report has all of them."""
    world = World()

    world.live(int(CAMERA_GRACE_S), status("no_signal", "refused"))
    assert world.health.report() is None
    world.live(1, status("no_signal", "refused"))
    assert [camera.up for camera in world.report().cameras] == [False]


def test_a_detector_that_does_not_start_is_said_after_its_grace() -> None:
    """A model may load for half a minute before that is news."""
    world = World()

    world.live(int(DETECTOR_GRACE_S), detector=DEAD)
    assert world.health.report() is None
    world.live(1, detector=DEAD)

    assert world.report().detector_up is False


def test_a_reload_keeps_seconds_of_cameras_that_stay_and_adds_new_ones_quietly() -> None:
    """A new camera is not in the report until something is known of it."""
    world = World()
    world.live(10)

    both = {"gate": {"url": "y"}, "yard": {"url": "z"}}
    world.health.configure(Settings.model_validate({"cameras": both}), 10 * NS_PER_S, UTC_NS)
    world.live(1)

    assert world.health.seconds("gate")["seen"] == 10
    assert [camera.camera for camera in world.report().cameras] == ["gate"]
    world.live(int(CAMERA_GRACE_S))
    assert {camera.camera: camera.up for camera in world.report().cameras} == {"gate": True, "yard": False}
