"""`lepton-export catalogue`: published models under permissive licences, listed and fetched."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

ABOUT = """\
List well-known detectors under permissive licences, with their COCO mAP as published, and fetch one. A download is
verified by its hash, goes on where it broke off, and can then be adopted.

  lepton-export catalogue
  lepton-export catalogue fetch yolox-s

Where the list knows no hash ("yours"), say the one you trust with --sha256."""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its `fetch`."""
    parser = subparsers.add_parser(
        "catalogue",
        help="list and fetch published models",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    inner = parser.add_subparsers(metavar="fetch")
    fetch = inner.add_parser("fetch", help="download one model", description="Download one model of the catalogue.")
    fetch.add_argument("name", help="its name in the list")
    fetch.add_argument("--out", type=Path, help="where to write (default: NAME.onnx)")
    fetch.add_argument("--sha256", type=sha256, help="the hash that the file must have")
    fetch.set_defaults(run=run_fetch)


def run(args: argparse.Namespace) -> int:  # noqa: ARG001
    """Print the list."""
    from ..catalogue import to_text

    sys.stdout.write(to_text())
    return 0


def run_fetch(args: argparse.Namespace) -> int:
    """Fetch one model and say how to adopt it."""
    from ..catalogue import find
    from ..errors import LabError
    from ..fetch import fetch

    entry = find(args.name)
    wanted = args.sha256 or entry.sha256
    if not wanted:
        raise LabError(f"{entry.name}: the catalogue knows no hash of {entry.url}; say the one you trust with --sha256")
    target = args.out or Path(f"{entry.name}.onnx")
    fetch(entry.url, target, wanted)
    sys.stdout.write(f"{target}: {target.stat().st_size / 1e6:.1f} MB, {entry.licence}, sha256 verified\n")
    sys.stdout.write(f"next: lepton-export adopt {target} {entry.adopt} --licence {entry.licence}\n")
    return 0


def sha256(text: str) -> str:
    """Parse 64 hexadecimal digits."""
    if re.fullmatch(r"[0-9a-fA-F]{64}", text):
        return text.lower()
    raise argparse.ArgumentTypeError(f"{text!r} is no sha256; it has 64 hexadecimal digits")
