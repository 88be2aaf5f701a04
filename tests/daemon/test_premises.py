"""The daemon's folders: made, writable, for one daemon alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.config.settings import Service
from daemon.errors import ConfigError
from daemon.supervision.premises import LOCK_NAME, prepare


def service(tmp_path: Path) -> Service:
    """Return folders that do not exist yet."""
    return Service(state_dir=tmp_path / "var" / "state", runtime_dir=tmp_path / "run")


def close(locks: tuple[int, ...]) -> None:
    """Let go of the locks."""
    for fd in locks:
        os.close(fd)


def test_folders_are_made_and_a_dead_daemons_sockets_swept(tmp_path: Path) -> None:
    """Missing parents are no error; what a killed daemon left does not fool anybody."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "stats.sock").touch()

    locks = prepare(service(tmp_path))

    assert (tmp_path / "var" / "state").is_dir()
    assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK_NAME]
    close(locks)


def test_a_second_daemon_is_refused_with_the_firsts_process_id(tmp_path: Path) -> None:
    """Two daemons must not write one journal, also when their runtime folders differ."""
    locks = prepare(service(tmp_path))
    other = Service(state_dir=tmp_path / "var" / "state", runtime_dir=tmp_path / "other")

    with pytest.raises(ConfigError, match=f"service.state_dir: another leptond .process {os.getpid()}."):
        prepare(other, patience_s=0)

    close(locks)
    close(prepare(other, patience_s=0))


def test_the_lock_holds_until_the_last_child_has_gone(tmp_path: Path) -> None:
    """A killed supervisor's children may still write; the next daemon waits for them."""
    locks = prepare(service(tmp_path))
    waits = [sys.executable, "-c", "input()"]
    with subprocess.Popen(waits, pass_fds=locks, stdin=subprocess.PIPE) as child:
        close(locks)

        with pytest.raises(ConfigError, match="another leptond"):
            prepare(service(tmp_path), patience_s=0)
        child.communicate(b"\n")

    close(prepare(service(tmp_path), patience_s=0))


def test_a_folder_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    """The error names the key and the folder."""
    (tmp_path / "var").touch()

    with pytest.raises(ConfigError, match=rf"service.state_dir: cannot make {tmp_path}/var/state: Not a directory"):
        prepare(service(tmp_path))
