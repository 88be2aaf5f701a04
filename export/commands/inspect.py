"""`lepton-export inspect`: what an ONNX file is, of the contract or foreign."""

from __future__ import annotations

import argparse
import sys

from ..files import model_file

ABOUT = """\
Say what an ONNX file is: inputs, outputs, opset, size, parameters; for a model of the contract its metadata and labels,
for a foreign one the family that `adopt` would take it for, or the reason why none fits.

  lepton-export inspect model.onnx"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "inspect",
        help="say what an ONNX file is",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=model_file, help="any ONNX file, or lepton-nano for the shipped one")
    parser.add_argument("--json", action="store_true", help="print one JSON object, for scripts")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the report."""
    import json

    from ..inspection import inspect, to_text

    report = inspect(args.file)
    sys.stdout.write(json.dumps(report, indent=2) + "\n" if args.json else to_text(report))
    return 0
