"""The Prometheus endpoint: the numbers of `leptond status`, as counters, gauges and histograms.

The supervisor's loop leaves a snapshot once a second; the server's thread reads nothing else.
"""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final
from wsgiref.simple_server import WSGIServer

import structlog
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from ..errors import ConfigError
from ..histogram import BOUNDS_MS
from ..messages import ProcessStats
from .report import Report
from .telemetry import Telemetry, Totals

PREFIX: Final = "leptond"
_LABELS: Final = ("process", "camera", "reason")
_NAME: Final = re.compile(r"^[a-z][a-z0-9_]*$")

log = structlog.get_logger()


class Snapshot(Collector):
    """What the last second left."""

    def __init__(self) -> None:
        self._seen: tuple[Report, Totals, tuple[ProcessStats, ...]] | None = None

    def put(self, report: Report, telemetry: Telemetry) -> None:
        """Replace the snapshot."""
        self._seen = (report, telemetry.totals.copy(), telemetry.everyone())

    def collect(self) -> Iterator[Metric]:
        """Yield every metric; a name that two would have is the report's, which sees more than one process does."""
        if (seen := self._seen) is None:
            return
        report, totals, everyone = seen
        names: set[str] = set()
        for metric in chain(_of_report(report), _of_counters(totals), _of_gauges(everyone), _of_latencies(totals)):
            if metric.name not in names:
                names.add(metric.name)
                yield metric


class MetricsEndpoint:
    """An HTTP server on `host:port`; none when `listen` is empty. Raises ConfigError when the port cannot be had."""

    def __init__(self, listen: str) -> None:
        self._snapshot = Snapshot()
        self._server: WSGIServer | None = None
        self._thread: threading.Thread | None = None
        if not listen:
            return
        registry = CollectorRegistry()
        registry.register(self._snapshot)
        host, _, port = listen.rpartition(":")
        try:
            self._server, self._thread = start_http_server(int(port), host.strip("[]"), registry)
        except OSError as exc:
            raise ConfigError(
                f"metrics.listen: cannot listen on {listen}: {exc.strerror}; choose another port, or empty for none"
            ) from exc
        log.info("metrics_listening", host=host, port=self.port)

    @property
    def port(self) -> int:
        """Return the port that it listens on; 0 for none."""
        return self._server.server_port if self._server else 0

    def publish(self, report: Report, telemetry: Telemetry) -> None:
        """Show this from now on."""
        if self._server is not None:
            self._snapshot.put(report, telemetry)

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(timeout=5)


def _gauge(name: str, text: str, labels: Iterable[str], values: Iterable[tuple[list[str], float]]) -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=list(labels))
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


def _counter(name: str, text: str, labels: Iterable[str], values: Iterable[tuple[list[str], float]]) -> Metric:
    family = CounterMetricFamily(f"{PREFIX}_{name}", text, labels=list(labels))
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


def _of_report(report: Report) -> Iterator[Metric]:
    cameras, processes, worker = report.cameras, report.processes, report.detector.worker
    yield _gauge("build_info", "Version of the daemon.", ["version"], [([report.version], 1)])
    yield _gauge("ready", "1 when everything but the cameras runs.", [], [([], report.ready)])
    yield _gauge("problems", "Things that `leptond status` names as problems.", [], [([], len(report.problems))])
    yield _gauge("uptime_seconds", "Age of the daemon.", [], [([], report.uptime_s)])
    yield _gauge("detector_up", "1 when the detector serves.", [], [([], report.detector.up)])
    if worker:
        info = [worker["model_id"], worker["provider"], worker["device"]]
        labels = ["model", "provider", "device"]
        yield _gauge("worker_info", "What the worker runs on.", labels, [(info, 1)])
        fell_back: list[tuple[list[str], float]] = [([], float(worker["fell_back"]))]
        yield _gauge("worker_fell_back", "1 when a GPU was wanted and none could be used.", [], fell_back)
    up = [([c.name], float(c.up)) for c in cameras if c.up is not None]
    yield _gauge("camera_up", "1 when pictures come.", ["camera"], up)
    seconds = [([c.name, state], value) for c in cameras for state, value in c.seconds.items()]
    yield _counter("camera_seconds", "Seconds in each state; each second in one.", ["camera", "state"], seconds)
    reconnects = [([c.name], float(c.reconnects)) for c in cameras]
    yield _counter("camera_reconnects", "Connections after the first.", ["camera"], reconnects)
    alive = [([p.name], float(p.state == "running")) for p in processes]
    yield _gauge("process_up", "1 when the process runs and beats.", ["process"], alive)
    restarts = [([p.name], float(p.restarts)) for p in processes]
    yield _counter("process_restarts", "Restarts that nobody asked for.", ["process"], restarts)
    if report.disk:
        yield _gauge("disk_free_bytes", "Free on the state directory's disk.", [], [([], report.disk.free_bytes)])
        yield _gauge("disk_total_bytes", "Size of the state directory's disk.", [], [([], report.disk.total_bytes)])


def _of_counters(totals: Totals) -> Iterator[Metric]:
    by_name: defaultdict[str, list[tuple[list[str], float]]] = defaultdict(list)
    for (process, name, camera, reason), value in totals.counters.items():
        by_name[name].append(([process, camera, reason], value))
    for name, values in sorted(by_name.items()):
        if _NAME.match(name):
            yield _counter(name, f"Counter {name} of the processes.", _LABELS, values)


def _of_gauges(everyone: tuple[ProcessStats, ...]) -> Iterator[Metric]:
    by_name: defaultdict[str, list[tuple[list[str], float]]] = defaultdict(list)
    for stats in everyone:
        for sample in stats.gauges:
            by_name[sample.name].append(([stats.process, sample.camera, sample.reason], sample.value))
    for name, values in sorted(by_name.items()):
        if _NAME.match(name):
            yield _gauge(name, f"Gauge {name} of the processes.", _LABELS, values)


def _of_latencies(totals: Totals) -> Iterator[Metric]:
    families: dict[str, HistogramMetricFamily] = {}
    for (process, name, camera), counts in sorted(totals.latencies.items()):
        if not _NAME.match(name):
            continue
        family = families.setdefault(
            name,
            HistogramMetricFamily(
                f"{PREFIX}_{name.removesuffix('_ms')}_seconds", f"Latency {name}.", labels=["process", "camera"]
            ),
        )
        buckets, seen = [], 0
        for bound_ms, count in zip((*BOUNDS_MS, None), counts, strict=True):
            seen += count
            buckets.append(("+Inf" if bound_ms is None else str(bound_ms / 1000), seen))
        sum_s = totals.latency_sums_ms[process, name, camera] / 1000
        family.add_metric([process, camera], buckets=buckets, sum_value=sum_s)
    yield from families.values()
