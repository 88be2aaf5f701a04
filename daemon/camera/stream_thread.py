"""The thread that keeps one of a camera's streams open: `run` retries, `_run_once` works.

Packets go to the recorder at once, sampled frames into the mailbox of the reader's loop. It speaks with the loop by the
mailbox, a tally, and plain attributes that only it writes. It alone opens, reads and closes its container.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass
from typing import Any, Final

import structlog

from ..clock import NS_PER_S, Clock
from ..config.settings import Camera
from ..errors import StreamError
from ..messages import StreamInfo
from .backoff import Backoff
from .camera_state import STUCK_NS
from .capture import Capture, source_of
from .decoder import Decoder
from .letterbox import LumaView
from .mailbox import Decoded, Mailbox
from .motion import MotionGate
from .packet_sender import PacketSender
from .pictures import Pictures
from .sampler import Sampler
from .tally import Tally

_STEP_S: Final = 0.1  # how long it sleeps or waits at most before it looks whether to stop

log = structlog.get_logger()


@dataclass(slots=True)
class StreamView:
    """What the thread last saw; written by the thread, read by the loop. Times are monotonic."""

    alive_ns: int = 0
    connected: bool = False
    connected_ns: int = 0
    packet_ns: int = 0
    frame_ns: int = 0
    gated_ns: int = 0
    connections: int = 0
    reason: str = ""  # of the last disconnect
    info: StreamInfo | None = None
    recordable: bool = True


class StreamThread(threading.Thread):
    """Reads `url` of a camera. `mailbox` None: no frames are wanted; `packets_to` None: no recording."""

    def __init__(
        self, camera: Camera, name: str, url: str, clock: Clock, *, mailbox: Mailbox | None, packets_to: str | None
    ) -> None:
        super().__init__(name="main" if url == camera.url else "sub", daemon=True)
        self.view = StreamView(alive_ns=clock.monotonic_ns())
        self.tally = Tally()
        self.is_recording = packets_to is not None
        self.stopping = False  # set by the loop
        self.done = False  # a file that is over, and does not begin again
        self._camera, self._camera_name, self._url, self._clock = camera, name, url, clock
        self._mailbox, self._packets_to = mailbox, packets_to
        self.is_lossless = camera.pace == "fast" and source_of(url) != "live"
        self._sampler = Sampler(camera.detect_fps)
        self._gate = MotionGate(camera.motion, LumaView.width, LumaView.height) if camera.motion.enabled else None
        self._luma = LumaView(camera.privacy_masks)
        self._backoff = Backoff()
        self._packets: PacketSender | None = None
        self._size: tuple[int, int] | None = None  # of this connection's first frame, and of its last
        self._frame_size: tuple[int, int] | None = None
        # A thread begins with an empty context: without this its lines would not say which camera.
        self._log_keys = structlog.contextvars.get_contextvars() | {"stream": self.name}

    def record_fault(self, now_ns: int) -> str:
        """Return why nothing comes that could be recorded, "" when it comes or none is wanted."""
        view = self.view
        if not self.is_recording:
            return ""
        if not view.connected:
            return view.reason or "timeout"
        if not view.recordable:
            return "not_recordable"
        return "timeout" if now_ns - view.packet_ns > STUCK_NS else ""

    def run(self) -> None:
        """Connect, read, wait, and again, until stopped or a file is over for good."""
        structlog.contextvars.bind_contextvars(**self._log_keys)
        if self._packets_to is not None:
            self._packets = PacketSender(self._packets_to, self._camera_name, self.tally.add)
        while not self.stopping:
            try:
                self._run_once()
            except StreamError as exc:
                self._disconnected(exc)
                if exc.reason == "ended" and source_of(self._url) != "live" and not self._camera.loop:
                    break
                self._sleep(self._backoff.wait_s(exc.reason, random.random()))  # noqa: S311 - jitter, no secret
        self.done = not self.stopping
        if self._packets is not None:
            self._packets.close()

    def _disconnected(self, exc: StreamError) -> None:
        was_connected, self.view.connected, self.view.reason = self.view.connected, False, exc.reason
        self.tally.add("disconnects", exc.reason)
        if self._packets is not None:
            self._packets.end(exc.reason)
        event = "camera_disconnected" if was_connected else "camera_unreachable"
        log.warning(event, reason=exc.reason, error=str(exc))

    def _sleep(self, wait_s: float) -> None:
        end_ns = self._clock.monotonic_ns() + int(wait_s * NS_PER_S)
        while not self.stopping and (now_ns := self._clock.monotonic_ns()) < end_ns:
            self.view.alive_ns = now_ns
            time.sleep(min(_STEP_S, (end_ns - now_ns) / NS_PER_S))

    def _is_stopping(self) -> bool:
        self.view.alive_ns = self._clock.monotonic_ns()
        return self.stopping

    def _run_once(self) -> None:
        self.view.alive_ns = self._clock.monotonic_ns()
        if source_of(self._url) == "pictures":
            self._read_pictures(Pictures(self._camera, self._url))
            return
        capture = Capture(self._camera, self._url)
        try:
            self._connected(capture.info)
            self._read_stream(capture)
        finally:
            capture.close()

    def _connected(self, info: StreamInfo) -> None:
        view, now_ns = self.view, self._clock.monotonic_ns()
        view.connections += 1
        view.connected_ns = view.packet_ns = now_ns
        view.info, view.connected = info, True
        log.info(
            "camera_connected",
            codec=info.codec,
            width=info.width,
            height=info.height,
            fps=info.fps,
            audio=info.audio,
        )

    def _read_stream(self, capture: Capture) -> None:
        if self._packets is not None:
            self._packets.begin(capture.video, capture.audio)
            self.view.recordable = self._packets.is_recordable
        decoder = Decoder(capture.video, self._clock.monotonic_ns())
        self._size = self._frame_size = None
        for packet in capture.packets(self._is_stopping):
            now_ns = self._clock.monotonic_ns()
            self.view.alive_ns = self.view.packet_ns = now_ns
            self.tally.add("bytes_received", by=packet.size)
            is_video = packet.stream_index == capture.video.index
            if self._packets is not None and packet.size:
                self._packets.send(packet, now_ns, is_video=is_video)
            if is_video and self._mailbox is not None:
                self._decode(decoder, packet, now_ns)
                if capture.is_live:
                    self._hold_to_size()
            elif is_video:
                self._backoff.succeeded()
                self.view.frame_ns = now_ns
            if self.stopping:
                break
        if self._packets is not None:
            self._packets.end("stopped")

    def _decode(self, decoder: Decoder, packet: Any, captured_ns: int) -> None:
        corrupt = decoder.corrupt
        frames = decoder.decode(packet, captured_ns)
        if decoder.corrupt > corrupt:
            self.tally.add("frames_dropped", "corrupt", decoder.corrupt - corrupt)
        for frame in frames:
            self._frame_size = frame.width, frame.height
            self._backoff.succeeded()
            self._take(frame, captured_ns)

    def _hold_to_size(self) -> None:
        """Connect anew when the camera's pictures change their size: the headers of recordings name one size."""
        if self._size is None:
            self._size = self._frame_size
        elif self._frame_size != self._size:
            width, height = self._frame_size or (0, 0)
            raise StreamError("ended", f"the camera's pictures have become {width}x{height}; connecting anew")

    def _read_pictures(self, pictures: Pictures) -> None:
        self._connected(pictures.info)
        for frame in pictures.frames(self._is_stopping):
            now_ns = self._clock.monotonic_ns()
            self.view.alive_ns = self.view.packet_ns = now_ns
            if self._mailbox is not None:
                self._take(frame, now_ns, sampled=False)

    def _take(self, frame: Any, captured_ns: int, *, sampled: bool = True) -> None:
        """Count a sound frame; leave it for the loop when it is one of the wanted ones."""
        decoded_ns = self._clock.monotonic_ns()
        self.view.frame_ns = decoded_ns
        self.tally.add("frames_decoded")
        pts_s = float(frame.pts * frame.time_base) if frame.pts is not None and frame.time_base else None
        # A file that is read fast is sampled by its own time, so that the same frames are chosen on any machine.
        stream_ns = int(pts_s * NS_PER_S) if self.is_lossless and pts_s is not None else captured_ns
        if sampled and not self._sampler.wants(stream_ns):
            return
        if self._gate is not None and not self._gate.wants(self._luma.of(frame), stream_ns):
            self.tally.add("frames_dropped", "gated")
            self.view.gated_ns = decoded_ns
            return
        self._leave(Decoded(frame, captured_ns, decoded_ns, pts_s))

    def _leave(self, decoded: Decoded) -> None:
        if self._mailbox is None:
            return
        while self.is_lossless and not self._mailbox.wait_empty(int(_STEP_S * NS_PER_S)):
            if self._is_stopping():
                return
        self._mailbox.put(decoded)
