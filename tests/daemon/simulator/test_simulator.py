"""Real clients of other makers watch the simulator: FFmpeg through PyAV, FFmpeg's programs, GStreamer."""

import itertools
import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av
import pytest

from daemon.errors import ConfigError
from daemon.simulator.auth import Credentials, Scheme
from daemon.simulator.bitstream import split_annex_b, split_lengths
from daemon.simulator.simulator import Simulator

OPTIONS = {"rtsp_transport": "tcp", "timeout": "20000000"}
SYSTEM_PYTHON = "/usr/bin/python3"
GST_CLIENT = """
import sys, gi
gi.require_version("Gst", "1.0")
from gi.repository import Gst
Gst.init(None)
pipe = Gst.parse_launch(f"rtspsrc location={sys.argv[1]} user-id=u user-pw=p protocols=tcp latency=0 ! rtph264depay"
                        " ! h264parse ! fakesink num-buffers=10")
pipe.set_state(Gst.State.PLAYING)
kinds = Gst.MessageType.EOS | Gst.MessageType.ERROR
message = pipe.get_bus().timed_pop_filtered(60 * Gst.SECOND, kinds)
pipe.set_state(Gst.State.NULL)
sys.exit(0 if message and message.type == Gst.MessageType.EOS else 1)
"""


def in_file(path: Path, kind: str) -> list[list[bytes]]:
    """Each packet of one stream as its NAL units; an audio frame as one."""
    with av.open(str(path)) as container:
        stream = next(stream for stream in container.streams if stream.type == kind)
        packets = [bytes(packet) for packet in container.demux(stream) if packet.size and packet.pts >= 0]
    return [split_lengths(data, 4) if kind == "video" else [data] for data in packets]


class Received(NamedTuple):
    """A packet without its container: PyAV's own may not be asked for its stream once that is closed."""

    nals: list[bytes]
    pts: int | None
    is_keyframe: bool


def received(url: str, kind: str, count: int) -> list[Received]:
    """Receive the first packets of one kind."""
    with av.open(url, options=OPTIONS) as container:
        packets = itertools.islice((packet for packet in container.demux() if packet.stream.type == kind), count)
        return [
            Received(
                split_annex_b(bytes(packet)) if kind == "video" else [bytes(packet)], packet.pts, packet.is_keyframe
            )
            for packet in packets
        ]


def is_cyclic(part: list[list[bytes]], whole: list[list[bytes]]) -> bool:
    """Whether `part` is `whole`, repeated, from some unit on."""
    starts = [at for at, unit in enumerate(whole) if unit == part[0]]
    return any(all(unit == whole[(at + n) % len(whole)] for n, unit in enumerate(part)) for at in starts)


@pytest.mark.parametrize("fixture", ["h264_clip", "h265_clip"])
def test_every_picture_arrives_as_it_is_in_the_file(request: pytest.FixtureRequest, fixture: str) -> None:
    """NAL units are equal byte by byte over the loop's seam, and presentation times go on evenly."""
    clip: Path = request.getfixturevalue(fixture)

    with Simulator({"cam": clip}) as simulator:
        packets = received(simulator.urls["cam"], "video", 40)

    assert is_cyclic([packet.nals for packet in packets], in_file(clip, "video"))
    assert packets[0].is_keyframe
    # FFmpeg leaves the first packet's time open; among the last, a B-frame may be missing.
    times = sorted(packet.pts for packet in packets if packet.pts is not None)[:30]
    assert {after - before for before, after in itertools.pairwise(times)} == {3600}


def test_every_audio_frame_arrives_as_it_is_in_the_file(h264_clip: Path) -> None:
    """AAC goes beside the video, raw frame by raw frame."""
    with Simulator({"cam": h264_clip}) as simulator:
        packets = received(simulator.urls["cam"], "audio", 20)

    assert is_cyclic([packet.nals for packet in packets], in_file(h264_clip, "audio"))


@pytest.mark.parametrize("fixture", ["h264_clip", "h265_clip"])
def test_pictures_decode_without_an_error(request: pytest.FixtureRequest, fixture: str) -> None:
    """A decoder that stops at the first error shows more than one loop."""
    clip: Path = request.getfixturevalue(fixture)

    with Simulator({"cam": clip}) as simulator, av.open(simulator.urls["cam"], options=OPTIONS) as container:
        container.streams.video[0].codec_context.options = {"err_detect": "explode"}
        frames = list(itertools.islice(container.decode(video=0), 35))

    assert [frame.is_corrupt for frame in frames] == [False] * 35
    assert frames[0].key_frame


@pytest.mark.parametrize("scheme", ["basic", "digest", "both"])
def test_ffmpeg_enters_with_the_right_password_alone(h264_clip: Path, scheme: Scheme) -> None:
    """A wrong password is 401, a wrong camera 404, both told apart by PyAV's errors."""
    with Simulator({"cam": h264_clip}, credentials=Credentials("u", "p", scheme)) as simulator:
        url = simulator.urls["cam"].replace("rtsp://", "rtsp://{}@")

        assert received(url.format("u:p"), "video", 1)[0].is_keyframe
        for pair in ("u:x", "x:p"):
            with pytest.raises(av.error.HTTPUnauthorizedError):
                av.open(url.format(pair), options=OPTIONS)
        with pytest.raises(av.error.HTTPUnauthorizedError):
            av.open(simulator.urls["cam"], options=OPTIONS)
        with pytest.raises(av.error.HTTPNotFoundError):
            av.open(url.format("u:p") + "x", options=OPTIONS)


def test_a_dead_simulator_comes_back_on_its_port(h264_clip: Path) -> None:
    """Stopping ends the clients' films at once; a new one takes the port over without waiting."""
    with Simulator({"cam": h264_clip}) as first, av.open(first.urls["cam"], options=OPTIONS) as container:
        packets: Iterator[av.Packet] = container.demux(video=0)
        assert next(packets).size
        first.stop()
        assert sum(1 for _ in packets) < 1000
    with pytest.raises(OSError, match="refused"), socket.create_connection(("127.0.0.1", first.port), timeout=5):
        pass

    with Simulator({"cam": h264_clip}, port=first.port) as second:
        assert second.urls == first.urls
        assert received(second.urls["cam"], "video", 1)[0].is_keyframe


def test_one_camera_dies_and_comes_back_while_the_simulator_lives(h264_clip: Path) -> None:
    """Unplugging is 404 to clients, plugging in serves them again."""
    with Simulator({"cam": h264_clip}) as simulator:
        simulator.unplug("cam")
        with pytest.raises(av.error.HTTPNotFoundError):
            av.open(simulator.urls["cam"], options=OPTIONS)
        simulator.plug("cam")
        assert received(simulator.urls["cam"], "video", 1)


def test_a_port_that_is_taken_is_an_error_that_says_so(h264_clip: Path) -> None:
    """The text names address and remedy."""
    with Simulator({"cam": h264_clip}) as simulator:
        taken = simulator.port
        with pytest.raises(ConfigError, match=rf"127.0.0.1:{taken}.*choose another port"):
            Simulator({"cam": h264_clip}, port=taken).start()


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="no ffprobe on this machine")
def test_ffprobe_sees_both_streams_as_they_are(h264_clip: Path) -> None:
    """Codec, size, profile, frame rate and audio come out of the SDP and the first pictures."""
    with Simulator({"cam": h264_clip}, credentials=Credentials("u", "p")) as simulator:
        url = simulator.urls["cam"].replace("rtsp://", "rtsp://u:p@")
        command = ["ffprobe", "-v", "error", "-rtsp_transport", "tcp", "-of", "json", "-show_streams", url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)

    streams = {stream["codec_type"]: stream for stream in json.loads(done.stdout)["streams"]}
    assert done.stderr == ""
    assert (streams["video"]["codec_name"], streams["video"]["width"], streams["video"]["height"]) == ("h264", 192, 128)
    assert (streams["audio"]["codec_name"], streams["audio"]["sample_rate"]) == ("aac", "16000")


GST_PROBE = """
import gi
gi.require_version("Gst", "1.0")
from gi.repository import Gst
Gst.init(None)
assert Gst.ElementFactory.find("rtspsrc") and Gst.ElementFactory.find("h264parse")
"""


def has_gstreamer() -> bool:
    """Whether the system's Python speaks GStreamer; a virtual environment's cannot."""
    if not Path(SYSTEM_PYTHON).exists():
        return False
    probe = subprocess.run([SYSTEM_PYTHON, "-c", GST_PROBE], capture_output=True, timeout=60, check=False)
    return probe.returncode == 0


@pytest.mark.parametrize("scheme", ["basic", "digest"])
def test_gstreamer_watches_too(h264_clip: Path, scheme: Scheme) -> None:
    """A client that shares no code with FFmpeg logs in and gets pictures."""
    if not has_gstreamer():
        pytest.skip("no GStreamer with rtspsrc in the system's Python")
    with Simulator({"cam": h264_clip}, credentials=Credentials("u", "p", scheme)) as simulator:
        command = [SYSTEM_PYTHON, "-c", GST_CLIENT, simulator.urls["cam"]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)

    assert done.returncode == 0, done.stderr


@pytest.mark.material
@pytest.mark.parametrize("name", ["one-by-one_720p25_20s_h264_aac.mp4", "one-by-one_720p15_20s_h265.mp4"])
def test_real_clips_arrive_as_they_are(material: Path, name: str) -> None:
    """The first two seconds of a real 720p clip, byte by byte."""
    path = material / "videos" / name

    with Simulator({"cam": path}) as simulator:
        packets = received(simulator.urls["cam"], "video", 30)

    assert [packet.nals for packet in packets] == in_file(path, "video")[:30]
