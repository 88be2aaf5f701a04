"""`lepton-export verify`: proves that a model may watch; the exit code says pass (0) or fail (1)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import LabError
from ..files import model_file
from .adopt import add_pixel_arguments

if TYPE_CHECKING:
    from ..runtime import Detector
    from ..verification.trial import Trial

ABOUT = """\
Check a model of the contract before it watches anything: contract, parity with its source, the same rows alone and in
any batch, nothing seen on black or white, strange sizes, determinism, its known answer, latency. Prints a table;
exits 0 when all passed and 1 when one failed.

  lepton-export verify model.onnx
  lepton-export verify model.onnx --source yolox_nano.onnx --pictures my-recordings/
  lepton-export verify model.onnx --picture bus.jpg     # also stores it as the known answer for the daemon"""

WORDS = {True: "pass", False: "FAIL", None: "skip"}


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "verify",
        help="prove that a model may watch",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=model_file, help="a model of the contract, or lepton-nano for the shipped one")
    parser.add_argument("--source", type=Path, help="the file it was made from: published ONNX or a contract model")
    parser.add_argument("--pictures", type=Path, nargs="+", help="pictures, recordings or folders to check with")
    parser.add_argument("--picture", type=Path, help="a picture with clear targets to store as the known answer")
    parser.add_argument("--device", choices=("cpu", "cuda", "tensorrt"), default="cpu", help="where to run")
    parser.add_argument("--buckets", type=buckets, default=(1, 2, 4, 8), help="batch sizes to time (default: 1,2,4,8)")
    add_pixel_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run all checks, then store the known answer if one was asked for and nothing failed."""
    from ..adopt.family import PixelOverrides
    from ..devices import open_detector
    from ..verification.trial import SCENES, Trial, synthetic_scenes

    if not args.source and (args.channels or args.mean or args.std):
        raise LabError("--channels, --mean and --std say how --source was trained; give it, too")
    detector = open_detector(args.model, args.device)
    pictures = synthetic_scenes()
    if args.pictures:
        from ..frames import sample_pictures

        pictures = sample_pictures(args.pictures, SCENES) + pictures[: SCENES // 2]
    pixels = PixelOverrides(channels=args.channels, mean=args.mean, std=args.std)
    failed = _run_checks(Trial(args.model, detector, pictures, args.source, pixels, args.buckets))
    if args.picture and not failed:
        _store_answer(args.model, detector, args.picture)
    return 1 if failed else 0


def _run_checks(trial: Trial) -> int:
    """Print one line a check as it ends; return how many failed."""
    from ..verification.checks import CHECKS

    failed = 0
    for number, check in enumerate(CHECKS, start=1):
        if sys.stderr.isatty():
            sys.stderr.write(f"\r[{number}/{len(CHECKS)}] {check.name} …\033[K\r")
        passed, detail = check.run(trial)
        failed += passed is False
        sys.stdout.write(f"{WORDS[passed]}  {check.name:14} {detail}\n")
        if passed is False:
            sys.stdout.write(f"      {'':14} why it matters: {check.why}\n")
    sys.stdout.write(f"{trial.path}: {'passed' if not failed else f'{failed} of {len(CHECKS)} checks failed'}\n")
    return failed


def _store_answer(path: Path, detector: Detector, picture: Path) -> None:
    from ..frames import read_picture
    from ..verification import known_answer

    record = known_answer.make(detector, [read_picture(picture)])
    known_answer.store(path, record)
    sys.stdout.write(f"stored {len(record['detections'])} boxes on {picture} as the known answer\n")


MOST_AT_ONCE = 256  # pictures; more would be a test of memory


def buckets(text: str) -> tuple[int, ...]:
    """Parse 1,2,4."""
    parts = text.split(",")
    if all(part.isdecimal() and 0 < int(part) <= MOST_AT_ONCE for part in parts):
        return tuple(int(part) for part in parts)
    raise argparse.ArgumentTypeError(f"{text!r} is not a list of batch sizes up to {MOST_AT_ONCE} such as 1,2,4,8")
