"""The Prometheus endpoint, read over HTTP by the library's own parser."""

import socket
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from daemon.errors import ConfigError
from daemon.stats import Stats
from daemon.supervision.metrics import MetricsEndpoint
from daemon.supervision.telemetry import Telemetry

from .reports import report

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(endpoint: MetricsEndpoint) -> Samples:
    """Return every sample by name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{endpoint.port}/metrics", timeout=30) as response:
        text = response.read().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_have_the_numbers_of_status() -> None:
    """Health, counters, gauges and histograms come with camera, process and reason as labels."""
    stats = Stats()
    stats.count("frames_dropped", camera="gate", reason="stale", by=4)
    stats.count("not a name", camera="gate")
    stats.count("camera_seconds", camera="gate", reason="seen", by=3)  # the report has this name
    stats.set("orders_pending", 2)
    for value_ms in (0.5, 12.0, 9000.0):
        stats.latency("inference", value_ms)
    telemetry = Telemetry()
    telemetry.take(stats.message("worker", 1), 0.0)
    endpoint = MetricsEndpoint("127.0.0.1:0")

    endpoint.publish(report(), telemetry)
    samples = scrape(endpoint)
    endpoint.close()

    none, worker = ("camera", ""), ("process", "worker")
    expected = {
        ("leptond_camera_up", (("camera", "yard"),)): 0,
        ("leptond_camera_seconds_total", (("camera", "gate"), ("state", "no_signal"))): 2.5,
        ("leptond_process_restarts_total", (("process", "camera yard"),)): 7,
        ("leptond_detector_up", ()): 1,
        ("leptond_worker_fell_back", ()): 1,
        ("leptond_disk_free_bytes", ()): 20e9,
        ("leptond_frames_dropped_total", (("camera", "gate"), worker, ("reason", "stale"))): 4,
        ("leptond_orders_pending", (none, worker, ("reason", ""))): 2,
        ("leptond_inference_seconds_bucket", (none, ("le", "0.015"), worker)): 2,
        ("leptond_inference_seconds_bucket", (none, ("le", "+Inf"), worker)): 3,
        ("leptond_inference_seconds_count", (none, worker)): 3,
    }
    assert {key: samples.get(key) for key in expected} == expected


def test_an_empty_address_switches_the_endpoint_off() -> None:
    """Nothing listens, and publishing costs nothing."""
    endpoint = MetricsEndpoint("")

    endpoint.publish(report(), Telemetry())
    endpoint.close()

    assert endpoint.port == 0


def test_a_port_that_is_taken_is_a_configuration_error() -> None:
    """The error names the key, the address and the remedy."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        with pytest.raises(ConfigError, match=f"metrics.listen: cannot listen on {address}: .*choose another port"):
            MetricsEndpoint(address)
