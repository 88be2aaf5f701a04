"""`leptond simulate`: names, credentials, and the process itself."""

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

import av
import pytest

from daemon.errors import ConfigError
from daemon.simulator.command import name_cameras, register, run

A, B = Path("x/gate.mp4"), Path("y/yard one.mkv")
SCRIPT = """
import argparse, sys
from daemon.simulator.command import register
parser = argparse.ArgumentParser()
register(parser.add_subparsers(required=True))
args = parser.parse_args(sys.argv[1:])
sys.exit(args.run(args))
"""


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers(required=True))
    return parser.parse_args(["simulate", *arguments])


@pytest.mark.parametrize(
    ("clips", "name", "repeat", "named"),
    [
        ([A], None, 1, {"gate": A}),
        ([A, B], None, 1, {"gate": A, "yard_one": B}),
        ([A], None, 2, {"gate0": A, "gate1": A}),
        ([A], "cam", 1, {"cam": A}),
        ([A, B], "cam", 1, {"cam0": A, "cam1": B}),
        ([A, B], "cam", 2, {"cam0": A, "cam1": A, "cam2": B, "cam3": B}),
    ],
)
def test_cameras_are_named_after_their_files_or_numbered(
    clips: list[Path], name: str | None, repeat: int, named: dict[str, Path]
) -> None:
    """What cannot stand in an address becomes an underscore."""
    assert name_cameras(clips, name, repeat) == named


def test_two_cameras_of_one_name_are_an_error() -> None:
    """Better than serving one of them."""
    with pytest.raises(ConfigError, match="both be /gate; give --name"):
        name_cameras([A, Path("z/gate.mkv")], None, 1)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["a.mp4", "--repeat", "0"], "--repeat 0"),
        (["a.mp4", "--user", "u"], "belong together"),
        (["a.mp4", "--user", "u", "--password-env", "LEPTON_NO_SUCH_VARIABLE"], "no such environment variable"),
    ],
)
def test_wrong_arguments_are_told_before_anything_is_served(arguments: list[str], reason: str) -> None:
    """Each names the argument."""
    with pytest.raises(ConfigError, match=reason):
        run(parse(*arguments))


def test_the_command_prints_addresses_serves_and_ends_by_signal(h264_clip: Path) -> None:
    """A URL that is printed can be opened; SIGTERM ends it with 0; logs go to stderr, without the password."""
    arguments = [str(h264_clip), "--port", "0", "--repeat", "2", "--user", "u", "--password-env", "CAMERA_PASSWORD"]
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "simulate", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"CAMERA_PASSWORD": "top-secret"},
    ) as process:
        assert process.stdout
        urls = [process.stdout.readline().strip() for _ in range(2)]
        for url in urls:
            entry = url.replace("rtsp://", "rtsp://u:top-secret@")
            with av.open(entry, options={"rtsp_transport": "tcp", "timeout": "20000000"}) as container:
                assert container.streams.video[0].width == 192
        process.send_signal(signal.SIGTERM)
        rest, logged = process.communicate(timeout=30)

    assert process.returncode == 0
    assert [url.rsplit("/", 1)[1] for url in urls] == ["h2640", "h2641"]
    assert rest == ""
    assert "client_plays" in logged
    assert "top-secret" not in logged
