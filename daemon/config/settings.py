"""The shape of the configuration: typed, frozen, unknown keys refused. Reading a file into it is `config.py`'s duty.

Every field's description is what `leptond config schema` prints. Children receive their part of it as JSON.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Point = tuple[Fraction, Fraction]
Polygon = Annotated[tuple[Point, ...], Field(min_length=3)]
Seconds = Annotated[float, Field(gt=0)]
RecordMode = Literal["continuous", "events", "off"]


class Section(BaseModel):
    """A table of the configuration file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class Service(Section):
    """Where the daemon lives."""

    state_dir: Path = Path("/var/lib/leptond")
    """Journal, index, recordings; created when missing."""
    runtime_dir: Path = Path("/run/leptond")
    """Sockets between the processes; short, for a socket's path has at most 107 bytes."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "text"] = "auto"
    """auto: text on a terminal, else JSON."""


class Detector(Section):
    """The model and the device that runs it."""

    model: str = "lepton-nano"
    """Name of a shipped model, or path of an ONNX file of the contract."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda:\d+|tensorrt:\d+)$")] = "auto"
    """auto takes CUDA where it works and says so when it does not; a named device that fails is fatal."""
    max_batch: Annotated[int, Field(ge=1, le=64)] = 16
    """Frames that share one run; on CPU 1 is fastest and is what `auto` takes there."""
    max_wait_ms: Annotated[float, Field(ge=0, le=1000)] = 5.0
    """How long the oldest frame may wait for the batch to fill."""
    max_age_ms: Annotated[float, Field(gt=0)] = 500.0
    """Frames older than this are dropped before the run, and counted."""
    min_score: Fraction = 0.1
    """Rows below are thrown away in the worker; rules have their own, higher, minimum."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Threads of the CPU provider; 0 = all cores."""
    self_test_s: Annotated[float, Field(ge=0)] = 10.0
    """How often the model's known-answer picture is run; wrong boxes end the worker. 0 = only at start."""
    listen: str = ""
    """Extra `tcp://host:port` on which readers of other hosts deliver frames; empty = none."""


class Alerts(Section):
    """The alert sockets and the journal behind them."""

    publish: str = "tcp://127.0.0.1:5570"
    """ZeroMQ PUB: alerts, health and the heartbeat."""
    replay: str = "tcp://127.0.0.1:5571"
    """ZeroMQ ROUTER: everything after a sequence number."""
    keep_days: Seconds = 90.0
    """Age at which journal entries go; a subscriber that asks for them is told of the gap."""
    keep_detections_days: Seconds = 14.0
    """Age at which stored detections go."""
    update_s: Seconds = 5.0
    """How often an open event publishes an update."""
    max_event_s: Seconds = 300.0
    """An event still going on after this is closed with reason `max_length` and a new one opened."""


class Retention(Section):
    """How long recordings stay; pinned clips are never deleted."""

    keep_days: Seconds = 14.0
    max_gb: Annotated[float, Field(gt=0)] = 50.0
    """Bytes of all files of one camera, in GB of 10**9."""


class Recording(Section):
    """What is recorded, and for how long it is kept; each camera may override it."""

    mode: RecordMode = "continuous"
    pre_roll_s: Annotated[float, Field(ge=0, le=60)] = 5.0
    post_roll_s: Annotated[float, Field(ge=0, le=60)] = 5.0
    segment_s: Annotated[float, Field(ge=2, le=3600)] = 60.0
    """Segments are cut at the first key frame after this."""
    retention: Retention = Retention()
    min_free_gb: Annotated[float, Field(ge=0)] = 1.0
    """Below this the oldest unpinned segments go; when none is left, recording stops and says so."""


class Motion(Section):
    """The motion gate: frames without motion are not sent to the detector, but counted."""

    enabled: bool = False
    masks: tuple[Polygon, ...] = ()
    """Areas in which motion does not count (trees, a clock in the picture)."""
    threshold: Fraction = 0.01
    """Share of changed picture that counts as motion."""
    idle_fps: Annotated[float, Field(gt=0)] = 1.0
    """A camera without motion is still looked at this often."""


class Camera(Section):
    """One camera."""

    url: str
    """rtsp://, rtsps://, http(s)://, a video file, a picture or a folder of pictures. `${env:NAME}`,
    `${credential:NAME}` and `${file:/path}` are replaced by the secret."""
    detect_url: str = ""
    """Sub stream for detection; empty = detect on `url`."""
    username: str = ""
    password: str = ""
    """Best given as `${env:NAME}`, `${credential:NAME}` or `${file:/path}`."""
    enabled: bool = True
    transport: Literal["tcp", "udp"] = "tcp"
    timeout_s: Annotated[float, Field(ge=1, le=60)] = 5.0
    """Silence after which the stream counts as lost."""
    detect_fps: Annotated[float, Field(gt=0, le=120)] = 5.0
    """Frames a second offered to the detector; more than the stream has means every frame."""
    pace: Literal["realtime", "fast"] = "realtime"
    """For files: at their own speed, or as fast as the detector takes them."""
    loop: bool = True
    """For files: begin again at the end."""
    zones: dict[Name, Polygon] = {}
    """Areas that rules may name; points are fractions of width and height."""
    privacy_masks: tuple[Polygon, ...] = ()
    """Areas that are black in every frame for detection and in every snapshot; not in recordings, which are the
    camera's own packets."""
    motion: Motion = Motion()
    recording: Recording | None = None
    """Overrides [recording] for this camera, as a whole."""


class Rule(Section):
    """What is worth an alert."""

    name: Name
    cameras: tuple[str, ...] = ("*",)
    """Names of cameras; "*" = all."""
    labels: Annotated[tuple[str, ...], Field(min_length=1)]
    """Labels of the model; "*" = all."""
    zones: tuple[Name, ...] = ()
    """The object's foot (middle of the box's lower edge) must stand in one of them; empty = anywhere."""
    min_score: Fraction = 0.5
    min_dwell_s: Annotated[float, Field(ge=0)] = 0.5
    """How long the object must have been there."""
    cooldown_s: Annotated[float, Field(ge=0)] = 10.0
    """After an object left or was lost, no new event of this rule, camera and label for so long; objects that are
    there at the same time do not hold each other back."""
    severity: Literal["info", "warning", "critical"] = "warning"

    def looks_at(self, camera: str) -> bool:
        """Return whether this rule is about `camera`."""
        return "*" in self.cameras or camera in self.cameras


class Health(Section):
    """When a camera counts as down."""

    camera_down_s: Seconds = 5.0
    """Seconds without a frame until `camera.down`; without a stream to record until `recording.down`."""
    detector_down_s: Seconds = 3.0
    """Seconds without a live worker until `detector.down`."""


class Metrics(Section):
    """The Prometheus endpoint."""

    listen: str = "127.0.0.1:9470"
    """host:port; empty = off."""


class Settings(Section):
    """The whole configuration."""

    service: Service = Service()
    detector: Detector = Detector()
    alerts: Alerts = Alerts()
    recording: Recording = Recording()
    health: Health = Health()
    metrics: Metrics = Metrics()
    cameras: dict[Name, Camera] = {}
    rules: tuple[Rule, ...] = ()

    def recording_of(self, camera: str) -> Recording:
        """Return what holds for `camera`: its own recording table, or the common one."""
        return self.cameras[camera].recording or self.recording
