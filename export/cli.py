"""The command `lepton-export`: a table of subcommands, one module of `commands/` each, and the exit codes.

0 done · 1 the user can mend it (one line says how) · 2 wrong arguments · 130 interrupted, nothing half-written.
Heavy libraries are imported inside the commands, so that `--help` is instant and torch is only loaded by training.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import TYPE_CHECKING

from .errors import LabError

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = (
    "train",
    "evaluate",
    "distill",
    "torch",
    "adopt",
    "inspect",
    "catalogue",
    "verify",
    "quantize",
    "prune",
    "explain",
)
ABOUT = """\
The laboratory of leptond: gets a detector ready for the daemon.

  own model       train -> evaluate -> verify -> (prune, quantize)
  published model catalogue fetch -> adopt -> verify -> (quantize)
  any file        inspect

Every command explains itself: lepton-export COMMAND --help"""


def build_parser(commands: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """Return the parser with all subcommands; each stores its function as `run`."""
    parser = argparse.ArgumentParser(
        prog="lepton-export", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in commands:
        importlib.import_module(f".commands.{name}", __package__).register(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    try:
        args = build_parser().parse_args(argv)
        code: int | None = args.run(args)
    except LabError as exc:
        sys.stderr.write(f"lepton-export: {exc}\n")
        return 1
    except OSError as exc:  # a place that cannot be read or written; the system's words name it
        sys.stderr.write(f"lepton-export: {exc.filename or exc}: {exc.strerror or 'failed'}; choose another place\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("lepton-export: interrupted; nothing was left half-written\n")
        return 130
    return code or 0


if __name__ == "__main__":
    sys.exit(main())
