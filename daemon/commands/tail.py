"""`leptond tail`: alerts and health as they come, one JSON object a line, none lost and none twice.

Subscribes, and asks the replay socket whenever a number says that something was missed: at the beginning, after being
too slow, after the daemon was away. A daemon that is not there is waited for.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Final

import msgspec
import structlog
import zmq

from ..config.config import load_alerts
from ..errors import ConfigError, WireTimeout
from ..events.publisher import MAX_SEQ
from ..log import configure_logging

REPLAY_TIMEOUT_S: Final = 5.0
SILENT_S: Final = 5.0  # heartbeats come every second
_POLL_MS: Final = 200

log = structlog.get_logger()


class Head(msgspec.Struct, frozen=True):
    """What following needs to know of a message."""

    type: str
    seq: int
    journal: str = ""
    more: bool = False
    last_seq: int = 0
    text: str = ""


_decode = msgspec.json.Decoder(Head).decode
_decode_page = msgspec.json.Decoder(list[msgspec.Raw]).decode


def tail(
    publish: str, replay: str, after: int | None, out: Callable[[bytes], None], stop: Callable[[], bool] = lambda: False
) -> None:
    """Give `out` every message with a number above `after`, in order, each once, until `stop`; None: from now on.

    A gap is given as the message that announces it. Raises ConfigError when something else than leptond answers.
    """
    follower = _Follower(publish, replay, after, out, stop)
    try:
        follower.follow()
    except msgspec.MsgspecError as exc:
        raise ConfigError(
            f"{publish} or {replay} does not speak as leptond does ({exc}); are alerts.publish and alerts.replay those"
            " of the running daemon?"
        ) from exc
    finally:
        follower.close()


class _Follower:
    def __init__(
        self, publish: str, replay: str, after: int | None, out: Callable[[bytes], None], stop: Callable[[], bool]
    ) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        self._publish, self._replay = publish, replay
        self._last = after
        self._out, self._stop = out, stop
        self._journal = ""
        self._live = self._context.socket(zmq.SUB)
        self._live.setsockopt(zmq.LINGER, 0)
        self._live.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        self._live.subscribe(b"")
        _connect(self._live, "alerts.publish", publish)

    def follow(self) -> None:
        """Follow until told to stop."""
        if self._last is not None:
            self._catch_up()
        heard_s, silent = time.monotonic(), False
        while not self._stop():
            if self._live.poll(_POLL_MS):
                self._take(self._live.recv_multipart()[-1])
                heard_s, silent = time.monotonic(), False
            elif not silent and time.monotonic() - heard_s > SILENT_S:
                silent = True
                log.warning("daemon_silent", endpoint=self._publish, seconds=SILENT_S)

    def close(self) -> None:
        """Close the socket."""
        self._live.close()

    def _take(self, payload: bytes) -> None:
        head = _decode(payload)
        if head.journal:
            self._know_journal(head.journal)
        if self._last is None:
            self._last = head.seq if head.type == "heartbeat" else head.seq - 1
        if head.seq <= self._last:
            return
        if head.seq == self._last + 1 and head.type != "heartbeat":
            self._out(payload)
            self._last = head.seq
        else:
            self._catch_up()

    def _catch_up(self) -> None:
        """Fetch all that was missed; what does not come now is asked for again at the next heartbeat."""
        try:
            while not self._stop() and self._take_page(self._ask()):
                pass
        except WireTimeout as exc:
            log.warning("replay_failed", error=str(exc))

    def _take_page(self, answer: bytes) -> bool:
        """Give out an answer of the replay socket; return whether there is more."""
        *entries, last = _decode_page(answer)
        end = _decode(last)
        if end.type != "end":
            raise ConfigError(f"{self._replay} is no replay socket of leptond: {end.text or end.type}")
        asked_after = self._last
        self._know_journal(end.journal)
        if self._last != asked_after:
            return True  # the numbers began anew: this answer is to a question about the old ones
        if self._last is None or end.last_seq < self._last:
            log.warning("number_not_given_yet", asked_after=self._last, last_seq=end.last_seq)
            self._last = end.last_seq
        for entry in entries:
            self._out(bytes(entry))
        self._last = end.seq
        return end.more

    def _know_journal(self, journal: str) -> None:
        if self._journal and self._journal != journal:
            log.warning("journal_replaced", remedy="following the new one from its beginning")
            self._last = 0
        self._journal = journal

    def _ask(self) -> bytes:
        """Ask for a page, on a socket of its own, for a REQ whose answer was lost is of no more use."""
        with self._context.socket(zmq.REQ) as request:
            request.setsockopt(zmq.LINGER, 0)
            _connect(request, "alerts.replay", self._replay)
            request.send(msgspec.json.encode({"after": self._last or 0}))
            end_s = time.monotonic() + REPLAY_TIMEOUT_S
            while not self._stop() and time.monotonic() < end_s:
                if request.poll(_POLL_MS):
                    return request.recv()
        raise WireTimeout(f"no answer from {self._replay} within {REPLAY_TIMEOUT_S:.0f} s")


def _connect(socket: zmq.Socket[bytes], key: str, endpoint: str) -> None:
    """Connect to what the daemon binds; `*`, every network for it, is this machine for us."""
    try:
        socket.connect(endpoint.replace("tcp://*:", "tcp://127.0.0.1:"))
    except zmq.ZMQError as exc:
        raise ConfigError(f"{key}: cannot connect to {endpoint}: {exc}; give it a host that can be reached") from exc


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to `leptond`."""
    parser = subparsers.add_parser(
        "tail",
        help="print alerts and health as they come, one JSON object a line",
        description="Follows the alert socket; with --from it first replays from the journal. Survives a restart of "
        "the daemon without losing or repeating a message.",
    )
    parser.add_argument(
        "--from",
        dest="after",
        type=_number,
        metavar="N",
        help="begin with what came after number N; 0 = all there is (default: only what comes)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Follow until interrupted."""
    alerts = load_alerts(args.config)
    configure_logging("info", "auto", process="tail")
    tail(alerts.publish, alerts.replay, args.after, _print)
    return 0


def _print(payload: bytes) -> None:
    sys.stdout.buffer.write(payload + b"\n")
    sys.stdout.buffer.flush()


def _number(text: str) -> int:
    if not text.isdecimal() or int(text) > MAX_SEQ:
        raise argparse.ArgumentTypeError(f"{text!r} is no sequence number; give 0 or more")
    return int(text)
