"""Every message between processes: named, frozen records, and nothing else.

| socket (file in runtime_dir) | from → to                 | type           | ZeroMQ        | who binds  |
|------------------------------|---------------------------|----------------|---------------|------------|
| frames                       | reader → worker           | FromReader     | DEALER/ROUTER | worker     |
| frames                       | worker → reader           | FromWorker     | ROUTER/DEALER | worker     |
| packets                      | reader → recorder         | FromStream     | PUSH/PULL     | recorder   |
| detections                   | worker → events           | Detections     | PUSH/PULL     | events     |
| health                       | supervisor → events       | HealthReport   | PUSH/PULL     | events     |
| orders                       | events → recorder         | MediaOrder     | PUSH/PULL     | recorder   |
| media                        | recorder → events         | MediaReady     | PUSH/PULL     | events     |
| stats                        | every process → supervisor| ProcessStats   | PUSH/PULL     | supervisor |
| control                      | command line → supervisor | see control.py | REQ/REP       | supervisor |

Whoever consumes binds, so a restarted consumer finds its producers again. State travels as level, not as edge: a health
report, an open order and a reader's hello are repeated until answered, so a killed process loses none of them.
Arrays travel as bytes with dtype and shape in the field's comment. `_ns` is monotonic, `utc_ns` is not.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

CameraState = Literal["seen", "no_signal", "decode_error", "frozen", "dropped", "detector_down", "disabled"]
RecordingLevel = Literal["", "off", "up", "down"]  # off: nothing is to be recorded; "": not known yet
Fit = Literal["letterbox", "stretch"]
Outcome = Literal["inferred", "superseded", "stale", "slot_lost"]


class Record(msgspec.Struct, frozen=True, kw_only=True, tag=True, array_like=True):
    """Base of the messages: immutable, tagged with its class name, encoded as a MessagePack array."""


# --- frames: reader <-> worker ------------------------------------------------------------------


class Hello(Record, frozen=True):
    """A reader asks for the model's input size; repeated until a Welcome comes."""

    camera: str


class Welcome(Record, frozen=True):
    """A worker tells a reader what to deliver. A new `worker_id` means: nothing that was in flight will be credited."""

    worker_id: str
    model_id: str
    width: int
    height: int
    fit: Fit
    credits: int


class SlotRef(Record, frozen=True):
    """Where pixels lie in the reader's shared memory: a memfd of process `pid`, reached through /proc/PID/fd/FD."""

    pid: int
    fd: int
    ring_id: int  # random, also in the ring's header: tells a recycled pid from the announced ring
    index: int
    guard: int  # even sequence number that the slot had when the pixels were complete


class Frame(Record, frozen=True):
    """One letterboxed frame. Pixels uint8 [3, height, width] RGB lie in `slot`, or follow as a second part."""

    camera: str
    sequence: int  # counts the frames that this reader offered, from 1
    captured_ns: int  # when the packet that completed the frame arrived
    decoded_ns: int
    sent_ns: int
    source_width: Annotated[int, msgspec.Meta(gt=0)]  # the camera's pixels
    source_height: Annotated[int, msgspec.Meta(gt=0)]
    pts_s: float | None  # stream time, seconds
    slot: SlotRef | None


class Credit(Record, frozen=True):
    """A frame is done with, so the reader may send another."""

    sequence: int
    outcome: Outcome


FromReader = Hello | Frame
FromWorker = Welcome | Credit


# --- packets: reader -> recorder ------------------------------------------------------------------


class StreamStart(Record, frozen=True):
    """A record stream begins.

    `init_segment` is a fragmented MP4 header (ftyp + moov, no samples) that carries the codec parameters of all its
    streams; packets name the streams by index in it.
    """

    camera: str
    stream_id: int  # grows with each connection of this reader; random start
    init_segment: bytes


class Packet(Record, frozen=True):
    """One compressed packet as it came, in decode order; times in units of its time base."""

    camera: str
    stream_id: int
    stream_index: int
    data: bytes
    pts: int
    dts: int
    duration: int
    time_base: tuple[int, int]
    is_keyframe: bool
    received_ns: int


class StreamEnd(Record, frozen=True):
    """The record stream is over, for a reason of `errors.DisconnectReason` or "stopped"."""

    camera: str
    stream_id: int
    reason: str


FromStream = StreamStart | Packet | StreamEnd


# --- detections: worker -> events ------------------------------------------------------------------


class Detections(Record, frozen=True):
    """What the model saw in one frame, also when that is nothing."""

    camera: str
    sequence: int
    model_id: str
    width: int  # the camera's pixels, in which the boxes are
    height: int
    rows: bytes  # float32 [n, 6]: x1 y1 x2 y2 score class, camera pixels, suppressed, by falling score
    labels: tuple[str, ...]  # of the model; class is an index into them
    captured_ns: int
    decoded_ns: int
    queued_ns: int  # worker took the frame in
    inferred_ns: int  # result ready


# --- media: events <-> recorder ------------------------------------------------------------------


class MediaOrder(Record, frozen=True):
    """Files wanted for an event; repeated once a second until both files were reported, safe to receive twice.

    The clip runs from `start_utc_ns` less pre-roll to `end_utc_ns` plus post-roll; `end_utc_ns` None: still going on.
    Paths are relative to the state directory and are fixed by the order, so an alert can name them at once.
    """

    event_id: str
    camera: str
    start_utc_ns: int
    end_utc_ns: int | None
    snapshot_utc_ns: int  # the frame that the box is from
    box: tuple[float, float, float, float]  # x1 y1 x2 y2, fractions of width and height
    caption: str
    snapshot_path: str  # with the box drawn in
    clean_snapshot_path: str  # without
    clip_path: str


class MediaReady(Record, frozen=True):
    """A file of an event is complete, or will never be: then `error` says why."""

    event_id: str
    camera: str
    kind: Literal["snapshot", "clip"]
    path: str
    start_utc_ns: int | None = None  # of the clip as cut
    end_utc_ns: int | None = None
    error: str | None = None


# --- stats and health: everybody -> supervisor -> events ---------------------------------------------


class Sample(Record, frozen=True):
    """One counter or gauge; counters only grow while their process lives."""

    name: str
    value: float
    camera: str = ""
    reason: str = ""


class LatencyHistogram(Record, frozen=True):
    """Counts per bucket of `histogram.BOUNDS_MS`, the last one open; only grow while their process lives."""

    name: str
    counts: tuple[int, ...]
    sum_ms: float
    camera: str = ""


class StreamInfo(Record, frozen=True):
    """What a camera delivers."""

    codec: str
    width: int
    height: int
    fps: float | None
    audio: str | None  # codec


class CameraStatus(Record, frozen=True):
    """How a reader sees its camera right now."""

    camera: str
    state: CameraState
    reason: str  # of errors.DisconnectReason when there is no signal, else ""
    since_utc_ns: int
    record: StreamInfo | None = None
    detect: StreamInfo | None = None
    reconnects: int = 0
    record_fault: str = ""  # why nothing comes that could be recorded: a DisconnectReason, or "not_recordable"


class WorkerStatus(Record, frozen=True):
    """What the worker runs on."""

    model_id: str
    provider: str  # as the session reports it, e.g. CUDAExecutionProvider
    device: str  # as configured
    fell_back: bool  # auto wanted a GPU and got none
    width: int
    height: int
    max_batch: int
    labels: tuple[str, ...]


class ProcessStats(Record, frozen=True):
    """Sent by every child once a second."""

    process: str
    pid: int
    counters: tuple[Sample, ...] = ()
    gauges: tuple[Sample, ...] = ()
    latencies: tuple[LatencyHistogram, ...] = ()
    camera: CameraStatus | None = None
    worker: WorkerStatus | None = None


class CameraHealth(Record, frozen=True):
    """The state that the supervisor holds a camera to be in."""

    camera: str
    up: bool
    state: CameraState
    reason: str
    since_utc_ns: int
    recording: RecordingLevel = ""
    recording_reason: str = ""
    recording_since_utc_ns: int = 0


class HealthReport(Record, frozen=True):
    """The whole health, once a second; the events process compares it with what the journal says was last."""

    cameras: tuple[CameraHealth, ...]
    detector_up: bool
    detector_reason: str
    detector_since_utc_ns: int
