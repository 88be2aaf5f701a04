"""The server's states, and its clients' independence, spoken to in plain bytes."""

import asyncio
import itertools
import re
import time
from collections.abc import Awaitable, Callable
from fractions import Fraction

import pytest

from daemon.simulator.auth import Credentials
from daemon.simulator.media import AccessUnit, Clip, Track
from daemon.simulator.player import MAX_LAG_S, MAX_UNSENT_BYTES
from daemon.simulator.server import MAX_HEAD_BYTES, CameraServer

TRACK = Track("h264", 90_000, (b"\x67\x4d\x40\x1f", b"\x68\xee"))
SOUND = Track("aac", 8000, (b"\x14\x08",), channels=1)
TIMEOUT_S = 30


def clip(unit_bytes: int = 10, *, tracks: tuple[Track, ...] = (TRACK,)) -> Clip:
    """Make a second of film: 100 units, each a key frame of one payload."""
    units = (AccessUnit(0, (bytes([at]) * unit_bytes,), at * 900, at / 100, is_keyframe=True) for at in range(100))
    return Clip(tracks, tuple(units), Fraction(1))


class Client:
    """Speaks RTSP over one connection; keeps the media that come between answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.media: list[tuple[int, bytes]] = []

    async def ask(self, method: str, path: str = "/cam", **headers: str) -> str:
        """Send a request and return the answer, head and body."""
        lines = [f"{method} rtsp://127.0.0.1{path} RTSP/1.0", "CSeq: 1", *(f"{k}: {v}" for k, v in headers.items())]
        self.writer.write("\r\n".join([*lines, "", ""]).encode())
        return await self.answer()

    async def answer(self) -> str:
        while (first := await self.reader.readexactly(1)) == b"$":
            await self.packet()
        head = (first + await self.reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"Content-Length: (\d+)", head)
        return head + (await self.reader.readexactly(int(length[1])) if length else b"").decode()

    async def packet(self) -> None:
        channel, *size = await self.reader.readexactly(3)
        self.media.append((channel, await self.reader.readexactly(int.from_bytes(size, "big"))))

    async def play(self, path: str = "/cam") -> str:
        await self.ask("SETUP", f"{path}/track0", Transport="RTP/AVP/TCP;unicast;interleaved=0-1")
        return await self.ask("PLAY", path)

    async def read_until(self, packets: int) -> list[bytes]:
        """RTP packets of channel 0, at least so many."""
        while sum(channel == 0 for channel, _ in self.media) < packets:
            assert await self.reader.readexactly(1) == b"$"
            await self.packet()
        return [data for channel, data in self.media if channel == 0]


Connect = Callable[[], Awaitable[Client]]


def serve(
    talk: Callable[[CameraServer, Connect], Awaitable[None]],
    *,
    mounts: dict[str, Clip] | None = None,
    credentials: Credentials | None = None,
) -> None:
    """Run a server for the length of one conversation."""

    async def conversation() -> None:
        server = CameraServer(mounts or {"cam": clip()}, credentials)
        port = await server.start("127.0.0.1", 0)
        clients: list[Client] = []

        async def connect() -> Client:
            clients.append(Client(*await asyncio.open_connection("127.0.0.1", port)))
            return clients[-1]

        try:
            async with asyncio.timeout(TIMEOUT_S):
                await talk(server, connect)
        finally:
            for client in clients:
                client.writer.transport.abort()
            await server.stop()

    asyncio.run(conversation())


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("OPTIONS", "/cam", {}, 200),
        ("DESCRIBE", "/cam", {}, 200),
        ("DESCRIBE", "/none", {}, 404),
        ("SETUP", "/cam/track0", {"Transport": "RTP/AVP/TCP;interleaved=0-1"}, 200),
        ("SETUP", "/cam", {"Transport": "RTP/AVP/TCP;interleaved=0-1"}, 200),
        ("SETUP", "/cam/track7", {"Transport": "RTP/AVP/TCP;interleaved=0-1"}, 404),
        ("SETUP", "/two", {"Transport": "RTP/AVP/TCP;interleaved=0-1"}, 459),
        ("SETUP", "/cam/track0", {"Transport": "RTP/AVP;unicast;client_port=5000-5001"}, 461),
        ("PLAY", "/cam", {}, 455),
        ("PLAY", "/cam", {"Session": "nobody"}, 454),
        ("GET_PARAMETER", "/cam", {}, 200),
        ("RECORD", "/cam", {}, 501),
    ],
)
def test_a_first_request_is_answered_by_the_book(method: str, path: str, headers: dict[str, str], status: int) -> None:
    """RFC 2326's status for each, and the request's number."""

    async def talk(_: CameraServer, connect: Connect) -> None:
        client = await connect()
        answer = await client.ask(method, path, **headers)
        assert answer.startswith(f"RTSP/1.0 {status} ")
        assert "CSeq: 1\r\n" in answer

    serve(talk, mounts={"cam": clip(), "two": clip(tracks=(TRACK, SOUND))})


def test_play_announces_where_the_packets_begin() -> None:
    """RTP-Info's sequence and timestamp are those of the first packet; packets follow without a gap, over the seam."""

    async def talk(_: CameraServer, connect: Connect) -> None:
        client = await connect()
        answer = await client.play()
        packets = await client.read_until(150)

        info = re.search(r"seq=(\d+);rtptime=(\d+)", answer)
        assert info
        first_sequence, first_time = int(info[1]), int(info[2])
        sequences = [int.from_bytes(packet[2:4], "big") for packet in packets]
        times = [int.from_bytes(packet[4:8], "big") for packet in packets]
        assert sequences == [(first_sequence + at) & 0xFFFF for at in range(len(packets))]
        assert times == [(first_time + 900 * at) & 0xFFFFFFFF for at in range(len(packets))]
        assert [packet[12] for packet in packets] == [at % 100 for at in range(len(packets))]
        assert client.media[0][0] == 1
        assert client.media[0][1][1] == 200  # a sender report comes before the first packet

    serve(talk)


def test_a_camera_that_hung_goes_on_where_it_was() -> None:
    """No burst of old pictures follows a stopped process: time has passed in the timestamps, no picture is missing."""

    async def talk(_: CameraServer, connect: Connect) -> None:
        client = await connect()
        await client.play()
        before = len(await client.read_until(10))
        time.sleep(MAX_LAG_S + 0.5)  # noqa: ASYNC251 - stops the server's loop, as SIGSTOP would
        packets = await client.read_until(before + 20)

        times = [int.from_bytes(packet[4:8], "big") for packet in packets]
        steps = [(after - before) & 0xFFFFFFFF for before, after in itertools.pairwise(times)]
        assert max(steps) >= MAX_LAG_S * 90_000
        assert [packet[12] for packet in packets] == [at % 100 for at in range(len(packets))]

    serve(talk)


def test_requests_are_answered_while_media_flow() -> None:
    """Keep-alives and receiver reports of a client do not disturb its film; TEARDOWN ends it."""

    async def talk(_: CameraServer, connect: Connect) -> None:
        client = await connect()
        session = re.search(r"Session: (\w+)", await client.play())
        assert session
        client.writer.write(b"$\x01\x00\x04RTCP\r\n")
        assert (await client.ask("GET_PARAMETER", Session=session[1])).startswith("RTSP/1.0 200")
        await client.read_until(5)
        assert (await client.ask("TEARDOWN", Session=session[1])).startswith("RTSP/1.0 200")
        assert (await client.ask("PLAY")).startswith("RTSP/1.0 455")

    serve(talk)


def test_a_client_that_does_not_read_is_dropped_and_delays_nobody() -> None:
    """Its unsent bytes are bounded; the other client gets every packet meanwhile."""

    async def talk(server: CameraServer, connect: Connect) -> None:
        idle, reading = await connect(), await connect()
        for client in (idle, reading):
            await client.play()
        idle.writer.transport.pause_reading()

        packets, wanted = [], 0
        while len(server._connections) > 1:
            wanted += 20
            packets = await reading.read_until(wanted)

        sequences = [int.from_bytes(packet[2:4], "big") for packet in packets]
        assert all((after - before) & 0xFFFF == 1 for before, after in itertools.pairwise(sequences))
        assert sum(map(len, packets)) > MAX_UNSENT_BYTES

    serve(talk, mounts={"cam": clip(60_000)})


def test_a_latecomer_sees_the_moment_that_others_see() -> None:
    """The film's clock is the server's, not the client's."""

    async def talk(_: CameraServer, connect: Connect) -> None:
        first = await connect()
        await first.play()
        await first.read_until(30)
        late = await connect()
        await late.play()
        packets = await late.read_until(1)
        assert packets[0][12] >= 29

    serve(talk)


def test_an_unplugged_camera_is_gone_until_it_is_plugged_in_again() -> None:
    """Its clients are cut without a word, new ones get 404, other cameras go on."""

    async def talk(server: CameraServer, connect: Connect) -> None:
        watching, other = await connect(), await connect()
        await watching.play()
        await other.play("/other")
        server.unplug("cam")

        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await watching.read_until(10_000)
        again = await connect()
        assert (await again.ask("DESCRIBE")).startswith("RTSP/1.0 404")
        await other.read_until(len(other.media) + 5)
        server.plug("cam")
        assert (await again.play()).startswith("RTSP/1.0 200")

    serve(talk, mounts={"cam": clip(), "other": clip()})


def test_without_credentials_only_options_is_answered() -> None:
    """401 offers digest and basic; the answer to it opens the door on this connection."""

    async def talk(_: CameraServer, connect: Connect) -> None:
        client = await connect()
        assert (await client.ask("OPTIONS")).startswith("RTSP/1.0 200")
        for method in ("DESCRIBE", "SETUP", "PLAY", "TEARDOWN"):
            answer = await client.ask(method)
            assert answer.startswith("RTSP/1.0 401")
            assert re.findall(r"WWW-Authenticate: (\w+)", answer) == ["Digest", "Basic"]
        assert (await client.ask("DESCRIBE", Authorization="Basic dTpw")).startswith("RTSP/1.0 200")

    serve(talk, credentials=Credentials("u", "p"))


@pytest.mark.parametrize(
    "nonsense",
    [b"HELLO\r\n\r\n", b"x" * (2 * MAX_HEAD_BYTES), b"PLAY * RTSP/1.0\r\nContent-Length: 99999999\r\n\r\n"],
)
def test_nonsense_ends_the_connection_alone(nonsense: bytes) -> None:
    """400, then the end; the next client is served."""

    async def talk(_: CameraServer, connect: Connect) -> None:
        client = await connect()
        client.writer.write(nonsense)
        assert (await client.answer()).startswith("RTSP/1.0 400")
        again = await connect()
        assert (await again.ask("DESCRIBE")).startswith("RTSP/1.0 200")

    serve(talk)
