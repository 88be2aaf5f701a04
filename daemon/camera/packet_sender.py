"""Compressed packets to the recorder, as they come: bounded in bytes, never waiting, never with a hole inside a GOP.

Used by the thread that reads the camera, so a slow detector never delays a recording.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import structlog

from ..errors import MediaError
from ..messages import FromStream, Packet, StreamEnd, StreamStart
from ..wire import Sender
from .streamheader import init_segment, is_recordable

MAX_WAITING_BYTES: Final = 32_000_000  # 30 s of 8 Mbit/s
_SOCKET_MESSAGES: Final = 64  # ZeroMQ bounds messages, not bytes: little there, the rest waits here

log = structlog.get_logger()
Count = Callable[[str, str, int], None]  # name, reason, by


class PacketSender:
    """One camera's record stream on the plane `packets`."""

    def __init__(self, endpoint: str, camera: str, count: Count, max_waiting_bytes: int = MAX_WAITING_BYTES) -> None:
        self._sender: Sender[FromStream] = Sender(endpoint, high_water=_SOCKET_MESSAGES)
        self._camera, self._count, self._max_bytes = camera, count, max_waiting_bytes
        self._waiting: deque[tuple[FromStream, int]] = deque()
        self._waiting_bytes = 0
        self._stream_id = secrets.randbits(48)
        self._start: StreamStart | None = None
        self._index: dict[int, int] = {}  # of the container's stream -> of the header's
        self._to_keyframe = True

    @property
    def is_recordable(self) -> bool:
        """Whether the connection's video is one that MP4 can hold."""
        return self._start is not None

    def begin(self, video: Any, audio: Any | None) -> None:
        """Announce a new connection's streams; what MP4 cannot hold is left out with a warning."""
        self._stream_id += 1
        self._start, self._to_keyframe = None, True
        if not is_recordable(video):
            log.warning("stream_not_recordable", codec=video.codec_context.name)
            return
        streams = [video]
        if audio is not None and is_recordable(audio):
            streams.append(audio)
        elif audio is not None:
            log.warning("audio_not_recorded", codec=audio.codec_context.name, remedy="set the camera's audio to AAC")
        try:
            header = init_segment(streams)
        except MediaError as exc:
            log.warning("stream_not_recordable", codec=video.codec_context.name, error=str(exc))
            return
        self._index = {stream.index: index for index, stream in enumerate(streams)}
        self._start = StreamStart(camera=self._camera, stream_id=self._stream_id, init_segment=header)

    def send(self, packet: Any, received_ns: int, *, is_video: bool) -> None:
        """Queue one packet; dropped and counted when the recorder is too far behind, then up to the next key frame."""
        index = self._index.get(packet.stream_index)
        if self._start is None or index is None:
            return
        if packet.dts is None:
            self._drop("no_timestamp")
            return
        begins = is_video and packet.is_keyframe
        if self._to_keyframe and not begins:
            self._count("packets_dropped", "before_keyframe", 1)
            return
        if begins and not self._put(self._start, len(self._start.init_segment)):
            # The header goes before every key frame: a recorder that was restarted can begin there.
            self._drop("recorder_behind")
            return
        message = self._message(packet, index, received_ns)
        if not self._put(message, len(message.data)):
            self._drop("recorder_behind")
            return
        self._to_keyframe = False

    def _message(self, packet: Any, index: int, received_ns: int) -> Packet:
        return Packet(
            camera=self._camera,
            stream_id=self._stream_id,
            stream_index=index,
            data=bytes(packet),
            pts=packet.dts if packet.pts is None else packet.pts,
            dts=packet.dts,
            duration=packet.duration or 0,
            time_base=(packet.time_base.numerator, packet.time_base.denominator),
            is_keyframe=packet.is_keyframe,
            received_ns=received_ns,
        )

    def _drop(self, reason: str) -> None:
        self._count("packets_dropped", reason, 1)
        self._to_keyframe = True

    def _put(self, message: FromStream, size_bytes: int) -> bool:
        self.flush()
        if self._waiting_bytes + size_bytes > self._max_bytes:
            return False
        self._waiting.append((message, size_bytes))
        self._waiting_bytes += size_bytes
        self.flush()
        return True

    def flush(self) -> None:
        """Hand as much to the socket as it takes."""
        while self._waiting and self._sender.send(self._waiting[0][0]):
            message, size_bytes = self._waiting.popleft()
            self._waiting_bytes -= size_bytes
            if isinstance(message, Packet):
                self._count("packets_sent", "", 1)

    def end(self, reason: str) -> None:
        """Say that this connection's stream is over."""
        if self._start is not None:
            self._put(StreamEnd(camera=self._camera, stream_id=self._stream_id, reason=reason), 0)
        self._start = None

    def close(self) -> None:
        """Close; what the socket has taken may linger a second."""
        self.flush()
        self._sender.close()
