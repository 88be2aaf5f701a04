"""The record stream's codec parameters as an MP4 header without samples, for processes that never see the camera.

H.264 and H.265 come from RTSP with start codes; the header holds their parameters as MP4 wants them, the packets travel
as they came, and whoever writes files turns them (`nal_units.py`).
What MP4 cannot hold is left out and named: G.711 and other PCM audio, raw video. MJPEG video goes in as it is.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Final

import av
import av.error

from ..errors import MediaError

VIDEO_CODECS: Final = frozenset({"h264", "hevc", "av1", "vp9", "mpeg4", "mjpeg"})
AUDIO_CODECS: Final = frozenset({"aac", "mp3", "opus", "ac3", "eac3", "flac", "alac"})
# Header first and alone; every fragment begins with a key frame and can be read without what was before it.
_MOVFLAGS: Final = "empty_moov+default_base_moof+frag_keyframe"


def is_recordable(stream: Any) -> bool:
    """Return whether MP4 can hold the stream as it comes."""
    context = stream.codec_context
    if stream.type == "video":
        return context.name in VIDEO_CODECS and context.width > 0
    if stream.type != "audio" or context.name not in AUDIO_CODECS:
        return False
    return context.name != "aac" or bool(context.extradata)  # ADTS carries its configuration in each packet


def init_segment(streams: Sequence[Any]) -> bytes:
    """Return a fragmented MP4 header, ftyp + moov without samples, that describes `streams` in this order.

    Opened with `av.open(io.BytesIO(...))` its streams serve as templates, with codec parameters and time bases.
    Raises MediaError when MP4 cannot hold them.
    """
    buffer = io.BytesIO()
    try:
        with av.open(buffer, "w", format="mp4", options={"movflags": _MOVFLAGS}) as container:
            for stream in streams:
                container.add_stream_from_template(stream)
            container.start_encoding()
            header = buffer.getvalue()
    except (av.error.FFmpegError, ValueError) as exc:
        raise MediaError(f"MP4 cannot hold this stream: {exc}") from exc
    return header
