"""The two clocks: monotonic for measuring, UTC for people and storage.

`captured_ns` and every other `_ns` without `utc` in its name is monotonic and compares between processes of one host.
Code that decides by time takes a `Clock`, so that tests can run it in simulated time.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000


class Clock(Protocol):
    """Where time comes from."""

    def monotonic_ns(self) -> int:
        """Return nanoseconds of a clock that never jumps, the same for all processes of this host."""

    def utc_ns(self) -> int:
        """Return nanoseconds since 1970 in UTC; may jump when the host's clock is set."""


class SystemClock:
    """The host's clocks."""

    def monotonic_ns(self) -> int:
        """Return CLOCK_MONOTONIC in nanoseconds."""
        return time.monotonic_ns()

    def utc_ns(self) -> int:
        """Return CLOCK_REALTIME in nanoseconds."""
        return time.time_ns()


def utc_of(clock: Clock, monotonic_ns: int) -> int:
    """Return the UTC nanoseconds of a monotonic instant, by the offset between the two clocks right now."""
    return clock.utc_ns() - (clock.monotonic_ns() - monotonic_ns)


def iso_utc(utc_ns: int) -> str:
    """Return ISO 8601 with milliseconds and `Z`, as alerts and file names show it."""
    whole, rest = divmod(utc_ns, NS_PER_S)
    return datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{rest // NS_PER_MS:03d}Z"
