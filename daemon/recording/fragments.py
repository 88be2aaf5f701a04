"""Where the fragments of an MP4 file lie, and how far a file that is being written, or was cut off, is whole.

Reads only the boxes' heads and the `moof` boxes (ISO/IEC 14496-12 §8.8), never the pictures. Offsets inside a fragment
are relative to its `moof`, so the header and any run of whole fragments make a valid file: `FragmentWindow` is one.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

_HEAD_BYTES: Final = 8
_LARGE_HEAD_BYTES: Final = 16
MAX_MOOF_BYTES: Final = 16 * 2**20  # a second of packets needs some kilobytes; more is no fragment of ours


@dataclass(frozen=True)
class Fragment:
    """A whole `moof` + `mdat`; `start_ticks` by track id, in the track's own time scale."""

    offset: int
    end: int
    start_ticks: dict[int, int]


@dataclass(frozen=True)
class Layout:
    """A file's header (everything before the first fragment) and its whole fragments."""

    header_end: int
    fragments: tuple[Fragment, ...]

    @property
    def whole_bytes(self) -> int:
        """End of the last whole fragment."""
        return self.fragments[-1].end if self.fragments else self.header_end


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int, int]]:
    """Yield (type, offset, offset of the content, end) of the boxes that lie wholly in `start`..`end`."""
    at = start
    while at + _HEAD_BYTES <= end:
        file.seek(at)
        size, kind = struct.unpack(">I4s", file.read(_HEAD_BYTES))
        content = at + _HEAD_BYTES
        if size == 1:
            size = int.from_bytes(file.read(_HEAD_BYTES), "big")
            content = at + _LARGE_HEAD_BYTES
        if size < content - at or at + size > end:
            return
        yield kind, at, content, at + size
        at += size


def _start_ticks(file: BinaryIO, moof: int, moof_end: int) -> dict[int, int]:
    """Return `tfdt` by track id of a `moof`'s content."""
    file.seek(moof)
    body = io.BytesIO(file.read(min(moof_end - moof, MAX_MOOF_BYTES)))
    result = {}
    for kind, _, start, end in _boxes(body, 0, len(body.getbuffer())):
        if kind != b"traf":
            continue
        inner = {box: body.getvalue()[at:to] for box, _, at, to in _boxes(body, start, end)}
        if b"tfhd" in inner and b"tfdt" in inner:
            track = int.from_bytes(inner[b"tfhd"][4:8], "big")
            wide = inner[b"tfdt"][0] == 1
            result[track] = int.from_bytes(inner[b"tfdt"][4 : 12 if wide else 8], "big")
    return result


def read_layout(path: Path) -> Layout:
    """Return where the header ends and where the whole fragments lie; a fragment cut off in writing is left out.

    Raises OSError when the file cannot be read.
    """
    fragments: list[Fragment] = []
    header_end = 0
    moof: tuple[int, dict[int, int]] | None = None
    with path.open("rb") as file:
        size_bytes = os.fstat(file.fileno()).st_size
        for kind, offset, content, end in _boxes(file, 0, size_bytes):
            if kind == b"moof":
                moof = (offset, _start_ticks(file, content, end))
            elif kind == b"mdat" and moof:
                fragments.append(Fragment(moof[0], end, moof[1]))
                moof = None
            elif not fragments and not moof:
                header_end = end
    return Layout(header_end, tuple(fragments))


class FragmentWindow:
    """A read-only file made of a file's header and its fragments from number `first` on."""

    def __init__(self, path: Path, layout: Layout, first: int = 0) -> None:
        self._file = path.open("rb")
        self._header_end = layout.header_end
        self._skip = layout.fragments[first].offset - layout.header_end if layout.fragments else 0
        self._size = layout.whole_bytes - self._skip
        self._at = 0

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes; fewer at the seam and at the end."""
        in_header = self._at < self._header_end
        limit = self._header_end if in_header else self._size
        self._file.seek(self._at if in_header else self._at + self._skip)
        data = self._file.read(max(0, min(size, limit - self._at)))
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to `offset`."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """Return where the next byte is read."""
        return self._at

    def close(self) -> None:
        """Close the file."""
        self._file.close()
