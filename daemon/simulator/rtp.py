"""RTP packets and sender reports as bytes: payloads of H.264, H.265 and AAC, and their interleaved framing. Pure.

RFC 3550 (RTP, RTCP), RFC 6184 (H.264), RFC 7798 (H.265), RFC 3640 (AAC, mode AAC-hbr), RFC 2326 10.12 (interleaving).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Below an Ethernet frame, as cameras send it, though TCP would carry more.
MAX_PAYLOAD_BYTES = 1400
H264_FU_A = 28
H265_FU = 49
AAC_MAX_FRAME_BYTES = (1 << 13) - 1
NTP_UNIX_OFFSET_S = 2_208_988_800

_INTERLEAVED_HEADER = struct.Struct(">cBHBBHII")
_SENDER_REPORT = struct.Struct(">BBHIIIIII")


def packetize_h264(nals: Iterable[bytes], max_bytes: int = MAX_PAYLOAD_BYTES) -> list[bytes]:
    """Payloads of one access unit: a NAL unit each, or FU-A pieces of one that is longer than `max_bytes`."""
    payloads: list[bytes] = []
    for nal in nals:
        if len(nal) <= max_bytes:
            payloads.append(nal)
            continue
        indicator, nal_type = nal[0] & 0xE0 | H264_FU_A, nal[0] & 0x1F
        payloads += _fragments(bytes([indicator]), nal_type, nal[1:], max_bytes)
    return payloads


def packetize_h265(nals: Iterable[bytes], max_bytes: int = MAX_PAYLOAD_BYTES) -> list[bytes]:
    """Payloads of one access unit: a NAL unit each, or FU pieces of one that is longer than `max_bytes`; no DONL."""
    payloads: list[bytes] = []
    for nal in nals:
        if len(nal) <= max_bytes:
            payloads.append(nal)
            continue
        header, nal_type = bytes([nal[0] & 0x81 | H265_FU << 1, nal[1]]), nal[0] >> 1 & 0x3F
        payloads += _fragments(header, nal_type, nal[2:], max_bytes)
    return payloads


def packetize_aac(frame: bytes, max_bytes: int = MAX_PAYLOAD_BYTES) -> list[bytes]:
    """Payloads of one raw AAC frame, each behind one AU header that gives the whole frame's size.

    Raises ValueError for a frame longer than the 13 bits of its size field.
    """
    if len(frame) > AAC_MAX_FRAME_BYTES:
        raise ValueError(f"an AAC frame of {len(frame)} bytes; RTP carries at most {AAC_MAX_FRAME_BYTES}")
    header = struct.pack(">HH", 16, len(frame) << 3)
    room = max_bytes - len(header)
    return [header + frame[at : at + room] for at in range(0, len(frame), room)]


def _fragments(header: bytes, nal_type: int, body: bytes, max_bytes: int) -> list[bytes]:
    room = max_bytes - len(header) - 1
    starts = range(0, len(body), room)
    return [
        header + bytes([(at == 0) << 7 | (at == starts[-1]) << 6 | nal_type]) + body[at : at + room] for at in starts
    ]


@dataclass(slots=True)
class RtpStream:
    """One track on its way to one client: what RTP numbers and RTCP counts."""

    payload_type: int
    ssrc: int
    sequence: int
    timestamp_base: int
    channel: int
    packets_sent: int = 0
    payload_bytes_sent: int = 0

    def timestamp(self, ticks: int) -> int:
        """RTP timestamp of `ticks` of the track's clock, in 32 bits that wrap."""
        return (self.timestamp_base + ticks) & 0xFFFFFFFF

    def frame(self, payloads: Sequence[bytes], ticks: int) -> bytes:
        """Interleaved RTP packets of one access unit; the marker bit stands on the last."""
        timestamp, last = self.timestamp(ticks), len(payloads) - 1
        pieces: list[bytes] = []
        for index, payload in enumerate(payloads):
            kind = self.payload_type | (0x80 if index == last else 0)
            pieces += (
                _INTERLEAVED_HEADER.pack(
                    b"$", self.channel, 12 + len(payload), 0x80, kind, self.sequence, timestamp, self.ssrc
                ),
                payload,
            )
            self.sequence = (self.sequence + 1) & 0xFFFF
            self.payload_bytes_sent += len(payload)
        self.packets_sent += len(payloads)
        return b"".join(pieces)

    def sender_report(self, unix_ns: int, ticks: int, cname: bytes = b"leptond") -> bytes:
        """Interleaved RTCP packet (SR and SDES) that says which wall-clock time `ticks` has."""
        seconds, rest_ns = divmod(unix_ns, 1_000_000_000)
        report = _SENDER_REPORT.pack(
            0x80,
            200,
            6,
            self.ssrc,
            (seconds + NTP_UNIX_OFFSET_S) & 0xFFFFFFFF,
            (rest_ns << 32) // 1_000_000_000,
            self.timestamp(ticks),
            self.packets_sent & 0xFFFFFFFF,
            self.payload_bytes_sent & 0xFFFFFFFF,
        )
        chunk = struct.pack(">IBB", self.ssrc, 1, len(cname)) + cname
        chunk += bytes(4 - len(chunk) % 4)  # an item list ends with zeros, up to the next word
        packet = report + struct.pack(">BBH", 0x81, 202, len(chunk) // 4) + chunk
        return struct.pack(">cBH", b"$", self.channel + 1, len(packet)) + packet
