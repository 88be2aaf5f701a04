"""The sockets to the world: PUB for what happens, ROUTER for what happened.

PUB drops for a subscriber that is too slow, and for it alone; it notices by the numbers and asks the replay socket. An
answer is one JSON array of bounded size (`gap`?, entries, `end`), so neither side holds much, a plain REQ socket will
do, and whoever asks for a million entries asks a thousand times, between which everybody else has his turn.
One array in one frame, not a frame an entry: libzmq 4.3.5 aborts the process (session_base.cpp:233) when a socket is
closed while many frames of one message are half sent to a peer that reads nothing and leaves at that moment.
"""

from __future__ import annotations

import time
from typing import Annotated, Final

import msgspec
import structlog
import zmq

from ..errors import ConfigError
from .alert_schema import AnyMessage, End, Error, Gap, encode, topic_of
from .journal import Journal

PAGE_ENTRIES: Final = 1000
PAGE_BYTES: Final = 1_000_000  # an answer ends with the entry that reaches it
REQUEST_BYTES: Final = 4096
ANSWERS_A_TURN: Final = 4  # bounds how long replay keeps the loop from alerts
PUBLISH_HIGH_WATER: Final = 10_000  # messages that a subscriber may be behind
REPLAY_HIGH_WATER: Final = 4  # answers that a client may leave unread
BIND_TIMEOUT_S: Final = 5.0  # the port of a process that was killed is free at once, of one that is ending soon
_BIND_RETRY_S: Final = 0.1
MAX_SEQ: Final = 2**63 - 1  # SQLite's integers; a greater one in a query is an OverflowError

log = structlog.get_logger()


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """What a replay client sends: JSON `{"after": N}`."""

    after: Annotated[int, msgspec.Meta(ge=0, le=MAX_SEQ)]


class Publisher:
    """The alert socket and the replay socket, bound."""

    def __init__(self, publish: str, replay: str) -> None:
        """Bind both; raises ConfigError, naming the key, when an endpoint cannot be bound."""
        self.publish_setting, self.replay_setting = publish, replay
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        self._publish = context.socket(zmq.PUB)
        self._publish.setsockopt(zmq.SNDHWM, PUBLISH_HIGH_WATER)
        self._publish.setsockopt(zmq.LINGER, 1000)
        self.replay = context.socket(zmq.ROUTER)
        self.replay.setsockopt(zmq.SNDHWM, REPLAY_HIGH_WATER)
        self.replay.setsockopt(zmq.LINGER, 0)
        self.replay.setsockopt(zmq.MAXMSGSIZE, REQUEST_BYTES)
        for socket, key, endpoint in ((self._publish, "publish", publish), (self.replay, "replay", replay)):
            socket.setsockopt(zmq.HEARTBEAT_IVL, 5000)  # a peer that vanished without a word does not fill a queue
            socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 15000)
            try:
                _bind(socket, f"alerts.{key}", endpoint)
            except ConfigError:
                self.close()
                raise
        self.publish_endpoint = _bound_to(self._publish)
        self.replay_endpoint = _bound_to(self.replay)

    def publish(self, message: AnyMessage) -> None:
        """Send to all subscribers; never waits."""
        self._publish.send_multipart([topic_of(message).encode(), encode(message)], zmq.NOBLOCK)

    def answer(self, journal: Journal) -> int:
        """Answer the requests that are waiting, a few at most; return how many."""
        for answered in range(ANSWERS_A_TURN):
            try:
                *envelope, request = self.replay.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return answered
            try:
                self.replay.send_multipart([*envelope, replay_page(journal, request)], zmq.NOBLOCK)
            except zmq.ZMQError as exc:  # the client is gone, or reads nothing: it will ask again
                log.debug("replay_answer_dropped", error=str(exc))
        return ANSWERS_A_TURN

    def close(self) -> None:
        """Close; what was published has a moment to leave."""
        self._publish.close()
        self.replay.close()


def replay_page(journal: Journal, request: bytes) -> bytes:
    """Return the answer to a request: a JSON array of messages, the last an `end` or an `error`."""
    return b"[" + b",".join(_messages(journal, request)) + b"]"


def _messages(journal: Journal, request: bytes) -> list[bytes]:
    try:
        after = msgspec.json.decode(request, type=Request).after
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        return [encode(Error(seq=0, text=f'{exc}; send {{"after": N}}'))]
    parts, seq = [], after
    first = journal.first_seq()
    if after + 1 < first:
        parts.append(encode(Gap(seq=first - 1, first=after + 1, last=first - 1)))
        seq = first - 1
    size_bytes = 0
    for entry in journal.after(seq, PAGE_ENTRIES):
        parts.append(entry.payload)
        seq, size_bytes = entry.seq, size_bytes + len(entry.payload)
        if size_bytes >= PAGE_BYTES:
            break
    more = seq < journal.last_seq
    return [*parts, encode(End(seq=seq, more=more, last_seq=journal.last_seq, journal=journal.id))]


def _bind(socket: zmq.Socket[bytes], key: str, endpoint: str) -> None:
    end_s = time.monotonic() + BIND_TIMEOUT_S
    while True:
        try:
            socket.bind(endpoint)
        except zmq.ZMQError as exc:
            if exc.errno == zmq.EADDRINUSE and time.monotonic() < end_s:
                time.sleep(_BIND_RETRY_S)
                continue
            raise ConfigError(f"{key}: cannot listen on {endpoint}: {exc}; choose another endpoint") from exc
        return


def _bound_to(socket: zmq.Socket[bytes]) -> str:
    """Return the endpoint with the port that the system chose for port 0."""
    endpoint = socket.getsockopt(zmq.LAST_ENDPOINT)
    return endpoint.rstrip(b"\0").decode() if isinstance(endpoint, bytes) else ""
