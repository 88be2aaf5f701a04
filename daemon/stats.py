"""What a process counts about itself, and the message that says it once a second.

Counters only grow; whoever reads them takes differences. Nothing here sends or keeps time.
"""

from __future__ import annotations

from collections import defaultdict

from .histogram import Histogram
from .messages import CameraStatus, ProcessStats, Sample, WorkerStatus

Key = tuple[str, str, str]  # name, camera, reason


class Stats:
    """Counters, gauges and latency histograms of one process."""

    def __init__(self) -> None:
        self._counters: defaultdict[Key, float] = defaultdict(float)
        self._gauges: dict[Key, float] = {}
        self._latencies: defaultdict[tuple[str, str], Histogram] = defaultdict(Histogram)
        self.camera: CameraStatus | None = None
        self.worker: WorkerStatus | None = None

    def count(self, name: str, *, camera: str = "", reason: str = "", by: float = 1) -> None:
        """Let a counter grow."""
        self._counters[name, camera, reason] += by

    def set(self, name: str, value: float, *, camera: str = "", reason: str = "") -> None:
        """Set a gauge, or a counter that somebody else keeps."""
        self._gauges[name, camera, reason] = value

    def latency(self, name: str, value_ms: float, *, camera: str = "") -> None:
        """Count one latency."""
        self._latencies[name, camera].add(value_ms)

    def value(self, name: str, *, camera: str = "", reason: str = "") -> float:
        """Return a counter's value so far."""
        return self._counters.get((name, camera, reason), 0.0)

    def message(self, process: str, pid: int) -> ProcessStats:
        """Return all of it as a message."""
        return ProcessStats(
            process=process,
            pid=pid,
            counters=_samples(self._counters),
            gauges=_samples(self._gauges),
            latencies=tuple(h.message(name, camera) for (name, camera), h in self._latencies.items()),
            camera=self.camera,
            worker=self.worker,
        )


def _samples(values: dict[Key, float]) -> tuple[Sample, ...]:
    return tuple(Sample(name=n, camera=c, reason=r, value=value) for (n, c, r), value in values.items())
