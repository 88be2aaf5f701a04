"""What every child process is: settings from an inherited fd, a heartbeat stamped by its own loop, signals, stats.

A child's loop reads `while child.beat(): ...` and must come round at least every `LOOP_S`. Signal handlers only set
plain attributes. A child whose parent is gone ends by itself: the kernel is asked to say so, and the loop looks too,
for the parent may have died before the kernel was asked. Until the first round of the loop there is nothing to drain,
so SIGTERM ends the process at once, even while it loads a model.
What does not belong here: what any one role does.
"""

from __future__ import annotations

import ctypes
import os
import signal
from types import FrameType
from typing import Final

import structlog
from pydantic import ValidationError

from .clock import NS_PER_S, Clock, SystemClock
from .config.settings import Settings
from .heartbeat import Heartbeat
from .messages import ProcessStats
from .stats import Stats
from .wire import Sender, drain, ipc

LOOP_S: Final = 0.2  # longest wait of any child's loop; a heartbeat over HUNG_S old means a hung process
STATS_EVERY_NS: Final = NS_PER_S
_PR_SET_PDEATHSIG: Final = 1

log = structlog.get_logger()


def read_settings(fd: int) -> Settings:
    """Return the settings that the supervisor put into the memory behind `fd`."""
    size = os.fstat(fd).st_size
    return Settings.model_validate_json(os.pread(fd, size, 0))


class Child:
    """The process as its role's loop sees it."""

    def __init__(self, name: str, settings_fd: int, heartbeat: Heartbeat, clock: Clock | None = None) -> None:
        self.name = name
        self.clock: Clock = clock or SystemClock()
        self.settings = read_settings(settings_fd)
        self.stats = Stats()
        self.stopping = False
        self._has_begun = False
        self._settings_fd = settings_fd
        self._reload_asked = False
        self._heartbeat = heartbeat
        self._parent = heartbeat.watcher_pid()  # not getppid(): it may have died while we started
        self._next_stats_ns = 0
        self._sender: Sender[ProcessStats] = Sender(self.endpoint("stats"), high_water=10, linger_ms=100)

    def endpoint(self, plane: str) -> str:
        """Return the ipc endpoint of a plane of `messages.py`."""
        return ipc(self.settings.service.runtime_dir, plane)

    def install_signals(self) -> None:
        """Take SIGHUP as "read your settings again"; leave SIGINT to the supervisor. SIGTERM: see `beat`."""
        signal.signal(signal.SIGHUP, self._on_hup)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    def beat(self) -> bool:
        """Stamp the heartbeat, send stats when they are due; return False when the process is to end."""
        if not self._has_begun:
            signal.signal(signal.SIGTERM, self._on_term)  # from now on there is something to drain
            self._has_begun = True
        now_ns = self.clock.monotonic_ns()
        self._heartbeat.stamp(now_ns / NS_PER_S)
        if now_ns >= self._next_stats_ns:
            self._next_stats_ns = now_ns + STATS_EVERY_NS
            self.send_stats()
        if os.getppid() != self._parent:
            self.stopping = True
        return not self.stopping

    def send_stats(self) -> None:
        """Send the stats now; a supervisor that does not listen misses nothing, for counters only grow."""
        self._sender.send(self.stats.message(self.name, os.getpid()))

    def close(self) -> None:
        """Send the last stats, and let what is queued leave; the role's own sockets must be closed."""
        self.send_stats()
        self._sender.close()
        drain()

    def settings_changed(self) -> bool:
        """Take over new settings when the supervisor announced some since the last call."""
        if not self._reload_asked:
            return False
        self._reload_asked = False
        try:
            self.settings = read_settings(self._settings_fd)
        except ValidationError:
            return False  # the supervisor is writing the next ones just now, and says so when it has
        log.info("settings_reloaded")
        return True

    def _on_term(self, _signal: int, _frame: FrameType | None) -> None:
        self.stopping = True

    def _on_hup(self, _signal: int, _frame: FrameType | None) -> None:
        self._reload_asked = True
