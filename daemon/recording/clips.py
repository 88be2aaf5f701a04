"""Cuts a range of time out of segments into one MP4, without encoding, from the key frame at or before its start.

The result is not fragmented and has its header first, so browsers play it and seek in it at once. Segments of one
connection join to the tick; between connections the clip keeps the gap, as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import av

from ..clock import NS_PER_MS, iso_utc
from ..errors import MediaError
from .segment_reader import SegmentReader
from .segments import AV_ERRORS, SegmentNote, add_streams, to_av
from .timeline import TimedPacket
from .whole_file import whole_file

CLIP_OPTIONS: Final = {"movflags": "faststart", "avoid_negative_ts": "disabled"}
TICK_NS: Final = NS_PER_MS  # times read back from a file are rounded to its ticks


@dataclass(frozen=True)
class Clip:
    """A clip as cut."""

    path: Path
    start_utc_ns: int
    end_utc_ns: int
    size_bytes: int
    codec: str


def cut_clip(segments: Sequence[Path], from_utc_ns: int, to_utc_ns: int, path: Path) -> Clip:
    """Write what `segments` (oldest first) hold of the range to `path`, replacing it in one step.

    A segment that retention has taken meanwhile, or that is of another codec than the first, is left out.
    Raises MediaError when nothing lies in the range or the file cannot be written.
    """
    readers = _readable(segments, from_utc_ns)
    try:
        with whole_file(path) as draft:
            start_utc_ns, end_utc_ns = _write(readers, from_utc_ns, to_utc_ns, draft)
            size_bytes = draft.stat().st_size
    except AV_ERRORS as exc:
        raise MediaError(f"clip {path} cannot be written: {exc}") from exc
    return Clip(path, start_utc_ns, end_utc_ns, size_bytes, readers[0].codec)


def _readable(segments: Sequence[Path], from_utc_ns: int) -> list[SegmentReader]:
    readers = []
    error: MediaError | None = None
    for segment in segments:
        try:
            reader = SegmentReader(segment)
            if reader.end_utc_ns() > from_utc_ns:
                readers.append(reader)
        except MediaError as exc:
            error = exc
    if not readers:
        raise MediaError("no recording in this range") from error
    # Sound may reach a little beyond the last picture; the segment that begins at or before the start is the first.
    while len(readers) > 1 and readers[1].note.start_utc_ns <= from_utc_ns:
        del readers[0]
    return [reader for reader in readers if reader.codec == readers[0].codec]


def _write(readers: list[SegmentReader], from_utc_ns: int, to_utc_ns: int, draft: Path) -> tuple[int, int]:
    """Write the draft; return the UTC of its first packet and of its end."""
    packets = clip_packets(readers, from_utc_ns, to_utc_ns)
    first = next(packets, None)
    if first is None:
        raise MediaError(f"no recording between {iso_utc(from_utc_ns)} and {iso_utc(to_utc_ns)}")
    end_utc_ns = first.utc_ns
    with av.open(str(draft), "w", format="mp4", options=CLIP_OPTIONS) as output:
        streams = add_streams(output, readers[0].init_segment())
        for packet in _with(first, packets):
            output.mux_one(_placed(packet, streams[packet.stream_index], first))
            end_utc_ns = max(end_utc_ns, packet.utc_ns + packet.duration_ns)
    return first.utc_ns, end_utc_ns


def _with(first: TimedPacket, rest: Iterator[TimedPacket]) -> Iterator[TimedPacket]:
    yield first
    yield from rest


def _placed(packet: TimedPacket, stream: Any, first: TimedPacket) -> av.Packet:
    """Return the packet at its UTC distance from the clip's first one."""
    return to_av(packet, stream, packet.time_ns - (packet.utc_ns - first.utc_ns))


def clip_packets(readers: list[SegmentReader], from_utc_ns: int, to_utc_ns: int) -> Iterator[TimedPacket]:
    """Yield the range's packets of all readers, each instant once, the first one a video key frame."""
    last_utc_ns: dict[int, int] = {}
    line = _Line()
    for reader in readers:
        shift_ns = line.shift_ns(reader.note, max(last_utc_ns.values(), default=0))
        for packet in reader.packets(None if last_utc_ns else from_utc_ns):
            placed = replace(packet, utc_ns=packet.utc_ns + shift_ns)
            if placed.is_video and placed.utc_ns >= to_utc_ns:
                break
            starts = bool(last_utc_ns) or (placed.is_video and placed.is_keyframe)
            # Segments overlap where the pre-roll of a later event was written a second time.
            is_new = placed.utc_ns > last_utc_ns.get(packet.stream_index, 0) + TICK_NS
            if starts and is_new and placed.utc_ns < to_utc_ns:
                last_utc_ns[packet.stream_index] = placed.utc_ns
                yield placed


class _Line:
    """Puts segments on one line of time.

    A segment of the same connection stands where the stream's own time says, so it joins to the tick; any other stands
    where its UTC says, but never before what is already there, for the host's clock may have been set back.
    """

    def __init__(self) -> None:
        self._anchor: SegmentNote | None = None
        self._anchor_shift_ns = 0

    def shift_ns(self, note: SegmentNote, last_utc_ns: int) -> int:
        """Return what to add to the UTC of the segment's packets."""
        anchor = self._anchor
        if anchor is None or anchor.stream_id != note.stream_id:
            self._anchor = note
            self._anchor_shift_ns = max(0, last_utc_ns - note.start_utc_ns + 1)
            return self._anchor_shift_ns
        place_utc_ns = anchor.start_utc_ns + self._anchor_shift_ns + note.start_time_ns - anchor.start_time_ns
        return place_utc_ns - note.start_utc_ns
