"""`leptond simulate`: arguments in, cameras served until Ctrl-C or SIGTERM."""

from __future__ import annotations

import os
import re
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..log import configure_logging, register_secret

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from .auth import Credentials

DEFAULT_PORT = 8554


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to `leptond`; `run(args)` is its function."""
    parser = subparsers.add_parser(
        "simulate",
        help="serve video files as looping RTSP cameras",
        description="Serves video files as looping RTSP cameras over TCP, H.264 and H.265 with AAC, not re-encoded.",
    )
    parser.add_argument("clips", nargs="+", type=Path, metavar="CLIP", help="video file (MP4, MKV, …)")
    parser.add_argument("--bind", default="127.0.0.1", metavar="ADDRESS", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 lets the system choose (%(default)s)")
    parser.add_argument("--name", help="name of the cameras instead of the files' names; numbered if there are many")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="serve each clip as N cameras (%(default)s)")
    parser.add_argument("--user", help="ask clients for this user")
    parser.add_argument("--password-env", metavar="VARIABLE", help="environment variable that holds the password")
    parser.add_argument("--auth", choices=["basic", "digest", "both"], default="both", help="schemes (%(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print each camera's address once it can be opened, serve until a signal ends it. Raises ConfigError."""
    from .simulator import Simulator

    clips = name_cameras(args.clips, args.name, args.repeat)
    credentials = _credentials(args)
    configure_logging("info", "auto", process="simulate")
    stopped = threading.Event()
    received: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda signum, _: received.append(signum))
    with Simulator(clips, host=args.bind, port=args.port, credentials=credentials) as simulator:
        for url in simulator.urls.values():
            print(url, flush=True)
        while not received:
            stopped.wait(0.2)
    return 0


def name_cameras(clips: Sequence[Path], name: str | None, repeat: int) -> dict[str, Path]:
    """Clip by camera name: the file's name or `name`, with a number behind it when there are several of it.

    Raises ConfigError when two cameras would have one name.
    """
    if repeat < 1:
        raise ConfigError(f"--repeat {repeat}: must be 1 or more")
    stems = [re.sub(r"[^A-Za-z0-9_.-]", "_", name or clip.stem) for clip in clips]
    named: dict[str, Path] = {}
    for index, (stem, clip) in enumerate(zip(stems, clips, strict=True)):
        numbers = range(index * repeat, (index + 1) * repeat) if name else range(repeat)
        alone = repeat == 1 and (not name or len(clips) == 1)
        for camera in [stem] if alone else [f"{stem}{number}" for number in numbers]:
            if camera in named:
                raise ConfigError(f"{clip} and {named[camera]} would both be /{camera}; give --name")
            named[camera] = clip
    return named


def _credentials(args: argparse.Namespace) -> Credentials | None:
    from .auth import Credentials

    if not args.user and not args.password_env:
        return None
    if not args.user or not args.password_env:
        raise ConfigError("--user and --password-env belong together")
    password = os.environ.get(args.password_env)
    if password is None:
        raise ConfigError(f"--password-env {args.password_env}: no such environment variable")
    register_secret(password)
    return Credentials(args.user, password, args.auth)
