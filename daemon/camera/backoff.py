"""How long to wait before a camera is tried again. Pure: chance comes in as a number.

Doubling with a cap, so a dead camera costs nothing; jitter, so that a hundred cameras behind one switch do not come
back in one instant. Wrong credentials wait far longer: cameras lock accounts out when passwords are hammered.
"""

from __future__ import annotations

from typing import Final

from ..errors import DisconnectReason

FIRST_S: Final = 0.5
CAP_S: Final = 30.0
AUTH_S: Final = (60.0, 300.0)  # first wait, and every later one
JITTER: Final = 0.2  # share of the wait, to both sides


class Backoff:
    """The waits of one stream between one success and the next."""

    def __init__(self) -> None:
        self._failures = 0
        self._auth_failures = 0

    def succeeded(self) -> None:
        """Begin again with the shortest wait; to be called when frames came, not already on a connection."""
        self._failures = self._auth_failures = 0

    def wait_s(self, reason: DisconnectReason, chance: float) -> float:
        """Return the seconds to wait after a failure; `chance` is uniform in 0..1."""
        if reason == "auth":
            wait_s = AUTH_S[min(self._auth_failures, 1)]
            self._auth_failures += 1
            return wait_s * (1 + JITTER * chance)  # never less than the least wait
        wait_s = min(CAP_S, FIRST_S * 2.0 ** min(self._failures, 10))
        self._failures += 1
        return wait_s * (1 + JITTER * (2 * chance - 1))
