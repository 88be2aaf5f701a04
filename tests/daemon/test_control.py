"""The control socket, asked by a real peer."""

import json
from pathlib import Path
from typing import Any

import pytest
import zmq

from daemon.errors import ConfigError
from daemon.supervision.control import ControlServer
from daemon.wire import ipc

from .children import wait_for


def refuse() -> dict[str, Any]:
    """Fail as a reload of a wrong file does."""
    raise ConfigError("rules[0].zones: no such zone")


@pytest.mark.parametrize(
    ("parts", "ok", "words"),
    [
        ([b'{"command": "version"}'], True, "1.2"),
        ([b'{"command": "reload"}'], False, "rules[0].zones"),
        ([b'{"command": ', b'"version"}'], True, "1.2"),
        ([b"", b"\xff"], False, "unknown command"),
        ([b"[]"], False, "known are reload, version"),
    ],
)
def test_every_request_gets_an_answer_and_ends_nothing(
    tmp_path: Path, parts: list[bytes], ok: bool, words: str
) -> None:
    """Whatever is asked, in how many parts it comes, and also when the command fails: the supervisor goes on."""
    endpoint = ipc(tmp_path, "control")
    server = ControlServer(endpoint, {"version": lambda: {"version": "1.2"}, "reload": refuse})
    for _ in range(2):
        peer: zmq.Socket[bytes]
        with zmq.Context.instance().socket(zmq.REQ) as peer:
            peer.setsockopt(zmq.LINGER, 0)
            peer.connect(endpoint)
            peer.send_multipart(parts)

            def answered(socket: zmq.Socket[bytes] = peer) -> bool:
                server.answer()
                return bool(socket.poll(0))

            wait_for(answered, "the answer")
            answer = json.loads(peer.recv())

        assert answer["ok"] is ok
        assert words in json.dumps(answer)
    server.close()
