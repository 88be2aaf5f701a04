"""The recorder process: packets in, segments on disk; orders in, clips and snapshots out; retention.

Its loop only moves packets and rows; decoding and cutting happen in two threads (`media_worker`).
"""

from __future__ import annotations

import shutil
import time
from typing import Final

import cv2
import structlog
import zmq

from ..clock import NS_PER_S, utc_of
from ..errors import MediaError
from ..messages import FromStream, MediaOrder, MediaReady, Packet, StreamEnd, StreamStart
from ..process import Child
from ..wire import Receiver, Sender
from .camera_recorder import CameraRecorder
from .media_desk import MediaDesk
from .order_book import Progress
from .recording_check import reconcile
from .recording_index import RecordingIndex, open_index
from .retention import Retention

WAIT_MS: Final = 100
MAX_MESSAGES: Final = 1000  # a turn of the loop
RETENTION_NS: Final = 10 * NS_PER_S
GAUGES_NS: Final = 5 * NS_PER_S
DRAIN_S: Final = 5.0  # after SIGTERM, for packets in the socket and files under way

log = structlog.get_logger()


def run(child: Child) -> None:
    """Record until the process is asked to end."""
    cv2.setNumThreads(1)
    state_dir = child.settings.service.state_dir
    state_dir.mkdir(parents=True, exist_ok=True)
    index = open_index(state_dir.resolve())
    recorder = Recorder(child, index)
    recorder.reconcile()
    while child.beat():
        recorder.turn()
    recorder.finish()


class Recorder:
    """Sockets, cameras and the desk, and when each has its turn."""

    def __init__(self, child: Child, index: RecordingIndex) -> None:
        self._child = child
        self._index = index
        self._packets: Receiver[FromStream] = Receiver(child.endpoint("packets"), FromStream)
        self._orders: Receiver[MediaOrder] = Receiver(child.endpoint("orders"), MediaOrder)
        self._media: Sender[MediaReady] = Sender(child.endpoint("media"))
        self._desk = MediaDesk(index, child.clock, child.stats, self._media.send)
        self._retention = Retention(index, self._free_bytes)
        self._cameras: dict[str, CameraRecorder] = {}
        self._disk_full = False
        self._retention_due_ns = 0
        self._gauges_due_ns = 0
        self._poller = zmq.Poller()
        self._poller.register(self._packets.socket, zmq.POLLIN)
        self._poller.register(self._orders.socket, zmq.POLLIN)
        self._apply_settings()

    def reconcile(self) -> None:
        """Make index and files agree, after whatever ended the process before."""
        try:
            repairs = reconcile(self._index, self._child.beat)
        except MediaError as exc:
            # On a full disk retention must have its turn, or there would never be room again.
            log.error("recordings_not_reconciled", error=str(exc))  # noqa: TRY400 - the text says all
            return
        log.info("recordings_reconciled", **vars(repairs))

    def turn(self) -> None:
        """Wait for packets or orders, and do everything that is due."""
        if self._child.settings_changed():
            self._apply_settings()
        self._poller.poll(WAIT_MS)
        self._receive()
        self._serve()
        self._keep_house()

    def finish(self) -> None:
        """Take in what was sent before the end, finish all files."""
        end_s = time.monotonic() + DRAIN_S
        while self._receive() and time.monotonic() < end_s:
            self._child.beat()
        for camera in self._cameras.values():
            camera.close()
        self._serve()
        while not self._desk.is_idle and time.monotonic() < end_s:
            self._child.beat()
            time.sleep(0.01)
            self._serve()
        self._desk.close()
        self._publish_gauges()
        for socket in (self._packets, self._orders, self._media):
            socket.close()
        self._index.close()

    # --- packets

    def _receive(self) -> int:
        """Take in what lies in the sockets; return how many messages that were."""
        number = 0
        while number < MAX_MESSAGES and (message := self._packets.receive()) is not None:
            self._take(message)
            number += 1
        while (order := self._orders.receive()) is not None:
            self._desk.take(order)
        return number

    def _take(self, message: FromStream) -> None:
        camera = self._cameras.get(message.camera)
        if camera is None:
            self._child.stats.count("packets_dropped", camera=message.camera, reason="unknown_camera")
            return
        match message:
            case Packet():
                camera.take(message, utc_of(self._child.clock, message.received_ns))
            case StreamStart():
                camera.start_stream(message)
            case StreamEnd():
                camera.end_stream(message.stream_id)

    # --- orders

    def _serve(self) -> None:
        """Tell the cameras what events want, then make the files."""
        utc_ns, now_ns = self._child.clock.utc_ns(), self._child.clock.monotonic_ns()
        for name, camera in self._cameras.items():
            if camera.recording.mode != "events":
                continue  # events change nothing about what is recorded
            pre_roll_ns = int(camera.recording.pre_roll_s * NS_PER_S)
            post_roll_ns = int(camera.recording.post_roll_s * NS_PER_S)
            progress = Progress(name, pre_roll_ns, post_roll_ns, camera.written_utc_ns, utc_ns, now_ns)
            camera.want(self._desk.book.record_from(progress))
        self._desk.work(self._child.settings, self._cameras, disk_full=self._disk_full)

    # --- housekeeping

    def _apply_settings(self) -> None:
        settings = self._child.settings
        for name in list(self._cameras):
            if name not in settings.cameras or not settings.cameras[name].enabled:
                self._cameras.pop(name).close()
        for name, camera in settings.cameras.items():
            recording = settings.recording_of(name)
            dwell_s = max((rule.min_dwell_s for rule in settings.rules if rule.looks_at(name)), default=0.0)
            if name in self._cameras:
                self._cameras[name].apply(recording, dwell_s=dwell_s)
            elif camera.enabled:
                self._cameras[name] = CameraRecorder(name, recording, self._index, self._child.stats, dwell_s=dwell_s)
                self._cameras[name].pause(self._disk_full)
        self._retention_due_ns = 0

    def _keep_house(self) -> None:
        now_ns = self._child.clock.monotonic_ns()
        if now_ns >= self._retention_due_ns:
            self._retention_due_ns = now_ns + (0 if self._enforce_retention() else RETENTION_NS)
        if now_ns >= self._gauges_due_ns:
            self._gauges_due_ns = now_ns + GAUGES_NS
            self._publish_gauges()

    def _enforce_retention(self) -> bool:
        """Delete what must go; return whether there is more to delete at once."""
        stats = self._child.stats
        try:
            outcome = self._retention.enforce(self._child.settings, self._child.clock.utc_ns())
        except MediaError as exc:
            stats.count("retention_errors")
            log.error("retention_failed", error=str(exc))  # noqa: TRY400 - the text says all
            return False
        for file, reason in outcome.deleted:
            stats.count("files_deleted", camera=file.camera, reason=reason)
        if outcome.disk_full != self._disk_full:
            self._set_disk_full(outcome.disk_full)
        return outcome.more

    def _set_disk_full(self, disk_full: bool) -> None:
        self._disk_full = disk_full
        free_bytes = self._free_bytes()
        if disk_full:
            log.error("recording_stopped", reason="disk_full", free_bytes=free_bytes)
        else:
            log.info("recording_resumed", free_bytes=free_bytes)
        for camera in self._cameras.values():
            camera.pause(disk_full)
        self._publish_gauges()

    def _publish_gauges(self) -> None:
        stats = self._child.stats
        stats.set("disk_free_bytes", self._free_bytes())
        stats.set("recording_stopped", float(self._disk_full))
        stats.set("media_orders", len(self._desk.book))
        stats.set("malformed_messages", self._packets.malformed + self._orders.malformed)
        totals = self._index.totals()
        for name, camera in self._cameras.items():
            size_bytes, segments = totals.get(name, (0, 0))
            stats.set("recording_bytes", size_bytes, camera=name)
            stats.set("segments", segments, camera=name)
            stats.set("writing", float(camera.is_writing), camera=name)
            stats.set("pre_roll_bytes", camera.ring.size_bytes, camera=name)
            camera.count_healed()

    def _free_bytes(self) -> int:
        return shutil.disk_usage(self._index.state_dir).free
