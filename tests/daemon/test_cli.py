"""The command line as its user meets it: exit codes, and words instead of tracebacks."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from daemon.cli import COMMANDS, main, parser

from .running import lamp_clip
from .test_config import SHIPPED, TEN_MISTAKES


def leptond(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a process."""
    return subprocess.run(
        [sys.executable, "-m", "daemon.cli", *arguments], capture_output=True, text=True, check=False, timeout=120
    )


def test_running_a_configuration_with_ten_mistakes_reports_all_and_exits_with_2(tmp_path: Path) -> None:
    """Every mistake is on a line of stderr, nothing is started, and no traceback is shown."""
    path = tmp_path / "config.toml"
    path.write_text(TEN_MISTAKES)

    ran = leptond("run", "--config", str(path))

    assert ran.returncode == 2
    assert len(ran.stderr.splitlines()) == 11
    assert "Traceback" not in ran.stderr
    assert "hunter2" not in ran.stderr
    assert ran.stdout == ""


def test_a_state_directory_that_cannot_be_made_exits_with_2(tmp_path: Path) -> None:
    """The daemon says so before it starts anything."""
    (tmp_path / "file").touch()
    path = tmp_path / "config.toml"
    path.write_text(f"[service]\nstate_dir = '{tmp_path}/file/state'\nruntime_dir = '{tmp_path}/run'")

    ran = leptond("run", "--config", str(path))

    assert ran.returncode == 2
    assert ran.stderr == f"service.state_dir: cannot make {tmp_path}/file/state: Not a directory\n"


def test_a_missing_configuration_names_the_option_that_gives_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The default path is not there on a machine where nothing is installed."""
    assert main(["check", "--config", str(tmp_path / "none.toml")]) == 2

    assert capsys.readouterr().err == f"{tmp_path}/none.toml: No such file or directory; give --config FILE\n"


def test_check_says_what_a_valid_file_holds(capsys: pytest.CaptureFixture[str]) -> None:
    """The shipped file is valid and has no camera yet; probing none is no failure."""
    assert main(["check", "--probe", "--config", str(SHIPPED)]) == 0

    assert capsys.readouterr().out == f"{SHIPPED}: valid, 0 cameras, 1 rules\n"


def test_probing_says_what_each_camera_delivers_or_why_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Codec, size, rate and sound of one that works; the reason code of one that does not; then the exit code is 1."""
    clip = lamp_clip(tmp_path / "clip.mp4", seconds=1)
    path = tmp_path / "config.toml"
    path.write_text(f"[cameras.gate]\nurl = '{clip}'\n[cameras.dead]\nurl = 'rtsp://u:hunter2@127.0.0.1:1/x'")

    assert main(["check", "--probe", "--config", str(path)]) == 1

    valid, gate, dead = capsys.readouterr().out.splitlines()
    assert valid == f"{path}: valid, 2 cameras, 0 rules"
    assert gate == "gate: h264 192x128 10 fps, no audio"
    assert dead.startswith("dead: FAILED (refused): ")
    assert "hunter2" not in dead


def test_the_schema_that_is_printed_is_a_json_schema(capsys: pytest.CaptureFixture[str]) -> None:
    """Editors can use it as it comes."""
    assert main(["config", "schema"]) == 0

    jsonschema.Draft202012Validator.check_schema(json.loads(capsys.readouterr().out))


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """`leptond --version` is what a bug report begins with."""
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])

    assert capsys.readouterr().out.startswith("leptond ")


def test_help_names_every_command() -> None:
    """A command that is not in the help does not exist for its user."""
    text = parser().format_help()

    assert all(f"    {command} " in text for command in ["run", "config", *COMMANDS])


def test_an_unknown_command_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    """The error names those that exist."""
    with pytest.raises(SystemExit, match="2"):
        main(["sing"])

    assert "invalid choice: 'sing'" in capsys.readouterr().err
