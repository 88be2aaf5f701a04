"""Latency histograms with fixed bounds: cheap to fill, to send and to add up; percentiles by interpolation."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from .messages import LatencyHistogram

BOUNDS_MS: Final = (1, 2, 3, 5, 7, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100, 150, 200, 300, 500, 1000, 2000, 5000)


class Histogram:
    """Counts of values in ms."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_MS) + 1)
        self.sum_ms = 0.0

    def add(self, value_ms: float) -> None:
        """Count one value."""
        self.counts[bisect_left(BOUNDS_MS, value_ms)] += 1
        self.sum_ms += value_ms

    def message(self, name: str, camera: str = "") -> LatencyHistogram:
        """Return the counts so far as a message."""
        return LatencyHistogram(name=name, counts=tuple(self.counts), sum_ms=self.sum_ms, camera=camera)


def percentile_ms(counts: Sequence[int], share: float) -> float | None:
    """Return the value under which `share` (0..1) of the counts lie, linear inside a bucket; None without counts.

    What lies in the open last bucket is given as its lower bound.
    """
    total = sum(counts)
    if total == 0:
        return None
    wanted, seen, low = share * total, 0, 0.0
    for bound, count in zip(BOUNDS_MS, counts, strict=False):
        if count and seen + count >= wanted:
            return low + (bound - low) * (wanted - seen) / count
        seen, low = seen + count, float(bound)
    return low
