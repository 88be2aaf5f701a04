"""H.264/H.265 packets in the shape that MP4 wants: NAL units behind a length, not behind a start code.

Cameras send start codes (Annex B); the muxer converts only when the stream's header is in that shape as well, and ours
comes from an MP4 header. ISO/IEC 14496-15 §5.3.
"""

from __future__ import annotations

from typing import Final

_START_CODE: Final = b"\x00\x00\x01"
_LENGTH_BYTES: Final = 4


def length_prefixed(data: bytes) -> bytes:
    """Return `data` with every NAL unit behind its length in four bytes; unchanged when it is so already."""
    if not data.startswith((b"\x00\x00\x01", b"\x00\x00\x00\x01")) or _is_length_prefixed(data):
        return data
    units = []
    start = data.find(_START_CODE)
    while start >= 0:
        start += len(_START_CODE)
        end = data.find(_START_CODE, start)
        # Zeros before a start code belong to it, and none may end a NAL unit.
        unit = data[start : end if end >= 0 else len(data)].rstrip(b"\x00")
        if unit:
            units.append(len(unit).to_bytes(_LENGTH_BYTES, "big") + unit)
        start = end
    return b"".join(units)


def _is_length_prefixed(data: bytes) -> bool:
    """Tell whether the lengths lead exactly to the end: `00 00 01 2c` may be a start code or 300 bytes."""
    at = 0
    while at + _LENGTH_BYTES <= len(data):
        size = int.from_bytes(data[at : at + _LENGTH_BYTES], "big")
        if size == 0:
            return False
        at += _LENGTH_BYTES + size
    return at == len(data)
