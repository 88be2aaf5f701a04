"""What the daemon says about itself: one record for `leptond status`, its JSON and the Prometheus endpoint.

Rates, drops and percentiles are those of the last `window_s` seconds; totals are since the daemon's start.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ..messages import CameraState


class ProcessReport(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the table."""

    name: str
    role: str
    state: Literal["starting", "running", "waiting"]  # waiting: ended, starts again when its back-off is over
    pid: int | None
    restarts: int
    uptime_s: float | None
    heartbeat_age_s: float | None
    crash_loop: bool
    last_end: str


class LatencyReport(msgspec.Struct, frozen=True, kw_only=True):
    """Percentiles of one latency, ms."""

    name: str
    camera: str
    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


class CameraReport(msgspec.Struct, frozen=True, kw_only=True):
    """One camera."""

    name: str
    state: CameraState
    reason: str
    up: bool | None  # None: not known yet, or disabled
    since_utc_ns: int
    record: dict[str, Any] | None  # fields of messages.StreamInfo
    detect: dict[str, Any] | None
    reconnects: int
    fps_in: float
    fps_inferred: float
    inferred: int = 0  # frames since the daemon's start
    dropped: dict[str, float]  # reason → frames
    seconds: dict[str, float]  # state → seconds since the daemon's start


class DetectorReport(msgspec.Struct, frozen=True, kw_only=True):
    """The worker and what it runs on."""

    up: bool
    reason: str
    since_utc_ns: int
    worker: dict[str, Any] | None  # fields of messages.WorkerStatus
    batch_fill: float | None  # frames a run
    runs_per_s: float


class DiskReport(msgspec.Struct, frozen=True, kw_only=True):
    """The file system of the state directory."""

    path: str
    free_bytes: int
    total_bytes: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The whole daemon."""

    version: str
    pid: int
    started_utc_ns: int
    uptime_s: float
    window_s: float
    ready: bool
    problems: tuple[str, ...]  # in words; empty when all is well
    detector: DetectorReport
    cameras: tuple[CameraReport, ...]
    latencies: tuple[LatencyReport, ...]
    last_sequence: int | None  # of the journal
    disk: DiskReport | None
    processes: tuple[ProcessReport, ...]
