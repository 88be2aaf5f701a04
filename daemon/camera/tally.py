"""Counts that a thread keeps and its process's loop fetches; `Stats` belongs to the loop alone."""

from __future__ import annotations

import threading
from collections import Counter


class Tally:
    """Counters by name and reason."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, name: str, reason: str = "", by: int = 1) -> None:
        """Count."""
        with self._lock:
            self._counts[name, reason] += by

    def take(self) -> dict[tuple[str, str], int]:
        """Return what was counted since the last call."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        return counts
