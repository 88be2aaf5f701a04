"""NAL units and parameter sets out of what containers hold: length-prefixed (avcC, hvcC) or Annex B. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

START_CODE = re.compile(rb"\x00\x00\x01")
H264_SPS, H264_PPS = 7, 8
H265_VPS, H265_SPS, H265_PPS = 32, 33, 34


@dataclass(frozen=True, slots=True)
class CodecHeader:
    """What a decoder needs before the first picture, and how the packets that follow are cut.

    `length_bytes` is the size of the length before each NAL unit, 0 for Annex B start codes.
    """

    parameter_sets: tuple[bytes, ...]
    length_bytes: int

    def split(self, packet: bytes) -> list[bytes]:
        """NAL units of a packet, without lengths or start codes. Raises ValueError for a length past the end."""
        return split_lengths(packet, self.length_bytes) if self.length_bytes else split_annex_b(packet)


def h264_type(nal: bytes) -> int:
    """Type of an H.264 NAL unit, 0..31 (H.264 7.3.1)."""
    return nal[0] & 0x1F


def h265_type(nal: bytes) -> int:
    """Type of an H.265 NAL unit, 0..63 (H.265 7.3.1.2)."""
    return nal[0] >> 1 & 0x3F


def split_annex_b(data: bytes) -> list[bytes]:
    """NAL units between start codes; zero bytes around them belong to no unit (H.264 annex B)."""
    return [nal for part in START_CODE.split(data)[1:] if (nal := part.rstrip(b"\x00"))]


def split_lengths(data: bytes, length_bytes: int) -> list[bytes]:
    """NAL units that each follow their length in `length_bytes` big-endian bytes (ISO 14496-15)."""
    nals, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + length_bytes], "big")
        at += length_bytes
        if at + size > len(data):
            raise ValueError(f"a NAL unit of {size} bytes at {at} runs past the packet's end at {len(data)}")
        if size:
            nals.append(data[at : at + size])
        at += size
    return nals


def parse_h264_header(extradata: bytes) -> CodecHeader:
    """Read avcC (ISO 14496-15, 5.3.3.1) or Annex B extradata. Raises ValueError without SPS and PPS."""
    if extradata[:1] == b"\x01":
        header = CodecHeader(tuple(_avcc_sets(extradata)), (extradata[4] & 3) + 1)
    else:
        header = CodecHeader(tuple(split_annex_b(extradata)), 0)
    if {h264_type(nal) for nal in header.parameter_sets}.issuperset({H264_SPS, H264_PPS}):
        return header
    raise ValueError("no SPS and PPS in the stream's header")


def parse_h265_header(extradata: bytes) -> CodecHeader:
    """Read hvcC (ISO 14496-15, 8.3.3.1) or Annex B extradata. Raises ValueError without VPS, SPS and PPS."""
    if extradata[:1] == b"\x01":
        header = CodecHeader(tuple(_hvcc_sets(extradata)), (extradata[21] & 3) + 1)
    else:
        header = CodecHeader(tuple(split_annex_b(extradata)), 0)
    if {h265_type(nal) for nal in header.parameter_sets}.issuperset({H265_VPS, H265_SPS, H265_PPS}):
        return header
    raise ValueError("no VPS, SPS and PPS in the stream's header")


def _avcc_sets(avcc: bytes) -> list[bytes]:
    if len(avcc) < 7:
        raise ValueError("the avcC header is cut short")
    sps, at = _read_sets(avcc, 6, avcc[5] & 0x1F)
    pps, _ = _read_sets(avcc, at + 1, avcc[at])
    return sps + pps


def _hvcc_sets(hvcc: bytes) -> list[bytes]:
    if len(hvcc) < 23:
        raise ValueError("the hvcC header is cut short")
    sets: list[bytes] = []
    at = 23
    for _ in range(hvcc[22]):
        count = int.from_bytes(hvcc[at + 1 : at + 3], "big")
        nals, at = _read_sets(hvcc, at + 3, count)
        sets += nals
    # SEI in the header is advice; SDP has no place for it.
    return [nal for nal in sets if h265_type(nal) in (H265_VPS, H265_SPS, H265_PPS)]


def _read_sets(data: bytes, at: int, count: int) -> tuple[list[bytes], int]:
    sets = []
    for _ in range(count):
        size = int.from_bytes(data[at : at + 2], "big")
        nal = data[at + 2 : at + 2 + size]
        if len(nal) < size or not nal:
            raise ValueError("a parameter set runs past the end of the stream's header")
        sets.append(nal)
        at += 2 + size
    if at > len(data):
        raise ValueError("the stream's header is cut short")
    return sets, at
