"""`leptond run` as a process, with what a user sees of it: status, alerts, files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..daemon.children import wait_for

LEPTOND = [sys.executable, "-m", "daemon.cli"]
Message = dict[str, Any]


def config_text(folder: Path, model: Path, cameras: dict[str, str], more: str = "") -> str:
    """Return a configuration for `folder`: cameras by name and URL, one rule for everything the model knows."""
    return "\n".join(
        [
            f'[service]\nstate_dir = "{folder}/state"\nruntime_dir = "{folder}/run"',
            f'[detector]\nmodel = "{model}"\ndevice = "cpu"\nmax_age_ms = 5000',
            f'[alerts]\npublish = "ipc://{folder}/pub"\nreplay = "ipc://{folder}/rep"',
            "[recording]\npre_roll_s = 2\npost_roll_s = 1\nsegment_s = 5\nmin_free_gb = 0",
            '[metrics]\nlisten = ""',
            "[health]\ncamera_down_s = 2",
            '[[rules]]\nname = "anything"\nlabels = ["*"]\nmin_score = 0.4\nmin_dwell_s = 0.2\ncooldown_s = 0',
            *(f'[cameras.{name}]\nurl = "{url}"\ndetect_fps = 10\ntimeout_s = 2' for name, url in cameras.items()),
            more,
        ]
    )


class Daemon:
    """A daemon that runs in `folder`, and a subscriber that follows it from the first alert on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.toml"
        self.messages: list[Message] = []
        self.process = self._start()
        self._tail = subprocess.Popen(
            [*LEPTOND, "tail", "--config", str(self.config), "--from", "0"], stdout=subprocess.PIPE, text=True
        )
        self._reading = threading.Thread(target=self._read_tail, daemon=True)
        self._reading.start()

    def _start(self) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen([*LEPTOND, "run", "--config", str(self.config)], stdout=log, stderr=log)

    def _read_tail(self) -> None:
        assert self._tail.stdout is not None
        with self._tail.stdout as lines:
            for line in lines:
                self.messages.append(json.loads(line))

    def log(self) -> str:
        """Return what the daemon has logged."""
        return (self.folder / "log").read_text()

    def status(self) -> Message | None:
        """Return `leptond status --json`, None while the daemon does not answer."""
        asked = subprocess.run(
            [*LEPTOND, "status", "--json", "--config", str(self.config)], capture_output=True, check=False, timeout=60
        )
        report: Message | None = json.loads(asked.stdout) if asked.returncode == 0 else None
        return report

    def wait_for(self, condition: Callable[[], Any], what: str, deadline_s: float = 90) -> Any:
        """Return the first true value; fail with the end of the daemon's log."""

        def checked() -> Any:
            assert self.process.poll() is None, f"the daemon ended with {self.process.poll()}:\n{self.log()[-3000:]}"
            return condition()

        try:
            return wait_for(checked, what, deadline_s)
        except AssertionError as exc:
            kinds = [(m.get("type"), m.get("kind") or m.get("stage"), m.get("camera")) for m in self.messages]
            raise AssertionError(f"{exc}\nmessages: {kinds}\nlog: {self.log()[-3000:]}") from None

    def find(self, **wanted: Any) -> Message | None:
        """Return the first message that has all these fields."""
        return next((m for m in list(self.messages) if all(m.get(k) == v for k, v in wanted.items())), None)

    def wait_message(self, **wanted: Any) -> Message:
        """Wait for a message with these fields."""
        found: Message = self.wait_for(lambda: self.find(**wanted), f"message {wanted}")
        return found

    def pids(self) -> dict[str, int]:
        """Return the pid of every process of the table that runs."""
        report = self.status()
        return {p["name"]: p["pid"] for p in report["processes"] if p["pid"]} if report else {}

    def reload(self) -> None:
        """Ask for the configuration to be read again."""
        self.process.send_signal(signal.SIGHUP)

    def kill_everything(self) -> None:
        """SIGKILL the supervisor and all that it started, as a power cut would."""
        pids = [*self.pids().values(), self.process.pid]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.process.wait(30)

    def restart(self) -> None:
        """Start again after the end, as systemd does."""
        self.process = self._start()

    def stop(self) -> int:
        """Stop in order; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.process.kill()
        self._tail.terminate()
        self._tail.wait(30)
        self._reading.join(30)


def journaled(folder: Path) -> list[Message]:
    """Return all that the journal holds, by number."""
    from daemon.events.journal import read_entries

    return [{"seq": e.seq, **json.loads(e.payload)} for e in read_entries(folder / "state" / "journal.db")]
