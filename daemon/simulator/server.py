"""The RTSP server: connections, what each may do in which state, and which mount it watches.

One connection is one client; its media goes through the same TCP connection (RFC 2326, 10.12). UDP is refused with
461. All methods run in the event loop's thread.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import structlog

from .auth import Doorkeeper
from .messages import BadRequestError, Request, choose_channel, format_response, parse_request
from .player import MAX_UNSENT_BYTES, Player
from .sdp import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .auth import Credentials
    from .media import Clip

log = structlog.get_logger()

IDLE_TIMEOUT_S = 60
MAX_HEAD_BYTES = 16 << 10
MAX_BODY_BYTES = 64 << 10
SESSION_TIMEOUT_S = 60
METHODS = "OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, SET_PARAMETER, TEARDOWN"

Headers = list[tuple[str, str]]
Answer = tuple[int, Headers, bytes]


class CameraServer:
    """Serves each clip of `mounts` under its name to any number of clients.

    All mounts share one film clock, which starts with the first client: main and sub stream show the same moment, and
    whoever comes later joins at the last key frame, as with a camera.
    """

    def __init__(self, mounts: Mapping[str, Clip], credentials: Credentials | None = None) -> None:
        self._mounts = dict(mounts)
        self._credentials = credentials
        self._unplugged: set[str] = set()
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._film_started_s: float | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port, chosen by the system when `port` is 0. Raises OSError."""
        self._server = await asyncio.start_server(self._accept, host, port, limit=MAX_HEAD_BYTES)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close the door and every connection at once, without a word to the clients, as a power cut does."""
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.abort()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)

    def unplug(self, name: str) -> None:
        """Cut the clients of one mount and answer 404 for it until `plug`."""
        self._unplugged.add(name)
        for connection in self._connections:
            if connection.mount == name:
                connection.abort()

    def plug(self, name: str) -> None:
        """Serve the mount again."""
        self._unplugged.discard(name)

    def clip(self, name: str) -> Clip | None:
        """Return the clip under this name; None for an unknown or unplugged mount."""
        return None if name in self._unplugged else self._mounts.get(name)

    def film_s(self) -> float:
        """Return seconds since the first client began to watch; 0 for that client."""
        now_s = asyncio.get_running_loop().time()
        if self._film_started_s is None:
            self._film_started_s = now_s
        return now_s - self._film_started_s

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine always runs in a task; for the type checker
        self._tasks.add(task)
        connection = Connection(self, reader, writer, self._credentials)
        self._connections.add(connection)
        try:
            await connection.serve()
        finally:
            self._connections.discard(connection)
            self._tasks.discard(task)


class Connection:
    """One client from its first request to its end; `mount` is the name it set up, empty before."""

    def __init__(
        self,
        server: CameraServer,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        credentials: Credentials | None,
    ) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._doorkeeper = Doorkeeper(credentials) if credentials else None
        self._channels: dict[int, int] = {}
        self._session = ""
        self._player: Player | None = None
        self._playing: asyncio.Task[None] | None = None
        self.mount = ""
        self._handlers: dict[str, Callable[[Request], Answer]] = {
            "OPTIONS": lambda _: (200, [("Public", METHODS)], b""),
            "DESCRIBE": self._describe,
            "SETUP": self._setup,
            "PLAY": self._play,
            "GET_PARAMETER": self._keep_alive,
            "SET_PARAMETER": self._keep_alive,
            "TEARDOWN": self._teardown,
        }

    def abort(self) -> None:
        """End the connection at once; what was not sent is lost."""
        self._writer.transport.abort()

    async def serve(self) -> None:
        """Answer requests until the client leaves, is idle too long, or talks nonsense."""
        try:
            while (request := await self._next_request()) is not None:
                self._write(self._answer(request))
                if self._player is not None and self._playing is None:
                    self._playing = asyncio.create_task(self._player.run())
        except BadRequestError as exc:
            log.warning("bad_rtsp_request", mount=self.mount, reason=str(exc))
            self._write(format_response(400, "0", []))
        except TimeoutError:
            log.info("idle_client_dropped", mount=self.mount, timeout_s=IDLE_TIMEOUT_S)
        except ConnectionError:
            pass  # a client that hangs up is no event
        finally:
            await self._close()

    async def _close(self) -> None:
        if self._player is not None:
            log.info("client_left", mount=self.mount, units_sent=self._player.units_sent)
        self._stop_playing()
        self._writer.close()
        try:
            async with asyncio.timeout(1):
                await self._writer.wait_closed()
        except (TimeoutError, ConnectionError):
            self.abort()

    async def _next_request(self) -> Request | None:
        """Return the next request; skip RTCP that the client sends. None at the end of the connection."""
        # While it plays, a client is watched by what it reads: one that is gone fills its buffer and is dropped.
        async with asyncio.timeout(None if self._playing else IDLE_TIMEOUT_S):
            try:
                return await self._read_request()
            except asyncio.IncompleteReadError:
                return None
            except asyncio.LimitOverrunError as exc:
                raise BadRequestError(f"a request longer than {MAX_HEAD_BYTES} bytes") from exc

    async def _read_request(self) -> Request:
        while (first := await self._reader.readexactly(1)) in (b"$", b"\r", b"\n"):
            if first == b"$":
                header = await self._reader.readexactly(3)
                await self._reader.readexactly(int.from_bytes(header[1:], "big"))
        request = parse_request(first + await self._reader.readuntil(b"\r\n\r\n"))
        if request.body_bytes > MAX_BODY_BYTES:
            raise BadRequestError(f"a body of {request.body_bytes} bytes; at most {MAX_BODY_BYTES}")
        await self._reader.readexactly(request.body_bytes)
        return request

    def _write(self, data: bytes) -> None:
        if self._writer.transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self.abort()
        self._writer.write(data)

    def _answer(self, request: Request) -> bytes:
        status, headers, body = self._route(request)
        if self._session:
            headers = [("Session", f"{self._session};timeout={SESSION_TIMEOUT_S}"), *headers]
        return format_response(status, request.cseq, headers, body)

    def _route(self, request: Request) -> Answer:
        handler = self._handlers.get(request.method)
        if request.version != "RTSP/1.0":
            return 505, [], b""
        if handler is None:
            return 501, [("Public", METHODS)], b""
        if request.method == "OPTIONS":
            return handler(request)
        if self._doorkeeper is not None and (refusal := _refusal(self._doorkeeper, request)):
            return refusal
        session = request.headers.get("session", "").partition(";")[0].strip()
        if session and session != self._session:
            return 454, [], b""
        return handler(request)

    def _describe(self, request: Request) -> Answer:
        clip = self._server.clip(request.mount)
        if clip is None:
            return 404, [], b""
        headers = [("Content-Base", request.uri.rstrip("/") + "/"), ("Content-Type", "application/sdp")]
        return 200, headers, describe(request.mount, clip.tracks).encode()

    def _setup(self, request: Request) -> Answer:
        clip = self._server.clip(request.mount)
        if clip is None or (request.track or 0) >= len(clip.tracks):
            return 404, [], b""
        if self._player is not None or self.mount not in ("", request.mount):
            return 455, [], b""
        if request.track is None and len(clip.tracks) > 1:
            return 459, [], b""
        channel = choose_channel(request.headers.get("transport", ""), free=2 * len(self._channels))
        if channel is None:
            return 461, [], b""
        self._channels[request.track or 0] = channel
        self.mount = request.mount
        self._session = self._session or secrets.token_hex(8)
        return 200, [("Transport", f"RTP/AVP/TCP;unicast;interleaved={channel}-{channel + 1}")], b""

    def _play(self, request: Request) -> Answer:
        clip = self._server.clip(self.mount)
        if not self._channels or clip is None:
            return 455, [], b""
        if self._player is None:
            self._player = Player(clip, self._channels, self._writer.transport, self.mount)
            self._player.seek(self._server.film_s())
            log.info("client_plays", mount=self.mount, tracks=len(self._channels))
        base = request.uri.rstrip("/")
        return 200, [("Range", "npt=now-"), ("RTP-Info", self._player.rtp_info(base))], b""

    def _keep_alive(self, _: Request) -> Answer:
        return 200, [], b""

    def _teardown(self, _: Request) -> Answer:
        self._stop_playing()
        self._channels, self.mount = {}, ""
        return 200, [], b""

    def _stop_playing(self) -> None:
        if self._playing is not None:
            self._playing.cancel()
        self._player = self._playing = None


def _refusal(doorkeeper: Doorkeeper, request: Request) -> Answer | None:
    """401 with the questions to answer; None for who may pass."""
    authorization = request.headers.get("authorization", "")
    if doorkeeper.admits(request.method, request.uri, authorization):
        return None
    challenges = doorkeeper.challenges(stale=doorkeeper.is_stale(authorization))
    return 401, [("WWW-Authenticate", challenge) for challenge in challenges], b""
