"""The SDP says what a decoder needs."""

from daemon.simulator.media import Track
from daemon.simulator.sdp import describe

H264 = Track("h264", 90_000, (b"\x67\x4d\x40\x1f", b"\x68\xee"), fps=12.5)
H265 = Track("hevc", 90_000, (b"\x40\x01", b"\x42\x01", b"\x44\x01"))
AAC = Track("aac", 16_000, (b"\x14\x08",), channels=1)


def test_h264_and_aac_are_described_with_their_parameter_sets() -> None:
    """Profile and level come from the SPS; AAC gives its configuration in hex."""
    text = describe("cam", [H264, AAC])

    assert text.startswith("v=0\r\no=")
    assert text.endswith("a=control:track1\r\n")
    video, audio = text.split("m=")[1:]
    assert video == (
        "video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
        "a=fmtp:96 packetization-mode=1;profile-level-id=4d401f;sprop-parameter-sets=Z01AHw==,aO4=\r\n"
        "a=framerate:12.5\r\na=control:track0\r\n"
    )
    assert audio == (
        "audio 0 RTP/AVP 97\r\na=rtpmap:97 mpeg4-generic/16000/1\r\na=fmtp:97 streamtype=5;profile-level-id=1;"
        "mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1408\r\na=control:track1\r\n"
    )


def test_h265_names_each_parameter_set() -> None:
    """VPS, SPS and PPS have a parameter each; an unknown frame rate is left out."""
    text = describe("cam", [H265])

    assert "a=fmtp:96 sprop-vps=QAE=;sprop-sps=QgE=;sprop-pps=RAE=\r\n" in text
    assert "framerate" not in text
