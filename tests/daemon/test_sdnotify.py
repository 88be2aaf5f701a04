"""Datagrams to systemd, over real sockets."""

import os
import socket
from pathlib import Path

import pytest

from daemon.supervision.sdnotify import Notifier


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_hears_lines_of_key_and_value(tmp_path: Path, abstract: bool) -> None:
    """Both a path and an abstract name work; a value never breaks its line."""
    name = f"@leptond-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if abstract else name)
        manager.settimeout(10)
        notifier = Notifier({"NOTIFY_SOCKET": name})

        notifier.notify(READY=1, STATUS="2 cameras\nX=1")
        notifier.close()

        assert manager.recv(4096) == b"READY=1\nSTATUS=2 cameras X=1"


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": "/no/such/socket"}, {"NOTIFY_SOCKET": "nonsense"}])
def test_without_systemd_nothing_happens(environ: dict[str, str]) -> None:
    """On a terminal there is nobody to tell, and that is no error."""
    notifier = Notifier(environ)

    notifier.notify(READY=1)

    notifier.close()
