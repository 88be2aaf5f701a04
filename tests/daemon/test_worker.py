"""The worker as a process: real sockets, real shared memory, a real graph."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from daemon.config.settings import Detector, Service, Settings
from daemon.errors import TransientError
from daemon.messages import Credit, Detections, Frame, FromReader, FromWorker, Hello, ProcessStats, SlotRef, Welcome
from daemon.ring import RingWriter
from daemon.wire import FrameClient, FrameServer, Receiver, ipc

from .children import StartedChild, start_child, wait_for
from .models import SCORE, bright_box_model, known_answer, picture_with_box

WIDTH, HEIGHT = 96, 64


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    model = bright_box_model(tmp_path / "m.onnx", width=WIDTH, height=HEIGHT)
    return Settings(
        service=Service(state_dir=tmp_path, runtime_dir=tmp_path),
        detector=Detector(model=str(model), device="cpu", max_age_ms=60_000),
    )


def test_an_address_for_frames_that_cannot_be_had_is_named() -> None:
    """It may come with its network, so this is no fatal error."""
    with pytest.raises(TransientError, match=r"tcp://192.0.2.1:5560: .*detector.listen"):
        FrameServer(["tcp://192.0.2.1:5560"], FromReader)


class Bench:
    """What stands around a worker: a reader's socket and ring, the sinks of detections and stats."""

    def __init__(self, settings: Settings, camera: str = "gate") -> None:
        run_dir = settings.service.runtime_dir
        self.camera = camera
        self.detections: Receiver[Detections] = Receiver(ipc(run_dir, "detections"), Detections)
        self.stats: Receiver[ProcessStats] = Receiver(ipc(run_dir, "stats"), ProcessStats)
        self.reader = FrameClient(ipc(run_dir, "frames"), camera, FromWorker)
        self.ring = RingWriter(3, 3 * WIDTH * HEIGHT)

    def say_hello(self) -> Welcome:
        self.reader.send(Hello(camera=self.camera))
        welcome = self.answer()
        assert isinstance(welcome, Welcome)
        return welcome

    def answer(self) -> Any:
        return wait_for(self.reader.receive, "an answer of the worker")

    def slot_with(self, index: int, picture: np.ndarray) -> SlotRef:
        self.ring.begin(index)[:] = picture.ravel()
        self.ring.commit(index)
        return self.ring.ref(index)

    def frame(self, sequence: int, slot: SlotRef | None) -> Frame:
        now_ns = time.monotonic_ns()
        return Frame(
            camera=self.camera,
            sequence=sequence,
            captured_ns=now_ns,
            decoded_ns=now_ns,
            sent_ns=now_ns,
            source_width=WIDTH * 10,
            source_height=HEIGHT * 10,
            pts_s=None,
            slot=slot,
        )

    def next_detections(self) -> Detections:
        return wait_for(self.detections.receive, "detections")

    def wait_for_counter(self, name: str, reason: str = "") -> float:
        def value() -> float:
            latest = 0.0
            while (message := self.stats.receive()) is not None:
                latest = sum(s.value for s in message.counters if (s.name, s.reason) == (name, reason))
            return latest

        return wait_for(value, f"counter {name} {reason}")

    def close(self) -> None:
        for part in (self.detections, self.stats, self.reader, self.ring):
            part.close()


@pytest.fixture
def bench(settings: Settings) -> Iterator[Bench]:
    bench = Bench(settings)
    yield bench
    bench.close()


@pytest.fixture
def worker(settings: Settings, bench: Bench) -> Iterator[StartedChild]:
    with start_child("worker", "worker", settings) as child:
        child.wait_until_beating()
        yield child


def rows_of(message: Detections) -> np.ndarray:
    return np.frombuffer(message.rows, np.float32).reshape(-1, 6)


def test_a_frame_in_shared_memory_becomes_boxes_in_the_cameras_pixels(bench: Bench, worker: StartedChild) -> None:
    """From slot to detection, with the credit that lets the reader go on."""
    welcome = bench.say_hello()

    bench.reader.send(bench.frame(7, bench.slot_with(0, picture_with_box(10, 20, 30, 40))))
    found = bench.next_detections()

    assert (welcome.width, welcome.height, welcome.fit, welcome.credits) == (WIDTH, HEIGHT, "letterbox", 2)
    np.testing.assert_allclose(rows_of(found), [[100, 200, 300, 400, SCORE, 0]], rtol=1e-5)
    assert (found.camera, found.sequence, found.labels) == ("gate", 7, ("lamp", "ghost"))
    assert found.captured_ns <= found.queued_ns <= found.inferred_ns
    assert bench.answer() == Credit(sequence=7, outcome="inferred")


def test_pixels_in_the_message_give_the_same_boxes(bench: Bench, worker: StartedChild) -> None:
    """The way of a reader on another host."""
    bench.say_hello()

    bench.reader.send(bench.frame(1, None), np.ascontiguousarray(picture_with_box(10, 20, 30, 40)))

    np.testing.assert_allclose(rows_of(bench.next_detections())[0, :4], [100, 200, 300, 400], rtol=1e-5)


def test_an_empty_scene_is_reported_as_a_frame_with_no_rows(bench: Bench, worker: StartedChild) -> None:
    """Seen and empty is something else than not seen."""
    bench.say_hello()

    bench.reader.send(bench.frame(1, bench.slot_with(0, np.full((3, HEIGHT, WIDTH), 40, np.uint8))))

    assert len(rows_of(bench.next_detections())) == 0


@pytest.mark.parametrize("broken", ["overwritten", "no_pixels", "dead_owner"])
def test_a_frame_whose_pixels_are_not_there_is_credited_and_counted(
    bench: Bench, worker: StartedChild, broken: str
) -> None:
    """The worker neither sees wrong pixels nor stumbles, and the next frame is seen."""
    bench.say_hello()
    slot: SlotRef | None = bench.slot_with(0, picture_with_box(1, 1, 9, 9))
    if broken == "overwritten":
        bench.ring.begin(0)
    elif broken == "no_pixels":
        slot = None
    else:
        slot = SlotRef(pid=2**22 - 1, fd=3, ring_id=1, index=0, guard=2)

    bench.reader.send(bench.frame(1, slot))

    assert bench.answer() == Credit(sequence=1, outcome="slot_lost")
    bench.reader.send(bench.frame(2, bench.slot_with(1, picture_with_box(10, 20, 30, 40))))
    assert bench.next_detections().sequence == 2
    assert bench.wait_for_counter("frames_dropped", "slot_lost") == 1


def test_stale_frames_are_dropped_by_name(settings: Settings, bench: Bench) -> None:
    """Everything is too old for a worker that takes nothing older than a nanosecond."""
    impatient = settings.model_copy(update={"detector": settings.detector.model_copy(update={"max_age_ms": 1e-6})})
    with start_child("worker", "worker", impatient) as child:
        child.wait_until_beating()
        bench.say_hello()

        bench.reader.send(bench.frame(1, bench.slot_with(0, picture_with_box(1, 1, 9, 9))))

        assert bench.answer() == Credit(sequence=1, outcome="stale")


def test_garbage_on_the_frames_socket_is_survived(bench: Bench, worker: StartedChild) -> None:
    """A port may be written to by anybody."""
    bench.say_hello()

    bench.reader.socket.send(b"\xc1garbage")
    bench.reader.socket.send_multipart([b"a", b"b", b"c", b"d"])
    bench.reader.send(bench.frame(3, bench.slot_with(0, picture_with_box(10, 20, 30, 40))))

    assert bench.next_detections().sequence == 3


def test_a_frame_of_no_size_is_malformed(bench: Bench, worker: StartedChild) -> None:
    """From another host; dividing by its width would end the worker."""
    bench.say_hello()

    bench.reader.send(msgspec.structs.replace(bench.frame(1, None), source_width=0), bytes(3 * WIDTH * HEIGHT))
    bench.reader.send(bench.frame(2, None), bytes(3 * WIDTH * HEIGHT))

    assert bench.answer() == Credit(sequence=2, outcome="inferred")
    assert worker.process.poll() is None


def test_a_new_worker_welcomes_readers_that_knew_the_old_one(
    settings: Settings, bench: Bench, worker: StartedChild
) -> None:
    """After a kill the reader need not notice: its next frame is answered with a new welcome."""
    before = bench.say_hello()
    worker.kill()
    with start_child("worker", "worker", settings) as again:
        again.wait_until_beating()

        def welcomed() -> Any:
            bench.reader.send(bench.frame(1, bench.slot_with(0, picture_with_box(1, 1, 9, 9))))
            return bench.reader.receive()

        after = wait_for(welcomed, "a new welcome")

    assert isinstance(after, Welcome)
    assert after.worker_id != before.worker_id


def test_stopping_drains_and_ends_with_zero(bench: Bench, worker: StartedChild) -> None:
    """SIGTERM is an order, not an accident."""
    assert worker.stop() == 0


@pytest.mark.parametrize(
    ("wrong", "code"),
    [({"contract": 9}, 3), ({"known_answer": known_answer(picture_with_box(1, 1, 9, 9), [[40, 1, 9, 9, 0.9, 0]])}, 3)],
)
def test_a_model_that_cannot_be_believed_ends_the_worker_with_code_3(
    settings: Settings, bench: Bench, tmp_path: Path, wrong: dict[str, Any], code: int
) -> None:
    """Out of contract, or wrong boxes for the picture that it carries."""
    bright_box_model(tmp_path / "m.onnx", width=WIDTH, height=HEIGHT, **wrong)

    with start_child("worker", "worker", settings) as child:
        assert child.wait() == code


def test_the_known_answer_is_run_while_nothing_else_happens(settings: Settings, bench: Bench, tmp_path: Path) -> None:
    """A right answer keeps the worker alive through many self-tests, which do not show up as frames."""
    answer = known_answer(picture_with_box(10, 20, 30, 40), [[10, 20, 30, 40, SCORE, 0]])
    bright_box_model(tmp_path / "m.onnx", width=WIDTH, height=HEIGHT, known_answer=answer)
    busy = settings.model_copy(update={"detector": settings.detector.model_copy(update={"self_test_s": 0.001})})
    with start_child("worker", "worker", busy) as child:
        child.wait_until_beating()
        bench.say_hello()
        bench.wait_for_counter("self_tests")

        bench.reader.send(bench.frame(1, bench.slot_with(0, picture_with_box(1, 1, 9, 9))))

        assert bench.next_detections().sequence == 1
        assert child.stop() == 0
