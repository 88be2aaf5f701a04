"""The demo's folder: what it removes and what it leaves alone. The demo itself runs in tests/e2e."""

from pathlib import Path

import pytest

from daemon.commands.demo import fresh_folder, write_config
from daemon.errors import MediaError


def test_what_an_earlier_demo_left_is_removed(tmp_path: Path) -> None:
    """The demo's own configuration marks the folder as its own."""
    folder = fresh_folder(tmp_path / "demo")
    write_config(folder, "rtsp://127.0.0.1/gate")
    (folder / "state").mkdir()

    assert list(fresh_folder(tmp_path / "demo").iterdir()) == []


def test_a_folder_with_a_users_configuration_is_not_touched(tmp_path: Path) -> None:
    """`leptond demo --folder /etc/leptond` must not remove anybody's work."""
    (tmp_path / "config.toml").write_text("[service]\n")
    (tmp_path / "precious").write_text("x")

    with pytest.raises(MediaError, match="choose another with --folder"):
        fresh_folder(tmp_path)

    assert (tmp_path / "precious").is_file()
