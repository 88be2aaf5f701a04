"""Runs the whole daemon as its user does, on video that the test makes, for tests of the process chain."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np

from daemon.errors import WireTimeout
from daemon.supervision.control import NotRunningError, ask

from .children import wait_for
from .models import bright_box_model

ROOT = Path(__file__).parents[2]
FPS, WIDTH, HEIGHT = 10, 192, 128


def lamp_clip(path: Path, seconds: int = 4) -> Path:
    """Write H.264 of a dark picture through which a bright square wanders; the square is what the model boxes."""
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=FPS, options={"g": str(FPS), "bf": "0", "preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(seconds * FPS):
            image = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
            left = 10 + 2 * number % (WIDTH - 60)
            image[40:80, left : left + 40] = 255
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
    return path


class RunningDaemon:
    """`leptond run` in a folder; stopped, or killed, at the end of its `with` block."""

    def __init__(self, folder: Path, config: str = "", cameras: dict[str, str] | None = None) -> None:
        self.folder, self.config = folder, folder / "config.toml"
        self.runtime_dir = folder / "run"
        self.model = bright_box_model(folder / "model.onnx")
        self.write_config(config, cameras or {})
        self.log = folder / "log"
        self._manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._manager.bind(str(folder / "notify"))
        self._manager.setblocking(False)
        self._notified = b""
        self.process: subprocess.Popen[bytes] | None = None

    def write_config(self, config: str, cameras: dict[str, str]) -> None:
        """Write a configuration of this folder; `cameras` maps names to the keys of their tables."""
        tables = "".join(f"[cameras.{name}]\n{keys}\n" for name, keys in cameras.items())
        self.config.write_text(
            f'[service]\nstate_dir = "{self.folder}/state"\nruntime_dir = "{self.runtime_dir}"\nlog_format = "json"\n'
            f'[detector]\nmodel = "{self.model}"\nthreads = 1\ndevice = "cpu"\n'
            f'[alerts]\npublish = "ipc://{self.folder}/pub"\nreplay = "ipc://{self.folder}/rep"\n'
            f'[metrics]\nlisten = ""\n{tables}{config}\n'
        )

    def start(self) -> None:
        """Start it; it is not ready yet."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "daemon.cli", "run", "--config", str(self.config)],
                cwd=ROOT,
                env={**os.environ, "NOTIFY_SOCKET": str(self.folder / "notify")},
                stdin=subprocess.DEVNULL,
                stderr=log,
                stdout=log,
            )

    def status(self) -> dict[str, Any]:
        """Return the status, {} while there is none yet; fail when the daemon has ended."""
        assert self.process is not None
        assert self.process.poll() is None, f"ended with {self.process.poll()}: {self.log.read_text()[-3000:]}"
        try:
            status: dict[str, Any] = ask(self.runtime_dir, "status")["status"]
        except (NotRunningError, WireTimeout):
            return {}
        return status

    def camera(self, name: str) -> dict[str, Any]:
        """Return a camera's part of the status, {} while there is none."""
        found = [camera for camera in self.status().get("cameras", []) if camera["name"] == name]
        return found[0] if found else {}

    def pids(self) -> dict[str, int]:
        """Return name → process id of the children that have beaten once."""
        processes = self.status().get("processes", [])
        return {process["name"]: process["pid"] for process in processes if process["state"] == "running"}

    def wait_until_seen(self, camera: str) -> None:
        """Wait until pictures of the camera go through the detector."""

        def seen() -> bool:
            found = self.camera(camera)
            return bool(found) and found["state"] == "seen" and found["fps_inferred"] > 0

        wait_for(seen, f"camera {camera} is seen", 120)

    def wait_for_another(self, name: str, pid: int) -> None:
        """Wait until the child `name` runs, and beats, with another process id than `pid`."""
        wait_for(lambda: self.pids().get(name, pid) != pid, f"another {name}")

    def notified(self, line: str) -> bool:
        """Return whether systemd would have been told `line` by now."""
        while True:
            try:
                self._notified += self._manager.recv(4096) + b"\n"
            except BlockingIOError:
                return line.encode() in self._notified.splitlines()

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Return the log lines of an event."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def wait(self) -> int:
        """Return the exit code of a daemon that ends by itself."""
        assert self.process is not None
        return self.process.wait(timeout=120)

    def signal(self, number: signal.Signals) -> None:
        """Send the supervisor a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> int:
        """Stop it as systemd does, and return the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=60)
        self._manager.close()
