"""A lock-free shared double that a child's own main loop stamps and the supervisor reads; beside it, who that is.

Anonymous memory (memfd): nothing stays behind when its owners die, and a killed child cannot poison it, for there is
no lock. Eight aligned bytes are written in one store on every platform that we run on.
"""

from __future__ import annotations

import mmap
import os
from typing import Final

import numpy as np

_SIZE_BYTES: Final = mmap.PAGESIZE


class Heartbeat:
    """One double: monotonic seconds of the last stamp, 0.0 before the first."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map = mmap.mmap(fd, _SIZE_BYTES)
        self._value = np.frombuffer(self._map, dtype=np.float64, count=1)
        self._watcher = np.frombuffer(self._map, dtype=np.int64, count=1, offset=8)

    @classmethod
    def create(cls, name: str) -> Heartbeat:
        """Make the memory for a child; its fd is to be inherited."""
        fd = os.memfd_create(f"leptond-heartbeat-{name}", 0)
        os.ftruncate(fd, _SIZE_BYTES)
        heartbeat = cls(fd)
        heartbeat._watcher[0] = os.getpid()
        return heartbeat

    def watcher_pid(self) -> int:
        """Return the process that made the memory: the parent, also for a child that it did not live to see start."""
        return int(self._watcher[0])

    def stamp(self, monotonic_s: float) -> None:
        """Say "I am alive at this second"."""
        self._value[0] = monotonic_s

    def last_s(self) -> float:
        """Return the monotonic second of the last stamp; 0.0 when there was none."""
        return float(self._value[0])

    def close(self) -> None:
        """Give the memory back."""
        del self._value, self._watcher
        self._map.close()
        os.close(self.fd)
