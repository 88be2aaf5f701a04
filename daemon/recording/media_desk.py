"""Serves the events' orders: a snapshot as soon as its packets are there, a clip when its post-roll is on disk.

Every order is answered, with an error when its file will never be; a repeated order is answered again, after a restart
from the index.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Final

import structlog

from ..clock import NS_PER_S, Clock
from ..config.settings import Polygon, Settings
from ..errors import MediaError
from ..messages import MediaOrder, MediaReady
from ..stats import Stats
from .camera_recorder import CameraRecorder
from .clips import Clip, cut_clip
from .media_worker import Done, MediaWorker
from .order_book import PATIENCE_NS, Entry, Kind, OrderBook
from .recording_index import MediaFile, RecordingIndex
from .segment_reader import SegmentReader
from .snapshot import Marking, blacken, decode_nearest, draw, save_jpeg
from .timeline import TimedPacket

NEAR_NS: Final = 2 * NS_PER_S  # a frame so far from the wanted instant still shows the event

log = structlog.get_logger()
Packets = Callable[[], tuple[bytes, list[TimedPacket]]]


class MediaDesk:
    """Orders in, answers out through `answer`, which may lose them: orders are repeated."""

    def __init__(
        self, index: RecordingIndex, clock: Clock, stats: Stats, answer: Callable[[MediaReady], object]
    ) -> None:
        self.book = OrderBook()
        self._index = index
        self._clock = clock
        self._stats = stats
        self._answer = answer
        self._snapshots: MediaWorker[tuple[int, int]] = MediaWorker("snapshots", clock)
        self._clips: MediaWorker[Clip] = MediaWorker("clips", clock)

    def take(self, order: MediaOrder) -> None:
        """Enter or renew an order, and answer what is done already."""
        entry = self.book.take(order, self._clock.monotonic_ns())
        if entry is None:
            self._stats.count("orders_refused", reason="too_many")
            return
        if entry.first_ns == entry.renewed_ns:
            if not all(self._is_inside(p) for p in (order.snapshot_path, order.clean_snapshot_path, order.clip_path)):
                self._refuse(entry, "the order's path leads out of the state directory")
                return
            self._answer_from_index(entry)
        for ready in entry.answers.values():
            self._answer(ready)

    def work(self, settings: Settings, cameras: Mapping[str, CameraRecorder], *, disk_full: bool) -> None:
        """Report what has ended and begin what can be begun."""
        for snapshot in self._snapshots.done():
            self._finish_snapshot(snapshot)
        for clip in self._clips.done():
            self._finish_clip(clip)
        for entry in self.book:
            camera = cameras.get(entry.order.camera)
            if camera is None or camera.recording.mode == "off":
                self._refuse(entry, "recording of this camera is off" if camera else "no such camera")
                continue
            if entry.wants("snapshot") and self._snapshots.has_room:
                self._try_snapshot(entry, camera, settings.cameras[entry.order.camera].privacy_masks)
            if entry.wants("clip") and self._clips.has_room:
                self._try_clip(entry, camera, disk_full=disk_full)
        self.book.forget_old(self._clock.monotonic_ns())

    @property
    def is_idle(self) -> bool:
        """Tell whether no file is being made."""
        return self._snapshots.is_idle and self._clips.is_idle

    def close(self) -> None:
        """Stop; orders that are not done come again when the recorder is back."""
        self._snapshots.close()
        self._clips.close()

    # --- snapshots

    def _try_snapshot(self, entry: Entry, camera: CameraRecorder, masks: tuple[Polygon, ...]) -> None:
        packets = self._snapshot_packets(entry, camera)
        if packets is None:
            return
        order = entry.order
        boxed, clean = self._index.state_dir / order.snapshot_path, self._index.state_dir / order.clean_snapshot_path
        for path in (order.snapshot_path, order.clean_snapshot_path):
            self._note(_row(order, path, "snapshot", (order.snapshot_utc_ns, order.snapshot_utc_ns), None))
        entry.begun.add("snapshot")
        marking = Marking(order.box, order.caption)
        job = _SnapshotJob(packets, order.snapshot_utc_ns, masks, marking, boxed, clean)
        self._snapshots.submit(order.event_id, job)

    def _snapshot_packets(self, entry: Entry, camera: CameraRecorder) -> Packets | None:
        """Return where the frame's packets come from; None while they are on their way, or when they never come."""
        utc_ns = entry.order.snapshot_utc_ns
        ring, header = camera.ring, camera.header
        oldest, newest = ring.oldest_utc_ns, ring.newest_utc_ns
        if header and ring.covers(utc_ns):
            return partial(_of_ring, header.init_segment, ring.since(utc_ns))
        if self._clock.monotonic_ns() - entry.first_ns < PATIENCE_NS and (newest is None or newest < utc_ns):
            return None
        rows = self._index.segments(entry.order.camera, utc_ns - NEAR_NS, utc_ns + NEAR_NS)
        if rows:
            return partial(_of_segments, [self._index.state_dir / row.path for row in rows], utc_ns)
        if header and oldest is not None and newest is not None and oldest - NEAR_NS <= utc_ns <= newest + NEAR_NS:
            return partial(_of_ring, header.init_segment, ring.since(utc_ns))
        self._fail(entry, "snapshot", "nothing was received from the camera at this time")
        return None

    def _finish_snapshot(self, done: Done[tuple[int, int]]) -> None:
        entry = self.book.get(done.key)
        if entry is None:
            return
        order = entry.order
        if done.value is None:
            self._forget_rows(order.snapshot_path, order.clean_snapshot_path)
            self._fail(entry, "snapshot", done.error)
            return
        self._stats.latency("snapshot_ms", done.took_ms, camera=order.camera)
        self._stats.count("snapshots_written", camera=order.camera)
        utc_ns = order.snapshot_utc_ns
        for path, size_bytes in zip((order.snapshot_path, order.clean_snapshot_path), done.value, strict=True):
            self._note(_row(order, path, "snapshot", (utc_ns, utc_ns), size_bytes))
        self._done(entry, _ready(order, "snapshot", utc_ns, utc_ns))

    # --- clips

    def _try_clip(self, entry: Entry, camera: CameraRecorder, *, disk_full: bool) -> None:
        order, recording = entry.order, camera.recording
        if order.end_utc_ns is None:
            return
        from_utc_ns = order.start_utc_ns - int(recording.pre_roll_s * NS_PER_S)
        to_utc_ns = order.end_utc_ns + int(recording.post_roll_s * NS_PER_S)
        if not self._is_on_disk(entry, camera, to_utc_ns):
            return
        if disk_full:
            self._fail(entry, "clip", "the disk is full")
            return
        rows = self._index.segments(order.camera, from_utc_ns, to_utc_ns)
        self._note(_row(order, order.clip_path, "clip", (from_utc_ns, to_utc_ns), None))
        entry.begun.add("clip")
        segments = [self._index.state_dir / row.path for row in rows]
        path = self._index.state_dir / order.clip_path
        self._clips.submit(order.event_id, partial(cut_clip, segments, from_utc_ns, to_utc_ns, path))

    def _is_on_disk(self, entry: Entry, camera: CameraRecorder, to_utc_ns: int) -> bool:
        """Tell whether no packet before `to_utc_ns` is still to be written; gives up on them after a while."""
        if to_utc_ns <= (camera.durable_utc_ns if camera.is_writing else camera.written_utc_ns):
            return True
        late_ns = self._clock.utc_ns() - to_utc_ns
        age_ns = self._clock.monotonic_ns() - entry.first_ns
        return late_ns > PATIENCE_NS and age_ns > PATIENCE_NS

    def _finish_clip(self, done: Done[Clip]) -> None:
        entry = self.book.get(done.key)
        if entry is None:
            return
        order, clip = entry.order, done.value
        if clip is None:
            self._forget_rows(order.clip_path)
            self._fail(entry, "clip", done.error)
            return
        self._stats.latency("clip_ms", done.took_ms, camera=order.camera)
        self._stats.count("clips_written", camera=order.camera)
        span_utc_ns = (clip.start_utc_ns, clip.end_utc_ns)
        self._note(_row(order, order.clip_path, "clip", span_utc_ns, clip.size_bytes))
        self._done(entry, _ready(order, "clip", clip.start_utc_ns, clip.end_utc_ns))

    # --- answers

    def _answer_from_index(self, entry: Entry) -> None:
        """Find what an earlier life of this process made."""
        order = entry.order
        kinds: tuple[tuple[Kind, str], ...] = (("snapshot", order.snapshot_path), ("clip", order.clip_path))
        for kind, path in kinds:
            row = self._index.get(path)
            if row and row.complete:
                entry.answers[kind] = _ready(order, kind, row.start_utc_ns, row.end_utc_ns)

    def _refuse(self, entry: Entry, problem: str) -> None:
        if entry.wants("snapshot"):
            self._fail(entry, "snapshot", problem)
        if entry.wants("clip"):
            self._fail(entry, "clip", problem)

    def _fail(self, entry: Entry, kind: Kind, problem: str) -> None:
        order = entry.order
        self._stats.count("media_failed", camera=order.camera, reason=kind)
        log.warning("media_failed", camera=order.camera, event_id=order.event_id, kind=kind, error=problem)
        path = order.snapshot_path if kind == "snapshot" else order.clip_path
        ready = MediaReady(event_id=order.event_id, camera=order.camera, kind=kind, path=path, error=problem)
        self._done(entry, ready)

    def _done(self, entry: Entry, ready: MediaReady) -> None:
        entry.begun.discard(ready.kind)
        entry.answers[ready.kind] = ready
        self._answer(ready)

    def _note(self, row: MediaFile) -> None:
        """Index a file; when a full disk does not take the row, the next start finds the file."""
        try:
            self._index.put(row)
        except MediaError as exc:
            self._stats.count("index_errors")
            log.warning("file_not_indexed", path=row.path, error=str(exc))

    def _forget_rows(self, *paths: str) -> None:
        try:
            for path in paths:
                self._index.remove(path)
        except MediaError as exc:
            self._stats.count("index_errors")
            log.warning("file_not_removed_from_index", paths=paths, error=str(exc))

    def _is_inside(self, path: str) -> bool:
        """Tell whether an order's path lies below the state directory."""
        state_dir = self._index.state_dir.resolve()
        file = (state_dir / path).resolve()
        return file.is_relative_to(state_dir) and file != state_dir


def _of_ring(init_segment: bytes, packets: list[TimedPacket]) -> tuple[bytes, list[TimedPacket]]:
    return init_segment, packets


def _of_segments(segments: list[Path], utc_ns: int) -> tuple[bytes, list[TimedPacket]]:
    """Return the header and the packets of the segment that comes nearest to the instant.

    Raises MediaError when none can be read.
    """
    best: tuple[bytes, list[TimedPacket]] | None = None
    for segment in segments:
        try:
            reader = SegmentReader(segment)
        except MediaError:
            continue  # retention was faster
        if best and reader.note.start_utc_ns > utc_ns:
            break
        best = (
            reader.init_segment(),
            list(takewhile(lambda packet: packet.utc_ns <= utc_ns + NEAR_NS, reader.packets(utc_ns))),
        )
    if best is None:
        raise MediaError("no recording of this time")
    return best


@dataclass(frozen=True)
class _SnapshotJob:
    """All that the thread needs: nothing in it changes any more."""

    packets: Packets
    utc_ns: int
    masks: tuple[Polygon, ...]
    marking: Marking
    boxed: Path
    clean: Path

    def __call__(self) -> tuple[int, int]:
        """Write both pictures; return the bytes of the one with the box and of the clean one."""
        init_segment, packets = self.packets()
        image = decode_nearest(init_segment, packets, self.utc_ns)
        blacken(image, self.masks)
        clean_bytes = save_jpeg(image, self.clean)
        return save_jpeg(draw(image, self.marking), self.boxed), clean_bytes


def _row(order: MediaOrder, path: str, kind: Kind, span_utc_ns: tuple[int, int], size_bytes: int | None) -> MediaFile:
    """Return the row of an ordered file; without a size it is not complete."""
    return MediaFile(path, kind, order.camera, *span_utc_ns, size_bytes or 0, "", size_bytes is not None)


def _ready(order: MediaOrder, kind: Kind, start_utc_ns: int, end_utc_ns: int) -> MediaReady:
    return MediaReady(
        event_id=order.event_id,
        camera=order.camera,
        kind=kind,
        path=order.snapshot_path if kind == "snapshot" else order.clip_path,
        start_utc_ns=start_utc_ns,
        end_utc_ns=end_utc_ns,
    )
