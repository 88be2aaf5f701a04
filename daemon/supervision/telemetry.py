"""Adds up what the processes say of themselves: totals that outlive a restart, and differences over the last minute.

A process counts from nought in each life; here a counter goes on where the life before ended.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Final

from ..histogram import BOUNDS_MS, percentile_ms
from ..messages import ProcessStats
from .report import LatencyReport

WINDOW_S: Final = 60.0
_SNAPSHOT_EVERY_S: Final = 5.0
_FRESH_S: Final = 3.5  # they come once a second

CounterKey = tuple[str, str, str, str]  # process, name, camera, reason
LatencyKey = tuple[str, str, str]  # process, name, camera
Growth = defaultdict[tuple[str, str], defaultdict[str, float]]  # (name, camera) → reason → growth


@dataclass
class Totals:
    """Sums since the daemon's start."""

    counters: defaultdict[CounterKey, float] = field(default_factory=lambda: defaultdict(float))
    latencies: dict[LatencyKey, list[int]] = field(default_factory=dict)
    latency_sums_ms: defaultdict[LatencyKey, float] = field(default_factory=lambda: defaultdict(float))

    def copy(self) -> Totals:
        """Return a copy that does not grow."""
        latencies = {key: list(counts) for key, counts in self.latencies.items()}
        return Totals(self.counters.copy(), latencies, self.latency_sums_ms.copy())


class Telemetry:
    """The last word of every process, and the sums."""

    def __init__(self) -> None:
        self.totals = Totals()
        self._last: dict[str, tuple[float, ProcessStats]] = {}
        self._past: deque[tuple[float, Totals]] = deque(maxlen=int(WINDOW_S / _SNAPSHOT_EVERY_S) + 1)

    def take(self, stats: ProcessStats, now_s: float) -> None:
        """Take in what a process says."""
        _, before = self._last.get(stats.process, (0.0, None))
        if before is not None and before.pid != stats.pid:
            before = None
        self._last[stats.process] = (now_s, stats)
        known = {(s.name, s.camera, s.reason): s.value for s in before.counters} if before else {}
        for sample in stats.counters:
            grown = sample.value - known.get((sample.name, sample.camera, sample.reason), 0.0)
            self.totals.counters[stats.process, sample.name, sample.camera, sample.reason] += grown
        self._take_latencies(stats, before)

    def forget(self, processes: set[str]) -> None:
        """Forget the last word of processes that are no more; the sums stay."""
        for process in processes & self._last.keys():
            del self._last[process]

    def fresh(self, process: str, pid: int | None, now_s: float) -> ProcessStats | None:
        """Return what this life of the process said last, when that is not long ago."""
        said_s, stats = self._last.get(process, (0.0, None))
        return stats if stats is not None and stats.pid == pid and now_s - said_s <= _FRESH_S else None

    def everyone(self) -> tuple[ProcessStats, ...]:
        """Return the last word of every process."""
        return tuple(stats for _, stats in self._last.values())

    def remember(self, now_s: float) -> None:
        """Keep the present sums for later differences; call it about once a second."""
        if not self._past or now_s - self._past[-1][0] >= _SNAPSHOT_EVERY_S:
            self._past.append((now_s, self.totals.copy()))

    def window_s(self, now_s: float) -> float:
        """Return how far back differences go."""
        return now_s - self._past[0][0] if self._past else 0.0

    def growth(self) -> Growth:
        """Return how much every counter grew in the window, added up over the processes."""
        past = self._past[0][1].counters if self._past else {}
        found: Growth = defaultdict(lambda: defaultdict(float))
        for key, value in self.totals.counters.items():
            _, name, camera, reason = key
            found[name, camera][reason] += value - past.get(key, 0.0)
        return found

    def total(self, name: str, camera: str) -> float:
        """Return a counter's sum over all processes and reasons since the daemon's start."""
        return sum(value for key, value in self.totals.counters.items() if key[1:3] == (name, camera))

    def gauge(self, name: str) -> float | None:
        """Return a gauge that one process alone has."""
        values = [s.value for stats in self.everyone() for s in stats.gauges if s.name == name]
        return values[0] if values else None

    def percentiles(self) -> tuple[LatencyReport, ...]:
        """Return the percentiles of every latency in the window."""
        past = self._past[0][1].latencies if self._past else {}
        found = []
        for (process, name, camera), counts in sorted(self.totals.latencies.items()):
            before = past.get((process, name, camera), [0] * len(counts))
            grown = [now - then for now, then in zip(counts, before, strict=True)]
            values = [percentile_ms(grown, share) for share in (0.5, 0.95, 0.99)]
            p50, p95, p99 = (value if value is not None else 0.0 for value in values)
            if total := sum(grown):
                found.append(LatencyReport(name=name, camera=camera, count=total, p50_ms=p50, p95_ms=p95, p99_ms=p99))
        return tuple(found)

    def _take_latencies(self, stats: ProcessStats, before: ProcessStats | None) -> None:
        known = {(h.name, h.camera): h for h in before.latencies} if before else {}
        for histogram in stats.latencies:
            if len(histogram.counts) != len(BOUNDS_MS) + 1:
                continue  # of another version, during an upgrade
            key = (stats.process, histogram.name, histogram.camera)
            old = known.get((histogram.name, histogram.camera))
            then = old.counts if old else (0,) * len(histogram.counts)
            sums = self.totals.latencies.setdefault(key, [0] * len(histogram.counts))
            for index, count in enumerate(histogram.counts):
                sums[index] += count - then[index]
            self.totals.latency_sums_ms[key] += histogram.sum_ms - (old.sum_ms if old else 0.0)
