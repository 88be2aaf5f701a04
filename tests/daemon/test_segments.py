"""Segments: what is written comes back, whole or cut off."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.clock import NS_PER_S
from daemon.errors import MediaError
from daemon.recording.fragments import read_layout
from daemon.recording.segment_reader import SegmentReader
from daemon.recording.segments import SegmentNote, SegmentWriter, read_header, segment_path

from .recording_material import (
    FPS,
    START_UTC_NS,
    codecs_of,
    encoded,
    frame_numbers,
    init_of,
    timed_packets,
    video_times_s,
    write_segment,
)


def test_path_of_a_segment_says_camera_day_and_utc_time() -> None:
    """Sorted by name is sorted by time."""
    path = segment_path(Path("recordings"), "gate", START_UTC_NS + 3_723_004 * 10**6)

    assert path == Path("recordings/gate/2026/01/01/01-02-03.004Z.mp4")


@pytest.mark.parametrize(
    ("codec", "names"),
    [("libx264", ["h264", "aac"]), ("libx265", ["hevc", "aac"]), ("mjpeg", ["mjpeg", "aac"])],
)
def test_packets_come_back_as_they_went_in(tmp_path: Path, codec: str, names: list[str]) -> None:
    """Every frame and all sound, times from nought, without encoding; ffprobe agrees where there is one."""
    header, packets = timed_packets(encoded(codec, 3))
    path = tmp_path / "a.mp4"

    write_segment(path, header, packets)

    assert codecs_of(path) == names
    assert frame_numbers(path) == list(range(3 * FPS))
    assert video_times_s(path)[0] == 0
    back = list(SegmentReader(path).packets())
    assert sorted(packet.data for packet in back) == sorted(packet.data for packet in packets)
    if shutil.which("ffprobe"):
        probe = subprocess.run(["ffprobe", "-v", "error", path], capture_output=True, check=True, text=True)
        assert probe.stderr == ""


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_start_codes_from_a_camera_become_a_valid_file(tmp_path: Path, codec: str) -> None:
    """RTSP brings start codes; the header says lengths, so the packets must as well (decoders often guess it)."""
    header, packets = timed_packets(encoded(codec, 2, audio=False))
    as_sent = [replace(packet, data=with_start_codes(packet.data)) for packet in packets]

    write_segment(tmp_path / "a.mp4", header, as_sent)

    assert [packet.data for packet in SegmentReader(tmp_path / "a.mp4").packets()] == [p.data for p in packets]
    assert frame_numbers(tmp_path / "a.mp4") == list(range(2 * FPS))


def with_start_codes(data: bytes) -> bytes:
    units, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        units.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return b"".join(b"\x00\x00\x00\x01" + unit for unit in units)


@pytest.mark.parametrize("lost_bytes", [1, 200, 5000])
def test_a_file_cut_off_anywhere_plays_to_its_last_whole_fragment(tmp_path: Path, lost_bytes: int) -> None:
    """What a kill or a power cut leaves is read up to the last fragment, and never as a broken frame."""
    header, packets = timed_packets(encoded(seconds=4))
    path = tmp_path / "a.mp4"
    write_segment(path, header, packets)
    whole_bytes = read_layout(path).whole_bytes
    with path.open("r+b") as file:
        file.truncate(whole_bytes - lost_bytes)

    reader = SegmentReader(path)
    back = [packet for packet in reader.packets() if packet.is_video]

    assert 2 * FPS <= len(back) < 4 * FPS
    assert [packet.data for packet in back] == [p.data for p in packets if p.is_video][: len(back)]
    assert reader.end_utc_ns() - START_UTC_NS == pytest.approx(len(back) / FPS * NS_PER_S, abs=0.2 * NS_PER_S)


def test_what_is_durable_is_in_the_file_while_it_is_being_written(tmp_path: Path) -> None:
    """A clip may be cut up to `durable_utc_ns` although the segment goes on."""
    header, packets = timed_packets(encoded(seconds=5))
    path = tmp_path / "a.mp4"
    writer = SegmentWriter(path, header, SegmentNote("gate", 1, packets[0].utc_ns, packets[0].time_ns))
    for packet in packets[: len(packets) * 4 // 5]:
        writer.write(packet)

    on_disk = {packet.data for packet in SegmentReader(path).packets()}

    durable = [packet for packet in packets if packet.utc_ns < writer.durable_utc_ns]
    assert len(durable) > FPS
    assert {packet.data for packet in durable if packet.is_video} <= on_disk
    writer.close()
    assert writer.durable_utc_ns == writer.end_utc_ns


@pytest.mark.parametrize(("wanted_s", "first_s"), [(0.0, 0), (2.0, 2), (2.95, 2), (4.5, 4), (99, 5)])
def test_reading_starts_at_the_key_frame_at_or_before_the_wanted_instant(
    tmp_path: Path, wanted_s: float, first_s: float
) -> None:
    """Only the fragments from there on are read."""
    header, packets = timed_packets(encoded())
    write_segment(tmp_path / "a.mp4", header, packets)

    first = next(SegmentReader(tmp_path / "a.mp4").packets(START_UTC_NS + int(wanted_s * NS_PER_S)))

    assert first.is_keyframe
    assert first.is_video
    assert first.utc_ns - packets[0].utc_ns == first_s * NS_PER_S


def test_silent_sound_does_not_hold_the_picture_back(tmp_path: Path) -> None:
    """A microphone that is announced and never heard costs no more than the interleaving second."""
    header, packets = timed_packets(encoded(seconds=4))
    pictures = [packet for packet in packets if packet.is_video]
    path = tmp_path / "a.mp4"
    writer = SegmentWriter(path, header, SegmentNote("gate", 1, pictures[0].utc_ns, pictures[0].time_ns))
    for packet in pictures:
        writer.write(packet)

    assert len(list(SegmentReader(path).packets())) >= FPS
    writer.close()
    assert frame_numbers(path) == list(range(4 * FPS))


def test_what_is_no_header_and_no_segment_is_refused(tmp_path: Path) -> None:
    """The text says what is wrong with which file."""
    foreign = tmp_path / "foreign.mp4"
    foreign.write_bytes(encoded(seconds=1))
    garbage = tmp_path / "garbage.mp4"
    garbage.write_bytes(b"x" * 5000)

    with pytest.raises(MediaError, match="header"):
        read_header(b"nothing")
    for path in (foreign, garbage, tmp_path / "missing.mp4"):
        with pytest.raises(MediaError, match=path.name):
            SegmentReader(path)


def test_a_header_names_codecs_and_the_picture(tmp_path: Path) -> None:
    """The index shows them without opening the file again."""
    header = read_header(init_of(encoded("libx265")))

    assert (header.label, header.video_index) == ("hevc+aac", 0)


def test_a_folder_that_cannot_be_written_is_an_error_with_its_path(tmp_path: Path) -> None:
    """A full or read-only disk must not look like a recording."""
    header, packets = timed_packets(encoded(seconds=1))
    (tmp_path / "file").write_text("")

    with pytest.raises(MediaError, match="cannot be begun"):
        write_segment(tmp_path / "file" / "a.mp4", header, packets)
