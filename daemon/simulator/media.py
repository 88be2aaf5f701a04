"""A clip in memory: its access units, cut into RTP payloads once, with their times.

Opening and reading files belongs here; when a unit is sent belongs to `player`.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

import av
import structlog

from ..errors import ConfigError
from .bitstream import CodecHeader, parse_h264_header, parse_h265_header
from .rtp import packetize_aac, packetize_h264, packetize_h265

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

log = structlog.get_logger()

VIDEO_CLOCK_HZ = 90_000
# Clips are held in memory; a longer film is cut by its owner, not swapped by us.
MAX_CLIP_BYTES = 1 << 30
Codec = Literal["h264", "hevc", "aac"]


@dataclass(frozen=True, slots=True)
class Track:
    """One elementary stream. `parameter_sets` are SPS and PPS (and VPS), or the AudioSpecificConfig of AAC."""

    codec: Codec
    clock_hz: int
    parameter_sets: tuple[bytes, ...]
    fps: float = 0.0
    channels: int = 0


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """One picture or audio frame as RTP payloads.

    `ticks` is its presentation time in the track's clock, 0 for the clip's first picture; `send_s` is when it is due
    after the clip's start, in decoding order.
    """

    track: int
    payloads: tuple[bytes, ...]
    ticks: int
    send_s: float
    is_keyframe: bool


@dataclass(frozen=True, slots=True)
class Clip:
    """A file's units in the order in which they are sent; track 0 is video. `duration_s` is one loop of it."""

    tracks: tuple[Track, ...]
    units: tuple[AccessUnit, ...]
    duration_s: Fraction

    def keyframe_before(self, at_s: float) -> int:
        """Index of the last key frame due at `at_s` or before; of the first one when there is none."""
        keyframes = [index for index, unit in enumerate(self.units) if unit.is_keyframe]
        return max((index for index in keyframes if self.units[index].send_s <= at_s), default=keyframes[0])


@dataclass(frozen=True, slots=True)
class _Timeline:
    """Where the clip's time begins, in seconds of the file, and how long one loop takes."""

    first_pts_s: Fraction
    duration_s: Fraction


def load_clip(path: Path) -> Clip:
    """Read the whole file. Raises ConfigError, naming file and remedy, for what cannot be served."""
    try:
        with av.open(str(path)) as container:
            return _read_clip(container)
    except (av.error.FFmpegError, OSError) as exc:
        raise ConfigError(f"{path}: cannot be read as video: {exc}") from exc
    except (ValueError, IndexError) as exc:
        raise ConfigError(f"{path}: cannot be served as a camera: {exc}") from exc


def _read_clip(container: av.container.InputContainer) -> Clip:
    if not container.streams.video:
        raise ValueError("it has no video stream")
    video = container.streams.video[0]
    track, header, packetize = _video_track(video)
    audio = next((stream for stream in container.streams.audio if _is_served(stream)), None)

    packets = _demux(container, [stream for stream in (video, audio) if stream is not None])
    timeline = _timeline(packets[video.index], video)
    units = _video_units(packets[video.index], timeline, lambda data: packetize(header.split(data)))
    tracks = [track]
    if audio is not None:
        tracks.append(_audio_track(audio))
        units += _audio_units(packets[audio.index], timeline, tracks[1].clock_hz)
    units.sort(key=lambda unit: unit.send_s)
    return Clip(tuple(tracks), tuple(units), timeline.duration_s)


def _video_track(stream: av.VideoStream) -> tuple[Track, CodecHeader, Callable[[Iterable[bytes]], list[bytes]]]:
    context = stream.codec_context
    extradata = bytes(context.extradata or b"")
    fps = float(stream.average_rate or 0)
    if context.name == "h264":
        header = parse_h264_header(extradata)
        return Track("h264", VIDEO_CLOCK_HZ, header.parameter_sets, fps=fps), header, packetize_h264
    if context.name == "hevc":
        header = parse_h265_header(extradata)
        return Track("hevc", VIDEO_CLOCK_HZ, header.parameter_sets, fps=fps), header, packetize_h265
    raise ValueError(f"its video is {context.name}; convert it with `ffmpeg -i IN -c:v libx264 OUT.mp4`")


def _is_served(stream: av.AudioStream) -> bool:
    context = stream.codec_context
    if context.name == "aac" and context.extradata:
        return True
    log.warning("audio_not_served", codec=context.name, served="aac with its configuration in the container")
    return False


def _audio_track(stream: av.AudioStream) -> Track:
    context = stream.codec_context
    config = bytes(context.extradata or b"")
    return Track("aac", context.sample_rate, (config,), channels=context.layout.nb_channels)


def _demux(
    container: av.container.InputContainer, streams: list[av.stream.Stream]
) -> dict[int, list[av.packet.Packet]]:
    """Packets by stream index. Raises ValueError for packets without times, and for a clip too long for memory."""
    packets: dict[int, list[av.packet.Packet]] = {stream.index: [] for stream in streams}
    size_bytes = 0
    for packet in container.demux(streams):
        if not packet.size:
            continue  # the demuxer's flush
        if packet.pts is None:
            raise ValueError("its packets have no presentation times; remux it with `ffmpeg -i IN -c copy OUT.mp4`")
        size_bytes += packet.size
        if size_bytes > MAX_CLIP_BYTES:
            raise ValueError(f"it is longer than {MAX_CLIP_BYTES >> 20} MiB; cut it with `ffmpeg -i IN -t 60 -c copy`")
        packets[packet.stream.index].append(packet)
    return packets


def _timeline(packets: list[av.packet.Packet], stream: av.VideoStream) -> _Timeline:
    if not any(packet.is_keyframe for packet in packets):
        raise ValueError("it has no key frame")
    base = stream.time_base
    first_pts = min(packet.pts for packet in packets)
    last = max(packets, key=lambda packet: packet.pts)
    # Matroska often leaves the duration out; the average rate is then the best guess.
    last_s = last.duration * base if last.duration else 1 / (stream.average_rate or Fraction(25))
    return _Timeline(
        first_pts_s=first_pts * base,
        duration_s=Fraction((last.pts - first_pts) * base + last_s),
    )


def _video_units(
    packets: list[av.packet.Packet], timeline: _Timeline, payloads: Callable[[bytes], list[bytes]]
) -> list[AccessUnit]:
    times_s = [packet.pts * packet.time_base - timeline.first_pts_s for packet in packets]
    # The file's order is that of decoding; sent at these times, no B-frame comes before what it refers to. The
    # container's own decoding times say the same, where they are there at all.
    return [
        AccessUnit(0, tuple(payloads(bytes(packet))), round(time_s * VIDEO_CLOCK_HZ), float(send_s), packet.is_keyframe)
        for packet, time_s, send_s in zip(packets, times_s, sorted(times_s), strict=True)
    ]


def _audio_units(packets: list[av.packet.Packet], timeline: _Timeline, clock_hz: int) -> list[AccessUnit]:
    """Audio that begins within the video; an encoder's priming before it and what outlasts it is left out."""
    units = []
    for packet in packets:
        at_s = packet.pts * packet.time_base - timeline.first_pts_s
        if 0 <= at_s < timeline.duration_s:
            units.append(AccessUnit(1, tuple(packetize_aac(bytes(packet))), round(at_s * clock_hz), float(at_s), False))
    return units
