"""What DESCRIBE answers: a clip's tracks as SDP (RFC 8866, and the payload formats' RFCs for `fmtp`). Pure."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

from .bitstream import H264_SPS, H265_PPS, H265_SPS, H265_VPS, h264_type, h265_type

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .media import Track

# Dynamic payload types begin at 96 (RFC 3551).
FIRST_PAYLOAD_TYPE = 96


def payload_type(track_index: int) -> int:
    """RTP payload type of a clip's track."""
    return FIRST_PAYLOAD_TYPE + track_index


def describe(name: str, tracks: Iterable[Track]) -> str:
    """SDP of a live presentation; the control addresses of its tracks are `track0`, `track1` and on."""
    lines = [
        "v=0",
        "o=- 1 1 IN IP4 127.0.0.1",
        f"s={name}",
        "c=IN IP4 0.0.0.0",
        "t=0 0",
        "a=control:*",
        "a=range:npt=now-",
    ]
    for index, track in enumerate(tracks):
        lines += _media_lines(track, payload_type(index))
        lines.append(f"a=control:track{index}")
    return "\r\n".join([*lines, ""])


def _media_lines(track: Track, number: int) -> list[str]:
    if track.codec == "aac":
        return [
            f"m=audio 0 RTP/AVP {number}",
            f"a=rtpmap:{number} mpeg4-generic/{track.clock_hz}/{track.channels}",
            f"a=fmtp:{number} {_aac_parameters(track)}",
        ]
    parameters = _h264_parameters(track) if track.codec == "h264" else _h265_parameters(track)
    rate = [f"a=framerate:{track.fps:g}"] if track.fps else []
    encoding = "H264" if track.codec == "h264" else "H265"
    return [
        f"m=video 0 RTP/AVP {number}",
        f"a=rtpmap:{number} {encoding}/{track.clock_hz}",
        f"a=fmtp:{number} {parameters}",
        *rate,
    ]


def _h264_parameters(track: Track) -> str:
    """RFC 6184 8.1: profile and level are the three bytes behind the SPS's type."""
    profile = next(nal for nal in track.parameter_sets if h264_type(nal) == H264_SPS)[1:4].hex()
    return f"packetization-mode=1;profile-level-id={profile};sprop-parameter-sets={_base64(track.parameter_sets)}"


def _h265_parameters(track: Track) -> str:
    """RFC 7798 7.1."""
    names = ((H265_VPS, "vps"), (H265_SPS, "sps"), (H265_PPS, "pps"))
    return ";".join(
        f"sprop-{name}={_base64(nal for nal in track.parameter_sets if h265_type(nal) == nal_type)}"
        for nal_type, name in names
    )


def _aac_parameters(track: Track) -> str:
    """RFC 3640 4.1, mode AAC-hbr."""
    config = track.parameter_sets[0].hex()
    return (
        f"streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config={config}"
    )


def _base64(nals: Iterable[bytes]) -> str:
    return ",".join(b64encode(nal).decode("ascii") for nal in nals)
