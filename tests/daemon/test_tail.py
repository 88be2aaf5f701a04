"""`leptond tail`: nothing lost, nothing twice, whatever happens to the daemon."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import zmq
from msgspec.structs import replace

from daemon.cli import main
from daemon.clock import SystemClock
from daemon.commands.tail import tail
from daemon.errors import ConfigError
from daemon.events.alert_schema import Heartbeat, Media
from daemon.events.alert_schema import encode as encode_json
from daemon.events.journal import Entry, Journal
from daemon.events.ledger import Ledger
from daemon.events.publisher import Publisher
from daemon.stats import Stats

from .children import wait_for

UTC = "2026-01-01T00:00:00.000Z"


class Daemon:
    """The journal and the sockets of an events process; one thread, that of the test, turns its loop."""

    def __init__(self, folder: Path, journal: str = "journal.db") -> None:
        self.journal = Journal(folder / journal)
        self.publisher = Publisher(f"ipc://{folder}/publish", f"ipc://{folder}/replay")
        self.ledger = Ledger(self.journal, self.publisher, SystemClock(), Stats())

    def turn(self, *, tell: int = 0) -> bool:
        for _ in range(tell):
            self.ledger.tell(media())
        self.ledger.commit()
        self.publisher.publish(Heartbeat(seq=self.journal.last_seq, utc=UTC, journal=self.journal.id))
        self.publisher.answer(self.journal)
        return True

    def close(self) -> None:
        self.publisher.close()
        self.journal.close()


class Tail:
    """A tail in a thread of its own."""

    def __init__(self, folder: Path, after: int | None) -> None:
        self.lines: list[dict[str, Any]] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=tail,
            args=(
                f"ipc://{folder}/publish",
                f"ipc://{folder}/replay",
                after,
                lambda payload: self.lines.append(json.loads(payload)),
                self._stopped.is_set,
            ),
        )
        self._thread.start()

    @property
    def numbers(self) -> list[int]:
        return [line["seq"] for line in self.lines]

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(30)
        assert not self._thread.is_alive()


def _has_reached(daemon: Daemon, follower: Tail, number: int) -> bool:
    return daemon.turn() and follower.numbers[-1] == number


def media() -> Media:
    return Media(seq=0, utc=UTC, event_id="e", camera="gate", kind="clip", path="p")


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lep") as path:
        yield Path(path)


def test_it_replays_then_follows_over_restarts_of_the_daemon(folder: Path) -> None:
    """What is told while it is away, or while the daemon is, comes as well; each number once and in order."""
    daemon = Daemon(folder)
    daemon.turn(tell=10)
    follower = Tail(folder, after=3)
    try:
        wait_for(lambda: daemon.turn() and follower.numbers == list(range(4, 11)), "the replay")
        daemon.turn(tell=10)
        wait_for(lambda: daemon.turn() and follower.numbers[-1] == 20, "what comes")
        for expected in (23, 26):
            daemon.turn(tell=3)  # at the very end, when it may not be heard any more
            daemon.close()
            daemon = Daemon(folder)
            wait_for(partial(_has_reached, daemon, follower, expected), f"number {expected} after a restart")
    finally:
        follower.stop()
        daemon.close()

    assert follower.numbers == list(range(4, 27))


def test_it_waits_for_a_daemon_that_is_not_there_yet(folder: Path) -> None:
    """Neither an error nor an end."""
    follower = Tail(folder, after=0)
    daemon = Daemon(folder)
    try:
        wait_for(lambda: daemon.turn(tell=1) and len(follower.numbers) > 3, "messages")
    finally:
        follower.stop()
        daemon.close()

    assert follower.numbers == list(range(1, len(follower.numbers) + 1))


def test_a_longer_replay_than_one_answer_is_fetched_page_by_page_with_its_gap(folder: Path) -> None:
    """The gap is printed like the rest."""
    daemon = Daemon(folder)
    daemon.journal.append(
        [Entry(seq, seq, "media.gate", encode_json(replace(media(), seq=seq))) for seq in range(1, 2501)]
    )
    daemon.journal.delete_before(100)
    follower = Tail(folder, after=0)
    try:
        wait_for(lambda: daemon.turn() and len(follower.lines) == 2402, "all of it")
    finally:
        follower.stop()
        daemon.close()

    assert (follower.lines[0]["type"], follower.lines[0]["last"]) == ("gap", 99)


def test_without_a_number_it_begins_with_what_comes(folder: Path) -> None:
    """What was there before is not printed."""
    daemon = Daemon(folder)
    daemon.turn(tell=5)
    follower = Tail(folder, after=None)
    try:
        wait_for(lambda: daemon.turn(tell=1) and len(follower.numbers) >= 3, "messages")
    finally:
        follower.stop()
        daemon.close()

    first = follower.numbers[0]
    assert first > 5
    assert follower.numbers == list(range(first, first + len(follower.numbers)))


def test_a_journal_that_was_replaced_is_followed_from_its_beginning(folder: Path) -> None:
    """The old number would hide the first alerts of the new journal."""
    daemon = Daemon(folder)
    daemon.turn(tell=5)
    follower = Tail(folder, after=0)
    try:
        wait_for(lambda: daemon.turn() and follower.numbers == [1, 2, 3, 4, 5], "the old journal")
        daemon.close()
        daemon = Daemon(folder, journal="new.db")
        daemon.turn(tell=3)
        wait_for(lambda: daemon.turn() and len(follower.numbers) == 8, "the new journal")
    finally:
        follower.stop()
        daemon.close()

    assert follower.numbers == [1, 2, 3, 4, 5, 1, 2, 3]


def test_the_command_prints_one_object_a_line(folder: Path) -> None:
    """`leptond tail --from 0`, as a process of its own."""
    config = folder / "config.toml"
    config.write_text(f'[alerts]\npublish = "ipc://{folder}/publish"\nreplay = "ipc://{folder}/replay"\n')
    daemon = Daemon(folder)
    daemon.turn(tell=3)
    command = [sys.executable, "-m", "daemon.cli", "tail", "--from", "0", "--config", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            os.set_blocking(process.stdout.fileno(), False)
            printed = bytearray()

            def all_there() -> bool:
                daemon.turn()
                printed.extend(process.stdout.read() or b"")  # type: ignore[union-attr]
                return printed.count(b"\n") == 3

            wait_for(all_there, "three lines")
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)
            daemon.close()

    assert [json.loads(line)["seq"] for line in printed.splitlines()] == [1, 2, 3]
    assert process.returncode == 130


def test_it_follows_a_daemon_that_binds_every_network(tmp_path: Path) -> None:
    """`tcp://*:PORT` is an address to listen on; for a client on the same machine it is 127.0.0.1."""
    journal = Journal(tmp_path / "journal.db")
    publisher = Publisher("tcp://*:0", "tcp://*:0")
    ports = [endpoint.rpartition(":")[2] for endpoint in (publisher.publish_endpoint, publisher.replay_endpoint)]
    lines: list[bytes] = []
    follower = threading.Thread(
        target=tail, args=(f"tcp://*:{ports[0]}", f"tcp://*:{ports[1]}", 0, lines.append, lambda: bool(lines))
    )
    ledger = Ledger(journal, publisher, SystemClock(), Stats())
    ledger.tell(media())
    ledger.commit()
    follower.start()
    wait_for(lambda: publisher.answer(journal) >= 0 and bool(lines), "the entry")
    follower.join(30)
    publisher.close()
    journal.close()

    assert json.loads(lines[0])["seq"] == 1


@pytest.mark.parametrize("number", ["-1", "x", "99999999999999999999"])
def test_a_number_that_cannot_be_is_refused_with_a_remedy(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is connected to."""
    with pytest.raises(SystemExit):
        main(["tail", f"--from={number}"])

    assert "is no sequence number; give 0 or more" in capsys.readouterr().err


def test_a_port_on_which_somebody_else_talks_is_named(folder: Path) -> None:
    """A wrong endpoint is a mistake in the configuration, not a crash."""
    with zmq.Context.instance().socket(zmq.PUB) as stranger:
        stranger.bind(f"ipc://{folder}/publish")
        failed: list[ConfigError] = []

        def follow() -> None:
            try:
                tail(f"ipc://{folder}/publish", f"ipc://{folder}/replay", None, lambda _: None)
            except ConfigError as exc:
                failed.append(exc)

        follower = threading.Thread(target=follow, daemon=True)
        follower.start()
        wait_for(lambda: stranger.send(b"21.5 degrees") or bool(failed), "the end of the tail")
        follower.join(30)

    assert "does not speak as leptond does" in str(failed[0])
