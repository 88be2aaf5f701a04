"""Packets to a recorder that is there, that is slow, and that is not there."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from daemon.camera.capture import Capture
from daemon.camera.packet_sender import PacketSender
from daemon.config.settings import Camera
from daemon.errors import StreamError
from daemon.messages import FromStream, Packet, StreamEnd, StreamStart
from daemon.wire import Receiver, ipc

from .camera_servers import make_clip
from .children import wait_for


@pytest.fixture
def endpoint() -> Iterator[str]:
    """Give an ipc endpoint in a short folder."""
    with tempfile.TemporaryDirectory(prefix="lp") as folder:
        yield ipc(Path(folder), "packets")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make 40 frames with a key frame every 5."""
    return make_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", 40, bframes=0)


def sent(clip: Path, endpoint: str, **options: int) -> tuple[PacketSender, Counter[tuple[str, str]]]:
    """Send a whole clip; return the sender and what it counted."""
    counts: Counter[tuple[str, str]] = Counter()

    def count(name: str, reason: str, by: int) -> None:
        counts[name, reason] += by

    sender = PacketSender(endpoint, "gate", count, **options)
    capture = Capture(Camera(url=str(clip), loop=False, pace="fast"), str(clip))
    sender.begin(capture.video, capture.audio)
    with suppress(StreamError):  # the file's end
        for number, packet in enumerate(capture.packets(lambda: False)):
            if packet.size:
                sender.send(packet, number, is_video=True)
    sender.end("ended")
    return sender, counts


def received(sender: PacketSender, receiver: Receiver[FromStream]) -> list[FromStream]:
    """Return all messages up to the end of the stream."""
    got: list[FromStream] = []

    def ended() -> bool:
        sender.flush()
        while (message := receiver.receive()) is not None:
            got.append(message)
        return bool(got) and isinstance(got[-1], StreamEnd)

    wait_for(ended, "the stream's end")
    return got


def test_a_stream_goes_out_whole_with_its_header_before_each_key_frame(endpoint: str, clip: Path) -> None:
    """So a recorder that was restarted begins at the next one."""
    receiver: Receiver[FromStream] = Receiver(endpoint, FromStream)
    sender, counts = sent(clip, endpoint)

    got = received(sender, receiver)

    packets = [message for message in got if isinstance(message, Packet)]
    assert len(packets) == 40
    assert sum(isinstance(message, StreamStart) for message in got) == 8
    assert counts["packets_sent", ""] == 40
    assert len({message.stream_id for message in got}) == 1
    assert got[-1] == StreamEnd(camera="gate", stream_id=packets[0].stream_id, reason="ended")
    receiver.close()
    sender.close()


def test_without_a_recorder_memory_is_bounded_and_the_hole_ends_at_a_key_frame(endpoint: str, tmp_path: Path) -> None:
    """What is dropped is counted; what comes through is whole GOPs, perhaps with a hole between them."""
    sender, counts = sent(make_clip(tmp_path / "long.mp4", 200, bframes=0), endpoint, max_waiting_bytes=2500)

    receiver: Receiver[FromStream] = Receiver(endpoint, FromStream)
    got = received(sender, receiver)

    packets = [message for message in got if isinstance(message, Packet)]
    dropped = sum(by for (name, _), by in counts.items() if name == "packets_dropped")
    assert dropped > 0
    assert len(packets) + dropped == 200
    for before, packet in pairwise(packets):
        assert packet.is_keyframe or packet.received_ns == before.received_ns + 1
    receiver.close()
    sender.close()


def test_a_stream_that_mp4_cannot_hold_is_not_sent(endpoint: str, tmp_path: Path) -> None:
    """Detection goes on, and the log says so."""
    receiver: Receiver[FromStream] = Receiver(endpoint, FromStream)
    sender, counts = sent(make_clip(tmp_path / "clip.avi", 5, codec="huffyuv", pix_fmt="yuv422p"), endpoint)

    assert counts == {}
    assert receiver.receive() is None
    receiver.close()
    sender.close()
