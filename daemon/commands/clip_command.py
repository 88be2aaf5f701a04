"""`leptond clip`: any range of a camera's recordings as one MP4, also while the daemon records."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

from ..clock import NS_PER_S, SystemClock, iso_utc
from ..config.config import load_service
from ..errors import MediaError
from ..recording.clips import cut_clip
from ..recording.recording_index import RecordingIndex, open_existing

_AGO: Final = re.compile(r"-(?P<number>\d+(?:\.\d+)?)(?P<unit>[smhd])")
_UNIT_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MAX_UTC_NS: Final = 2**63 - 1  # SQLite's integers
_TIME_HELP: Final = "2026-01-31T14:05:00Z, or -5m, -30s, -2h, -1d for so long ago, or now"


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to `leptond`."""
    command = subparsers.add_parser("clip", help="cut a range of a camera's recordings into one MP4")
    # Without this argparse takes -5m for an option.
    command._negative_number_matcher = _AGO  # noqa: SLF001 - no public way
    command.add_argument("--camera", required=True, help="name of the camera")
    command.add_argument("--from", dest="start", required=True, type=_argument, metavar="TIME", help=_TIME_HELP)
    command.add_argument("--to", dest="end", default="now", type=_argument, metavar="TIME", help=f"{_TIME_HELP} (now)")
    command.add_argument("--pin", action="store_true", help="keep what was recorded in this range for ever")
    command.add_argument("out", type=Path, help="MP4 file to write")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Cut, and print what came out.

    Raises MediaError when nothing was recorded in the range, ConfigError for the configuration.
    """
    index = open_existing(load_service(args.config).state_dir)
    try:
        clip = cut_clip(_segments(index, args), args.start, args.end, args.out)
        pinned = index.pin(args.camera, args.start, args.end) if args.pin else 0
    finally:
        index.close()
    length_s = (clip.end_utc_ns - clip.start_utc_ns) / NS_PER_S
    print(f"{clip.path}: {iso_utc(clip.start_utc_ns)} + {length_s:.1f} s, {clip.codec}, {clip.size_bytes} bytes")
    if args.pin:
        print(f"pinned {pinned} files")
    return 0


def _segments(index: RecordingIndex, args: argparse.Namespace) -> list[Path]:
    if args.end <= args.start:
        raise MediaError(f"--to {iso_utc(args.end)} must be after --from {iso_utc(args.start)}")
    known = index.cameras()
    if args.camera not in known:
        raise MediaError(f"camera {args.camera} has no recordings; there are some of: {', '.join(known) or 'none'}")
    rows = index.segments(args.camera, args.start, args.end)
    if not rows:
        raise MediaError(
            f"camera {args.camera} has no recording between {iso_utc(args.start)} and {iso_utc(args.end)}"
            + _what_there_is(index, args.camera)
        )
    return [index.state_dir / row.path for row in rows]


def _what_there_is(index: RecordingIndex, camera: str) -> str:
    oldest, latest = index.segments(camera, 0, MAX_UTC_NS)[:1], index.latest_segment(camera)
    if not oldest or latest is None:
        return "; all that is left are clips and snapshots of events"
    until = iso_utc(latest.end_utc_ns) if latest.complete else "now"
    return f"; there is something from {iso_utc(oldest[0].start_utc_ns)} until {until}"


def _argument(text: str) -> int:
    """Return UTC nanoseconds, for argparse."""
    try:
        return parse_time(text, SystemClock().utc_ns())
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; give {_TIME_HELP}") from exc


def parse_time(text: str, now_utc_ns: int) -> int:
    """Return UTC nanoseconds of an ISO 8601 time (UTC unless it says otherwise), of `-5m` or of `now`.

    Raises ValueError when it is none of them.
    """
    if text == "now":
        return now_utc_ns
    if ago := _AGO.fullmatch(text):
        return _clamped(now_utc_ns - Decimal(ago["number"]) * _UNIT_S[ago["unit"]] * NS_PER_S)
    time = datetime.fromisoformat(text)
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time
    return _clamped(int(time.timestamp() * 1000) * (NS_PER_S // 1000))


def _clamped(utc_ns: int | Decimal) -> int:
    """Return the nearest time that the index can be asked for."""
    return int(min(max(utc_ns, 0), MAX_UTC_NS))
