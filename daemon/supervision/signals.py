"""Signals as plain attributes and a file descriptor that wakes a poll; a handler does nothing else.

`threading.Event.set()` in a handler can deadlock, and so can a log line.
"""

from __future__ import annotations

import signal
import socket
from types import FrameType


class Signals:
    """What has been asked of this process by signal."""

    def __init__(self) -> None:
        self.stops_asked = 0
        self.reload_asked = False
        self._waker, self._wakes = socket.socketpair()
        for end in (self._waker, self._wakes):
            end.setblocking(False)

    def install(self) -> None:
        """Listen to SIGTERM, SIGINT, SIGHUP, and to SIGCHLD only so that it wakes the poll."""
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_reload)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable with each signal."""
        return self._wakes.fileno()

    def drain(self) -> None:
        """Empty the descriptor."""
        try:
            while self._wakes.recv(4096):
                pass
        except BlockingIOError:
            return

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stops_asked += 1

    def _on_reload(self, _number: int, _frame: FrameType | None) -> None:
        self.reload_asked = True
