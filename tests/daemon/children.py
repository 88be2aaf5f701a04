"""Starts a child process for real, as the supervisor does, for tests of one role or of several together.

with start_child("events", "events", settings) as events:
    events.wait_until_beating()
    ...
    events.kill()             # SIGKILL; or
    assert events.stop() == 0 # SIGTERM, drains, exit code
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from daemon.config.settings import Settings
from daemon.heartbeat import Heartbeat
from daemon.supervision.children import ChildProcess, settings_bytes

T = TypeVar("T")
DEADLINE_S = 60.0  # generous: machines that run tests are busy
POLL_S = 0.02


def wait_for(condition: Callable[[], T], what: str, deadline_s: float = DEADLINE_S) -> T:
    """Return the first true value of `condition`; fail naming `what` when none came in time."""
    end_s = time.monotonic() + deadline_s
    while time.monotonic() < end_s:
        value = condition()
        if value:
            return value
        time.sleep(POLL_S)
    raise AssertionError(f"not in {deadline_s} s: {what}")


class StartedChild:
    """A child that runs; killed at the end of its `with` block when it still does."""

    def __init__(self, child: ChildProcess) -> None:
        self._child = child
        self.process: subprocess.Popen[bytes] = child.process
        self.heartbeat: Heartbeat = child.heartbeat

    def wait_until_beating(self) -> None:
        """Wait until its loop has come round once; fail when it ended instead."""

        def beating() -> bool:
            assert self.process.poll() is None, f"{self._child.name} ended with {self.process.poll()}"
            return self.heartbeat.last_s() > 0

        wait_for(beating, f"first heartbeat of {self._child.name}")

    def reload(self, settings: Settings) -> None:
        """Hand over new settings, with SIGHUP."""
        self._child.reload(settings_bytes(settings))

    def wait(self, timeout_s: float = DEADLINE_S) -> int:
        """Return the exit code of a child that ends by itself."""
        return self.process.wait(timeout=timeout_s)

    def stop(self, timeout_s: float = DEADLINE_S) -> int:
        """Ask it to drain and end, and return its exit code."""
        self._child.terminate()
        return self.wait(timeout_s)

    def kill(self) -> None:
        """Kill it with SIGKILL and wait for its end."""
        self._child.kill()
        self.process.wait(timeout=DEADLINE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()
        self._child.close()


def start_child(role: str, name: str, settings: Settings) -> StartedChild:
    """Start `role` as a process of its own; `settings.service.runtime_dir` must exist (use a short tmp path)."""
    return StartedChild(ChildProcess(role, name, settings_bytes(settings)))
