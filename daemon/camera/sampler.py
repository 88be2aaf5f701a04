"""Which frames of a stream are offered to the detector: evenly by capture time, never more than asked. Pure."""

from __future__ import annotations

from typing import Final

from ..clock import NS_PER_S

_EARLY: Final = 0.25  # share of the interval that a frame may come early: streams jitter, and 5 of 25 must stay 5


class Sampler:
    """Chooses `fps` frames a second; a stream that has fewer is taken whole."""

    def __init__(self, fps: float) -> None:
        self._interval_ns = NS_PER_S / fps
        self._due_ns: float | None = None

    def wants(self, captured_ns: int) -> bool:
        """Return whether the frame captured now is one of them."""
        if self._due_ns is not None and captured_ns < self._due_ns - _EARLY * self._interval_ns:
            return False
        behind = self._due_ns is None or captured_ns > self._due_ns + self._interval_ns
        # After a pause the rhythm begins anew: no burst to catch up.
        self._due_ns = (captured_ns if behind or self._due_ns is None else self._due_ns) + self._interval_ns
        return True
