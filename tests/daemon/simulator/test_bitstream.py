"""Parameter sets and NAL units come out of avcC, hvcC, lengths and start codes."""

import pytest

from daemon.simulator.bitstream import parse_h264_header, parse_h265_header, split_annex_b, split_lengths

SPS, PPS = b"\x67\x42\x00\x1f\xaa", b"\x68\xce"
AVCC = b"\x01\x42\x00\x1f\xff\xe1" + b"\x00\x05" + SPS + b"\x01\x00\x02" + PPS
VPS5, SPS5, PPS5, SEI5 = b"\x40\x01\x0c", b"\x42\x01\x01", b"\x44\x01\xc0", b"\x4e\x01\x05"
HVCC = (
    b"\x01" + bytes(20) + b"\x03\x04"
    b"\xa0\x00\x01\x00\x03" + VPS5 + b"\xa1\x00\x01\x00\x03" + SPS5 + b"\xa2\x00\x01\x00\x03" + PPS5
    + b"\xa7\x00\x01\x00\x03" + SEI5
)  # fmt: skip


@pytest.mark.parametrize(
    ("data", "nals"),
    [
        (b"", []),
        (b"\x00\x00\x01\x67\x01", [b"\x67\x01"]),
        (b"\x00\x00\x00\x01\x67\x01\x00\x00\x00\x01\x68\x02", [b"\x67\x01", b"\x68\x02"]),
        (b"\x00\x00\x01\x65\x00\x00\x03\x01", [b"\x65\x00\x00\x03\x01"]),
    ],
)
def test_start_codes_and_their_zeros_belong_to_no_nal_unit(data: bytes, nals: list[bytes]) -> None:
    """Three- and four-byte start codes cut alike; emulation prevention stays inside."""
    assert split_annex_b(data) == nals


@pytest.mark.parametrize(
    ("data", "length_bytes", "nals"),
    [
        (b"\x00\x00\x00\x02\x65\x01\x00\x00\x00\x01\x06", 4, [b"\x65\x01", b"\x06"]),
        (b"\x00\x02\x65\x01\x00\x01\x06", 2, [b"\x65\x01", b"\x06"]),
        (b"\x00\x00\x00\x00\x00\x00\x00\x01\x06", 4, [b"\x06"]),
    ],
)
def test_lengths_cut_a_packet_into_nal_units(data: bytes, length_bytes: int, nals: list[bytes]) -> None:
    """Lengths of two and four bytes; an empty unit is left out."""
    assert split_lengths(data, length_bytes) == nals


def test_a_length_past_the_end_is_an_error() -> None:
    """A damaged file is refused rather than sent in part."""
    with pytest.raises(ValueError, match="runs past"):
        split_lengths(b"\x00\x00\x00\x09\x65", 4)


def test_avcc_and_annex_b_give_the_same_h264_parameter_sets() -> None:
    """MP4 and MPEG-TS style headers differ only in how packets are cut."""
    from_avcc = parse_h264_header(AVCC)
    from_annex_b = parse_h264_header(b"\x00\x00\x00\x01" + SPS + b"\x00\x00\x01" + PPS)

    assert from_avcc.parameter_sets == from_annex_b.parameter_sets == (SPS, PPS)
    assert (from_avcc.length_bytes, from_annex_b.length_bytes) == (4, 0)
    assert from_avcc.split(b"\x00\x00\x00\x01\x65") == from_annex_b.split(b"\x00\x00\x01\x65") == [b"\x65"]


def test_hvcc_gives_vps_sps_and_pps_without_sei() -> None:
    """What SDP has no place for stays out."""
    header = parse_h265_header(HVCC)

    assert header.parameter_sets == (VPS5, SPS5, PPS5)
    assert header.length_bytes == 4


@pytest.mark.parametrize("extradata", [b"", AVCC[:-1], AVCC[:9], b"\x01\x42", b"\x00\x00\x01" + SPS])
def test_an_h264_header_without_both_sets_is_refused(extradata: bytes) -> None:
    """No SDP can be written for it."""
    with pytest.raises((ValueError, IndexError)):
        parse_h264_header(extradata)


@pytest.mark.parametrize("extradata", [b"", HVCC[:20], HVCC[:30], b"\x00\x00\x01" + SPS5])
def test_an_h265_header_without_all_sets_is_refused(extradata: bytes) -> None:
    """No SDP can be written for it."""
    with pytest.raises((ValueError, IndexError)):
        parse_h265_header(extradata)
