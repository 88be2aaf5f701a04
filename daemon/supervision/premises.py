"""The daemon's folders: made, proved writable, locked against a second daemon, swept of a dead one's sockets."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Final

from ..config.settings import Service
from ..errors import ConfigError

LOCK_NAME: Final = "leptond.lock"
LOCK_PATIENCE_S: Final = 10.0  # children of a killed daemon drain at most so long, and hold its locks meanwhile
_POLL_S: Final = 0.1


def prepare(service: Service, patience_s: float = LOCK_PATIENCE_S) -> tuple[int, ...]:
    """Make the folders ready; return the locks as file descriptors, which hold while anybody has them open.

    Raises ConfigError when a folder cannot be written, or another daemon has one of them.
    """
    locks = []
    for key, folder in (("state_dir", service.state_dir), ("runtime_dir", service.runtime_dir)):
        _make(key, folder)
        locks.append(_lock(key, folder, patience_s))
        if service.state_dir.resolve() == service.runtime_dir.resolve():
            break
    for socket in service.runtime_dir.glob("*.sock"):
        socket.unlink(missing_ok=True)
    return tuple(locks)


def _make(key: str, folder: Path) -> None:
    try:
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigError(f"service.{key}: cannot make {folder}: {exc.strerror}") from exc
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"service.{key}: {folder} cannot be written by user id {os.geteuid()}")


def _lives(pid: str) -> bool:
    """Return whether the daemon that took the lock lives; else only its children still drain."""
    return pid.isascii() and pid.isdigit() and Path(f"/proc/{pid}").exists()


def _lock(key: str, folder: Path, patience_s: float) -> int:
    path = folder / LOCK_NAME
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as exc:
        raise ConfigError(f"service.{key}: cannot write {path}: {exc.strerror}") from exc
    end_s = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as exc:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
            if time.monotonic() >= end_s or _lives(holder):
                os.close(fd)
                raise ConfigError(
                    f"service.{key}: another leptond (process {holder}) works in {folder}; "
                    "stop it, or give this one folders of its own"
                ) from exc
        time.sleep(_POLL_S)
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd
