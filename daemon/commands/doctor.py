"""`leptond doctor`: proves that the index of recordings and the files agree; changes neither."""

from __future__ import annotations

import argparse

from ..config.config import load_service
from ..recording.recording_check import Disagreement, disagreements
from ..recording.recording_index import open_existing


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to `leptond`."""
    command = subparsers.add_parser("doctor", help="check that recordings and their index agree")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print a table of the recordings and every disagreement; return 1 when there is one.

    Raises MediaError when there are no recordings, ConfigError for the configuration.
    """
    index = open_existing(load_service(args.config).state_dir)
    try:
        found = disagreements(index)
        totals = index.totals()
        rows = index.all()
    finally:
        index.close()
    print(f"{'camera':<20} {'segments':>9} {'other':>7} {'open':>5} {'pinned':>7} {'MB':>10}")
    for camera, (size_bytes, segments) in sorted(totals.items()):
        files = [row for row in rows if row.camera == camera]
        unfinished = sum(not row.complete for row in files)
        pinned = sum(row.pinned for row in files)
        numbers = f"{segments:>9} {len(files) - segments:>7} {unfinished:>5} {pinned:>7} {size_bytes / 1e6:>10.1f}"
        print(f"{camera:<20} {numbers}")
    for each in found:
        _show(each)
    print(f"{len(rows)} files, {len(found)} disagreements")
    return 1 if found else 0


def _show(found: Disagreement) -> None:
    print(f"{found.path}: {found.problem}\n    -> {found.remedy}")
