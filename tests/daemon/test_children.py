"""A child process between its parent's wishes and its parent's end."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from daemon.config.settings import Rule, Settings
from daemon.supervision.children import settings_bytes

from .children import start_child, wait_for

ROOT = Path(__file__).parents[2]
ORPHAN = """
import os, sys
from pathlib import Path
from daemon.config.settings import Settings
from daemon.supervision.children import ChildProcess
settings = Path(sys.argv[1]).read_bytes()
print(ChildProcess("events", "events", settings).pid, flush=True)
os._exit(0)
"""


def settings_in(folder: Path, **parts: object) -> Settings:
    """Return settings of an events process in a folder of its own."""
    places = {"publish": f"ipc://{folder}/pub", "replay": f"ipc://{folder}/rep"}
    return Settings.model_validate(
        {"service": {"state_dir": str(folder), "runtime_dir": str(folder)}, "alerts": places, **parts}
    )


def test_a_child_whose_parent_died_before_it_had_begun_ends(tmp_path: Path) -> None:
    """Nobody would ever tell it: its first look at its parent comes too late."""
    (tmp_path / "settings").write_bytes(settings_bytes(settings_in(tmp_path)))

    out = subprocess.run(
        [sys.executable, "-c", ORPHAN, str(tmp_path / "settings")], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )

    pid = int(out.stdout)
    try:
        wait_for(lambda: not _lives(pid), "the orphan's end")
    finally:
        if _lives(pid):
            os.kill(pid, signal.SIGKILL)


def test_settings_that_come_while_a_child_starts_neither_kill_it_nor_get_lost(tmp_path: Path) -> None:
    """A storm of reloads: SIGHUP is kept until the child listens, and half-written settings are no error."""
    with start_child("events", "events", settings_in(tmp_path)) as child:
        child.reload(settings_in(tmp_path))
        child.wait_until_beating()
        for number in range(50):
            rules = tuple(Rule(name=f"r{i}", labels=("person",)) for i in range(number % 7))
            child.reload(settings_in(tmp_path).model_copy(update={"rules": rules}))

        assert child.stop() == 0


def test_a_child_that_is_still_starting_ends_at_once_when_asked(tmp_path: Path) -> None:
    """There is nothing to drain, and a model may load for minutes."""
    with start_child("events", "events", settings_in(tmp_path)) as child:
        assert child.stop() == -signal.SIGTERM


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
