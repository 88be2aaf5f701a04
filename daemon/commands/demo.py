"""`leptond demo`: the whole main job on this machine alone, in a folder of its own.

Renders a scene, serves it as an RTSP camera, runs the daemon on it with the shipped model, prints alerts as they come.
The parts are the commands that a user runs, as processes; only the summary is the demo's own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

import av

from ..errors import LeptonError, MediaError, WireTimeout

SCENE_FPS: Final = 10
SCENE_S: Final = 20.0
START_S: Final = 60.0  # how long a part may take to start on a slow machine
STOP_S: Final = 30.0
MIN_SCORE: Final = 0.4

MARK: Final = "# Written by `leptond demo`."  # a folder with it is the demo's own, and may go
CONFIG: Final = """\
{mark}
[service]
state_dir = "{folder}/state"
runtime_dir = "{folder}/run"

[alerts]
publish = "ipc://{folder}/run/alerts.sock"
replay = "ipc://{folder}/run/replay.sock"

[recording]
mode = "continuous"
pre_roll_s = 2
post_roll_s = 2
min_free_gb = 0

[metrics]
listen = ""

[cameras.gate]
url = "{url}"

[[rules]]
name = "person-at-gate"
labels = ["person"]
min_score = {min_score}
cooldown_s = 2
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to `leptond`."""
    parser = subparsers.add_parser(
        "demo",
        help="run everything here on a simulated camera",
        description="Serves a rendered scene as an RTSP camera, runs the daemon on it with the shipped model, prints "
        "its alerts. Exit code 0 only if an alert, its snapshot and a playable clip really came.",
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="how long to run (%(default)s)")
    parser.add_argument("--folder", type=Path, default=Path(".demo"), help="where everything goes (%(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the demo; return 0 if alerts and clips came."""
    folder = fresh_folder(args.folder)
    print(f"Rendering the scene into {folder} …", flush=True)
    scene = render_scene(folder)
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(serve(scene))
        print(f"Camera:  {url}", flush=True)
        config = write_config(folder, url)
        stack.enter_context(daemon(config, folder / "leptond.log"))
        print(f"Daemon:  running for {args.seconds:.0f} s, its log is {folder}/leptond.log\n", flush=True)
        with follow(config) as events:
            print_for(events, args.seconds)
    return summarise(folder, events)


def fresh_folder(folder: Path) -> Path:
    """Return an empty folder; what an earlier demo left there is removed, anything else is not touched."""
    folder = folder.resolve()
    config = folder / "config.toml"
    if config.is_file() and config.read_text(errors="replace").startswith(MARK):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise MediaError(f"{folder} is not empty and no earlier demo; choose another with --folder")
    return folder


def render_scene(folder: Path) -> Path:
    """Write the scene's video and return its path."""
    from ..simulator.scene import write_scene

    scene = folder / "scene.mp4"
    write_scene(scene, seconds=SCENE_S, fps=SCENE_FPS)
    return scene


def write_config(folder: Path, url: str) -> Path:
    """Write the demo's configuration."""
    config = folder / "config.toml"
    config.write_text(CONFIG.format(mark=MARK, folder=folder, url=url, min_score=MIN_SCORE))
    return config


def command(*arguments: str) -> list[str]:
    """Return the command line of `leptond ARGUMENTS` in this very environment."""
    return [sys.executable, "-m", "daemon.cli", *arguments]


@contextlib.contextmanager
def running(process: subprocess.Popen[Any]) -> Iterator[subprocess.Popen[Any]]:
    """Give a process, ask it to end at the end, and insist when it does not."""
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def serve(scene: Path) -> Iterator[str]:
    """Serve the scene as a camera and give its URL."""
    arguments = command("simulate", str(scene), "--name", "gate", "--port", "0")
    with (
        (scene.parent / "camera.log").open("wb") as log,
        running(subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=log, text=True)) as simulator,
    ):
        spoken = select.select([simulator.stdout], [], [], START_S)[0] if simulator.stdout else []
        url = spoken[0].readline().strip() if spoken else ""
        if not url:
            raise WireTimeout("the simulated camera did not start; see camera.log in the demo's folder")
        yield url


@contextlib.contextmanager
def daemon(config: Path, log_path: Path) -> Iterator[None]:
    """Run the daemon, its log in a file."""
    with log_path.open("wb") as log:
        process = subprocess.Popen(command("run", "--config", str(config)), stderr=log, stdout=log)
        with running(process):
            wait_until_up(process, config, log_path)
            yield
    if process.returncode != 0:
        raise WireTimeout(f"the daemon ended with code {process.returncode}; see {log_path}")


def wait_until_up(process: subprocess.Popen[bytes], config: Path, log_path: Path) -> None:
    """Return once the daemon answers; raise WireTimeout when it ended or does not."""
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s and process.poll() is None:
        asked = subprocess.run(command("status", "--json", "--config", str(config)), capture_output=True, check=False)
        if asked.returncode == 0:
            return
        time.sleep(0.2)
    raise WireTimeout(f"the daemon did not start; see {log_path}")


class Followed:
    """The alerts that `leptond tail` printed so far."""

    def __init__(self, stream: IO[str]) -> None:
        self.messages: list[dict[str, Any]] = []
        self._stream = stream
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._stream:
            self.messages.append(json.loads(line))

    def join(self) -> None:
        """Wait until all that was printed is read."""
        self._thread.join(STOP_S)


@contextlib.contextmanager
def follow(config: Path) -> Iterator[Followed]:
    """Follow the alerts from the first on, as any subscriber would."""
    arguments = command("tail", "--config", str(config), "--from", "0")
    with running(subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)) as process:
        if process.stdout is None:
            raise AssertionError("a pipe was asked for")
        followed = Followed(process.stdout)
        yield followed
    followed.join()


def print_for(events: Followed, seconds: float) -> None:
    """Print messages as they come, for so long."""
    end_s, shown = time.monotonic() + seconds, 0
    while time.monotonic() < end_s:
        for message in events.messages[shown:]:
            shown += 1
            if text := line_of(message):
                print(text, flush=True)
        time.sleep(0.1)


def line_of(message: dict[str, Any]) -> str:
    """Return what a person wants to know of a message; empty for updates."""
    head = f"{message['utc'][11:19]}  #{message['seq']:<3}"
    match message:
        case {"type": "health"}:
            return f"{head} {message['kind']} {message['camera'] or ''} {message['reason']}".rstrip()
        case {"type": "alert", "stage": "opened"}:
            place = ", ".join(f"{part:.2f}" for part in message["relative_box"])
            return f"{head} ALERT  {message['label']} at {message['camera']}, score {message['score']:.2f}, box {place}"
        case {"type": "alert", "stage": "closed"}:
            return f"{head} closed {message['label']} at {message['camera']}: {message['reason']}"
        case {"type": "media", "error": None}:
            return f"{head} {message['kind']:<8} {message['path']}"
        case {"type": "media"}:
            return f"{head} no {message['kind']}: {message['error']}"
    return ""


def summarise(folder: Path, events: Followed) -> int:
    """Print what came and where it lies; return 0 only if everything did."""
    opened = [m for m in events.messages if m.get("type") == "alert" and m.get("stage") == "opened"]
    snapshots = sorted((folder / "state" / "media").rglob("*.jpg"))
    clips = [(clip, playable_s(clip)) for clip in sorted((folder / "state" / "media").rglob("*.mp4"))]
    print(f"\n{len(opened)} alerts, {len(snapshots)} snapshots, {len(clips)} clips")
    for snapshot in snapshots:
        print(f"  snapshot {os.path.relpath(snapshot)}")
    for clip, seconds in clips:
        print(f"  clip     {os.path.relpath(clip)} ({seconds:.1f} s)")
    if not opened or not snapshots or not any(seconds > 0 for _, seconds in clips):
        print(f"Something is missing; the daemon's log is {folder}/leptond.log", file=sys.stderr)
        return 1
    print("\nGo on: copy config.toml, put your camera's URL in, then `leptond check --probe` and `leptond run`.")
    return 0


def playable_s(clip: Path) -> float:
    """Return the seconds of video that really decode; 0 when it does not."""
    try:
        with av.open(str(clip)) as container:
            times = [frame.time for frame in container.decode(video=0) if frame.time is not None]
    except (av.FFmpegError, LeptonError):
        return 0.0
    return times[-1] - times[0] if times else 0.0
