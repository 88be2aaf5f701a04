"""Material for the recorder's tests: clips that they encode themselves, and their packets as a reader would send them.

Frame number n is a grey picture with n in binary as white and black blocks along its top, so a test can read back which
frame it sees.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np

from daemon.clock import NS_PER_S
from daemon.messages import MediaOrder, Packet, StreamStart
from daemon.recording.segments import SegmentNote, SegmentWriter, StreamHeader, read_header
from daemon.recording.timeline import TimedPacket, Timeline

FPS = 10
GOP = 10
WIDTH, HEIGHT = 192, 128
BLOCK = 16  # pixels; as large as a macroblock, so compression leaves it alone
SAMPLES_S = 16000
START_UTC_NS = 1_767_225_600 * NS_PER_S  # 2026-01-01T00:00:00Z


def picture(number: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return frame `number`: uint8 [HEIGHT, WIDTH, 3] RGB."""
    image = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    for bit in range(WIDTH // BLOCK):
        image[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = 255 if number >> bit & 1 else 0
    return image


def number_in(image: np.ndarray[Any, Any]) -> int:
    """Return the frame number that a decoded picture shows, of any channel order."""
    middle = [image[BLOCK // 2, bit * BLOCK + BLOCK // 2].mean() > 127 for bit in range(WIDTH // BLOCK)]
    return sum(1 << bit for bit, white in enumerate(middle) if white)


@cache
def encoded(codec: str = "libx264", seconds: int = 6, *, audio: bool = True) -> bytes:
    """Return a clip as MP4 bytes: FPS pictures a second, a key frame every GOP."""
    file = io.BytesIO()
    options = {"g": str(GOP), "bf": "0", "preset": "ultrafast", "x265-params": f"log-level=none:keyint={GOP}:bframes=0"}
    with av.open(file, "w", format="mp4") as output:
        video = output.add_stream(codec, rate=FPS, options={} if codec == "mjpeg" else options)
        video.width, video.height = WIDTH, HEIGHT
        video.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        sound = output.add_stream("aac", rate=SAMPLES_S, layout="mono") if audio else None
        at = 0
        for number in range(seconds * FPS):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            output.mux(video.encode(frame))
            while sound and at * FPS < (number + 1) * SAMPLES_S:
                output.mux(sound.encode(_tone(at)))
                at += 1024
        for stream in (video, sound):
            if stream:
                output.mux(stream.encode())
    return file.getvalue()


def _tone(at: int) -> av.AudioFrame:
    samples = (np.sin(np.arange(at, at + 1024) * 0.2) * 8000).astype(np.int16)[None]
    frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
    frame.pts, frame.sample_rate, frame.time_base = at, SAMPLES_S, Fraction(1, SAMPLES_S)
    return frame


@cache
def init_of(clip: bytes) -> bytes:
    """Return the fragmented MP4 header that announces the clip's streams."""
    file = io.BytesIO()
    with (
        av.open(io.BytesIO(clip)) as source,
        av.open(file, "w", format="mp4", options={"movflags": "empty_moov+default_base_moof"}) as output,
    ):
        for stream in source.streams:
            output.add_stream_from_template(stream)
        output.start_encoding()
    return file.getvalue()


def hello(clip: bytes, camera: str = "gate", stream_id: int = 1) -> StreamStart:
    """Return what a reader says first."""
    return StreamStart(camera=camera, stream_id=stream_id, init_segment=init_of(clip))


def packets_of(clip: bytes, camera: str = "gate", stream_id: int = 1, start_ns: int = 0) -> list[Packet]:
    """Return the clip's packets; each arrives when its decode time says, counted from `start_ns`."""
    with av.open(io.BytesIO(clip)) as source:
        return [
            Packet(
                camera=camera,
                stream_id=stream_id,
                stream_index=packet.stream_index,
                data=bytes(packet),
                pts=packet.pts,
                dts=packet.dts,
                duration=packet.duration or 0,
                time_base=(packet.time_base.numerator, packet.time_base.denominator),
                is_keyframe=packet.is_keyframe,
                received_ns=start_ns + int(packet.dts * packet.time_base * NS_PER_S),
            )
            for packet in source.demux()
            if packet.dts is not None
        ]


def timed_packets(clip: bytes, start_utc_ns: int = START_UTC_NS) -> tuple[StreamHeader, list[TimedPacket]]:
    """Return the clip's header and its packets on a timeline, arriving from `start_utc_ns` on; a key frame first."""
    header = read_header(init_of(clip))
    timeline = Timeline(header.video_index)
    timed = [timeline.place(packet, start_utc_ns + packet.received_ns) for packet in packets_of(clip)]
    first = next(i for i, packet in enumerate(timed) if packet.is_video)
    return header, timed[first:]


def write_segment(path: Path, header: StreamHeader, packets: list[TimedPacket], stream_id: int = 1) -> SegmentWriter:
    """Write a whole segment."""
    note = SegmentNote("gate", stream_id, packets[0].utc_ns, packets[0].time_ns)
    writer = SegmentWriter(path, header, note)
    for packet in packets:
        writer.write(packet)
    writer.close()
    return writer


def frame_numbers(path: Path) -> list[int]:
    """Decode a file with a player's eyes: the numbers of its frames in order of display."""
    with av.open(str(path)) as container:
        return [number_in(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def video_times_s(path: Path) -> list[float]:
    """Return the display times of a file's pictures."""
    with av.open(str(path)) as container:
        return [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]


def codecs_of(path: Path) -> list[str]:
    """Return the codecs of a file's streams."""
    with av.open(str(path)) as container:
        return [stream.codec_context.codec.canonical_name for stream in container.streams]


def order_of(start_utc_ns: int, end_utc_ns: int | None, **changes: Any) -> MediaOrder:
    """Return an order for an event of camera "gate"."""
    event_id = changes.pop("event_id", uuid.uuid4().hex)
    values: dict[str, Any] = {
        "event_id": event_id,
        "camera": "gate",
        "start_utc_ns": start_utc_ns,
        "end_utc_ns": end_utc_ns,
        "snapshot_utc_ns": start_utc_ns,
        "box": (0.25, 0.4, 0.5, 0.9),
        "caption": "person 0.87",
        "snapshot_path": f"media/gate/{event_id}.jpg",
        "clean_snapshot_path": f"media/gate/{event_id}.clean.jpg",
        "clip_path": f"media/gate/{event_id}.mp4",
    }
    return MediaOrder(**{**values, **changes})


def gops(packets: list[TimedPacket]) -> Iterator[list[TimedPacket]]:
    """Yield the packets, a list a GOP."""
    group: list[TimedPacket] = []
    for packet in packets:
        if packet.is_video and packet.is_keyframe and group:
            yield group
            group = []
        group.append(packet)
    yield group
