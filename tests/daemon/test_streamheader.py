"""MP4 headers made from real connections, used as the recorder uses them."""

import io
from pathlib import Path

import av
import pytest

from daemon.camera.capture import Capture
from daemon.camera.streamheader import init_segment, is_recordable
from daemon.config.settings import Camera
from daemon.errors import MediaError
from daemon.recording.nal_units import length_prefixed
from daemon.simulator.simulator import Simulator

from .camera_servers import make_clip

MOVFLAGS = {"movflags": "empty_moov+default_base_moof+frag_keyframe"}


def opened(url: str) -> Capture:
    return Capture(Camera(url=url, loop=False, pace="fast", timeout_s=10), url)


def recorded(capture: Capture, header: bytes, packets: int) -> bytes:
    """Return an MP4 written from the header and plain bytes alone, beginning at a key frame."""
    out = io.BytesIO()
    with av.open(io.BytesIO(header)) as template, av.open(out, "w", format="mp4", options=MOVFLAGS) as container:
        streams = [container.add_stream_from_template(stream) for stream in template.streams]
        index = {capture.video.index: 0} | ({capture.audio.index: 1} if capture.audio and len(streams) > 1 else {})
        begun, written = False, [0]
        for packet in capture.packets(lambda: written[0] >= packets):
            begins = packet.stream_index == capture.video.index and packet.is_keyframe and packet.dts is not None
            begun = begun or begins
            if not begun or not packet.size or packet.stream_index not in index:
                continue
            copy = av.Packet(
                length_prefixed(bytes(packet)) if packet.stream_index == capture.video.index else bytes(packet)
            )
            copy.pts, copy.dts, copy.duration = packet.pts, packet.dts, packet.duration
            copy.time_base, copy.is_keyframe = packet.time_base, packet.is_keyframe
            copy.stream = streams[index[packet.stream_index]]
            container.mux(copy)
            written[0] += packet.stream_index == capture.video.index
    return out.getvalue()


@pytest.mark.parametrize(("codec", "audio"), [("libx264", ""), ("libx264", "aac"), ("libx265", "aac")])
def test_an_rtsp_stream_is_written_from_its_header_and_bytes_alone(tmp_path: Path, codec: str, audio: str) -> None:
    """The writer never sees the camera; every frame of what it wrote decodes."""
    with Simulator({"gate": make_clip(tmp_path / "clip.mp4", 20, codec=codec, audio=audio)}) as simulator:
        capture = opened(simulator.urls["gate"])
        streams = [stream for stream in (capture.video, capture.audio) if stream is not None]
        header = init_segment(streams)
        movie = recorded(capture, header, 12)
        capture.close()

    with av.open(io.BytesIO(movie)) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"][: len(streams)]
        assert container.streams.video[0].codec_context.extradata
        frames = list(container.decode(video=0))
    assert len(frames) >= 12
    assert not any(frame.is_corrupt for frame in frames)


def test_the_header_keeps_codec_size_and_time_base(tmp_path: Path) -> None:
    """Packets' times are in units of the header's time base."""
    capture = opened(str(make_clip(tmp_path / "clip.mp4", audio="aac")))

    header = init_segment([capture.video, capture.audio])

    with av.open(io.BytesIO(header)) as container:
        video, audio = container.streams
        assert (video.codec_context.name, video.codec_context.width, video.codec_context.height) == ("h264", 160, 96)
        assert (audio.codec_context.name, audio.codec_context.sample_rate) == ("aac", 16000)
        assert (video.time_base, audio.time_base) == (capture.video.time_base, capture.audio.time_base)
        assert container.duration in (None, 0)


def test_telephone_audio_is_left_out_and_mjpeg_goes_in(tmp_path: Path) -> None:
    """G.711, the usual sound of cameras, has no place in MP4."""
    clip = make_clip(tmp_path / "clip.mov", codec="mjpeg", pix_fmt="yuvj420p", audio="pcm_mulaw")
    capture = opened(str(clip))

    assert not is_recordable(capture.audio)
    assert is_recordable(capture.video)
    assert len(recorded(capture, init_segment([capture.video]), 5)) > 1000


def test_a_codec_without_a_place_in_mp4_is_an_error(tmp_path: Path) -> None:
    """Lossless video from a capture card."""
    clip = make_clip(tmp_path / "clip.avi", codec="huffyuv", pix_fmt="yuv422p")
    capture = opened(str(clip))

    assert not is_recordable(capture.video)
    with pytest.raises(MediaError):
        init_segment([capture.video])
