"""The reader's end of the frames plane: hellos, credits, and pixels in slots, or in the message over tcp.

A frame is letterboxed only when a credit is free, straight into its slot. Nothing waits here: what is in flight is
bounded by the worker's credits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import structlog
import zmq

from ..clock import NS_PER_S, Clock
from ..config.settings import Polygon
from ..messages import Credit, Frame, FromWorker, Hello, Outcome, Welcome
from ..ring import RingWriter
from ..wire import FrameClient
from .letterbox import Letterbox
from .mailbox import Decoded

HELLO_EVERY_NS: Final = NS_PER_S
STUCK_NS: Final = 2 * NS_PER_S  # frames in flight and no credit for so long: ask again

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _InFlight:
    slot: int
    sent_ns: int


class FrameSender:
    """Delivers the frames of one camera to whichever worker answers."""

    def __init__(
        self,
        endpoint: str,
        camera: str,
        privacy_masks: tuple[Polygon, ...],
        clock: Clock,
        on_outcome: Callable[[Outcome | str, int], None],
    ) -> None:
        """`on_outcome` is told what became of a number of frames: an Outcome, or "detector_down"."""
        self._client = FrameClient(endpoint, camera, FromWorker)
        self._inline = endpoint.startswith("tcp://")
        self._camera, self._masks, self._clock, self._on_outcome = camera, privacy_masks, clock, on_outcome
        self._welcome: Welcome | None = None
        self._box: Letterbox | None = None
        self._ring: RingWriter | None = None
        self._pixels = np.empty(0, np.uint8)  # of the inline frame
        self._in_flight: dict[int, _InFlight] = {}
        self._free: list[int] = []
        self._sequence = 0
        self._hello_ns = 0
        self._credit_ns = 0

    @property
    def socket(self) -> zmq.Socket[bytes]:
        """To be polled: readable when the worker said something."""
        return self._client.socket

    @property
    def is_welcomed(self) -> bool:
        """Whether a worker has said what it wants."""
        return self._welcome is not None

    @property
    def can_send(self) -> bool:
        """Whether a credit is free."""
        return bool(self._free)

    @property
    def in_flight(self) -> int:
        """Frames sent and not yet credited."""
        return len(self._in_flight)

    @property
    def oldest_in_flight_ns(self) -> int:
        """When the frame that waits longest for its credit was sent; 0 when none is in flight."""
        return min((frame.sent_ns for frame in self._in_flight.values()), default=0)

    def poll(self) -> None:
        """Take in what the worker said, and say hello when it is time. To be called every loop."""
        while (message := self._client.receive()) is not None:
            if isinstance(message, Welcome):
                self._take_welcome(message)
            else:
                self._take_credit(message)
        now_ns = self._clock.monotonic_ns()
        oldest_ns = self.oldest_in_flight_ns
        stuck = oldest_ns and now_ns - max(oldest_ns, self._credit_ns) > STUCK_NS
        if (stuck or self._welcome is None) and now_ns - self._hello_ns >= HELLO_EVERY_NS:
            self._hello_ns = now_ns
            self._client.send(Hello(camera=self._camera))

    def _take_welcome(self, welcome: Welcome) -> None:
        """Begin with an empty plane: whatever the reason for a welcome, nothing sent before will surely be credited."""
        if self._in_flight:
            self._on_outcome("detector_down", len(self._in_flight))
            self._in_flight.clear()
        if self._welcome is None or self._welcome.worker_id != welcome.worker_id:
            log.info("detector_connected", model=welcome.model_id, width=welcome.width, height=welcome.height)
        self._use_input(welcome)
        self._welcome = welcome
        self._free = list(range(welcome.credits))

    def _use_input(self, welcome: Welcome) -> None:
        old = self._welcome
        shape = (welcome.width, welcome.height, welcome.fit)
        if self._box is None or old is None or (old.width, old.height, old.fit) != shape:
            self._box = Letterbox(*shape, self._masks)
        if self._inline:
            self._pixels = np.empty(self._box.size_bytes, np.uint8)
        elif self._ring is None or (len(self._ring), self._ring.slot_bytes) != (
            welcome.credits,
            self._box.size_bytes,
        ):
            if self._ring is not None:
                self._ring.close()
            self._ring = RingWriter(welcome.credits, self._box.size_bytes)

    def _take_credit(self, credit: Credit) -> None:
        frame = self._in_flight.pop(credit.sequence, None)
        if frame is None:
            return  # of a frame that a welcome made void
        self._credit_ns = self._clock.monotonic_ns()
        self._free.append(frame.slot)
        self._on_outcome(credit.outcome, 1)

    def send(self, decoded: Decoded) -> None:
        """Letterbox the frame and send it; only while `can_send`."""
        if self._welcome is None or self._box is None:
            raise RuntimeError("no worker has said what it wants")
        slot, shape = self._free.pop(), (3, self._welcome.height, self._welcome.width)
        pixels = self._pixels if self._ring is None else self._ring.begin(slot)
        self._box.write(decoded.frame, pixels.reshape(shape))
        if self._ring is not None:
            self._ring.commit(slot)
        self._sequence += 1
        now_ns = self._clock.monotonic_ns()
        message = Frame(
            camera=self._camera,
            sequence=self._sequence,
            captured_ns=decoded.captured_ns,
            decoded_ns=decoded.decoded_ns,
            sent_ns=now_ns,
            source_width=decoded.frame.width,
            source_height=decoded.frame.height,
            pts_s=decoded.pts_s,
            slot=None if self._ring is None else self._ring.ref(slot),
        )
        if self._client.send(message, pixels if self._ring is None else None):
            self._in_flight[self._sequence] = _InFlight(slot, now_ns)
        else:
            self._free.append(slot)
            self._on_outcome("detector_down", 1)

    def close(self) -> None:
        """Close socket and ring."""
        self._client.close()
        if self._ring is not None:
            self._ring.close()
