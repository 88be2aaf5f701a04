"""Numbers and sizes on the command line: argparse types that say what is wanted when they get something else."""

from __future__ import annotations

import argparse


def whole(text: str) -> int:
    """Parse a whole number of at least 1."""
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r}: a whole number from 1 on")


def natural(text: str) -> int:
    """Parse a whole number of at least 0."""
    if text.isdecimal():
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r}: a whole number from 0 on")


def share(text: str) -> float:
    """Parse a number of 0 to 1."""
    value = number(text)
    if value <= 1:
        return value
    raise argparse.ArgumentTypeError(f"{text!r}: a share, from 0 to 1")


def number(text: str) -> float:
    """Parse a number of at least 0."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if 0 <= value < float("inf"):
        return value
    raise argparse.ArgumentTypeError(f"{text!r}: a number from 0 on")


def scale(text: str) -> float:
    """Parse a largest scale: 1 or more."""
    value = number(text)
    if value >= 1:
        return value
    raise argparse.ArgumentTypeError(f"{text!r}: a scale from 1 on; 1 = a picture just fits")


def sizes(text: str) -> tuple[int, ...]:
    """Parse 256,320 as picture sizes."""
    parts = text.split(",")
    if all(part.isdecimal() and int(part) > 0 and int(part) % 32 == 0 for part in parts):
        return tuple(map(int, parts))
    raise argparse.ArgumentTypeError(f"{text!r}: write multiples of 32 as 256,320")


def size(text: str) -> tuple[int, int]:
    """Parse 416x320 as (width, height), both multiples of 32."""
    width, height = any_size(text)
    if width % 32 == 0 and height % 32 == 0:
        return width, height
    raise argparse.ArgumentTypeError(f"{text!r}: write multiples of 32 as 416x320")


def any_size(text: str) -> tuple[int, int]:
    """Parse 640x360 as (width, height)."""
    parts = text.lower().split("x")
    if len(parts) == 2 and all(part.isdecimal() and int(part) > 0 for part in parts):
        return int(parts[0]), int(parts[1])
    raise argparse.ArgumentTypeError(f"{text!r} is no size; write it as 640x480")


def positive(text: str) -> float:
    """Parse a number above 0."""
    value = number(text)
    if value > 0:
        return value
    raise argparse.ArgumentTypeError(f"{text!r}: a number above 0")
