"""What is damaged is not shown, up to the next key frame."""

from collections.abc import Callable
from pathlib import Path

import av
import pytest

from daemon.camera.decoder import Decoder
from daemon.clock import NS_PER_S
from daemon.errors import StreamError

from .camera_servers import make_clip


def decoded(clip: Path, change: Callable[[int, av.Packet], av.Packet | None]) -> tuple[Decoder, list[int]]:
    """Return the decoder and the numbers of the frames that it showed, by their times."""
    with av.open(str(clip)) as container:
        video = container.streams.video[0]
        decoder, numbers = Decoder(video, 0), []
        for index, packet in enumerate(container.demux(video)):
            changed = change(index, packet)
            if changed is not None:
                numbers += [round(float(f.pts * f.time_base) * 10) for f in decoder.decode(changed, index)]
    return decoder, numbers


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make 20 frames without B-frames, a key frame every 5."""
    return make_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", 20, bframes=0)


def test_nothing_is_shown_before_the_first_key_frame(clip: Path) -> None:
    """A connection begins inside a GOP."""
    _, numbers = decoded(clip, lambda index, packet: packet if index > 0 else None)

    assert numbers == list(range(5, 20))


def test_a_corrupt_packet_hides_the_rest_of_its_gop(clip: Path) -> None:
    """And the next GOP is whole."""

    def corrupt(index: int, packet: av.Packet) -> av.Packet:
        packet.is_corrupt = packet.is_corrupt or index == 7
        return packet

    decoder, numbers = decoded(clip, corrupt)

    assert numbers == [*range(7), *range(10, 20)]
    assert decoder.corrupt == 3


def test_bytes_that_are_no_video_raise_nothing_and_are_counted(clip: Path) -> None:
    """A camera's broken packet must not end the connection."""

    def broken(index: int, packet: av.Packet) -> av.Packet:
        if index != 7:
            return packet
        other = av.Packet(b"\x00\x00\x00\x05\xff\xff\xff\xff\xff")
        other.stream, other.pts, other.dts, other.time_base = packet.stream, packet.pts, packet.dts, packet.time_base
        return other

    decoder, numbers = decoded(clip, broken)

    assert set(range(7)) | set(range(10, 20)) <= set(numbers)
    assert decoder.corrupt > 0 or numbers == list(range(20))


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_leading_frames_of_open_gops_are_shown(tmp_path: Path, codec: str) -> None:
    """Frames that are shown before a key frame but sent after it need the GOP before."""
    clip = make_clip(tmp_path / "clip.mp4", 30, codec=codec, gop=10, open_gop=True)

    decoder, numbers = decoded(clip, lambda _index, packet: packet)

    assert numbers == list(range(30))
    assert decoder.corrupt == 0


@pytest.mark.parametrize(("drop_keyframes", "reason"), [(True, "no_keyframe"), (False, "decode")])
def test_packets_without_frames_end_the_connection(clip: Path, drop_keyframes: bool, reason: str) -> None:
    """After 15 s of packets the camera is reconnected, and the reason says what was missing."""
    with av.open(str(clip)) as container:
        video = container.streams.video[0]
        decoder = Decoder(video, 0)
        packets = [packet for packet in container.demux(video) if packet.size]
        for packet in packets:
            packet.is_corrupt = not drop_keyframes
            if packet.is_keyframe == drop_keyframes:
                continue
            decoder.decode(packet, NS_PER_S)
            if not drop_keyframes:
                break
        if not drop_keyframes:
            keyframe = packets[0]
            keyframe.is_corrupt = True
            decoder.decode(keyframe, NS_PER_S)

        with pytest.raises(StreamError) as caught:
            decoder.decode(packets[1], 17 * NS_PER_S)

    assert caught.value.reason == reason
