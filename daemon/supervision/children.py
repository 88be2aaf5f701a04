"""One child process: its memory, its start, its end. When it starts again, and why, is `supervisor.py`'s duty.

A child inherits two pieces of anonymous memory: its settings, which may hold a camera's password and so never touch a
disk or a command line, and the heartbeat that its own loop stamps. And it holds the supervisor's locks with it, so that
a daemon that was killed counts as running until the last of its children has let go of the journal.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from ..config.settings import Settings
from ..heartbeat import Heartbeat

# The child runs the very package that its parent runs, installed or not; -P keeps the working directory out of
# sys.path, where a folder that is called `daemon` would be run instead.
_PACKAGE_ROOT: Final = str(Path(__file__).resolve().parents[2])
_ENTRY: Final = f"import sys; sys.path.append({_PACKAGE_ROOT!r}); from daemon.child import main; \
sys.exit(main(sys.argv[1:]))"


class ChildProcess:
    """A started child. Start a new one instead of restarting it: the old heartbeat says nothing about the new life."""

    def __init__(self, role: str, name: str, settings: bytes, lock_fds: tuple[int, ...] = ()) -> None:
        """Start it. Raises OSError when the system has no room for another process."""
        self.name = name
        self._is_told = True
        self.heartbeat = Heartbeat.create(name.replace(" ", "-"))
        try:
            self._settings_fd = os.memfd_create("leptond-settings")
        except OSError:
            self.heartbeat.close()
            raise
        fds = (self._settings_fd, self.heartbeat.fd)
        command = [sys.executable, "-P", "-c", _ENTRY, role, name, *map(str, fds)]
        try:
            self._write_settings(settings)
            # A group of its own: Ctrl-C on a terminal is for the supervisor, which stops the children in order.
            self.process = subprocess.Popen(
                command, pass_fds=(*fds, *lock_fds), stdin=subprocess.DEVNULL, process_group=0
            )
        except OSError:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Return the process id, also after its end."""
        return self.process.pid

    def exit_code(self) -> int | None:
        """Return None while it runs, else its exit code, or minus the number of the signal that killed it."""
        return self.process.poll()

    def reload(self, settings: bytes) -> None:
        """Hand over new settings and tell the child to read them, as soon as it listens."""
        self._write_settings(settings)
        self._is_told = False
        self.tell()

    def tell(self) -> None:
        """Tell of new settings what has not been told; before its first heartbeat SIGHUP would kill the child."""
        if not self._is_told and self.heartbeat.last_s() > 0:
            self._is_told = True
            self._signal(signal.SIGHUP)

    def terminate(self) -> None:
        """Ask it to drain and end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it now, whatever it does; a process that waits for a dead disk or GPU ends when the kernel lets it."""
        self._signal(signal.SIGKILL)

    def close(self) -> None:
        """Give its memory back; the process must have ended."""
        self.heartbeat.close()
        os.close(self._settings_fd)

    def _write_settings(self, settings: bytes) -> None:
        os.ftruncate(self._settings_fd, len(settings))
        os.pwrite(self._settings_fd, settings, 0)

    def _signal(self, number: signal.Signals) -> None:
        if self.exit_code() is None:
            self.process.send_signal(number)


def settings_bytes(settings: Settings) -> bytes:
    """Return what `process.read_settings` reads."""
    return settings.model_dump_json().encode()
