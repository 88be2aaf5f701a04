"""The recorder as a process of its own, fed through real sockets."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import pytest

from daemon.clock import NS_PER_S
from daemon.config.settings import Camera, Recording, RecordMode, Service, Settings
from daemon.messages import FromStream, MediaOrder, MediaReady, Packet, ProcessStats, StreamEnd
from daemon.recording.recording_check import disagreements
from daemon.recording.recording_index import MediaFile, RecordingIndex
from daemon.wire import Receiver, Sender, ipc

from .children import StartedChild, start_child, wait_for
from .recording_material import (
    FPS,
    GOP,
    HEIGHT,
    WIDTH,
    codecs_of,
    encoded,
    frame_numbers,
    hello,
    number_in,
    order_of,
    packets_of,
)


class Peers:
    """The processes around the recorder: a reader, events, the supervisor."""

    def __init__(
        self, folder: Path, mode: RecordMode, *, pre_roll_s: float = 1.0, cameras: tuple[str, ...] = ("gate",)
    ) -> None:
        recording = Recording(mode=mode, segment_s=2, pre_roll_s=pre_roll_s, post_roll_s=0, min_free_gb=0)
        self.settings = Settings(
            service=Service(state_dir=folder / "state", runtime_dir=folder, log_format="json"),
            recording=recording,
            cameras={camera: Camera(url="") for camera in cameras},
        )
        self.reader: Sender[FromStream] = Sender(ipc(folder, "packets"), linger_ms=0)
        self.orders: Sender[MediaOrder] = Sender(ipc(folder, "orders"), linger_ms=0)
        self.media: Receiver[MediaReady] = Receiver(ipc(folder, "media"), MediaReady)
        self.stats: Receiver[ProcessStats] = Receiver(ipc(folder, "stats"), ProcessStats)
        self.ready: dict[tuple[str, str], MediaReady] = {}
        self._counters: dict[tuple[str, str], float] = {}

    @property
    def state_dir(self) -> Path:
        return self.settings.service.state_dir

    def start(self) -> StartedChild:
        return start_child("recorder", "recorder", self.settings)

    def send(self, *messages: FromStream) -> None:
        for message in messages:
            wait_for(lambda message=message: self.reader.send(message), "room in the recorder's socket")

    def answer(self, order: MediaOrder, kind: str) -> MediaReady:
        """Repeat the order as events does, until it is answered."""
        last_s = 0.0

        def answered() -> MediaReady | None:
            nonlocal last_s
            if time.monotonic() - last_s > 0.3:
                last_s = time.monotonic()
                self.orders.send(order)
            while (ready := self.media.receive()) is not None:
                self.ready[ready.event_id, ready.kind] = ready
            return self.ready.get((order.event_id, kind))

        return wait_for(answered, f"{kind} of {order.event_id}")

    def counter(self, name: str, reason: str = "") -> float:
        while (stats := self.stats.receive()) is not None:
            for sample in (*stats.counters, *stats.gauges):
                self._counters[sample.name, sample.reason] = sample.value
        return self._counters.get((name, reason), 0.0)

    def rows(self, kind: str = "segment") -> list[MediaFile]:
        if not self.state_dir.exists():
            return []
        index = RecordingIndex(self.state_dir)
        rows = [row for row in index.all() if row.kind == kind]
        index.close()
        return rows

    def is_recording(self) -> bool:
        return any(not row.complete for row in self.rows())

    def disagreements(self) -> list[str]:
        index = RecordingIndex(self.state_dir)
        found = [f"{item.path}: {item.problem}" for item in disagreements(index)]
        index.close()
        return found

    def close(self) -> None:
        for socket in (self.reader, self.orders, self.media, self.stats):
            socket.close()


@contextmanager
def peers(mode: RecordMode, **options: object) -> Iterator[Peers]:
    with tempfile.TemporaryDirectory(prefix="lep") as folder:
        result = Peers(Path(folder), mode, **options)  # type: ignore[arg-type]
        try:
            yield result
        finally:
            result.close()


def live(clip: bytes, camera: str = "gate", stream_id: int = 1, ago_s: float | None = None) -> list[Packet]:
    """Return packets of which the last has just arrived, or of a stream that began `ago_s` ago."""
    packets = packets_of(clip, camera, stream_id)
    length_ns = packets[-1].received_ns
    start_ns = time.monotonic_ns() - (length_ns if ago_s is None else int(ago_s * NS_PER_S))
    return packets_of(clip, camera, stream_id, start_ns)


def utc_of_packet(packet: Packet) -> int:
    return time.time_ns() - (time.monotonic_ns() - packet.received_ns)


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_continuous_recording_writes_every_packet_into_segments_cut_at_key_frames(codec: str) -> None:
    """All frames and the sound come back from the files, in order, none twice; SIGTERM finishes the last one."""
    clip = encoded(codec)
    with peers("continuous") as around, around.start() as recorder:
        around.send(hello(clip), *live(clip))
        wait_for(lambda: len(around.rows()) >= 3, "third segment")
        assert recorder.stop() == 0

        rows = around.rows()
        numbers = [number for row in rows for number in frame_numbers(around.state_dir / row.path)]
        assert numbers == list(range(6 * FPS))
        assert all(row.complete for row in rows)
        assert codecs_of(around.state_dir / rows[0].path) == ["h264" if codec == "libx264" else "hevc", "aac"]
        assert around.disagreements() == []


def test_kill_leaves_a_playable_segment_and_the_next_life_closes_it_in_the_index() -> None:
    """SIGKILL in the middle: the file plays to its last fragment, the index is put right, recording goes on."""
    clip = encoded(seconds=6)
    packets = live(clip)
    middle = next(i for i, packet in enumerate(packets) if packet.pts * packet.time_base[0] / packet.time_base[1] > 3.5)
    with peers("continuous") as around:
        with around.start() as recorder:
            around.send(hello(clip), *packets[:middle])
            wait_for(
                lambda: around.counter("bytes_written") > 0 and around.counter("packets_received") >= middle, "write"
            )
            recorder.kill()
        open_row = next(row for row in around.rows() if not row.complete)
        begun = frame_numbers(around.state_dir / open_row.path)
        assert begun == list(range(begun[0], begun[0] + len(begun)))
        assert len(begun) >= FPS - 1

        with around.start() as recorder:
            around.send(*packets[middle:])  # the reader goes on, and does not repeat its hello
            wait_for(lambda: len(around.rows()) >= 3, "a segment after the restart")
            assert recorder.stop() == 0
        assert all(row.complete for row in around.rows())
        assert around.disagreements() == []
        numbers = [number for row in around.rows() for number in frame_numbers(around.state_dir / row.path)]
        assert numbers[-1] == 6 * FPS - 1
        assert numbers == sorted(set(numbers))


def test_an_event_is_recorded_from_its_pre_roll_and_answered_with_a_snapshot_and_a_clip() -> None:
    """In events mode nothing is written before an order; the clip begins at most a GOP before the pre-roll."""
    clip = encoded(seconds=6)
    packets = live(clip)
    with peers("events", pre_roll_s=1.0) as around, around.start() as recorder:
        around.send(hello(clip), *packets)
        wait_for(lambda: around.counter("packets_received") >= len(packets), "packets")
        assert around.counter("bytes_written") == 0
        event_utc_ns = utc_of_packet(packets[0]) + 3_550_000_000
        order = order_of(event_utc_ns, event_utc_ns + NS_PER_S)

        snapshot, cut = around.answer(order, "snapshot"), around.answer(order, "clip")

        assert (snapshot.error, cut.error) == (None, None)
        first = frame_numbers(around.state_dir / cut.path)[0]
        wanted = 3.55 * FPS - 1.0 * FPS
        assert wanted - GOP <= first <= wanted
        assert first % GOP == 0
        assert cut.start_utc_ns is not None
        assert cut.start_utc_ns <= event_utc_ns - NS_PER_S
        assert frame_numbers(around.state_dir / cut.path)[-1] in (44, 45)
        assert (around.state_dir / order.snapshot_path).stat().st_size > 0
        assert (around.state_dir / order.clean_snapshot_path).stat().st_size > 0
        assert recorder.stop() == 0
        assert around.disagreements() == []


def test_a_repeated_order_is_answered_again_after_a_restart() -> None:
    """The answer was lost with the events process: the recorder's next life still knows what it made."""
    clip = encoded(seconds=6)
    packets = live(clip)
    with peers("continuous") as around:
        event_utc_ns = utc_of_packet(packets[0]) + 2 * NS_PER_S
        order = order_of(event_utc_ns, event_utc_ns + NS_PER_S)
        with around.start() as recorder:
            around.send(hello(clip), *packets)
            first = around.answer(order, "clip")
            around.answer(order, "snapshot")
            recorder.kill()
        around.ready.clear()
        made_ns = (around.state_dir / first.path).stat().st_mtime_ns
        with around.start():
            again = around.answer(order, "clip")

            assert again == first
            assert around.answer(order, "snapshot").error is None
            assert (around.state_dir / first.path).stat().st_mtime_ns == made_ns


def test_an_order_that_cannot_be_met_is_answered_with_its_reason() -> None:
    """No camera, no recording, no packets, a path that leads out: each gets an error, none is silent."""
    now_ns = time.time_ns()
    with peers("off") as around, around.start():
        unknown = around.answer(order_of(now_ns, now_ns, camera="nobody"), "clip")
        off = around.answer(order_of(now_ns, now_ns), "snapshot")
    with peers("continuous") as around, around.start():
        nothing = around.answer(order_of(now_ns - 60 * NS_PER_S, now_ns - 50 * NS_PER_S), "clip")
        outside = around.answer(order_of(now_ns - NS_PER_S, now_ns - NS_PER_S, clip_path="../out.mp4"), "clip")

        assert not (around.state_dir.parent / "out.mp4").exists()
    assert unknown.error == "no such camera"
    assert off.error == "recording of this camera is off"
    assert nothing.error is not None
    assert "no recording" in nothing.error
    assert outside.error == "the order's path leads out of the state directory"


def test_cameras_of_different_codecs_are_recorded_side_by_side_and_a_reconnect_begins_a_segment() -> None:
    """Each camera has its own segments; another stream id never continues a file."""
    h264, h265 = encoded(), encoded("libx265", audio=False)
    with peers("continuous", cameras=("gate", "yard")) as around, around.start() as recorder:
        around.send(hello(h264), hello(h265, "yard", 7))
        for pair in zip(live(h264), live(h265, "yard", 7), strict=False):
            around.send(*pair)
        around.send(StreamEnd(camera="yard", stream_id=7, reason="timeout"))
        around.send(hello(h264, "yard", 8), *live(h264, "yard", 8))
        wait_for(
            lambda: any(r.codec == "h264+aac" and r.camera == "yard" for r in around.rows()),
            "reconnect",
        )
        assert recorder.stop() == 0

        codecs = {(row.camera, row.codec) for row in around.rows()}
        assert codecs == {("gate", "h264+aac"), ("yard", "hevc"), ("yard", "h264+aac")}
        assert around.disagreements() == []


def test_mode_is_changed_while_it_runs() -> None:
    """SIGHUP with mode off closes the segment and writes nothing more."""
    clip = encoded()
    packets = live(clip)
    with peers("continuous") as around, around.start() as recorder:
        around.send(hello(clip), *packets[:60])
        wait_for(lambda: around.counter("packets_received") >= 60 and around.is_recording(), "recording")
        off = around.settings.recording.model_copy(update={"mode": "off"})
        recorder.reload(around.settings.model_copy(update={"recording": off}))
        wait_for(lambda: not around.is_recording(), "segment closed")
        closed = around.rows()
        around.send(*packets[60:])
        wait_for(lambda: around.counter("packets_received") >= len(packets), "packets")

        assert around.rows() == closed
        assert recorder.stop() == 0


def test_a_full_disk_stops_recording_says_so_and_goes_on_when_there_is_room() -> None:
    """The gauge tells the supervisor, the drops are counted; alerts are nobody's business here."""
    clip = encoded()
    packets = live(clip)
    with peers("continuous") as around:
        roomy = around.settings
        full = roomy.recording.model_copy(update={"min_free_gb": 1e9})
        around.settings = roomy.model_copy(update={"recording": full})
        with around.start() as recorder:
            wait_for(lambda: around.counter("recording_stopped") == 1, "recording stopped")
            around.send(hello(clip), *packets[:100])
            wait_for(lambda: around.counter("packets_dropped", "disk_full") >= 99, "drops")
            assert around.rows() == []

            recorder.reload(roomy)
            wait_for(lambda: around.counter("recording_stopped") == 0, "room again")
            around.send(*packets[100:])
            wait_for(around.rows, "a segment")
            assert recorder.stop() == 0
        assert frame_numbers(around.state_dir / around.rows()[-1].path)[-1] == 6 * FPS - 1


def test_an_order_whose_events_process_died_does_not_record_for_ever() -> None:
    """The open order is not repeated, so its lease ends and the segment is closed."""
    clip = encoded()
    with peers("events") as around, around.start() as recorder:
        around.send(hello(clip), *live(clip))
        order = order_of(time.time_ns() - NS_PER_S, None)
        assert around.answer(order, "snapshot").error is None
        wait_for(around.is_recording, "recording")

        wait_for(lambda: not around.is_recording(), "segment closed without a new order")
        assert recorder.stop() == 0
        assert around.disagreements() == []


def test_a_snapshot_shows_the_frame_of_the_order_with_privacy_masks_and_box() -> None:
    """Both pictures show the frame that the box is from; what the mask covers is black in both."""
    clip = encoded()
    packets = live(clip)
    pictures = [packet for packet in packets if packet.stream_index == 0]
    mask = ((0.0, 0.5), (0.4, 0.5), (0.4, 1.0), (0.0, 1.0))
    with peers("continuous") as around:
        camera = around.settings.cameras["gate"].model_copy(update={"privacy_masks": (mask,)})
        around.settings = around.settings.model_copy(update={"cameras": {"gate": camera}})
        with around.start():
            around.send(hello(clip), *packets)
            wait_for(lambda: around.counter("packets_received") >= len(packets), "packets")
            order = order_of(utc_of_packet(pictures[37]), None, box=(0.5, 0.4, 0.9, 0.9))
            assert around.answer(order, "snapshot").error is None

            clean = cv2.imread(str(around.state_dir / order.clean_snapshot_path))
            boxed = cv2.imread(str(around.state_dir / order.snapshot_path))
        assert clean is not None
        assert boxed is not None
        assert number_in(clean) == 37
        assert clean[HEIGHT * 3 // 4, WIDTH // 5].max() < 20
        assert boxed[HEIGHT * 3 // 4, WIDTH // 5].max() < 20
        assert clean[HEIGHT * 3 // 4, WIDTH * 3 // 4].min() > 80
        assert boxed[HEIGHT * 3 // 4, WIDTH // 2].max() > 150
