"""Packets to frames: begins at a key frame, and lets nothing that is damaged through.

A grey or smeared frame looks like motion and like objects. So what the decoder marks as corrupt, and everything that
builds on it, is dropped up to the next key frame.
"""

from __future__ import annotations

from typing import Any, Final

import av.error
from av.video.frame import VideoFrame

from ..clock import NS_PER_S
from ..errors import StreamError

_NO_FRAME_NS: Final = 15 * NS_PER_S  # packets come and no sound frame does; GOPs of 10 s exist


class Decoder:
    """Decodes one stream in the thread that reads it."""

    def __init__(self, video: Any, now_ns: int) -> None:
        self._context = video.codec_context
        self._begun = False  # at a key frame; before one nothing is decoded
        self._waiting = True  # for a sound key frame; until it comes nothing is shown
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
        if not self._begun:
            if not packet.is_keyframe:
                return []
            self._begun = self._seen_keyframe = True
            self._context.flush_buffers()
        if packet.is_corrupt:
            self._damaged()
            return []
        try:
            return list(packet.decode())
        except av.error.FFmpegError:
            self._damaged()
            return []

    def _rest(self, packet: Any) -> list[VideoFrame]:
        """Return what the decoder held back at a file's end; what comes next begins with a key frame."""
        if not self._begun:
            return []
        self._begun = False
        try:
            return list(packet.decode())
        except av.error.FFmpegError:
            self._damaged()
            return []

    def _sound(self, frames: list[VideoFrame]) -> list[VideoFrame]:
        """Return the frames that nothing damaged stands behind.

        Decoding goes on over damage, and only its output is dropped: frames that are shown before a key frame but sent
        after it (open GOP) need what came before it.
        """
        sound = []
        for frame in frames:
            if frame.is_corrupt:
                self._damaged()
            elif frame.key_frame or not self._waiting:
                self._waiting = False
                sound.append(frame)
            else:
                self.corrupt += 1
        return sound

    def _damaged(self) -> None:
        self.corrupt += 1
        self._waiting = True
