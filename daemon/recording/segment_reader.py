"""Reads packets back out of segments, also out of one that is still being written (PyAV's demuxer).

Looks only at whole fragments and starts at the key frame that is asked for, so an hour-long segment costs no more than
a short one.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import av
import msgspec

from ..errors import MediaError
from .fragments import FragmentWindow, Layout, read_layout
from .segments import AV_ERRORS, SegmentNote
from .timeline import TimedPacket, ns_to_ticks, ticks_to_ns

READ_BUFFER_BYTES: Final = 256 * 1024
# Packets only: what FFmpeg would find out by decoding is not asked for. A third of the time.
PROBE_OPTIONS: Final = {"analyzeduration": "1", "probesize": "32", "fpsprobesize": "0"}


class SegmentReader:
    """A segment file as it was when this object was made; fragments that are written later are not seen."""

    def __init__(self, path: Path) -> None:
        """Read the layout and the header.

        Raises MediaError when the file is gone or is no segment.
        """
        self.path = path
        try:
            self._layout: Layout = read_layout(path)
        except OSError as exc:
            raise MediaError(f"segment {path} cannot be read: {exc}") from exc
        try:
            # The header alone: with pictures behind it FFmpeg would decode some, to learn what the header says already.
            container = av.open(io.BytesIO(self.init_segment()), format="mp4")
        except AV_ERRORS as exc:
            raise MediaError(f"{path} is no segment: {exc}") from exc
        with container:
            self.note = _read_note(path, container)
            self.codec = "+".join(stream.codec_context.codec.canonical_name for stream in container.streams)
            self._scales = {stream.id: stream.time_base for stream in container.streams}

    @property
    def whole_bytes(self) -> int:
        """Bytes up to the end of the last whole fragment."""
        return self._layout.whole_bytes

    def init_segment(self) -> bytes:
        """Return the header, which announces the streams as the reader's init segment did.

        Raises MediaError when the file cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                return file.read(self._layout.header_end)
        except OSError as exc:
            raise MediaError(f"segment {self.path} cannot be read: {exc}") from exc

    @property
    def is_empty(self) -> bool:
        """Tell whether no fragment was written."""
        return not self._layout.fragments

    def end_utc_ns(self) -> int:
        """Return the end of the last packet, by reading the last fragment."""
        last = max(0, len(self._layout.fragments) - 1)
        return max((p.utc_ns + p.duration_ns for p in self._packets(last)), default=self.note.start_utc_ns)

    def packets(self, from_utc_ns: int | None = None) -> Iterator[TimedPacket]:
        """Yield packets in file order from the video key frame at or before `from_utc_ns`; from the start without it.

        Raises MediaError when the file cannot be read on.
        """
        if from_utc_ns is None or from_utc_ns <= self.note.start_utc_ns:
            yield from self._packets(0)
            return
        first = self._fragment_at(from_utc_ns)
        back = 1
        while (keyframe_ns := self._keyframe_before(first, from_utc_ns)) is None and first > 0:
            first = max(0, first - back)
            back *= 2
        begun = False
        for packet in self._packets(first):
            begun = begun or (packet.is_video and packet.is_keyframe and packet.time_ns == (keyframe_ns or 0))
            if begun or keyframe_ns is None:
                yield packet

    def _keyframe_before(self, first: int, utc_ns: int) -> int | None:
        """Return the stream time of the last key frame at or before `utc_ns`, looking from fragment `first` on."""
        found = None
        for packet in self._packets(first):
            if packet.is_video and packet.utc_ns > utc_ns:
                break
            if packet.is_video and packet.is_keyframe:
                found = packet.time_ns
        return found

    def _fragment_at(self, utc_ns: int) -> int:
        """Return the number of the last fragment that begins at or before `utc_ns`."""
        since_ns = utc_ns - self.note.start_utc_ns
        found = 0
        for number, fragment in enumerate(self._layout.fragments):
            starts = (
                ticks_to_ns(ticks, (self._scales[track].numerator, self._scales[track].denominator))
                for track, ticks in fragment.start_ticks.items()
                if track in self._scales
            )
            if min(starts, default=0) <= since_ns:
                found = number
        return found

    def _packets(self, first: int) -> Iterator[TimedPacket]:
        with self._open(first) as container:
            try:
                for packet in container.demux():
                    if packet.dts is not None:  # the demuxer ends with an empty packet a stream
                        yield self._timed(packet)
            except AV_ERRORS as exc:
                raise MediaError(f"segment {self.path} cannot be read: {exc}") from exc

    def _timed(self, packet: Any) -> TimedPacket:
        time_base = (packet.time_base.numerator, packet.time_base.denominator)
        since_ns = ticks_to_ns(packet.dts, time_base)
        start = ns_to_ticks(self.note.start_time_ns, time_base)
        return TimedPacket(
            packet.stream_index,
            bytes(packet),
            start + (packet.pts if packet.pts is not None else packet.dts),
            start + packet.dts,
            packet.duration or 0,
            time_base,
            packet.is_keyframe,
            packet.stream.type == "video",
            self.note.start_time_ns + since_ns,
            self.note.start_utc_ns + since_ns,
        )

    @contextmanager
    def _open(self, first: int) -> Iterator[Any]:
        try:
            window = FragmentWindow(self.path, self._layout, first)
        except OSError as exc:
            raise MediaError(f"segment {self.path} cannot be read: {exc}") from exc
        try:
            container = av.open(window, format="mp4", buffer_size=READ_BUFFER_BYTES, container_options=PROBE_OPTIONS)
        except AV_ERRORS as exc:
            window.close()
            raise MediaError(f"{self.path} is no segment: {exc}") from exc
        try:
            yield container
        finally:
            container.close()
            window.close()


def _read_note(path: Path, container: Any) -> SegmentNote:
    try:
        return msgspec.convert(json.loads(container.metadata.get("comment", "")), SegmentNote)
    except ValueError as exc:
        raise MediaError(f"{path} is no segment of this program: its comment says nothing of a camera") from exc
