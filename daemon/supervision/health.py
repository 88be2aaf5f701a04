"""Decides, once a second, in which state every camera is and whether the detector lives. Pure; time comes in.

Every camera-second goes to exactly one state, the first of these that holds:

| state         | holds when                                                                     |
|---------------|--------------------------------------------------------------------------------|
| disabled      | the configuration says so                                                      |
| no_signal     | no stream, for the reason that its reader gives; or the reader itself is away  |
| decode_error  | its reader says so                                                             |
| frozen        | its reader says so                                                             |
| detector_down | pictures come, and there is no detector                                        |
| dropped       | its reader says so: pictures come, and none gets through the detector          |
| seen          | pictures come and go through the detector                                      |

No reader says `frozen` yet.
A camera is down after `camera_down_s` without a picture; a detector that is down takes no camera down with it.
A camera of which pictures come, but for `camera_down_s` nothing that could be recorded, has its recording down: its
main stream may be dead while detection goes on with the sub stream. While the camera itself is down, that says it all.
The report is a level, repeated each second; who wants edges compares it with what was last.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from ..clock import NS_PER_S
from ..config.settings import Camera, Settings
from ..messages import CameraHealth, CameraState, CameraStatus, HealthReport, RecordingLevel

# So long may a start take before anything is called down: neither a camera that connects in its sixth second nor a
# model that loads is worth an alert at every start of the daemon.
CAMERA_GRACE_S: Final = 15.0
DETECTOR_GRACE_S: Final = 30.0
_PICTURES_COME: Final = frozenset({"seen", "detector_down", "dropped"})


@dataclass(frozen=True)
class DetectorNow:
    """What is known of the worker at this moment."""

    alive: bool
    reason: str  # why not, else ""


class _CameraHealth:
    """One camera through time."""

    def __init__(self, now_ns: int, utc_ns: int) -> None:
        self.state: CameraState = "no_signal"
        self.reason = "starting"
        self.since_utc_ns = utc_ns
        self.up: bool | None = None
        self.up_since_utc_ns = utc_ns
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.picture_ns = now_ns
        self.picture_utc_ns = utc_ns
        self.had_picture = False
        self.recording: RecordingLevel = ""
        self.recording_reason = ""
        self.recording_since_utc_ns = utc_ns
        self.recorded_ns, self.recorded_utc_ns = now_ns, utc_ns

    def set_state(self, state: CameraState, reason: str, utc_ns: int) -> None:
        if (state, reason) != (self.state, self.reason):
            self.state, self.reason, self.since_utc_ns = state, reason, utc_ns

    def judge(self, now_ns: int, utc_ns: int, down_s: float) -> None:
        if self.state in _PICTURES_COME:
            self.picture_ns, self.picture_utc_ns, self.had_picture = now_ns, utc_ns, True
            self._set_up(up=True, since_utc_ns=utc_ns)
            return
        patience_s = down_s if self.had_picture else max(down_s, CAMERA_GRACE_S)
        if now_ns - self.picture_ns > patience_s * NS_PER_S:
            self._set_up(up=False, since_utc_ns=self.picture_utc_ns)

    def judge_recording(self, fault: str, now_ns: int, utc_ns: int, down_s: float) -> None:
        """Take in what the reader says of its record stream; only while the camera is up."""
        if not fault:
            self.recorded_ns, self.recorded_utc_ns = now_ns, utc_ns
            self._set_recording("up", "", utc_ns)
        elif now_ns - self.recorded_ns > down_s * NS_PER_S:
            self._set_recording("down", fault, self.recorded_utc_ns)

    def forgive_recording(self, now_ns: int, utc_ns: int) -> None:
        """Begin to be patient anew."""
        self.recorded_ns, self.recorded_utc_ns = now_ns, utc_ns

    def _set_recording(self, level: RecordingLevel, reason: str, since_utc_ns: int) -> None:
        if level != self.recording:
            self.recording, self.recording_since_utc_ns = level, since_utc_ns
        self.recording_reason = reason

    def _set_up(self, *, up: bool, since_utc_ns: int) -> None:
        if up != self.up:
            self.up, self.up_since_utc_ns = up, since_utc_ns


class Health:
    """All cameras and the detector through time."""

    def __init__(self, settings: Settings, now_ns: int, utc_ns: int) -> None:
        self._settings = settings
        self._started_ns = self._ticked_ns = self._alive_ns = now_ns
        self._alive_utc_ns = utc_ns
        self._was_alive = self._all_judged_once = False
        self.detector_up: bool | None = None
        self.detector_reason = "starting"
        self.detector_since_utc_ns = utc_ns
        self._cameras: dict[str, _CameraHealth] = {}
        self.configure(settings, now_ns, utc_ns)

    def configure(self, settings: Settings, now_ns: int, utc_ns: int) -> None:
        """Take over new settings; cameras that stay keep their state and their seconds."""
        self._settings = settings
        self._cameras = {name: self._cameras.get(name) or _CameraHealth(now_ns, utc_ns) for name in settings.cameras}

    def tick(self, now_ns: int, utc_ns: int, detector: DetectorNow, readers: dict[str, CameraStatus]) -> None:
        """Judge everything anew, and book the time since the last tick to the states that held in it.

        `readers` has what each camera's reader says now; of a reader that is away it has nothing.
        """
        elapsed_s = (now_ns - self._ticked_ns) / NS_PER_S
        self._ticked_ns = now_ns
        self._judge_detector(now_ns, utc_ns, detector)
        for name, health in self._cameras.items():
            camera = self._settings.cameras[name]
            health.seconds[health.state] += elapsed_s
            health.set_state(*self._state(camera, health, readers.get(name)), utc_ns)
            if camera.enabled:
                health.judge(now_ns, utc_ns, self._settings.health.camera_down_s)
            else:
                health.up = None
            self._judge_recording(name, health, readers.get(name), now_ns, utc_ns)
        enabled = [health for name, health in self._cameras.items() if self._settings.cameras[name].enabled]
        self._all_judged_once = self._all_judged_once or all(health.up is not None for health in enabled)

    def report(self) -> HealthReport | None:
        """Return the level for the events process; None at the start, until everything has been judged once.

        What is not in the report counts as not there any more: so nothing is reported before a camera that was down
        when the daemon ended can be said to be down still. Later a camera that has just been added waits alone.
        """
        if self.detector_up is None or not self._all_judged_once:
            return None
        known = tuple(
            CameraHealth(
                camera=name,
                up=health.up,
                state=health.state,
                reason=health.reason,
                since_utc_ns=health.up_since_utc_ns,
                recording=health.recording,
                recording_reason=health.recording_reason,
                recording_since_utc_ns=health.recording_since_utc_ns,
            )
            for name, health in self._cameras.items()
            if health.up is not None
        )
        return HealthReport(
            cameras=known,
            detector_up=self.detector_up,
            detector_reason=self.detector_reason,
            detector_since_utc_ns=self.detector_since_utc_ns,
        )

    def state(self, camera: str) -> tuple[CameraState, str, int, bool | None]:
        """Return (state, its reason, since when in UTC ns, up or None when that is not known)."""
        health = self._cameras[camera]
        return health.state, health.reason, health.since_utc_ns, health.up

    def recording(self, camera: str) -> tuple[RecordingLevel, str]:
        """Return whether what is to be recorded comes, and why not."""
        health = self._cameras[camera]
        return health.recording, health.recording_reason

    def seconds(self, camera: str) -> dict[str, float]:
        """Return state → seconds since the start; they add up to the time that the camera is in the configuration."""
        return dict(self._cameras[camera].seconds)

    def _judge_recording(
        self, name: str, health: _CameraHealth, said: CameraStatus | None, now_ns: int, utc_ns: int
    ) -> None:
        if not self._settings.cameras[name].enabled or self._settings.recording_of(name).mode == "off":
            health.recording = "off"
        elif said is None or health.state not in _PICTURES_COME:
            health.forgive_recording(now_ns, utc_ns)
        else:
            health.judge_recording(said.record_fault, now_ns, utc_ns, self._settings.health.camera_down_s)

    def _judge_detector(self, now_ns: int, utc_ns: int, detector: DetectorNow) -> None:
        if detector.alive:
            self._alive_ns, self._alive_utc_ns, self._was_alive = now_ns, utc_ns, True
            self._set_detector(up=True, reason="", since_utc_ns=utc_ns)
            return
        down_s = self._settings.health.detector_down_s
        patience_s = down_s if self._was_alive else max(down_s, DETECTOR_GRACE_S)
        if now_ns - self._alive_ns > patience_s * NS_PER_S:
            self._set_detector(up=False, reason=detector.reason, since_utc_ns=self._alive_utc_ns)

    def _set_detector(self, *, up: bool, reason: str, since_utc_ns: int) -> None:
        if up != self.detector_up:
            self.detector_up, self.detector_since_utc_ns = up, since_utc_ns
        self.detector_reason = reason

    def _state(self, camera: Camera, health: _CameraHealth, said: CameraStatus | None) -> tuple[CameraState, str]:
        if not camera.enabled:
            return "disabled", ""
        if said is None:
            return "no_signal", "reader_away" if health.had_picture else "starting"
        if said.state in _PICTURES_COME and not self.detector_up:
            return "detector_down", self.detector_reason
        return said.state, said.reason
