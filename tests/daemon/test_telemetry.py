"""Sums over the lives of processes, and differences over the window."""

from daemon.messages import ProcessStats
from daemon.stats import Stats
from daemon.supervision.telemetry import Telemetry


def said(pid: int, frames: int, latencies: int = 0) -> ProcessStats:
    """Return what a worker says that has inferred `frames` frames in this life."""
    stats = Stats()
    stats.count("frames_inferred", camera="gate", by=frames)
    for _ in range(latencies):
        stats.latency("inference", 12.0)
    stats.set("journal_last_seq", 7)
    return stats.message("worker", pid)


def test_a_counter_goes_on_where_the_life_before_ended() -> None:
    """A restarted process counts from nought; the sum does not."""
    telemetry = Telemetry()

    for stats in (said(1, 100), said(1, 150), said(2, 10), said(2, 30)):
        telemetry.take(stats, 1.0)

    assert telemetry.totals.counters["worker", "frames_inferred", "gate", ""] == 180


def test_growth_and_percentiles_are_those_of_the_window() -> None:
    """What happened before the window's begin does not count."""
    telemetry = Telemetry()
    telemetry.take(said(1, 1000, latencies=50), 0.0)
    telemetry.remember(0.0)

    for second in range(1, 101):
        telemetry.take(said(1, 1000 + 10 * second, latencies=50 + second), float(second))
        telemetry.remember(float(second))

    assert telemetry.window_s(100.0) == 60
    assert telemetry.growth()["frames_inferred", "gate"] == {"": 600}
    (inference,) = telemetry.percentiles()
    assert inference.count == 60
    assert 10 < inference.p50_ms <= 15


def test_the_word_of_an_earlier_life_or_of_long_ago_is_not_fresh() -> None:
    """A killed process is not taken for alive because its last word is still there."""
    telemetry = Telemetry()
    telemetry.take(said(1, 1), 10.0)

    assert telemetry.fresh("worker", 1, 11.0) is not None
    assert telemetry.fresh("worker", 2, 11.0) is None
    assert telemetry.fresh("worker", None, 11.0) is None
    assert telemetry.fresh("worker", 1, 14.0) is None
    assert telemetry.gauge("journal_last_seq") == 7
