"""How long a model takes for a batch: the median of repeated runs on noise, after warming up."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .runtime import Detector

BUCKETS = (1, 2, 4, 8)
WARM_RUNS = 2
LEAST_RUNS = 5
BUDGET_S = 1.0  # measuring time a bucket


def latency_ms(detector: Detector, batch: int, budget_s: float = BUDGET_S) -> float:
    """Return the median milliseconds of one run with `batch` pictures."""
    width, height = detector.size
    pictures = np.random.default_rng(5).integers(0, 256, (batch, 3, height, width), dtype=np.uint8)
    for _ in range(WARM_RUNS):
        detector.run(pictures)
    taken_ns: list[int] = []
    deadline_ns = time.monotonic_ns() + int(budget_s * 1e9)
    while len(taken_ns) < LEAST_RUNS or time.monotonic_ns() < deadline_ns:
        start_ns = time.perf_counter_ns()
        detector.run(pictures)
        taken_ns.append(time.perf_counter_ns() - start_ns)
    return float(np.median(taken_ns)) / 1e6
