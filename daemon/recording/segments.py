"""Writes packets into fragmented MP4 segments, as they came, without encoding (PyAV's muxer).

A fragment of about a second is written in one piece, so a killed process leaves a file that plays to its last
fragment. Who is recorded when, and what the index says, is decided elsewhere.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av

from ..clock import NS_PER_MS, NS_PER_S
from ..errors import MediaError
from .nal_units import length_prefixed
from .timeline import TimedPacket, ns_to_ticks

FRAGMENT_US: Final = 1_000_000
# A stream that falls silent (a muted microphone) holds the others back in the muxer for so long at most.
INTERLEAVE_US: Final = 1_000_000
MUX_OPTIONS: Final = {
    "movflags": "empty_moov+default_base_moof",
    "frag_duration": str(FRAGMENT_US),
    "max_interleave_delta": str(INTERLEAVE_US),
    "avoid_negative_ts": "disabled",
    "flush_packets": "1",
}
AV_ERRORS: Final = (av.FFmpegError, OSError, ValueError)
_PREFIXED_CODECS: Final = ("h264", "hevc")


@dataclass(frozen=True)
class StreamHeader:
    """What a connection delivers, read from the reader's init segment."""

    init_segment: bytes
    video_index: int
    codecs: tuple[str, ...]  # FFmpeg's names, by stream index

    @property
    def label(self) -> str:
        """Codecs as the index shows them, e.g. `hevc+aac`."""
        return "+".join(self.codecs)


@dataclass(frozen=True)
class SegmentNote:
    """What a segment says of itself, in its comment tag, so that a lost index can be built again from the files."""

    camera: str
    stream_id: int
    start_utc_ns: int
    start_time_ns: int


def read_header(init_segment: bytes) -> StreamHeader:
    """Return what the MP4 header announces.

    Raises MediaError when it is no MP4 header or has no video stream.
    """
    with template_streams(init_segment) as streams:
        codecs = tuple(stream.codec_context.codec.canonical_name for stream in streams)
        video = [stream.index for stream in streams if stream.type == "video"]
    if not video:
        raise MediaError("the stream has no video")
    return StreamHeader(init_segment, video[0], codecs)


@contextmanager
def template_streams(init_segment: bytes) -> Iterator[list[Any]]:
    """Give the streams that an MP4 header announces; they carry the codecs' parameters.

    Raises MediaError when it is no MP4 header.
    """
    try:
        container = av.open(io.BytesIO(init_segment), format="mp4")
    except AV_ERRORS as exc:
        raise MediaError(f"the stream's header cannot be read: {exc}") from exc
    with container:
        yield list(container.streams)


def add_streams(output: Any, init_segment: bytes) -> list[Any]:
    """Give an output the streams that an MP4 header announces, and return them by index."""
    with template_streams(init_segment) as templates:
        streams = [output.add_stream_from_template(template) for template in templates]
    for stream in streams:
        if stream.codec_context.codec.canonical_name == "hevc":
            stream.codec_context.codec_tag = "hvc1"  # Safari and QuickTime refuse FFmpeg's default hev1
    return streams


def segment_path(recordings: Path, camera: str, start_utc_ns: int) -> Path:
    """Return where a segment lies: `<camera>/<YYYY>/<MM>/<DD>/<HH-MM-SS.mmm>Z.mp4`, times in UTC."""
    whole, rest_ns = divmod(start_utc_ns, NS_PER_S)
    start = datetime.fromtimestamp(whole, UTC)
    name = f"{start:%H-%M-%S}.{rest_ns // NS_PER_MS:03d}Z.mp4"
    return recordings / camera / f"{start:%Y}" / f"{start:%m}" / f"{start:%d}" / name


def to_av(packet: TimedPacket, stream: Any, shift_ns: int) -> av.Packet:
    """Return a packet for `stream` whose times are moved back by `shift_ns`."""
    # An output's context bears the encoder's name, libx264, though nothing is encoded.
    prefixed = packet.is_video and stream.codec_context.codec.canonical_name in _PREFIXED_CODECS
    result = av.Packet(length_prefixed(packet.data) if prefixed else packet.data)
    shift = ns_to_ticks(shift_ns, packet.time_base)
    result.dts = packet.dts - shift
    result.pts = packet.pts - shift
    result.duration = packet.duration
    result.time_base = Fraction(*packet.time_base)
    result.stream = stream
    result.is_keyframe = packet.is_keyframe
    return result


class _CountedFile:
    """An unbuffered file that the muxer writes to, a whole fragment at a time."""

    def __init__(self, path: Path) -> None:
        self.size_bytes = 0
        self._file = path.open("xb", buffering=0)

    def write(self, data: bytes) -> int:
        """Write all of `data`; the kernel may take it in parts."""
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self.size_bytes += len(data)
        return len(data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class SegmentWriter:
    """One segment being written; its first packet is a video key frame."""

    def __init__(self, path: Path, header: StreamHeader, note: SegmentNote) -> None:
        self.path = path
        self.note = note
        self.codec = header.label
        self.end_utc_ns = note.start_utc_ns
        self.durable_utc_ns = note.start_utc_ns  # everything before it is in the file
        self._last_ns: dict[int, int] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = _CountedFile(path)
            self._output, self._streams = _open_output(self._file, header, note)
        except AV_ERRORS as exc:
            raise MediaError(f"segment {path} cannot be begun: {exc}") from exc

    @property
    def size_bytes(self) -> int:
        """Bytes in the file so far."""
        return self._file.size_bytes

    def seconds(self, packet: TimedPacket) -> float:
        """Return how far into the segment `packet` lies."""
        return (packet.time_ns - self.note.start_time_ns) / NS_PER_S

    def write(self, packet: TimedPacket) -> int:
        """Add a packet; return the bytes that reached the file, 0 while a fragment is being filled.

        Raises MediaError when the disk or the muxer does not take it; the segment is to be closed then.
        """
        if packet.time_ns < self.note.start_time_ns:
            return 0  # sound of before the first key frame
        before_bytes = self._file.size_bytes
        durable_ns = self._interleaved_ns()
        try:
            self._output.mux_one(to_av(packet, self._streams[packet.stream_index], self.note.start_time_ns))
        except AV_ERRORS as exc:
            raise MediaError(f"segment {self.path} cannot be written: {exc}") from exc
        self._last_ns[packet.stream_index] = packet.time_ns
        self.end_utc_ns = max(self.end_utc_ns, self.utc_of(packet.time_ns + packet.duration_ns))
        written_bytes = self._file.size_bytes - before_bytes
        if written_bytes:
            self.durable_utc_ns = self.utc_of(durable_ns)
        return written_bytes

    def utc_of(self, time_ns: int) -> int:
        """Return the UTC of an instant of the stream, counted from the segment's start."""
        return self.note.start_utc_ns + time_ns - self.note.start_time_ns

    def close(self) -> int:
        """Finish the file and return the bytes that this added.

        Raises MediaError when the last fragment cannot be written; the file plays up to the one before.
        """
        before_bytes = self._file.size_bytes
        try:
            self._output.close()
        except AV_ERRORS as exc:
            raise MediaError(f"segment {self.path} cannot be finished: {exc}") from exc
        finally:
            self._file.close()
        self.durable_utc_ns = self.end_utc_ns
        return self._file.size_bytes - before_bytes

    def abandon(self) -> None:
        """Close the file as it is, after an error; it plays up to its last whole fragment."""
        with suppress(*AV_ERRORS):
            self._output.close()
        self._file.close()

    def _interleaved_ns(self) -> int:
        """Return the stream time up to which the muxer has seen all streams that are not silent."""
        newest_ns = max(self._last_ns.values(), default=self.note.start_time_ns)
        alive_ns = newest_ns - INTERLEAVE_US * 1000
        return min((ns for ns in self._last_ns.values() if ns > alive_ns), default=self.note.start_time_ns)


def _open_output(file: _CountedFile, header: StreamHeader, note: SegmentNote) -> tuple[Any, list[Any]]:
    output = av.open(file, "w", format="mp4", options=MUX_OPTIONS)
    output.metadata["comment"] = json.dumps(asdict(note))
    streams = add_streams(output, header.init_segment)
    # The header goes out now: a segment that is killed at once is still an MP4 file.
    output.start_encoding()
    return output, streams
