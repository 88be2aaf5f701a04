"""Records one camera: heals its packets' times, keeps the pre-roll, writes segments while it is wanted.

continuous: always; events: from the pre-roll of an event until its post-roll is over; off: never.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import structlog

from ..clock import NS_PER_S, iso_utc
from ..config.settings import Recording
from ..errors import MediaError
from ..messages import Packet, StreamStart
from ..stats import Stats
from .packet_ring import PacketRing
from .recording_check import settle_segment
from .recording_index import RECORDINGS_NAME, MediaFile, RecordingIndex
from .segment_reader import SegmentReader
from .segments import SegmentNote, SegmentWriter, StreamHeader, read_header, segment_path
from .timeline import TimedPacket, Timeline

# An order comes some time after its event began: besides the rule's dwell, detection, a cooldown of the usual length,
# and the order's own way.
ORDER_DELAY_NS: Final = 15 * NS_PER_S
RING_BYTES: Final = 64 * 2**20
RETRY_NS: Final = 5 * NS_PER_S  # after a disk refused a segment

log = structlog.get_logger()


class CameraRecorder:
    """What the recorder holds of one camera."""

    def __init__(
        self, camera: str, recording: Recording, index: RecordingIndex, stats: Stats, *, dwell_s: float = 0.0
    ) -> None:
        """`dwell_s` is the longest of the camera's rules: their events begin so long before anybody knows of them."""
        self.camera = camera
        self.recording = recording
        self.paused = False  # the disk is full
        self.header: StreamHeader | None = None
        self.written_utc_ns = 0  # arrival of the last packet written
        self.ring = PacketRing(_ring_span_ns(recording, dwell_s), RING_BYTES)
        self._index = index
        self._stats = stats
        self._timeline = Timeline(0)
        self._stream_id: int | None = None
        self._unknown_stream: int | None = None
        self._writer: SegmentWriter | None = None
        self._wanted_from_utc_ns: int | None = None
        self._written_ns: int | None = None  # stream time of the last packet written, this connection
        self._covered_from_ns = 0  # stream time since which everything is written
        self._retry_utc_ns = 0

    @property
    def is_writing(self) -> bool:
        """Tell whether a segment is open."""
        return self._writer is not None

    @property
    def durable_utc_ns(self) -> int:
        """UTC before which everything is in the open segment's file; 0 when none is open."""
        return self._writer.durable_utc_ns if self._writer else 0

    def apply(self, recording: Recording, *, dwell_s: float = 0.0) -> None:
        """Take over changed settings; an open segment goes on when it is still wanted."""
        self.recording = recording
        self.ring.span_ns = _ring_span_ns(recording, dwell_s)
        if recording.mode == "off":
            self.close()
            self.ring.clear()

    def start_stream(self, start: StreamStart) -> None:
        """Begin a connection; a repeated hello changes nothing."""
        if start.stream_id == self._stream_id:
            return
        try:
            header = read_header(start.init_segment)
        except MediaError as exc:
            self._drop("bad_header")
            log.warning("stream_refused", camera=self.camera, error=str(exc))
            return
        self._begin_connection(start.stream_id, header)

    def end_stream(self, stream_id: int) -> None:
        """Finish the segment; the pre-roll stays until the camera is back, for an event may still want it."""
        if stream_id == self._stream_id:
            self.close()

    def take(self, packet: Packet, utc_ns: int) -> None:
        """Take in a packet that arrived at `utc_ns`."""
        self._stats.count("packets_received", camera=self.camera)
        if self.recording.mode == "off":
            return
        if packet.stream_id != self._stream_id and not self._recover(packet.stream_id):
            self._drop("no_header")
            return
        if self.header is None or not 0 <= packet.stream_index < len(self.header.codecs):
            self._drop("unknown_stream")
            return
        timed = self._timeline.place(packet, utc_ns)
        was_empty = self.ring.size_bytes == 0
        if dropped := self.ring.append(timed):
            self._drop("before_keyframe" if was_empty else "ring_full", by=dropped)
        self._record(timed)

    def want(self, from_utc_ns: int | None) -> None:
        """Say since when events want this camera recorded; None when they do not."""
        self._wanted_from_utc_ns = from_utc_ns
        if self.recording.mode != "events":
            return
        if from_utc_ns is None:
            self.close()
        elif self._writer is None:
            self._begin_with_pre_roll(from_utc_ns)
        else:
            self._fill_before(from_utc_ns)

    def pause(self, paused: bool) -> None:
        """Stop or resume writing, as the room on the disk demands; the pre-roll goes on in memory."""
        self.paused = paused
        if paused:
            self.close()

    def close(self) -> None:
        """Finish the open segment, if any."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        try:
            self._stats.count("bytes_written", camera=self.camera, by=writer.close())
            self._index.put(self._row(writer, complete=True))
        except MediaError as exc:
            self._give_up(writer, exc)
            return
        self._stats.count("segments_closed", camera=self.camera)

    def count_healed(self) -> None:
        """Add the healed time stamps to the stats."""
        for kind, number in self._timeline.drain_healed().items():
            self._stats.count("timestamps_healed", camera=self.camera, reason=kind, by=number)

    def _begin_connection(self, stream_id: int, header: StreamHeader) -> None:
        self.close()
        self.ring.clear()
        self.count_healed()
        self.header = header
        self._stream_id = stream_id
        self._written_ns = None
        self._timeline = Timeline(header.video_index)

    def _recover(self, stream_id: int) -> bool:
        """Take the header of a connection that is older than this process from its last segment."""
        if stream_id == self._unknown_stream:
            return False
        self._unknown_stream = stream_id
        try:
            row = self._index.latest_segment(self.camera)
            reader = SegmentReader(self._index.state_dir / row.path) if row else None
            if reader is None or reader.note.stream_id != stream_id:
                return False
            self._begin_connection(stream_id, read_header(reader.init_segment()))
        except MediaError:
            return False
        return True

    def _record(self, packet: TimedPacket) -> None:
        """Write a packet that is in the ring already, when it is wanted."""
        starts_gop = packet.is_video and packet.is_keyframe
        if self._writer is None and (self.paused or packet.utc_ns < self._retry_utc_ns):
            if self.recording.mode == "continuous" or self._wanted_from_utc_ns is not None:
                self._drop("disk_full" if self.paused else "disk_refused")
            return
        if self._writer and starts_gop and self._writer.seconds(packet) >= self.recording.segment_s:
            self.close()
            self._begin([packet])
        elif self._writer:
            self._write([packet])
        elif self.recording.mode == "continuous" and starts_gop:
            self._begin([packet])
        elif self.recording.mode == "events" and self._wanted_from_utc_ns is not None:
            self._begin_with_pre_roll(self._wanted_from_utc_ns)

    def _begin_with_pre_roll(self, from_utc_ns: int) -> None:
        packets = self.ring.since(from_utc_ns)
        if packets and (self._written_ns is None or packets[-1].time_ns > self._written_ns):
            self._covered_from_ns = packets[0].time_ns
            self._begin(packets)

    def _fill_before(self, from_utc_ns: int) -> None:
        """Write the pre-roll of an event that overlaps another, already recorded one, as a segment of its own."""
        if self.ring.oldest_utc_ns is None or self.ring.time_at(from_utc_ns) >= self._covered_from_ns:
            return
        packets = [packet for packet in self.ring.since(from_utc_ns) if packet.time_ns < self._covered_from_ns]
        current, self._writer = self._writer, None
        written_ns, written_utc_ns = self._written_ns, self.written_utc_ns
        self._covered_from_ns = packets[0].time_ns
        self._begin(packets)
        self.close()
        self._writer, self._written_ns, self.written_utc_ns = current, written_ns, written_utc_ns

    def _begin(self, packets: list[TimedPacket]) -> None:
        """Open a segment with `packets`, of which the first is a key frame."""
        first = packets[0]
        if self.paused or self.header is None or self._stream_id is None:
            return
        note = SegmentNote(self.camera, self._stream_id, first.utc_ns, first.time_ns)
        try:
            self._writer = SegmentWriter(self._free_path(first.utc_ns), self.header, note)
            self._index.put(self._row(self._writer, complete=False))
        except MediaError as exc:
            self._retry_utc_ns = packets[-1].utc_ns + RETRY_NS
            self._stats.count("segment_errors", camera=self.camera)
            log.error("segment_not_begun", camera=self.camera, error=str(exc))  # noqa: TRY400 - the text says all
            self.close()
            return
        self._stats.count("bytes_written", camera=self.camera, by=self._writer.size_bytes)
        log.debug("segment_begun", camera=self.camera, start=iso_utc(first.utc_ns))
        self._write(packets)

    def _write(self, packets: list[TimedPacket]) -> None:
        written_bytes = 0
        for packet in packets:
            if self._writer is None:
                return
            try:
                written_bytes += self._writer.write(packet)
            except MediaError as exc:
                self._retry_utc_ns = packet.utc_ns + RETRY_NS
                writer, self._writer = self._writer, None
                self._give_up(writer, exc)
                return
            self._written_ns = packet.time_ns
            self.written_utc_ns = packet.utc_ns
        if written_bytes:
            self._stats.count("bytes_written", camera=self.camera, by=written_bytes)

    def _give_up(self, writer: SegmentWriter, error: MediaError) -> None:
        """Leave a segment that the disk refused as it is, up to its last whole fragment."""
        self._stats.count("segment_errors", camera=self.camera)
        log.error("segment_failed", camera=self.camera, path=str(writer.path), error=str(error))
        writer.abandon()
        try:
            settle_segment(self._index, self._relative(writer.path))
        except MediaError as exc:
            log.warning("segment_not_indexed", camera=self.camera, path=str(writer.path), error=str(exc))

    def _row(self, writer: SegmentWriter, *, complete: bool) -> MediaFile:
        path = self._relative(writer.path)
        start_utc_ns = writer.note.start_utc_ns
        end_utc_ns = writer.end_utc_ns if complete else start_utc_ns
        size_bytes = writer.size_bytes
        return MediaFile(path, "segment", self.camera, start_utc_ns, end_utc_ns, size_bytes, writer.codec, complete)

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self._index.state_dir))

    def _free_path(self, start_utc_ns: int) -> Path:
        """Return the segment's path; moved on by a millisecond while that name is taken (a clock set back)."""
        path = segment_path(self._index.state_dir / RECORDINGS_NAME, self.camera, start_utc_ns)
        return path if not path.exists() else self._free_path(start_utc_ns + 10**6)

    def _drop(self, reason: str, by: int = 1) -> None:
        self._stats.count("packets_dropped", camera=self.camera, reason=reason, by=by)


def _ring_span_ns(recording: Recording, dwell_s: float) -> int:
    """Return how far back an event's recording may begin; other modes want the ring for snapshots only."""
    begins_s = recording.pre_roll_s + dwell_s if recording.mode == "events" else 0.0
    return int(begins_s * NS_PER_S) + ORDER_DELAY_NS
