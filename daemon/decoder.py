"""Packets to frames: begins at a key frame, and lets nothing that is damaged through.

A grey or smeared frame looks like motion and like objects. So what the decoder marks as corrupt, and everything that
builds on it, is dropped up to the next key frame.
"""

from __future__ import annotations

from typing import Any, Final

import av.error
from av.video.frame import VideoFrame

from .clock import NS_PER_S
from .errors import StreamError

_NO_FRAME_NS: Final = 15 * NS_PER_S  # packets come and no sound frame does; GOPs of 10 s exist


class Decoder:
    """Decodes one stream in the thread that reads it."""

    def __init__(self, video: Any, now_ns: int) -> None:
        self._context = video.codec_context
        self._waiting = True  # for a key frame
        self._seen_keyframe = False
        self._sound_ns = now_ns  # when the last sound frame came, or the start
        self.corrupt = 0  # packets and frames dropped as damaged or undecodable

    def decode(self, packet: Any, now_ns: int) -> list[VideoFrame]:
        """Return the sound frames that this packet completes, usually one.

        Raises StreamError `no_keyframe` or `decode` when none came for 15 s of packets.
        """
        frames = self._sound(self._frames(packet))
        if frames:
            self._sound_ns = now_ns
        elif now_ns - self._sound_ns > _NO_FRAME_NS:
            if self._seen_keyframe:
                raise StreamError("decode", "packets come, but none could be decoded for 15 s")
            raise StreamError("no_keyframe", "no key frame came for 15 s; set a key-frame interval of 1-2 s")
        return frames

    def _frames(self, packet: Any) -> list[VideoFrame]:
        if not packet.size:
            return self._rest(packet)
        if packet.is_corrupt:
            self._damaged()
            return []
        if self._waiting:
            if not packet.is_keyframe:
                return []
            self._context.flush_buffers()
            self._waiting, self._seen_keyframe = False, True
        try:
            return list(packet.decode())
        except av.error.FFmpegError:
            self._damaged()
            return []

    def _rest(self, packet: Any) -> list[VideoFrame]:
        """Return what the decoder held back at a file's end; what comes next begins with a key frame."""
        if self._waiting:
            return []
        self._waiting = True
        return list(packet.decode())

    def _sound(self, frames: list[VideoFrame]) -> list[VideoFrame]:
        for index, frame in enumerate(frames):
            if frame.is_corrupt:
                self._damaged()
                return frames[:index]
        return frames

    def _damaged(self) -> None:
        self.corrupt += 1
        self._waiting = True
