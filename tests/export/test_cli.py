"""The command line: every command explains itself, errors are one line, nothing half-written stays."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from export.adopt.families import NAMES
from export.cli import COMMANDS, main
from export.commands import adopt as adopt_command
from export.files import model_file, whole_file

from . import foreign

if TYPE_CHECKING:
    from pathlib import Path


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The table in cli.py and the help that people see are one."""
    with pytest.raises(SystemExit) as ended:
        main(["--help"])

    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"    {name}" in shown for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_with_a_purpose(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """A newcomer reads what a command does before its flags."""
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])

    assert ended.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) > 8


def test_help_of_adopt_names_every_family() -> None:
    """The list in the text is the table of families."""
    assert all(name in adopt_command.ABOUT for name in NAMES)


def test_adopt_then_inspect_prints_what_the_file_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Foreign before, of the contract after; the JSON form is complete."""
    raw, out = foreign.yolox(tmp_path / "raw.onnx"), tmp_path / "out" / "a.onnx"

    assert main(["inspect", str(raw)]) == 0
    assert "looks like YOLOX" in capsys.readouterr().out
    assert main(["adopt", str(raw), "--labels", "a,b,c", "--out", str(out)]) == 0
    assert "family yolox, 64x64, 3 labels" in capsys.readouterr().out
    assert main(["inspect", str(out), "--json"]) == 0

    report = json.loads(capsys.readouterr().out)
    assert report["kind"] == "model of the contract, version 1"
    assert report["metadata"]["labels"] == ["a", "b", "c"]
    assert report["inputs"] == ["images uint8 [N, 3, 64, 64]"]


def test_an_error_is_one_line_with_the_file_and_exit_code_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback reaches the user."""
    code = main(["adopt", str(tmp_path / "gone.onnx"), "--labels", "coco"])

    assert code == 1
    assert capsys.readouterr().err.startswith(f"lepton-export: {tmp_path}/gone.onnx: not found")


def test_an_unwritable_target_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder below a file cannot be made."""
    raw = foreign.yolox(tmp_path / "raw.onnx")

    assert main(["adopt", str(raw), "--labels", "a,b,c", "--out", str(raw / "x.onnx")]) == 1
    assert "cannot write there" in capsys.readouterr().err


def test_a_write_that_breaks_off_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    """Whole or not at all, also on Ctrl-C."""
    target = tmp_path / "a.txt"
    target.write_text("old")

    def write_and_break_off() -> None:
        with whole_file(target) as draft:
            draft.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_break_off()

    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_ctrl_c_exits_130_without_a_traceback() -> None:
    """A real process, interrupted by itself inside a command."""
    program = (
        "import signal, os, sys\n"
        "from export import cli\n"
        "from export.commands import inspect as command\n"
        "command.run = lambda args: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.exit(cli.main(['inspect', 'x.onnx']))\n"
    )

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 128 + signal.SIGINT
    assert ended.stderr == "lepton-export: interrupted; nothing was left half-written\n"


def test_only_training_imports_torch() -> None:
    """Adoption and inspection run without torch."""
    program = (
        "import sys\n"
        "import export.adopt.pipeline, export.adopt.halves, export.inspection\n"
        "print('torch' in sys.modules)\n"
    )

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert ended.stdout == "False\n"


def test_a_shipped_model_is_found_by_its_name_and_a_file_of_that_name_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`lepton-nano` is the file in the daemon's package, wherever that is installed."""
    monkeypatch.chdir(tmp_path)

    assert main(["inspect", "lepton-nano"]) == 0
    assert "person, bicycle" in capsys.readouterr().out
    assert main(["quantize", "lepton-nano", "--calibrate", str(tmp_path)]) == 1
    assert not list(model_file("lepton-nano").parent.glob("*int8*"))
    foreign.yolox(tmp_path / "lepton-nano")
    assert main(["inspect", "lepton-nano"]) == 0
    assert "looks like YOLOX" in capsys.readouterr().out


def test_no_command_writes_over_what_it_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The original of an adopted or re-exported file, and the labels that people drew, are not there twice."""
    raw = foreign.yolox(tmp_path / "raw.onnx")
    labels = tmp_path / "labels.json"
    labels.write_text("{}")
    before = raw.read_bytes()

    for command in (
        ["adopt", str(raw), "--labels", "a,b,c", "--out", str(raw)],
        ["torch", str(raw), "--out", str(raw)],
        ["quantize", str(raw), "--calibrate", str(tmp_path), "--out", str(raw)],
        ["distill", str(model_file("lepton-nano")), "--data", str(labels), str(tmp_path), "--out", str(labels)],
    ):
        assert main(command) == 1, command
        assert "would overwrite" in capsys.readouterr().err, command
    assert raw.read_bytes() == before
    assert labels.read_text() == "{}"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["inspect", "{here}"], "cannot be read"),
        (["adopt", "{raw}", "--labels", "a,b,c", "--out", "{here}"], "is a folder"),
        (["evaluate", "lepton-nano", "--data", "a.json", "b", "--out", "{raw}"], "choose another place"),
        (["torch", "{raw}.pt", "--out", "{here}/m.onnx"], "not a checkpoint"),
        (["verify", "lepton-nano", "--std", "255,255,255"], "give it, too"),
    ],
)
def test_places_and_files_of_the_wrong_kind_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str], says: str
) -> None:
    """A folder for a file, a file for a folder, three bytes for a checkpoint: no traceback."""
    raw = foreign.yolox(tmp_path / "raw.onnx")
    (tmp_path / "raw.onnx.pt").write_bytes(b"abc")

    code = main([word.format(here=tmp_path, raw=raw) for word in command])

    said = capsys.readouterr().err
    assert code == 1
    assert says in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("std", ["0,1,1", "nan,1,1", "-1,1,1"])
def test_a_normalisation_that_gives_no_numbers_is_refused(std: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Dividing by nothing would make a model that sees nothing and passes every check for silence."""
    with pytest.raises(SystemExit) as ended:
        main(["adopt", "a.onnx", "--std", std])

    assert ended.value.code == 2
    assert "--std" in capsys.readouterr().err
