"""`leptond status`: what people read, and what they are told when there is no daemon to ask."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import zmq

from daemon.cli import main
from daemon.commands.status import duration, render
from daemon.errors import ConfigError, WireTimeout
from daemon.supervision.control import ControlServer, NotRunningError, ask
from daemon.wire import ipc

from .reports import report


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return a configuration whose daemon's sockets lie in the test's folder."""
    path = tmp_path / "config.toml"
    path.write_text(f"[service]\nruntime_dir = '{tmp_path}'\n")
    return path


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[None]:
    """Answer on the control socket as a daemon does."""
    status = {"status": msgspec.to_builtins(report())}
    server = ControlServer(ipc(tmp_path, "control"), {"status": lambda: status})
    stopping = threading.Event()

    def serve() -> None:
        while not stopping.is_set():
            if server.socket.poll(20):
                server.answer()
        server.close()

    thread = threading.Thread(target=serve)
    thread.start()
    yield
    stopping.set()
    thread.join(timeout=30)


def test_the_table_says_what_an_operator_asks() -> None:
    """State and reason, stream, rates, drops by reason, latency, provider with its warning, disk, processes."""
    text = render(report())

    for words in (
        "leptond 1.2.3, process 42, ready, up 1h 01m",
        "PROBLEM  camera yard is down: no_signal (auth)",
        "nano-1 416x416 on CPUExecutionProvider (device auto), 5.0 runs/s, 1.5 frames a run  WARNING: no GPU",
        "journal: last sequence number 1234",
        "disk /var/lib/leptond: 20.0 of 100.0 GB free",
        "h264 1280x720 25 fps +aac  25.0    5.0       superseded=3    2",
        "no_signal (auth)  2023-11-14T22:13:20.000Z",
        "detection     gate    21.0  40.0  55.5  300",
        "camera yard  waiting (keeps ending)  -    -       7         crashed",
    ):
        assert words in text


def test_a_daemon_without_cameras_says_how_to_add_one() -> None:
    """An empty table would say nothing."""
    assert 'no cameras; add one to the configuration: [cameras.NAME] with url = "rtsp://…"' in render(
        report(cameras=(), latencies=())
    )


def test_status_prints_table_and_json_of_the_same_report(
    config: Path, answering: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both forms come over the control socket; the JSON has named fields only."""
    assert main(["status", "--config", str(config)]) == 0
    assert "leptond 1.2.3" in capsys.readouterr().out

    assert main(["status", "--config", str(config), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["cameras"][0]["detect"]["codec"] == "h264"
    assert shown["detector"]["worker"]["fell_back"] is True


def test_no_daemon_is_an_error_and_not_an_empty_answer(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, nothing on stdout, a sentence on stderr."""
    assert main(["status", "--config", str(config)]) == 1

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("no leptond runs in ")


def test_a_daemon_that_does_not_answer_is_a_timeout(tmp_path: Path) -> None:
    """A hung supervisor is told from one that is not there."""
    with zmq.Context.instance().socket(zmq.REP) as silent:
        silent.setsockopt(zmq.LINGER, 0)
        silent.bind(ipc(tmp_path, "control"))

        with pytest.raises(WireTimeout, match=r"did not answer within 0\.2 s"):
            ask(tmp_path, "status", timeout_s=0.2)


def test_an_unknown_command_is_refused_with_those_that_are_known(tmp_path: Path, answering: None) -> None:
    """The control socket survives it and answers the next."""
    with pytest.raises(ConfigError, match="unknown command; known are status"):
        ask(tmp_path, "shutdown")

    assert ask(tmp_path, "status")["status"]["pid"] == 42
    with pytest.raises(NotRunningError):
        ask(tmp_path / "elsewhere", "status")


@pytest.mark.parametrize(("seconds", "text"), [(8.24, "8.2s"), (367, "6m 07s"), (14700, "4h 05m"), (183600, "2d 3h")])
def test_durations_are_short(seconds: float, text: str) -> None:
    """Two units at most."""
    assert duration(seconds) == text
