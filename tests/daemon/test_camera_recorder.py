"""One camera's recording, without a process around it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from daemon.clock import NS_PER_S
from daemon.config.settings import Recording, RecordMode
from daemon.messages import Packet, StreamStart
from daemon.recording.camera_recorder import CameraRecorder
from daemon.recording.clips import cut_clip
from daemon.recording.recording_check import disagreements
from daemon.recording.recording_index import MediaFile, RecordingIndex
from daemon.stats import Stats

from .recording_material import FPS, START_UTC_NS, encoded, frame_numbers, hello, packets_of

CLIP = encoded(seconds=6, audio=False)


class Bench:
    """A camera's recorder whose packets arrive at START_UTC_NS plus their time."""

    def __init__(self, state_dir: Path, mode: RecordMode, segment_s: float = 60, dwell_s: float = 0) -> None:
        self.index = RecordingIndex(state_dir)
        self.stats = Stats()
        recording = Recording(mode=mode, segment_s=segment_s, pre_roll_s=1)
        self.recorder = CameraRecorder("gate", recording, self.index, self.stats, dwell_s=dwell_s)
        self.packets = packets_of(CLIP)

    def feed(self, from_s: float = 0, to_s: float = 99) -> None:
        for packet in self.packets:
            if from_s * NS_PER_S <= packet.received_ns < to_s * NS_PER_S:
                self.take(packet)

    def take(self, packet: Packet) -> None:
        self.recorder.take(packet, START_UTC_NS + packet.received_ns)

    def dropped(self, reason: str) -> float:
        return self.stats.value("packets_dropped", camera="gate", reason=reason)

    def rows(self) -> list[MediaFile]:
        return [row for row in self.index.all() if row.kind == "segment"]

    def numbers(self) -> list[list[int]]:
        return [frame_numbers(self.index.state_dir / row.path) for row in self.rows()]


@pytest.fixture
def benches(tmp_path: Path) -> Iterator[list[Bench]]:
    """Benches that were made, closed at the end."""
    made: list[Bench] = []
    yield made
    for bench in made:
        bench.recorder.close()
        assert disagreements(bench.index) == []
        bench.index.close()


@pytest.fixture
def continuous(tmp_path: Path, benches: list[Bench]) -> Bench:
    benches.append(Bench(tmp_path, "continuous"))
    return benches[-1]


@pytest.fixture
def events(tmp_path: Path, benches: list[Bench]) -> Bench:
    benches.append(Bench(tmp_path, "events"))
    return benches[-1]


def at(second: float) -> int:
    return START_UTC_NS + int(second * NS_PER_S)


def test_events_mode_writes_from_the_pre_roll_until_nothing_is_wanted(events: Bench) -> None:
    """Memory only, before and after."""
    events.recorder.start_stream(hello(CLIP))
    events.feed(0, 3)
    assert events.rows() == []

    events.recorder.want(at(1.5))
    events.feed(3, 4)
    events.recorder.want(None)
    events.feed(4, 6)

    assert events.numbers() == [list(range(10, 40))]


@pytest.mark.parametrize(("dwell_s", "first"), [(0.0, 40), (45.0, 0)])
def test_the_pre_roll_reaches_back_over_the_dwell_of_the_rules(
    tmp_path: Path, benches: list[Bench], dwell_s: float, first: int
) -> None:
    """Who loiters for 45 s is told of 45 s after he came; a slow camera, a frame a second."""
    bench = Bench(tmp_path, "events", dwell_s=dwell_s)
    benches.append(bench)
    bench.recorder.start_stream(hello(CLIP))
    for packet in bench.packets:
        bench.recorder.take(packet, START_UTC_NS + packet.received_ns * FPS)

    bench.recorder.want(at(5))

    bench.recorder.want(None)
    assert bench.numbers() == [list(range(first, 60))]


def test_an_event_that_overlaps_another_gets_its_own_pre_roll(events: Bench) -> None:
    """The second order reaches further back than the segment that is open: the part before is written as well."""
    events.recorder.start_stream(hello(CLIP))
    events.feed(0, 4)
    events.recorder.want(at(3.2))
    events.feed(4, 5)
    events.recorder.want(at(1.2))
    events.recorder.want(at(1.2))
    events.feed(5, 6)
    events.recorder.want(None)

    assert sorted(events.numbers()) == [list(range(10, 30)), list(range(30, 60))]
    paths = [events.index.state_dir / row.path for row in events.index.segments("gate", at(0), at(9))]
    clip = cut_clip(paths, at(1.2), at(9), events.index.state_dir / "clip.mp4")
    assert frame_numbers(clip.path) == list(range(10, 60))


def test_a_later_event_whose_pre_roll_was_written_before_makes_one_clip(events: Bench) -> None:
    """Overlapping segments give each picture once."""
    events.recorder.start_stream(hello(CLIP))
    events.feed(0, 3)
    events.recorder.want(at(0.5))
    events.feed(3, 3.5)
    events.recorder.want(None)
    events.feed(3.5, 4.5)
    events.recorder.want(at(2.5))
    events.feed(4.5, 6)
    events.recorder.want(None)

    assert events.numbers() == [list(range(35)), list(range(20, 60))]
    paths = [events.index.state_dir / row.path for row in events.rows()]
    clip = cut_clip(paths, at(0), at(9), events.index.state_dir / "clip.mp4")
    assert frame_numbers(clip.path) == list(range(60))


def test_an_event_order_after_the_camera_died_still_finds_the_pre_roll(events: Bench) -> None:
    """What the ring holds is written once, and not again with every repetition of the order."""
    events.recorder.start_stream(hello(CLIP))
    events.feed(0, 4)
    events.recorder.end_stream(1)
    for _ in range(3):
        events.recorder.want(at(2.2))
        events.recorder.want(None)

    assert events.numbers() == [list(range(20, 40))]


def test_a_full_disk_pauses_writing_and_counts_what_is_lost(continuous: Bench) -> None:
    """Recording goes on with the next key frame when there is room again."""
    continuous.recorder.start_stream(hello(CLIP))
    continuous.feed(0, 2)
    continuous.recorder.pause(paused=True)
    continuous.feed(2, 3.5)
    continuous.recorder.pause(paused=False)
    continuous.feed(3.5, 6)
    continuous.recorder.close()

    assert continuous.numbers() == [list(range(20)), list(range(40, 60))]
    assert continuous.dropped("disk_full") == 15


def test_a_disk_that_refuses_a_segment_is_tried_again_later(continuous: Bench) -> None:
    """A file where the folder should be: the error is counted, the recorder lives, recording resumes."""
    folder = continuous.index.state_dir / "recordings"
    folder.write_text("in the way")
    continuous.recorder.start_stream(hello(CLIP))

    continuous.feed(0, 2)
    folder.unlink()
    continuous.feed(2, 6)
    continuous.recorder.close()

    assert continuous.stats.value("segment_errors", camera="gate") == 1
    assert continuous.dropped("disk_refused") > 0
    assert continuous.numbers() == [list(range(50, 60))]


def test_packets_that_cannot_be_recorded_are_dropped_with_a_reason(continuous: Bench) -> None:
    """No header, a stream that the header does not know, the rest of a GOP without its beginning."""
    key, *rest = continuous.packets
    continuous.take(key)
    continuous.recorder.start_stream(StreamStart(camera="gate", stream_id=2, init_segment=b"no header"))
    continuous.take(msgspec.structs.replace(key, stream_id=2))
    assert continuous.dropped("no_header") == 2
    assert continuous.dropped("bad_header") == 1

    continuous.recorder.start_stream(hello(CLIP))
    continuous.take(msgspec.structs.replace(key, stream_index=5))
    for packet in rest[:3]:
        continuous.take(packet)

    assert continuous.dropped("unknown_stream") == 1
    assert continuous.dropped("before_keyframe") == 3
    assert continuous.rows() == []


def test_a_camera_that_loops_its_clock_makes_one_healthy_file(continuous: Bench) -> None:
    """A test camera that plays a file for ever sends every stamp again; times in the file go on."""
    continuous.recorder.start_stream(hello(CLIP))
    continuous.feed()
    for packet in continuous.packets:
        continuous.recorder.take(packet, at(6) + packet.received_ns)
    continuous.recorder.close()
    continuous.recorder.count_healed()

    assert continuous.numbers() == [[*range(60), *range(60)]]
    assert continuous.stats.value("timestamps_healed", camera="gate", reason="dts_jump") == 1
    row = continuous.rows()[0]
    assert row.end_utc_ns - row.start_utc_ns == pytest.approx(12 * NS_PER_S, abs=NS_PER_S / 10)


def test_segments_are_cut_at_the_first_key_frame_after_their_length(tmp_path: Path, benches: list[Bench]) -> None:
    """2.5 s with a key frame a second: three seconds each."""
    bench = Bench(tmp_path, "continuous", segment_s=2.5)
    benches.append(bench)
    bench.recorder.start_stream(hello(CLIP))
    bench.feed()
    bench.recorder.close()

    assert bench.numbers() == [list(range(30)), list(range(30, 60))]
    first, second = bench.rows()
    assert first.end_utc_ns == second.start_utc_ns
    assert bench.stats.value("segments_closed", camera="gate") == 2
    assert bench.stats.value("bytes_written", camera="gate") == sum(row.size_bytes for row in bench.rows())


def test_two_segments_of_one_instant_do_not_overwrite_each_other(continuous: Bench) -> None:
    """The host's clock was set back: both files stay."""
    for stream_id in (1, 2):
        continuous.recorder.start_stream(replace_stream(hello(CLIP), stream_id))
        for packet in continuous.packets[:20]:
            continuous.take(msgspec.structs.replace(packet, stream_id=stream_id))
    continuous.recorder.close()

    assert continuous.numbers() == [list(range(20)), list(range(20))]


def replace_stream(start: StreamStart, stream_id: int) -> StreamStart:
    return msgspec.structs.replace(start, stream_id=stream_id)


def test_mode_off_keeps_nothing_even_in_memory(continuous: Bench) -> None:
    """Off is off."""
    continuous.recorder.start_stream(hello(CLIP))
    continuous.feed(0, 2)
    continuous.recorder.apply(replace_mode(continuous.recorder.recording, "off"))
    continuous.feed(2, 6)

    assert continuous.numbers() == [list(range(20))]
    assert continuous.recorder.ring.size_bytes == 0


def replace_mode(recording: Recording, mode: RecordMode) -> Recording:
    return recording.model_copy(update={"mode": mode})
