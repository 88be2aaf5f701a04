"""`leptond check`: validates the configuration and, with --probe, opens every camera and says what it delivers."""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor

from ..config.config import load
from ..config.settings import Camera
from ..errors import StreamError
from ..messages import StreamInfo

MAX_PARALLEL = 32


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to `leptond`."""
    parser = subparsers.add_parser("check", help="validate the configuration; with --probe, try every camera")
    parser.add_argument("--probe", action="store_true", help="open every enabled camera and say what it delivers")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print one line a camera; return 1 when a camera that was probed delivers nothing."""
    settings = load(args.config)
    enabled = {name: camera for name, camera in settings.cameras.items() if camera.enabled}
    print(f"{args.config}: valid, {len(enabled)} cameras, {len(settings.rules)} rules")
    if not args.probe or not enabled:
        return 0
    with ThreadPoolExecutor(min(MAX_PARALLEL, len(enabled))) as pool:
        results = list(pool.map(_probe, enabled.values()))
    for name, (_, text) in zip(enabled, results, strict=True):
        print(f"{name}: {text}")
    return 0 if all(works for works, _ in results) else 1


def _probe(camera: Camera) -> tuple[bool, str]:
    streams = {"record": camera.url, "detect": camera.detect_url} if camera.detect_url else {"": camera.url}
    from ..camera.capture import probe

    texts, works = [], True
    for stream, url in streams.items():
        try:
            text = describe(probe(camera, url))
        except StreamError as exc:
            works, text = False, f"FAILED ({exc.reason}): {exc}"
        texts.append(f"{stream}: {text}" if stream else text)
    return works, " · ".join(texts)


def describe(info: StreamInfo) -> str:
    """Return `h264 1280x720 25 fps, audio aac`."""
    fps = f" {info.fps:.4g} fps" if info.fps else ""
    return f"{info.codec} {info.width}x{info.height}{fps}, " + (f"audio {info.audio}" if info.audio else "no audio")
