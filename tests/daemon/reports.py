"""A report as a running daemon would give it, for tests of what shows it."""

from typing import Any

import msgspec

from daemon.messages import StreamInfo, WorkerStatus
from daemon.supervision.report import CameraReport, DetectorReport, DiskReport, LatencyReport, ProcessReport, Report

WORKER = WorkerStatus(
    model_id="nano-1",
    provider="CPUExecutionProvider",
    device="auto",
    fell_back=True,
    width=416,
    height=416,
    max_batch=1,
    labels=("person",),
)


def report(**fields: Any) -> Report:
    """Return a report of one camera that works and one that does not."""
    gate = CameraReport(
        name="gate",
        state="seen",
        reason="",
        up=True,
        since_utc_ns=1_700_000_000_000_000_000,
        record=None,
        detect=msgspec.structs.asdict(StreamInfo(codec="h264", width=1280, height=720, fps=25.0, audio="aac")),
        reconnects=2,
        fps_in=25.0,
        fps_inferred=5.0,
        dropped={"superseded": 3.0},
        seconds={"seen": 100.0, "no_signal": 2.5},
    )
    yard = CameraReport(
        name="yard",
        state="no_signal",
        reason="auth",
        up=False,
        since_utc_ns=1_700_000_000_000_000_000,
        record=None,
        detect=None,
        reconnects=0,
        fps_in=0.0,
        fps_inferred=0.0,
        dropped={},
        seconds={"no_signal": 102.5},
    )
    detector = DetectorReport(
        up=True,
        reason="",
        since_utc_ns=0,
        worker=msgspec.structs.asdict(WORKER),
        batch_fill=1.5,
        runs_per_s=5.0,
    )
    process = ProcessReport(
        name="camera yard",
        role="reader",
        state="waiting",
        pid=None,
        restarts=7,
        uptime_s=None,
        heartbeat_age_s=None,
        crash_loop=True,
        last_end="crashed",
    )
    shown = Report(
        version="1.2.3",
        pid=42,
        started_utc_ns=0,
        uptime_s=3700.0,
        window_s=60.0,
        ready=True,
        problems=("camera yard is down: no_signal (auth)",),
        detector=detector,
        cameras=(gate, yard),
        latencies=(LatencyReport(name="detection", camera="gate", count=300, p50_ms=21.0, p95_ms=40.0, p99_ms=55.5),),
        last_sequence=1234,
        disk=DiskReport(path="/var/lib/leptond", free_bytes=20 * 10**9, total_bytes=100 * 10**9),
        processes=(process,),
    )
    return msgspec.structs.replace(shown, **fields)
