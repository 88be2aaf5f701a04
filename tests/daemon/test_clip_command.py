"""`leptond clip` and `leptond doctor`, as a user calls them."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.cli import main
from daemon.clock import NS_PER_S, iso_utc
from daemon.commands.clip_command import parse_time
from daemon.recording.recording_index import MediaFile, RecordingIndex

from .recording_material import START_UTC_NS, encoded, frame_numbers, timed_packets, write_segment

HEADER, PACKETS = timed_packets(encoded(seconds=4))
NOW_NS = START_UTC_NS


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return a configuration beside one recorded segment that began at START_UTC_NS."""
    path = tmp_path / "config.toml"
    path.write_text(f'[service]\nstate_dir = "{tmp_path / "state"}"\nruntime_dir = "{tmp_path}"\n')
    name = "recordings/gate/a.mp4"
    writer = write_segment(tmp_path / "state" / name, HEADER, PACKETS)
    index = RecordingIndex(tmp_path / "state")
    start, size_bytes = PACKETS[0].utc_ns, writer.size_bytes
    index.put(MediaFile(name, "segment", "gate", start, writer.end_utc_ns, size_bytes, "h264+aac", True))
    index.close()
    return path


def clip(config: Path, out: Path, *, camera: str = "gate", start: str, end: str) -> int:
    return main(["clip", "--config", str(config), "--camera", camera, "--from", start, "--to", end, str(out)])


def test_a_range_is_cut_into_a_file(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Times in UTC; the line says what came out."""
    start_utc_ns = PACKETS[0].utc_ns
    start, end = iso_utc(start_utc_ns + 15 * NS_PER_S // 10), iso_utc(start_utc_ns + 3 * NS_PER_S)

    code = clip(config, tmp_path / "out.mp4", start=start, end=end)

    assert code == 0
    assert frame_numbers(tmp_path / "out.mp4")[:21] == list(range(10, 30))
    assert "h264+aac" in capsys.readouterr().out


def test_pinned_ranges_are_kept(config: Path, tmp_path: Path) -> None:
    """`--pin` takes the segments out of retention's reach."""
    args = ["--camera", "gate", "--from", iso_utc(START_UTC_NS), "--pin", str(tmp_path / "o.mp4")]

    assert main(["clip", "--config", str(config), *args]) == 0

    index = RecordingIndex(tmp_path / "state")
    assert [row.pinned for row in index.all()] == [True]
    index.close()


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (("yard", "-5m", "now"), "camera yard has no recordings; there are some of: gate"),
        (("gate", "2020-01-01", "2020-01-02"), "02T00:00:00.000Z; there is something from 2026-01-01T00:00:00."),
        (("gate", "now", "-5m"), "must be after"),
    ],
)
def test_what_cannot_be_cut_is_said_and_exits_1(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], wanted: tuple[str, str, str], text: str
) -> None:
    """No traceback, no empty file."""
    camera, start, end = wanted

    assert clip(config, tmp_path / "out.mp4", camera=camera, start=start, end=end) == 1
    assert text in capsys.readouterr().err
    assert not (tmp_path / "out.mp4").exists()


def test_a_wrong_time_is_refused_with_an_example(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Argument errors exit with 2."""
    with pytest.raises(SystemExit) as caught:
        clip(config, tmp_path / "out.mp4", start="yesterday", end="now")

    assert caught.value.code == 2
    assert "'yesterday' is no time; give 2026-01-31T14:05:00Z" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("now", 0),
        ("-90s", -90),
        ("-1.5m", -90),
        ("-2h", -7200),
        ("-1d", -86400),
        ("2026-01-01T00:00:01.500Z", 1.5),
        ("2026-01-01T01:00:00+01:00", 0),
        ("2026-01-01 00:01", 60),
        ("-1.5s", -1.5),
        ("-" + "9" * 400 + "d", -START_UTC_NS // NS_PER_S),  # 1970: all there is
        ("1960-01-01", -START_UTC_NS // NS_PER_S),
    ],
)
def test_times_are_iso_8601_in_utc_or_so_long_ago(text: str, seconds: float) -> None:
    """Another zone must be said."""
    assert parse_time(text, NOW_NS) == START_UTC_NS + int(seconds * NS_PER_S)


@pytest.mark.parametrize("text", ["", "5m", "-5", "-5y", "soon"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """Guessing would cut the wrong clip."""
    with pytest.raises(ValueError, match="Invalid isoformat string"):
        parse_time(text, NOW_NS)


def test_the_doctor_proves_agreement_and_names_what_disagrees(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 0 when index and files agree, 1 with each disagreement and its remedy."""
    assert main(["doctor", "--config", str(config)]) == 0
    assert "1 files, 0 disagreements" in capsys.readouterr().out

    (tmp_path / "state/recordings/gate/a.mp4").rename(tmp_path / "state/recordings/gate/b.mp4")

    assert main(["doctor", "--config", str(config)]) == 1
    said = capsys.readouterr().out
    assert "recordings/gate/a.mp4: in the index, but there is no file" in said
    assert "recordings/gate/b.mp4: a file that the index does not know" in said
    assert "->" in said


def test_the_doctor_says_where_it_looked_when_there_is_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong state_dir must not look healthy."""
    (tmp_path / "c.toml").write_text(f'[service]\nstate_dir = "{tmp_path / "none"}"\n')

    assert main(["doctor", "--config", str(tmp_path / "c.toml")]) == 1
    assert f"no recordings below {tmp_path / 'none'}" in capsys.readouterr().err


def test_a_time_beyond_what_the_index_can_hold_is_the_last_that_it_can(config: Path, tmp_path: Path) -> None:
    """`--to 9999-12-31` means: all there is."""
    assert clip(config, tmp_path / "out.mp4", start="0001-01-01", end="9999-12-31") == 0
    assert len(frame_numbers(tmp_path / "out.mp4")) == 40
