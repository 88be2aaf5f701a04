"""A place for one frame between the thread that decodes and the loop that sends: the newest wins.

In lossless mode, for files that are read as fast as the detector takes them, the giver waits instead.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import Any

from ..clock import NS_PER_S


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded frame and its times, monotonic; pixels as the decoder left them."""

    frame: Any  # av.VideoFrame
    captured_ns: int
    decoded_ns: int
    pts_s: float | None


class Mailbox:
    """Holds at most one frame; its `fd` is readable when one may be there."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._changed = threading.Condition()
        self._frame: Decoded | None = None
        self._replaced = 0

    def put(self, frame: Decoded) -> None:
        """Leave a frame; one that nobody fetched yet is replaced and counted."""
        with self._changed:
            self._replaced += self._frame is not None
            self._frame = frame
        os.eventfd_write(self.fd, 1)

    def wait_empty(self, timeout_ns: int) -> bool:
        """Wait until the frame was fetched; return whether it was, within the time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._frame is None, timeout_ns / NS_PER_S)

    def take(self) -> Decoded | None:
        """Fetch the frame, if there is one."""
        with self._changed:
            frame, self._frame = self._frame, None
            self._changed.notify()
        return frame

    def take_replaced(self) -> int:
        """Return how many frames were replaced since the last call."""
        with self._changed:
            replaced, self._replaced = self._replaced, 0
        return replaced

    def clear_wake(self) -> None:
        """Make `fd` unreadable until the next `put`."""
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)
