"""The inference worker: frames of all cameras in, detections out. One a device.

Takes frames from the plane `frames`, batches them across cameras, runs the model, suppresses duplicates and sends what
is left, in the camera's pixels, to the events process. Every frame that comes in is credited once, with its outcome.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import Final

import msgspec
import numpy as np
import structlog
import zmq

from ..clock import NS_PER_MS, NS_PER_S
from ..errors import DetectorUnsound, ModelError, SlotError
from ..geometry import fit_box, to_source
from ..messages import Credit, Detections, Frame, FromReader, Hello, Outcome, Welcome, WorkerStatus
from ..process import LOOP_S, Child
from ..ring import RingReader
from ..wire import FrameServer, Sender
from .batcher import Batcher, Waiting, bucket_for, buckets_up_to
from .known_answer import KnownAnswer
from .model import Images, Model, Output
from .nms import confident, suppress
from .runner import Result, Runner

CREDITS: Final = 2  # one frame in the run, one waiting; more would only grow old
LOOP_MS: Final = int(LOOP_S * 1000)
HUNG_NS: Final = 20 * NS_PER_S

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Arrival:
    """A frame as it came: who is to be credited, and its pixels when they travelled with the message."""

    peer: bytes
    frame: Frame
    pixels: memoryview | None


Batch = list[Waiting[Arrival]]  # empty: the known answer


def run(child: Child) -> None:
    """Load the model, then serve frames until asked to stop."""
    settings = child.settings.detector
    cache_dir = child.settings.service.state_dir / "tensorrt"
    model = Model(settings, cache_dir)
    known = KnownAnswer.from_metadata(
        model.contract.known_answer, model.contract.width, model.contract.height, model.path
    )
    buckets = buckets_up_to(model.max_batch)
    model.warm_up(buckets)
    if known and (fault := known.fault(model.run(known.picture[None])[0])):
        raise ModelError(f"{model.path}: wrong boxes for its known picture ({fault}); see `lepton-export verify`")
    log.info("worker_ready", model=model.contract.model_id, provider=model.provider, buckets=buckets)
    worker = Worker(child, model, known, buckets)
    try:
        worker.loop()
    finally:
        worker.close()


class Worker:
    """The loop and its state."""

    def __init__(self, child: Child, model: Model, known: KnownAnswer | None, buckets: tuple[int, ...]) -> None:
        settings = child.settings.detector
        self._child, self._model, self._known, self._buckets = child, model, known, buckets
        self._contract = model.contract
        self._min_score = settings.min_score
        self._worker_id = uuid.uuid4().hex
        self._welcomed: set[bytes] = set()
        self._rings = RingReader()
        self._batcher: Batcher[Arrival] = Batcher(
            max_batch=model.max_batch,
            max_wait_ns=int(settings.max_wait_ms * NS_PER_MS),
            max_age_ns=int(settings.max_age_ms * NS_PER_MS),
        )
        # On a GPU the next batch is filled while one runs; on a CPU that would only make frames older.
        self._depth = 1 if model.provider == "CPUExecutionProvider" else 2
        shape = (model.max_batch, 3, self._contract.height, self._contract.width)
        self._staging = [np.zeros(shape, np.uint8) for _ in range(self._depth)]
        self._runner: Runner[tuple[Batch, Images]] = Runner(model.run, child.clock, hung_ns=HUNG_NS)
        self._self_test_ns = int(settings.self_test_s * NS_PER_S)
        self._next_self_test_ns = child.clock.monotonic_ns() + self._self_test_ns
        endpoints = [child.endpoint("frames"), *filter(None, [settings.listen])]
        self._frames = FrameServer(endpoints, FromReader)
        self._detections: Sender[Detections] = Sender(child.endpoint("detections"))
        self._poller = zmq.Poller()
        self._poller.register(self._frames.socket, zmq.POLLIN)
        self._poller.register(self._runner.fd, zmq.POLLIN)
        child.stats.worker = WorkerStatus(
            model_id=self._contract.model_id,
            provider=model.provider,
            device=settings.device,
            fell_back=model.fell_back,
            width=self._contract.width,
            height=self._contract.height,
            max_batch=model.max_batch,
            labels=self._contract.labels,
        )

    def loop(self) -> None:
        """Serve until the child is to stop; what is in the model by then still goes out."""
        while self._child.beat():
            self._poller.poll(self._wait_ms())
            self._receive()
            self._finish()
            self._start()
        while self._runner.in_flight:
            self._child.beat()
            self._poller.poll(LOOP_MS)
            self._finish()

    def close(self) -> None:
        """Close the sockets."""
        self._frames.close()
        self._detections.close()

    def _wait_ms(self) -> int:
        if len(self._staging) == 0:
            return LOOP_MS  # only a result can help, and it wakes the poller
        wait_ns = self._batcher.wait_ns(self._child.clock.monotonic_ns())
        return LOOP_MS if wait_ns is None else min(LOOP_MS, -(-wait_ns // NS_PER_MS))

    # --- in ---

    def _receive(self) -> None:
        while (received := self._frames.receive()) is not None:
            peer, message, pixels = received
            if isinstance(message, Hello):
                self._drop(self._batcher.forget(message.camera), "superseded")
                self._rings.forget_dead()
                self._welcome(peer)
            elif peer not in self._welcomed:
                self._welcome(peer)  # it was sent to a worker before this one; the welcome voids it
            else:
                self._take_in(Arrival(peer, message, pixels))
        self._child.stats.set("messages_malformed", self._frames.malformed)

    def _welcome(self, peer: bytes) -> None:
        self._welcomed.add(peer)
        contract = self._contract
        welcome = Welcome(
            worker_id=self._worker_id,
            model_id=contract.model_id,
            width=contract.width,
            height=contract.height,
            fit=contract.fit,
            credits=CREDITS,
        )
        self._frames.send(peer, welcome)

    def _take_in(self, arrival: Arrival) -> None:
        frame, now_ns = arrival.frame, self._child.clock.monotonic_ns()
        if frame.slot is None:
            # From another host, whose monotonic clock is not ours: only its age counts, the way here taken as none.
            shift_ns = now_ns - frame.sent_ns
            frame = msgspec.structs.replace(
                frame, captured_ns=frame.captured_ns + shift_ns, decoded_ns=frame.decoded_ns + shift_ns, sent_ns=now_ns
            )
            arrival = replace(arrival, frame=frame)
        self._drop(self._batcher.put(Waiting(frame.camera, frame.captured_ns, now_ns, arrival)), "superseded")

    def _drop(self, waiting: Waiting[Arrival] | None, reason: Outcome) -> None:
        if waiting is not None:
            self._child.stats.count("frames_dropped", camera=waiting.camera, reason=reason)
            self._credit(waiting, reason)

    def _credit(self, waiting: Waiting[Arrival], outcome: Outcome) -> None:
        self._frames.send(waiting.payload.peer, Credit(sequence=waiting.payload.frame.sequence, outcome=outcome))

    # --- run ---

    def _start(self) -> None:
        while self._staging:
            now_ns = self._child.clock.monotonic_ns()
            for stale in self._batcher.take_stale(now_ns):
                self._drop(stale, "stale")
            if self._known and self._self_test_ns and now_ns >= self._next_self_test_ns:
                self._next_self_test_ns = now_ns + self._self_test_ns
                self._submit_known(self._known)
            elif batch := self._batcher.take(now_ns):
                self._submit(batch)
            else:
                return

    def _submit_known(self, known: KnownAnswer) -> None:
        staging = self._staging.pop()
        staging[0] = known.picture
        self._runner.submit(([], staging), staging[:1])

    def _submit(self, batch: Batch) -> None:
        staging = self._staging.pop()
        ready: Batch = []
        for waiting in batch:
            try:
                self._copy_pixels(waiting.payload, staging[len(ready)])
            except SlotError as exc:
                log.debug("slot_lost", camera=waiting.camera, error=str(exc))
                self._drop(waiting, "slot_lost")
            else:
                ready.append(waiting)
        if not ready:
            self._staging.append(staging)
            return
        self._runner.submit((ready, staging), staging[: bucket_for(len(ready), self._buckets)])

    def _copy_pixels(self, arrival: Arrival, out: Images) -> None:
        """Copy the pixels uint8 [3, H, W]; raise SlotError when they are not there any more or not as announced."""
        if arrival.frame.slot is not None:
            self._rings.copy_into(arrival.frame.slot, out)
        elif arrival.pixels is not None and arrival.pixels.nbytes == out.nbytes:
            out[...] = np.frombuffer(arrival.pixels, np.uint8).reshape(out.shape)
        else:
            raise SlotError(f"message without {out.nbytes} bytes of pixels")

    # --- out ---

    def _finish(self) -> None:
        for result in self._runner.fetch():
            batch, staging = result.tag
            self._staging.append(staging)
            if batch:
                self._publish(batch, result)
            elif self._known and (fault := self._known.fault(result.output[0])):
                raise DetectorUnsound(f"wrong boxes for the known picture: {fault}")
            else:
                self._child.stats.count("self_tests")

    def _publish(self, batch: Batch, result: Result[tuple[Batch, Images]]) -> None:
        stats = self._child.stats
        stats.count("batches")
        stats.count("batch_frames", by=len(batch))
        stats.latency("inference", (result.ended_ns - result.started_ns) / NS_PER_MS)
        for waiting, output in zip(batch, result.output, strict=False):  # the bucket's padding has no frame
            message = self._detections_of(waiting, output, result.ended_ns)
            if not self._detections.send(message):
                stats.count("detections_dropped", camera=waiting.camera, reason="events_behind")
            self._credit(waiting, "inferred")
            stats.count("frames_inferred", camera=waiting.camera)
            stats.latency(
                "captured_to_inferred", (result.ended_ns - waiting.captured_ns) / NS_PER_MS, camera=waiting.camera
            )

    def _detections_of(self, waiting: Waiting[Arrival], output: Output, inferred_ns: int) -> Detections:
        frame = waiting.payload.frame
        rows = confident(output, self._min_score)
        if not self._contract.suppressed:
            rows = suppress(rows, self._contract.nms_iou)
        placement = fit_box(
            frame.source_width, frame.source_height, self._contract.width, self._contract.height, self._contract.fit
        )
        rows = to_source(rows, placement, frame.source_width, frame.source_height)
        return Detections(
            camera=frame.camera,
            sequence=frame.sequence,
            model_id=self._contract.model_id,
            width=frame.source_width,
            height=frame.source_height,
            rows=np.ascontiguousarray(rows, np.float32).tobytes(),
            labels=self._contract.labels,
            captured_ns=frame.captured_ns,
            decoded_ns=frame.decoded_ns,
            queued_ns=waiting.queued_ns,
            inferred_ns=inferred_ns,
        )
