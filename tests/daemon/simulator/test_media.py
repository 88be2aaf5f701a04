"""A clip is read once, in sending order, with its times."""

from fractions import Fraction
from pathlib import Path

import av
import pytest

from daemon.errors import ConfigError
from daemon.simulator.media import Clip, load_clip

from .conftest import FPS, write_clip


def test_units_stand_in_decoding_order_with_presentation_times(h264_clip: Path) -> None:
    """B-frames are sent when they are due to be decoded; ticks are those of their display."""
    clip = load_clip(h264_clip)

    video = [unit for unit in clip.units if unit.track == 0]
    ticks = [unit.ticks for unit in video]
    assert sorted(ticks) == [3600 * index for index in range(FPS)]
    assert ticks != sorted(ticks)
    assert [unit.send_s for unit in clip.units] == sorted(unit.send_s for unit in clip.units)
    assert clip.duration_s == Fraction(1)


def test_audio_stays_within_the_video(h264_clip: Path) -> None:
    """An encoder's priming before the first picture is left out, so that the loop's seam is clean."""
    clip = load_clip(h264_clip)

    audio = [unit for unit in clip.units if unit.track == 1]
    assert clip.tracks[1].clock_hz == 16_000
    assert len(audio) in (15, 16)
    assert all(0 <= unit.ticks < 16_000 for unit in audio)


def test_a_late_comer_begins_at_the_last_key_frame(h264_clip: Path) -> None:
    """Before the first one there is none: then at the first."""
    clip = load_clip(h264_clip)

    keyframes = [index for index, unit in enumerate(clip.units) if unit.is_keyframe]
    assert len(keyframes) == 2
    assert [clip.keyframe_before(at_s) for at_s in (0, 0.4, 0.9)] == [keyframes[0], keyframes[0], keyframes[1]]


def test_matroska_and_mp4_give_the_same_units(h264_clip: Path, tmp_path: Path) -> None:
    """The container changes neither payloads nor times by more than Matroska's millisecond."""
    remuxed = tmp_path / "clip.mkv"
    with av.open(str(h264_clip)) as source, av.open(str(remuxed), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)

    mp4, mkv = load_clip(h264_clip), load_clip(remuxed)

    video = [unit for unit in mp4.units if unit.track == 0]
    assert [unit.payloads for unit in mkv.units] == [unit.payloads for unit in video]
    assert all(abs(one.ticks - other.ticks) <= 90 for one, other in zip(mkv.units, video, strict=True))
    assert abs(mkv.duration_s - 1) < Fraction(1, 100)


@pytest.mark.parametrize(
    ("name", "codec", "options", "reason"),
    [("old.mp4", "mpeg4", {}, "libx264"), ("raw.h264", "libx264", {"preset": "ultrafast"}, "presentation times")],
)
def test_what_cannot_be_served_is_refused_with_the_remedy(
    tmp_path: Path, name: str, codec: str, options: dict[str, str], reason: str
) -> None:
    """The message names the file and the command that mends it."""
    path = write_clip(tmp_path / name, codec, options, frames=3)

    with pytest.raises(ConfigError, match=f"{name}.*{reason}"):
        load_clip(path)


def test_a_file_that_is_no_video_or_missing_is_refused(tmp_path: Path) -> None:
    """The text names it."""
    text = tmp_path / "notes.txt"
    text.write_text("no video")

    for path in (text, tmp_path / "none.mp4"):
        with pytest.raises(ConfigError, match=path.name):
            load_clip(path)


@pytest.mark.material
@pytest.mark.parametrize(
    ("name", "codecs", "pictures"),
    [
        ("one-by-one_720p25_20s_h264_aac.mp4", ("h264", "aac"), 500),
        ("one-by-one_720p15_20s_h265.mp4", ("hevc",), 300),
        ("intel_car-detection.mp4", ("h264", "aac"), 377),
        ("ambianic_test2-cam-person1.mkv", ("h264",), 60),
    ],
)
def test_real_clips_are_read(material: Path, name: str, codecs: tuple[str, ...], pictures: int) -> None:
    """Cameras' and encoders' files of the wild, with all their pictures."""
    clip: Clip = load_clip(material / "videos" / name)

    assert tuple(track.codec for track in clip.tracks) == codecs
    assert sum(unit.track == 0 for unit in clip.units) == pictures
