"""The camera reader: one process a camera. Its packets go to the recorder, its sampled frames to the worker.

The loop here owns the frames plane, the state and the stats; threads own the connections (`stream_thread.py`).
What does not belong here: disk, detection, and anything about other cameras.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import cv2
import structlog
import zmq

from ..clock import NS_PER_S
from ..errors import StreamError
from ..messages import CameraStatus, StreamInfo
from ..process import LOOP_S, Child
from .camera_state import Sight, state_of
from .frame_sender import FrameSender
from .mailbox import Decoded, Mailbox
from .stream_thread import StreamThread

LOOP_MS: Final = int(LOOP_S * 1000)
REPORT_NS: Final = NS_PER_S // 2
JOIN_S: Final = 2.0  # for all threads; after it one is left to the end of the process; nothing may be closed under it
HUNG_FACTOR: Final = 5.0  # opening takes up to 2 timeouts, reading too; then 3 more

log = structlog.get_logger()


def run(child: Child) -> None:
    """Read the one camera of the settings until asked to stop."""
    cv2.setNumThreads(1)  # pictures are small, and the cores belong to all cameras
    name = next(iter(child.settings.cameras))
    structlog.contextvars.bind_contextvars(camera=name)
    reader = Reader(child, name, child.endpoint("frames"))
    try:
        reader.loop()
    finally:
        reader.close()


class Reader:
    """The loop and its state."""

    def __init__(self, child: Child, name: str, frames_endpoint: str) -> None:
        self._child, self._name, self._camera = child, name, child.settings.cameras[name]
        self._mailbox = Mailbox()
        self._frames = FrameSender(frames_endpoint, name, self._camera.privacy_masks, child.clock, self._on_outcome)
        self._poller = zmq.Poller()
        self._poller.register(self._mailbox.fd, zmq.POLLIN)
        self._poller.register(self._frames.socket, zmq.POLLIN)
        self._threads = self._make_threads()
        self._detect = self._threads[-1]
        # Lossless: a frame is kept until it was inferred, and one at a time is on its way.
        self._lossless = self._detect.is_lossless
        self._unconfirmed: Decoded | None = None
        self._again: Decoded | None = None
        self._looked_at_ns = self._shed_ns = self._last_report_ns = self._since_utc_ns = 0
        self._state: tuple[str, str] | None = None
        for thread in self._threads:
            thread.start()

    def _make_threads(self) -> list[StreamThread]:
        """Return a thread for each address, the one that detects last; recording off needs no record stream."""
        camera, child = self._camera, self._child
        recorded = child.settings.recording_of(self._name).mode != "off"
        packets = child.endpoint("packets") if recorded else None
        if not camera.detect_url:
            return [
                StreamThread(camera, self._name, camera.url, child.clock, mailbox=self._mailbox, packets_to=packets)
            ]
        record = StreamThread(camera, self._name, camera.url, child.clock, mailbox=None, packets_to=packets)
        detect = StreamThread(
            camera, self._name, camera.detect_url, child.clock, mailbox=self._mailbox, packets_to=None
        )
        return [record, detect] if recorded else [detect]

    def loop(self) -> None:
        """Deliver frames until the child is to stop."""
        while self._child.beat():
            self._poller.poll(LOOP_MS)
            self._mailbox.clear_wake()
            self._frames.poll()
            self._deliver()
            if self._child.clock.monotonic_ns() - self._last_report_ns >= REPORT_NS:
                self._report()

    def close(self) -> None:
        """Let the threads end, so that the recorder hears of it, and close."""
        for thread in self._threads:
            thread.stopping = True
        end_ns = self._child.clock.monotonic_ns() + int(JOIN_S * NS_PER_S)
        for thread in self._threads:
            thread.join(max(0.0, (end_ns - self._child.clock.monotonic_ns()) / NS_PER_S))
        self._report()
        self._frames.close()

    # --- frames ---

    def _deliver(self) -> None:
        if not self._frames.can_send or (self._lossless and self._unconfirmed is not None):
            return
        decoded = self._again or self._mailbox.take()
        if decoded is None:
            return
        self._again = None
        if self._lossless:  # nothing is late that waits for us: its time is now
            now_ns = self._child.clock.monotonic_ns()
            decoded = self._unconfirmed = replace(decoded, captured_ns=now_ns, decoded_ns=now_ns)
        self._frames.send(decoded)
        self._child.stats.count("frames_offered", camera=self._name)

    def _on_outcome(self, outcome: str, number: int) -> None:
        """Take note of what became of frames; the worker counts its own drops."""
        now_ns = self._child.clock.monotonic_ns()
        if outcome == "inferred":
            self._looked_at_ns = now_ns
            self._unconfirmed = None
            return
        self._shed_ns = now_ns
        if outcome == "detector_down":
            self._child.stats.count("frames_dropped", camera=self._name, reason=outcome, by=number)
        self._again, self._unconfirmed = self._unconfirmed, None

    # --- state and stats, twice a second ---

    def _report(self) -> None:
        now_ns = self._child.clock.monotonic_ns()
        for thread in self._threads:
            self._look_after(thread, now_ns)
        self._count(now_ns)
        self._show_state(now_ns)
        self._last_report_ns = now_ns

    def _look_after(self, thread: StreamThread, now_ns: int) -> None:
        """Raise when the thread hangs inside a library: nobody can free it, so the process has to go."""
        silent_s = (now_ns - thread.view.alive_ns) / NS_PER_S
        if thread.is_alive() and silent_s > HUNG_FACTOR * self._camera.timeout_s:
            raise StreamError("timeout", f"{thread.name} hangs for {silent_s:.0f} s inside the video library")
        if not thread.is_alive() and not thread.done and not thread.stopping:
            raise StreamError("decode", f"{thread.name} died")

    def _count(self, now_ns: int) -> None:
        stats, decoded = self._child.stats, 0
        for thread in self._threads:
            for (counter, reason), by in thread.tally.take().items():
                stats.count(counter, camera=self._name, reason=reason, by=by)
                decoded += by if counter == "frames_decoded" else 0
        if self._last_report_ns:
            elapsed_s = max(1e-3, (now_ns - self._last_report_ns) / NS_PER_S)
            stats.set("fps_in", decoded / elapsed_s, camera=self._name)
        if replaced := self._mailbox.take_replaced():
            reason = "superseded" if self._frames.is_welcomed else "detector_down"
            stats.count("frames_dropped", camera=self._name, reason=reason, by=replaced)
            self._shed_ns = now_ns

    def _show_state(self, now_ns: int) -> None:
        view = self._detect.view
        sight = Sight(
            connected=view.connected,
            reason=view.reason,
            connected_ns=view.connected_ns,
            packet_ns=view.packet_ns,
            frame_ns=view.frame_ns,
            welcomed=self._frames.is_welcomed,
            oldest_in_flight_ns=self._frames.oldest_in_flight_ns,
            looked_at_ns=max(self._looked_at_ns, view.gated_ns),
            shed_ns=self._shed_ns,
        )
        state = state_of(sight, now_ns, self._camera.detect_fps)
        if state != self._state:
            self._state, self._since_utc_ns = state, self._child.clock.utc_ns()
            log.info("camera_state", state=state[0], reason=state[1])
        self._child.stats.camera = CameraStatus(
            camera=self._name,
            state=state[0],
            reason=state[1],
            since_utc_ns=self._since_utc_ns,
            record=self._info(self._threads[0]) if self._threads[0].is_recording else None,
            detect=self._info(self._detect),
            reconnects=sum(max(0, thread.view.connections - 1) for thread in self._threads),
            record_fault=self._threads[0].record_fault(now_ns),
        )

    @staticmethod
    def _info(thread: StreamThread) -> StreamInfo | None:
        return thread.view.info if thread.view.connected else None
