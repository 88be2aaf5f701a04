"""ZeroMQ: typed sockets between processes. Knows endpoints, encoding and bounds; knows no message by name.

Every socket has LINGER and a high-water mark; sending never blocks: `send` returns False when the peer is too far
behind, and the caller counts the drop. A message that does not decode is dropped and counted in `malformed`, for an ipc
file or a port may be written to by anybody who reaches it.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import msgspec
import zmq

from .errors import ConfigError, TransientError

T = TypeVar("T")
DRAIN_S: Final = 1.5  # a little more than the longest linger time
MAX_IPC_PATH_BYTES = 107  # sockaddr_un on Linux, less the closing zero


def ipc(runtime_dir: Path, name: str) -> str:
    """Return the ipc endpoint of the plane `name`.

    Raises ConfigError when the path is longer than the kernel takes.
    """
    path = runtime_dir.resolve() / f"{name}.sock"
    if len(str(path).encode()) > MAX_IPC_PATH_BYTES:
        raise ConfigError(f"service.runtime_dir: {path} has over {MAX_IPC_PATH_BYTES} bytes; choose a shorter folder")
    return f"ipc://{path}"


def drain(timeout_s: float = DRAIN_S) -> None:
    """Wait until what closed sockets still hold has left, or their linger time is over.

    At its end a process takes with it what only waited in memory. A socket that is still open costs the time-out.
    """
    ending = threading.Thread(target=zmq.Context.instance().term, name="drain", daemon=True)
    ending.start()
    ending.join(timeout_s)


def _socket(kind: int, *, high_water: int, linger_ms: int) -> zmq.Socket[bytes]:
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(kind)
    socket.setsockopt(zmq.LINGER, linger_ms)
    socket.setsockopt(zmq.SNDHWM, high_water)
    socket.setsockopt(zmq.RCVHWM, high_water)
    return socket


class Sender(Generic[T]):
    """PUSH side of a plane that carries one type."""

    def __init__(self, endpoint: str, *, high_water: int = 1000, linger_ms: int = 1000) -> None:
        self.socket = _socket(zmq.PUSH, high_water=high_water, linger_ms=linger_ms)
        self.socket.connect(endpoint)
        self._encode = msgspec.msgpack.Encoder().encode

    def send(self, message: T) -> bool:
        """Queue `message`; return False when the peer is `high_water` messages behind, so that it was not queued."""
        try:
            self.socket.send(self._encode(message), zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def close(self) -> None:
        """Close; what is queued has the linger time to leave, at a process's end with `drain`."""
        self.socket.close()


class Receiver(Generic[T]):
    """PULL side of a plane that carries one type."""

    def __init__(self, endpoint: str, kind: Any, *, high_water: int = 1000) -> None:
        self.socket = _socket(zmq.PULL, high_water=high_water, linger_ms=0)
        self.socket.bind(endpoint)
        self._decoder = msgspec.msgpack.Decoder(kind)
        self.malformed = 0

    def receive(self) -> T | None:
        """Return the next message, or None when none is waiting."""
        while True:
            try:
                data = self.socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return None
            try:
                return self._decoder.decode(data)  # type: ignore[no-any-return]
            except msgspec.MsgspecError:
                self.malformed += 1

    def close(self) -> None:
        """Close and drop what was not received."""
        self.socket.close()


class FrameClient:
    """DEALER side of the frames plane, in a reader."""

    def __init__(self, endpoint: str, identity: str, kind: Any) -> None:
        self.socket = _socket(zmq.DEALER, high_water=8, linger_ms=0)
        self.socket.setsockopt(zmq.IDENTITY, identity.encode())
        self.socket.connect(endpoint)
        self._encode = msgspec.msgpack.Encoder().encode
        self._decoder = msgspec.msgpack.Decoder(kind)
        self.malformed = 0

    def send(self, message: Any, pixels: Any = None) -> bool:
        """Send a message, with `pixels` (a buffer) as second part when given; False when the worker is not reached."""
        parts = [self._encode(message)] if pixels is None else [self._encode(message), pixels]
        try:
            self.socket.send_multipart(parts, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def receive(self) -> Any:
        """Return the worker's next message, or None when none is waiting."""
        while True:
            try:
                data = self.socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return None
            try:
                return self._decoder.decode(data)
            except msgspec.MsgspecError:
                self.malformed += 1

    def close(self) -> None:
        """Close at once; a frame that was not sent is worth nothing later."""
        self.socket.close()


class FrameServer:
    """ROUTER side of the frames plane, in a worker; may listen on several endpoints."""

    def __init__(self, endpoints: list[str], kind: Any) -> None:
        self.socket = _socket(zmq.ROUTER, high_water=1000, linger_ms=200)
        # A reader that was killed and came back takes its identity over; without this it would be ignored.
        self.socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        for endpoint in endpoints:
            try:
                self.socket.bind(endpoint)
            except zmq.ZMQError as exc:
                self.close()
                # No fatal error: an address may come with a network that is not up yet, a port may become free.
                raise TransientError(f"cannot listen for frames on {endpoint}: {exc}; see detector.listen") from exc
        self._encode = msgspec.msgpack.Encoder().encode
        self._decoder = msgspec.msgpack.Decoder(kind)
        self.malformed = 0

    def receive(self) -> tuple[bytes, Any, memoryview | None] | None:
        """Return (peer, message, pixels or None), or None when nothing is waiting."""
        while True:
            try:
                parts = self.socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return None
            try:
                if len(parts) not in (2, 3):
                    raise msgspec.DecodeError("parts")
                message = self._decoder.decode(parts[1].buffer)
            except msgspec.MsgspecError:
                self.malformed += 1
                continue
            return parts[0].bytes, message, parts[2].buffer if len(parts) == 3 else None

    def send(self, peer: bytes, message: Any) -> None:
        """Send to `peer`; a peer that is gone gets nothing, as ROUTER does."""
        try:
            self.socket.send_multipart([peer, self._encode(message)], zmq.NOBLOCK)
        except zmq.Again:
            return  # over 1000 credits behind: that reader has long stopped

    def close(self) -> None:
        """Close; last credits have a moment to leave."""
        self.socket.close()
