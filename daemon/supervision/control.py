"""The control socket: one JSON object asks, one answers. Commands: status, reload, version.

{"command": "status"} → {"ok": true, "status": {...}} · {"ok": false, "error": "..."}
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import zmq

from ..errors import ConfigError, LeptonError, WireTimeout
from ..wire import ipc

Answer = dict[str, Any]
Commands = dict[str, Callable[[], Answer]]
PLANE: Final = "control"
MAX_REQUEST_BYTES: Final = 4096


class NotRunningError(LeptonError):
    """Raised when there is no daemon in the runtime directory."""


class ControlServer:
    """REP side, in the supervisor."""

    def __init__(self, endpoint: str, commands: Commands) -> None:
        self.socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.REP)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.MAXMSGSIZE, MAX_REQUEST_BYTES)
        self.socket.bind(endpoint)
        self._commands = commands

    def answer(self) -> None:
        """Answer what has been asked; never waits."""
        while True:
            try:
                # All parts, for an answer in the middle of a request is an error of the socket.
                request = b"".join(self.socket.recv_multipart(zmq.NOBLOCK))
                self.socket.send(json.dumps(self._answer(request)).encode(), zmq.NOBLOCK)
            except zmq.Again:
                return

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def _answer(self, request: bytes) -> Answer:
        try:
            asked = json.loads(request)
            command = self._commands[asked["command"]]
        except (ValueError, TypeError, KeyError, RecursionError):
            return {"ok": False, "error": f"unknown command; known are {', '.join(sorted(self._commands))}"}
        try:
            return {"ok": True, **command()}
        except LeptonError as exc:  # whoever asked must mend it; the daemon goes on as it was
            return {"ok": False, "error": str(exc)}


def ask(runtime_dir: Path, command: str, timeout_s: float = 5.0) -> Answer:
    """Return the running daemon's answer.

    Raises NotRunningError when no daemon is there, WireTimeout when it does not answer in time, ConfigError when it
    refuses.
    """
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.REQ)
    try:
        endpoint = ipc(runtime_dir, PLANE)
        if not Path(endpoint.removeprefix("ipc://")).exists():
            raise NotRunningError(f"no leptond runs in {runtime_dir}; start it, or give its --config")
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(endpoint)
        socket.send(json.dumps({"command": command}).encode())
        if not socket.poll(int(timeout_s * 1000)):
            raise WireTimeout(f"leptond in {runtime_dir} did not answer within {timeout_s:g} s; is it running?")
        answer: Answer = json.loads(socket.recv())
    except PermissionError as exc:
        raise ConfigError(f"{runtime_dir}: {exc.strerror}; run as the user of leptond, or as root") from exc
    finally:
        socket.close()
    if not answer.get("ok"):
        raise ConfigError(f"leptond refused: {answer.get('error')}")
    return answer
