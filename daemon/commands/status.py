"""`leptond status`: asks the running daemon and shows its report, as a table or as JSON."""

from __future__ import annotations

import argparse
import json
from typing import Any

import msgspec

from ..clock import iso_utc
from ..config.config import load_service
from ..supervision.control import ask
from ..supervision.report import CameraReport, DetectorReport, ProcessReport, Report

GB = 10**9


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to `leptond`."""
    parser = subparsers.add_parser("status", help="show how the running daemon is")
    parser.add_argument("--json", action="store_true", help="print the whole report as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the report; the exit code is 0 whenever there is one, for `problems` says how well it is."""
    status = ask(load_service(args.config).runtime_dir, "status")["status"]
    print(json.dumps(status, indent=2) if args.json else render(msgspec.convert(status, Report)))
    return 0


def render(report: Report) -> str:
    """Return the report for people."""
    ready = "ready" if report.ready else "starting"
    lines = [f"leptond {report.version}, process {report.pid}, {ready}, up {duration(report.uptime_s)}"]
    lines += [f"PROBLEM  {problem}" for problem in report.problems]
    lines += ["", _detector(report.detector)]
    if report.last_sequence is not None:
        lines.append(f"journal: last sequence number {report.last_sequence}")
    if report.disk:
        disk = report.disk
        lines.append(f"disk {disk.path}: {disk.free_bytes / GB:.1f} of {disk.total_bytes / GB:.1f} GB free")
    lines += ["", *_cameras(report.cameras, report.window_s)]
    lines += ["", *_latencies(report)]
    lines += ["", *_processes(report.processes)]
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Return `2d 3h`, `4h 05m`, `6m 07s` or `8.2s`."""
    whole = int(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes:02d}m"
    return f"{minutes}m {whole % 60:02d}s" if minutes else f"{seconds:.1f}s"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Return lines with aligned columns."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [head, *rows]
    ]


def _detector(detector: DetectorReport) -> str:
    worker = detector.worker
    if worker is None:
        return f"detector: {'up' if detector.up else 'not up'} ({detector.reason or 'starting'})"
    fill = f", {detector.batch_fill:.1f} frames a run" if detector.batch_fill else ""
    fell_back = "  WARNING: no GPU could be used" if worker["fell_back"] else ""
    return (
        f"detector: {worker['model_id']} {worker['width']}x{worker['height']} on {worker['provider']} "
        f"(device {worker['device']}), {detector.runs_per_s:.1f} runs/s{fill}{fell_back}"
    )


def _cameras(cameras: tuple[CameraReport, ...], window_s: float) -> list[str]:
    if not cameras:
        return ['no cameras; add one to the configuration: [cameras.NAME] with url = "rtsp://…"']
    rows = [
        [
            camera.name,
            camera.state + (f" ({camera.reason})" if camera.reason else ""),
            iso_utc(camera.since_utc_ns),
            _stream(camera.detect or camera.record),
            f"{camera.fps_in:.1f}",
            f"{camera.fps_inferred:.1f}",
            " ".join(f"{reason or 'other'}={count:.0f}" for reason, count in sorted(camera.dropped.items()) if count)
            or "-",
            str(camera.reconnects),
        ]
        for camera in cameras
    ]
    dropped = f"DROPPED ({window_s:.0f} s)"
    return table(["CAMERA", "STATE", "SINCE", "STREAM", "FPS IN", "INFERRED", dropped, "RECONNECTS"], rows)


def _stream(info: dict[str, Any] | None) -> str:
    if info is None:
        return "-"
    fps = f" {info['fps']:.4g} fps" if info["fps"] else ""
    return f"{info['codec']} {info['width']}x{info['height']}{fps}" + (f" +{info['audio']}" if info["audio"] else "")


def _latencies(report: Report) -> list[str]:
    rows = [
        [x.name, x.camera or "all", f"{x.p50_ms:.1f}", f"{x.p95_ms:.1f}", f"{x.p99_ms:.1f}", str(x.count)]
        for x in report.latencies
    ]
    return table(["LATENCY (ms)", "CAMERA", "P50", "P95", "P99", "COUNT"], rows) if rows else ["no latencies yet"]


def _processes(processes: tuple[ProcessReport, ...]) -> list[str]:
    rows = [
        [
            process.name,
            process.state + (" (keeps ending)" if process.crash_loop else ""),
            str(process.pid or "-"),
            "-" if process.uptime_s is None else duration(process.uptime_s),
            str(process.restarts),
            process.last_end or "-",
        ]
        for process in processes
    ]
    return table(["PROCESS", "STATE", "PID", "UPTIME", "RESTARTS", "LAST END"], rows)
