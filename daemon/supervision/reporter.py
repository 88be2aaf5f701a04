"""Puts together what the supervisor knows into the report that status and metrics show."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import msgspec

from ..clock import NS_PER_S, Clock
from ..config.settings import Settings
from ..messages import CameraStatus
from .control import Answer
from .health import DetectorNow, Health
from .nursery import Nursery
from .report import CameraReport, DetectorReport, DiskReport, Report
from .telemetry import Growth, Telemetry

FRAMES_IN: Final = "frames_decoded"
FRAMES_INFERRED: Final = "frames_inferred"
FRAMES_DROPPED: Final = "frames_dropped"
GB: Final = 10**9


def package_version() -> str:
    """Return the version of the installed distribution, or "unknown" when run from a bare checkout."""
    try:
        return version("leptond")
    except PackageNotFoundError:
        return "unknown"


@dataclass(frozen=True)
class _Moment:
    """What is looked up once a report, and used for every camera."""

    now_s: float
    window_s: float
    pids: dict[str, int]
    growth: Growth

    def per_s(self, counter: str, camera: str = "") -> float:
        return sum(self.growth[counter, camera].values()) / self.window_s if self.window_s else 0.0


@dataclass
class Reporter:
    """Reads the supervisor's parts; changes none."""

    settings: Settings
    clock: Clock
    telemetry: Telemetry
    health: Health
    nursery: Nursery
    reload_problem: str = ""

    def __post_init__(self) -> None:
        self._started_ns, self._started_utc_ns = self.clock.monotonic_ns(), self.clock.utc_ns()

    def version(self) -> Answer:
        """Return the version and the pid as the control socket gives them."""
        return {"version": package_version(), "pid": os.getpid()}

    def detector_now(self) -> DetectorNow:
        """Return whether the worker lives and serves."""
        stats = self.telemetry.fresh("worker", self.nursery.pids().get("worker"), self._now_s())
        if stats is not None and stats.worker is not None:
            return DetectorNow(alive=True, reason="")
        last_end = next((p.last_end for p in self.nursery.reports(self._now_s()) if p.name == "worker"), "")
        return DetectorNow(alive=False, reason=last_end or "starting")

    def readers_now(self) -> dict[str, CameraStatus]:
        """Return what the readers that are there say of their cameras."""
        pids, now_s = self.nursery.pids(), self._now_s()
        said = {name: self._camera_status(name, pids, now_s) for name in self.settings.cameras}
        return {name: status for name, status in said.items() if status is not None}

    def one_line(self, *, ready: bool) -> str:
        """Return the state in a line, as systemctl shows it."""
        enabled = [name for name, camera in self.settings.cameras.items() if camera.enabled]
        up = sum(1 for name in enabled if self.health.state(name)[3])
        line = f"{up} of {len(enabled)} cameras up" if enabled else "no cameras"
        return line + ("" if self.health.detector_up else ", detector down" if ready else ", detector starting")

    def report(self, *, ready: bool) -> Report:
        """Return the whole report."""
        now_s = self._now_s()
        moment = _Moment(now_s, self.telemetry.window_s(now_s), self.nursery.pids(), self.telemetry.growth())
        uptime_s = (self.clock.monotonic_ns() - self._started_ns) / NS_PER_S
        sequence = self.telemetry.gauge("journal_last_seq")
        detector, disk = self._detector(moment), self._disk()
        return Report(
            version=package_version(),
            pid=os.getpid(),
            started_utc_ns=self._started_utc_ns,
            uptime_s=uptime_s,
            window_s=moment.window_s,
            ready=ready,
            problems=tuple(self._problems(detector, disk)),
            detector=detector,
            cameras=tuple(self._camera(name, moment) for name in self.settings.cameras),
            latencies=self.telemetry.percentiles(),
            last_sequence=None if sequence is None else int(sequence),
            disk=disk,
            processes=self.nursery.reports(now_s),
        )

    def _camera(self, name: str, moment: _Moment) -> CameraReport:
        state, reason, since_utc_ns, up = self.health.state(name)
        status = self._camera_status(name, moment.pids, moment.now_s)
        return CameraReport(
            name=name,
            state=state,
            reason=reason,
            up=up,
            since_utc_ns=since_utc_ns,
            record=msgspec.structs.asdict(status.record) if status and status.record else None,
            detect=msgspec.structs.asdict(status.detect) if status and status.detect else None,
            reconnects=status.reconnects if status else 0,
            fps_in=moment.per_s(FRAMES_IN, name),
            fps_inferred=moment.per_s(FRAMES_INFERRED, name),
            inferred=int(self.telemetry.total(FRAMES_INFERRED, name)),
            dropped=dict(moment.growth[FRAMES_DROPPED, name]),
            seconds=self.health.seconds(name),
        )

    def _detector(self, moment: _Moment) -> DetectorReport:
        stats = self.telemetry.fresh("worker", moment.pids.get("worker"), moment.now_s)
        worker = stats.worker if stats else None
        runs = sum(moment.growth["batches", ""].values())
        frames = sum(moment.growth["batch_frames", ""].values())
        return DetectorReport(
            up=bool(self.health.detector_up),
            reason=self.health.detector_reason,
            since_utc_ns=self.health.detector_since_utc_ns,
            worker=msgspec.structs.asdict(worker) if worker else None,
            batch_fill=frames / runs if runs else None,
            runs_per_s=moment.per_s("batches"),
        )

    def _disk(self) -> DiskReport | None:
        path = self.settings.service.state_dir
        try:
            usage = shutil.disk_usage(path)
        except OSError:
            return None
        return DiskReport(path=str(path), free_bytes=usage.free, total_bytes=usage.total)

    def _problems(self, detector: DetectorReport, disk: DiskReport | None) -> list[str]:
        problems = [
            f"process {process.name!r} keeps ending ({process.last_end}); its log says why"
            for process in self.nursery.reports(self._now_s())
            if process.crash_loop
        ]
        if self.reload_problem:
            problems.append(self.reload_problem)
        if self.health.detector_up is False:
            problems.append(f"detector is down: {detector.reason}")
        if detector.worker and detector.worker["fell_back"]:
            problems.append(
                f"detector runs on {detector.worker['provider']}: no GPU could be used, the worker's log says why; "
                'if that is meant, set detector.device = "cpu"'
            )
        if disk is None:
            problems.append(f"state directory {self.settings.service.state_dir} cannot be read")
        elif disk.free_bytes < self.settings.recording.min_free_gb * GB:
            problems.append(f"disk of {disk.path} is below recording.min_free_gb")
        for name in self.settings.cameras:
            state, reason, _, up = self.health.state(name)
            if up is False:
                problems.append(f"camera {name} is down: {state}" + (f" ({reason})" if reason else ""))
            recording, reason = self.health.recording(name)
            if up and recording == "down":
                problems.append(f"camera {name} is not recorded: {reason}; detection goes on")
        return problems

    def _camera_status(self, name: str, pids: dict[str, int], now_s: float) -> CameraStatus | None:
        process = f"camera {name}"
        stats = self.telemetry.fresh(process, pids.get(process), now_s)
        return stats.camera if stats else None

    def _now_s(self) -> float:
        return self.clock.monotonic_ns() / NS_PER_S
