"""When a process that ended starts again: at once the first time, ever later when it keeps ending. Pure.

It never gives up: a camera may be mounted next week, and somebody may mend a disk. A loop of crashes is said aloud.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

FIRST_DELAY_S: Final = 0.2
MAX_DELAY_S: Final = 30.0
JITTER: Final = 0.25  # share of the delay; a hundred readers must not all come back in the same instant
HEALTHY_AFTER_S: Final = 60.0
CRASH_LOOP_ENDS: Final = 5  # ends in a row, none after HEALTHY_AFTER_S of life


class RestartPolicy:
    """Counts the ends of one process in a row; `random` gives 0..1."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self.ends_in_a_row = 0

    def delay_s(self, lived_s: float) -> float:
        """Return how long to wait after an end; `lived_s` is how long that life was."""
        if lived_s >= HEALTHY_AFTER_S:
            self.ends_in_a_row = 0
        self.ends_in_a_row += 1
        delay_s: float = min(MAX_DELAY_S, FIRST_DELAY_S * 2.0 ** min(self.ends_in_a_row - 1, 30))
        return delay_s * (1 - JITTER * self._random())

    def is_crash_loop(self, lives_s: float | None) -> bool:
        """Return whether it keeps ending; `lives_s` is the age of the present life, None while there is none."""
        if lives_s is not None and lives_s >= HEALTHY_AFTER_S:
            return False
        return self.ends_in_a_row >= CRASH_LOOP_ENDS
