"""Entry of every child process; only the supervisor starts it.

`python -m daemon.child ROLE NAME SETTINGS_FD HEARTBEAT_FD`

The outermost frame: here, and nowhere else, any exception is caught, logged and turned into an exit code.
"""

from __future__ import annotations

import importlib
import sys
import threading
from typing import Final

import setproctitle
import structlog

from .config.secrets import register_password_of
from .errors import FatalError, LeptonError
from .heartbeat import Heartbeat
from .log import configure_logging, register_secret
from .process import Child

ROLES: Final = {  # role → the module that has `run(child: Child) -> None`
    "reader": "camera.reader",
    "worker": "inference.worker",
    "events": "events.events",
    "recorder": "recording.recorder",
}

log = structlog.get_logger()


def main(argv: list[str]) -> int:
    """Run one role until it ends; return its exit code: 0 asked to stop, else of the error, 1 for a crash."""
    role, name, settings_fd, heartbeat_fd = argv
    if role not in ROLES:
        return FatalError.exit_code
    setproctitle.setproctitle(f"leptond: {name}")
    try:
        child = Child(name, int(settings_fd), Heartbeat(int(heartbeat_fd)))
        service = child.settings.service
        for camera in child.settings.cameras.values():
            register_secret(camera.password)
            register_password_of(camera.url)
            register_password_of(camera.detect_url)
        configure_logging(service.log_level, service.log_format, process=name)
        threading.excepthook = _report_dead_thread
        child.install_signals()
        importlib.import_module(f".{ROLES[role]}", __package__).run(child)
        child.close()
    except LeptonError as exc:
        log.error("process_failed", error=str(exc), exit_code=exc.exit_code)  # noqa: TRY400 - the text says all
        return exc.exit_code
    except Exception:
        log.exception("process_crashed")
        return 1
    return 0


def _report_dead_thread(died: threading.ExceptHookArgs) -> None:
    """Put what ended a thread into the log, where secrets are removed; its loop notices that it is gone."""
    log.error("thread_crashed", thread=died.thread and died.thread.name, exc_info=died.exc_value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
