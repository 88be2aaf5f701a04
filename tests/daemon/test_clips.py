"""Clips: any range, several segments, gaps, nothing twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import pytest

from daemon.clock import NS_PER_S
from daemon.errors import MediaError
from daemon.recording.clips import cut_clip
from daemon.recording.segments import SegmentNote, SegmentWriter, StreamHeader
from daemon.recording.timeline import TimedPacket

from .recording_material import (
    FPS,
    GOP,
    START_UTC_NS,
    codecs_of,
    encoded,
    frame_numbers,
    gops,
    timed_packets,
    video_times_s,
    write_segment,
)

RECORDED: tuple[StreamHeader, list[TimedPacket]] = timed_packets(encoded())


def at(second: float) -> int:
    """UTC of a second of the recording; its first picture has number 0."""
    return RECORDED[1][0].utc_ns + int(second * NS_PER_S)


def segments(folder: Path, *spans: tuple[int, int], stream_id: int = 1) -> list[Path]:
    """Write GOPs `first` to `last` of the recording as a segment each span; a GOP is a second."""
    header, packets = RECORDED
    groups = list(gops(packets))
    paths = []
    for first, last in spans:
        paths.append(folder / f"{first}-{last}.mp4")
        write_segment(paths[-1], header, [p for group in groups[first:last] for p in group], stream_id)
    return paths


@pytest.mark.parametrize(
    ("from_s", "to_s", "first", "last"),
    [(0, 6, 0, 59), (1.55, 3.0, 10, 29), (2.0, 2.05, 20, 20), (2.55, 4.55, 20, 45), (-5, 1, 0, 9), (5.5, 99, 50, 59)],
)
def test_a_clip_begins_with_the_key_frame_at_or_before_its_start(
    tmp_path: Path, from_s: float, to_s: float, first: int, last: int
) -> None:
    """Never later than asked, at most a GOP earlier; up to the end asked for; over segments as if they were one."""
    clip = cut_clip(segments(tmp_path, (0, 2), (2, 3), (3, 6)), at(from_s), at(to_s), tmp_path / "out" / "clip.mp4")

    assert frame_numbers(clip.path) == list(range(first, last + 1))
    assert first % GOP == 0
    assert clip.start_utc_ns == at(first / FPS)
    assert clip.codec == "h264+aac"
    times_s = video_times_s(clip.path)
    assert times_s == pytest.approx([number / FPS for number in range(len(times_s))], abs=1e-3)


def test_a_clip_can_be_played_before_it_is_loaded_and_has_sound(tmp_path: Path) -> None:
    """Browsers want the header first and no fragments."""
    clip = cut_clip(segments(tmp_path, (0, 6)), at(1), at(4), tmp_path / "clip.mp4")

    data = clip.path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert b"moof" not in data
    assert clip.size_bytes == len(data)
    assert codecs_of(clip.path) == ["h264", "aac"]
    with av.open(str(clip.path)) as container:
        sound_s = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
    assert sound_s == pytest.approx(3, abs=0.2)


def test_h265_is_labelled_as_every_player_wants_it(tmp_path: Path) -> None:
    """`hvc1`, not FFmpeg's `hev1`, in segments and in clips."""
    header, packets = timed_packets(encoded("libx265", 2))
    write_segment(tmp_path / "a.mp4", header, packets)

    clip = cut_clip([tmp_path / "a.mp4"], 0, packets[-1].utc_ns, tmp_path / "clip.mp4")

    for path in (tmp_path / "a.mp4", clip.path):
        with av.open(str(path)) as container:
            assert container.streams.video[0].codec_context.codec_tag == "hvc1"


def test_segments_that_overlap_give_every_picture_once(tmp_path: Path) -> None:
    """The pre-roll of a later event writes again what the event before has written; in any order of their starts."""
    paths = segments(tmp_path, (0, 3), (2, 5), (4, 6))
    inside = segments(tmp_path, (0, 6), (1, 2))

    one = cut_clip(paths, at(0), at(6), tmp_path / "one.mp4")
    other = cut_clip(inside, at(0), at(6), tmp_path / "other.mp4")

    assert frame_numbers(one.path) == list(range(60))
    assert frame_numbers(other.path) == list(range(60))


def test_a_gap_stays_a_gap(tmp_path: Path) -> None:
    """A clip over a camera's absence lasts as long as the absence did."""
    header, packets = RECORDED
    first, later = segments(tmp_path, (0, 1))[0], tmp_path / "later.mp4"
    # Another connection, whose clock starts anew, ten seconds after the first.
    moved = [replace(packet, utc_ns=packet.utc_ns + 10 * NS_PER_S) for packet in next(gops(packets))]
    write_segment(later, header, moved, stream_id=2)

    clip = cut_clip([first, later], at(0), at(20), tmp_path / "clip.mp4")

    assert frame_numbers(clip.path) == [*range(10), *range(10)]
    assert video_times_s(clip.path)[10] == pytest.approx(10, abs=1e-3)
    assert clip.end_utc_ns - clip.start_utc_ns == pytest.approx(11 * NS_PER_S, abs=0.2 * NS_PER_S)


def test_a_clock_set_back_between_connections_does_not_hide_what_came_later(tmp_path: Path) -> None:
    """Both are in the clip, one after the other."""
    header, packets = RECORDED
    group = next(gops(packets))
    first, later = segments(tmp_path, (0, 1))[0], tmp_path / "later.mp4"
    back = [replace(packet, utc_ns=packet.utc_ns + NS_PER_S // 2) for packet in group]
    write_segment(later, header, back, stream_id=2)

    clip = cut_clip([first, later], at(0), at(20), tmp_path / "clip.mp4")

    assert frame_numbers(clip.path) == [*range(10), *range(10)]


def test_a_segment_that_is_being_written_serves_clips(tmp_path: Path) -> None:
    """What lies in whole fragments is taken; the writer goes on undisturbed."""
    header, packets = RECORDED
    path = tmp_path / "open.mp4"
    writer = SegmentWriter(path, header, SegmentNote("gate", 1, packets[0].utc_ns, packets[0].time_ns))
    for packet in packets[: len(packets) * 2 // 3]:
        writer.write(packet)

    clip = cut_clip([path], at(1), at(2), tmp_path / "clip.mp4")

    assert frame_numbers(clip.path) == list(range(10, 20))
    for packet in packets[len(packets) * 2 // 3 :]:
        writer.write(packet)
    writer.close()
    assert frame_numbers(path) == list(range(60))


def test_a_camera_that_changed_its_codec_gives_the_part_of_the_first_codec(tmp_path: Path) -> None:
    """One MP4 track has one codec; the rest is another clip."""
    header, packets = timed_packets(encoded("libx265", audio=False), START_UTC_NS + 6 * NS_PER_S)
    other = tmp_path / "h265.mp4"
    write_segment(other, header, packets, stream_id=2)

    clip = cut_clip([*segments(tmp_path, (0, 6)), other], at(0), at(20), tmp_path / "clip.mp4")

    assert codecs_of(clip.path) == ["h264", "aac"]
    assert frame_numbers(clip.path) == list(range(60))


def test_nothing_in_the_range_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    """An empty clip would look like an answer."""
    paths = segments(tmp_path, (0, 6))
    out = tmp_path / "out" / "clip.mp4"

    for found in ([], paths, [tmp_path / "taken-by-retention.mp4"]):
        with pytest.raises(MediaError, match="no recording"):
            cut_clip(found, at(100), at(110), out)
    assert not out.parent.exists() or list(out.parent.iterdir()) == []


def test_a_clip_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """The text names the clip."""
    (tmp_path / "file").write_text("")

    with pytest.raises(MediaError, match=r"clip\.mp4"):
        cut_clip(segments(tmp_path, (0, 1)), at(0), at(1), tmp_path / "file" / "clip.mp4")
