"""RTP payloads, packets and sender reports, byte by byte."""

import pytest

from daemon.simulator.rtp import RtpStream, packetize_aac, packetize_h264, packetize_h265


@pytest.mark.parametrize(
    ("nals", "payloads"),
    [
        ([b"\x67\x01", b"\x65\x02\x03"], [b"\x67\x01", b"\x65\x02\x03"]),
        ([b"\x65123456"], [b"\x7c\x85123", b"\x7c\x45456"]),
        ([b"\x411234567"], [b"\x5c\x81123", b"\x5c\x01456", b"\x5c\x417"]),
        ([], []),
    ],
)
def test_h264_goes_whole_or_in_fu_a_pieces(nals: list[bytes], payloads: list[bytes]) -> None:
    """RFC 6184 5.8: indicator keeps F and NRI, the FU header start, end and type."""
    assert packetize_h264(nals, max_bytes=5) == payloads


@pytest.mark.parametrize(
    ("nals", "payloads"),
    [
        ([b"\x40\x01\x0c"], [b"\x40\x01\x0c"]),
        ([b"\x26\x01123456"], [b"\x62\x01\x93123", b"\x62\x01\x53456"]),
        ([b"\x02\x031234567"], [b"\x62\x03\x81123", b"\x62\x03\x01456", b"\x62\x03\x417"]),
    ],
)
def test_h265_goes_whole_or_in_fu_pieces(nals: list[bytes], payloads: list[bytes]) -> None:
    """RFC 7798 4.4.3: type 49 in the payload header, layer and temporal id kept, the type in the FU header."""
    assert packetize_h265(nals, max_bytes=6) == payloads


def test_an_aac_frame_stands_behind_its_size() -> None:
    """RFC 3640 3.3.6: 16 bits of AU headers, 13 of size, 3 of index; each fragment names the whole frame's size."""
    assert packetize_aac(b"abc") == [b"\x00\x10\x00\x18abc"]
    assert packetize_aac(b"abcdef", max_bytes=8) == [b"\x00\x10\x00\x30abcd", b"\x00\x10\x00\x30ef"]
    with pytest.raises(ValueError, match="8192 bytes"):
        packetize_aac(bytes(8192))


def test_packets_count_up_and_the_last_one_carries_the_marker() -> None:
    """Sequence and timestamp wrap at 16 and 32 bits."""
    stream = RtpStream(96, ssrc=0x01020304, sequence=0xFFFF, timestamp_base=0xFFFFFFFF, channel=2)

    sent = stream.frame([b"A", b"BC"], ticks=2)

    first = b"$\x02\x00\x0d" + b"\x80\x60\xff\xff" + b"\x00\x00\x00\x01" + b"\x01\x02\x03\x04" + b"A"
    second = b"$\x02\x00\x0e" + b"\x80\xe0\x00\x00" + b"\x00\x00\x00\x01" + b"\x01\x02\x03\x04" + b"BC"
    assert sent == first + second
    assert (stream.sequence, stream.packets_sent, stream.payload_bytes_sent) == (1, 2, 3)


def test_a_sender_report_pairs_wall_clock_and_timestamp() -> None:
    """RFC 3550 6.4.1: NTP seconds from 1900 and a binary fraction, on the odd channel, with its CNAME."""
    stream = RtpStream(96, ssrc=7, sequence=0, timestamp_base=100, channel=0, packets_sent=3, payload_bytes_sent=9)

    report = stream.sender_report(unix_ns=1_500_000_000, ticks=90, cname=b"cam")

    words = [report[at : at + 4].hex() for at in range(0, len(report), 4)]
    assert words[0] == "2401002c"
    assert words[1:8] == ["80c80006", "00000007", "83aa7e81", "80000000", "000000be", "00000003", "00000009"]
    assert report[32:] == b"\x81\xca\x00\x03" + b"\x00\x00\x00\x07" + b"\x01\x03cam" + b"\x00\x00\x00"
