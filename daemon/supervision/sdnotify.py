"""Tells systemd how the service is: one datagram a message, as sd_notify(3) describes.

Own lines and no library: there is nothing to it but a socket, and the libraries for it lack the extended timeouts.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Final

_STATUS_MAX_CHARS: Final = 200


class Notifier:
    """Speaks to the socket in NOTIFY_SOCKET, which may be an abstract one (`@…`); silent when there is none."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._socket: socket.socket | None = None
        if self._address.startswith(("/", "@")):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    def notify(self, **values: str | int) -> None:
        """Send `KEY=value` lines, e.g. `notify(READY=1, STATUS="4 cameras")`; a full or missing socket loses them.

        They are repeated or unimportant, and a service must not wait for its manager.
        """
        if self._socket is None:
            return
        lines = "\n".join(f"{key}={_one_line(value)}" for key, value in values.items())
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            self._socket.sendto(lines.encode(), address)
        except OSError:
            return

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()


def _one_line(value: str | int) -> str:
    return str(value).replace("\n", " ")[:_STATUS_MAX_CHARS]
