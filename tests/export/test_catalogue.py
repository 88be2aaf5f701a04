"""Fetching: whole, verified, resumed, from a real HTTP server on this machine."""

from __future__ import annotations

import hashlib
import shlex
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from export import catalogue
from export.cli import main
from export.commands.arguments import any_size
from export.errors import LabError
from export.fetch import Patience, fetch
from export.labels import read_labels

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = bytes(range(256)) * 4000
HASH = hashlib.sha256(CONTENT).hexdigest()
HASTY = Patience(retries=2, pause_s=0.01, timeout_s=10.0)


class Server(ThreadingHTTPServer):
    """Serves CONTENT; `breaks` replies end early, `ranges` tells whether Range is honoured; notes what was asked.

    `chunked`: replies that end early do so within a chunk.
    """

    daemon_threads = True

    def __init__(self, breaks: int = 0, ranges: bool = True, chunked: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.breaks, self.ranges, self.chunked = breaks, ranges, chunked
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/model.onnx"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        if not self.path.endswith("model.onnx"):
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.ranges else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        body = CONTENT[start:]
        self.send_response(206 if start else 200)
        broken, chunked = self.server.breaks > 0, self.server.breaks > 0 and self.server.chunked
        self.send_header(*(("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(body)))))
        self.end_headers()
        self.server.breaks -= broken
        self.wfile.write(b"%x\r\n" % len(body) if chunked else b"")
        self.wfile.write(body[: len(body) // 3] if broken else body)

    def log_message(self, *args: object) -> None:
        """Stay silent."""


@contextmanager
def serving(breaks: int = 0, ranges: bool = True, chunked: bool = False) -> Iterator[Server]:
    server = Server(breaks, ranges, chunked)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join(timeout=30)
        server.server_close()


def test_a_file_arrives_whole_and_is_not_fetched_twice(tmp_path: Path) -> None:
    """The second call sees the right hash and asks nobody."""
    target = tmp_path / "m.onnx"

    with serving() as server:
        fetch(server.url, target, HASH, HASTY)
        fetch(server.url, target, HASH, HASTY)

    assert target.read_bytes() == CONTENT
    assert server.asked == [None]
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_a_reply_that_breaks_off_within_a_chunk_is_resumed_as_well(tmp_path: Path) -> None:
    """Python's client reports it unlike every other broken connection."""
    with serving(breaks=2, chunked=True) as server:
        fetch(server.url, tmp_path / "m.onnx", HASH, HASTY)

    assert (tmp_path / "m.onnx").read_bytes() == CONTENT
    assert len(server.asked) == 3


def test_a_broken_connection_is_resumed_where_it_ended(tmp_path: Path) -> None:
    """Two replies end early; the third asks for the rest only."""
    with serving(breaks=2) as server:
        fetch(server.url, tmp_path / "m.onnx", HASH, HASTY)

    assert (tmp_path / "m.onnx").read_bytes() == CONTENT
    third = len(CONTENT) // 3
    assert server.asked == [None, f"bytes={third}-", f"bytes={third + (len(CONTENT) - third) // 3}-"]


def test_a_later_call_goes_on_from_what_an_earlier_one_left(tmp_path: Path) -> None:
    """What came before patience ended is kept and named; the file itself never appears half."""
    target = tmp_path / "m.onnx"

    with serving(breaks=1) as server:
        with pytest.raises(LabError, match=r"call again to go on from \d+ bytes"):
            fetch(server.url, target, HASH, Patience(retries=0))
        assert not target.exists()
        fetch(server.url, target, HASH, HASTY)

    assert target.read_bytes() == CONTENT
    assert server.asked[1] == f"bytes={len(CONTENT) // 3}-"


def test_a_server_without_ranges_starts_again(tmp_path: Path) -> None:
    """It answers 200 with everything; nothing is appended to what was there."""
    with serving(breaks=1, ranges=False) as server:
        fetch(server.url, tmp_path / "m.onnx", HASH, HASTY)

    assert (tmp_path / "m.onnx").read_bytes() == CONTENT


def test_a_complete_part_is_taken_as_it_is(tmp_path: Path) -> None:
    """The server says that nothing is left (416)."""
    (tmp_path / "m.onnx.part").write_bytes(CONTENT)

    with serving() as server:
        fetch(server.url, tmp_path / "m.onnx", HASH, HASTY)

    assert (tmp_path / "m.onnx").read_bytes() == CONTENT


def test_a_wrong_hash_leaves_nothing_and_names_both(tmp_path: Path) -> None:
    """What arrived is not what was meant."""
    with serving() as server, pytest.raises(LabError, match=f"has sha256 {HASH}, expected {'0' * 64}"):
        fetch(server.url, tmp_path / "m.onnx", "0" * 64, HASTY)

    assert list(tmp_path.iterdir()) == []


def test_refusals_and_dead_servers_are_named(tmp_path: Path) -> None:
    """404 is not retried; a port where nobody listens and other schemes are said."""
    with serving() as server:
        with pytest.raises(LabError, match="the server says 404"):
            fetch(server.url.replace("model", "gone") + "x", tmp_path / "m.onnx", HASH, HASTY)
        assert len(server.asked) == 1
    with pytest.raises(LabError, match="call again"):
        fetch(server.url, tmp_path / "m.onnx", HASH, HASTY)
    with pytest.raises(LabError, match="only http and https"):
        fetch("file:///etc/hostname", tmp_path / "m.onnx", HASH, HASTY)


def test_the_catalogue_is_complete_and_its_adopt_lines_parse() -> None:
    """Names are unique, hashes are hashes or openly missing, and each entry says how it is adopted."""
    entries = catalogue.entries()

    assert len({entry.name for entry in entries}) == len(entries) >= 6
    for entry in entries:
        assert entry.url.startswith("https://")
        assert len(entry.sha256) in {0, 64}
        assert entry.licence in {"Apache-2.0", "MIT", "BSD-3-Clause"}
        words = shlex.split(entry.adopt)
        assert len(read_labels(words[words.index("--labels") + 1]).names) == 80
        if "--size" in words:
            assert any_size(words[words.index("--size") + 1]) == any_size(entry.input)


def test_the_command_lists_and_refuses_what_it_cannot_verify(capsys: pytest.CaptureFixture[str]) -> None:
    """An entry without a known hash asks for one; unknown names list the known ones."""
    unknown = next(entry.name for entry in catalogue.entries() if not entry.sha256)

    assert main(["catalogue"]) == 0
    assert "yolox-s " in capsys.readouterr().out
    assert main(["catalogue", "fetch", unknown]) == 1
    assert "say the one you trust with --sha256" in capsys.readouterr().err
    assert main(["catalogue", "fetch", "yolo-x"]) == 1
    assert "there are yolox-nano, " in capsys.readouterr().err
