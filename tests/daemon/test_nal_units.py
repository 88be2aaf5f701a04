"""Start codes become lengths; lengths stay."""

from __future__ import annotations

import pytest

from daemon.recording.nal_units import length_prefixed

SPS, IDR = b"\x67\x42\x00\x1e", b"\x65\x88\x84" + b"\x11" * 300


def lengths(*units: bytes) -> bytes:
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x00\x00\x00\x01" + SPS + b"\x00\x00\x00\x01" + IDR, lengths(SPS, IDR)),
        (b"\x00\x00\x01" + SPS + b"\x00\x00\x01" + IDR, lengths(SPS, IDR)),
        (b"\x00\x00\x01" + SPS + b"\x00\x00\x00\x01" + IDR + b"\x00\x00", lengths(SPS, IDR)),
        (lengths(SPS, IDR), lengths(SPS, IDR)),
        (lengths(IDR), lengths(IDR)),
        (lengths(b"\x65" * 300), lengths(b"\x65" * 300)),
        (b"", b""),
    ],
    ids=[
        "long codes",
        "short codes",
        "mixed, zeros behind",
        "two lengths",
        "one length",
        "length like a code",
        "empty",
    ],
)
def test_every_unit_stands_behind_its_length(data: bytes, expected: bytes) -> None:
    """A length of 256 to 511 begins like a start code and must not be taken for one."""
    assert length_prefixed(data) == expected
