"""Opens a camera's stream and hands out its packets; PyAV and FFmpeg's options are known here and nowhere else.

Streams are RTSP over TCP or UDP, HTTP (MJPEG, or a file), and files. Pictures are in `pictures.py`, decoding in
`decoder.py`. A container is used and closed by one thread only: closing it under a demuxer is a use after free.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import takewhile
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote, urlsplit, urlunsplit

import av
import av.error

from ..config.settings import Camera
from ..errors import StreamError
from ..messages import StreamInfo
from .stream_errors import translate

Source = Literal["live", "file", "pictures"]
_US_PER_S: Final = 1_000_000
_NETWORK: Final = frozenset({"rtsp", "rtsps", "http", "https"})
_LIVE_FORMATS: Final = frozenset({"rtsp", "mpjpeg", "mjpeg"})
PICTURE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
PACE_STEP_S: Final = 0.1  # how long a paced file sleeps at most before it looks whether to stop
JUMP_S: Final = 30.0  # further off than this, a file's clock has jumped: its rhythm begins anew


def path_of(url: str) -> Path:
    """Return the local path of a file address, with or without `file://`."""
    return Path(url.removeprefix("file://"))


def source_of(url: str) -> Source:
    """Return what kind of source the address names."""
    if urlsplit(url).scheme in _NETWORK:
        return "live"
    path = path_of(url)
    return "pictures" if path.is_dir() or path.suffix.lower() in PICTURE_SUFFIXES else "file"


def with_credentials(url: str, username: str, password: str) -> str:
    """Return the address with the user in it, as FFmpeg wants it; one that stands there already is kept."""
    parts = urlsplit(url)
    if not username or parts.scheme not in _NETWORK or "@" in parts.netloc:
        return url
    user = f"{quote(username, safe='')}:{quote(password, safe='')}"
    return urlunsplit(parts._replace(netloc=f"{user}@{parts.netloc}"))


def _options(url: str, camera: Camera) -> dict[str, str]:
    scheme = urlsplit(url).scheme
    timeout_us = str(int(camera.timeout_s * _US_PER_S))  # `stimeout` is ignored since FFmpeg 5
    if scheme in {"rtsp", "rtsps"}:
        return {
            "rtsp_transport": camera.transport,
            "timeout": timeout_us,
            "fflags": "+genpts+discardcorrupt",
            "fpsprobesize": "0",  # else FFmpeg counts frames for seconds, in which the camera is not seen
        }
    if scheme in _NETWORK:
        return {"timeout": timeout_us, "rw_timeout": timeout_us, "fflags": "+genpts+discardcorrupt"}
    return {"fflags": "+genpts"}


class Capture:
    """An open stream: its video, its audio if any, and its packets."""

    def __init__(self, camera: Camera, url: str) -> None:
        """Connect.

        Raises StreamError with the reason; returns or raises within about twice the camera's timeout.
        """
        self._camera, self._url = camera, url
        self._address = with_credentials(url, camera.username, camera.password)
        self._container = self._open()
        self._choose_streams()
        self.is_live = source_of(url) == "live" and self._container.format.name.split(",")[0] in _LIVE_FORMATS

    def _open(self) -> Any:
        start_s, timeout_s = time.monotonic(), self._camera.timeout_s
        try:
            # PyAV's own timeout polls through the interpreter's lock: for opening only.
            return av.open(
                self._address if source_of(self._url) == "live" else str(path_of(self._url)),
                options=_options(self._url, self._camera),
                timeout=(2 * timeout_s, None),
            )
        except av.error.FFmpegError as exc:
            raise translate(exc, self._url, time.monotonic() - start_s, timeout_s) from None

    def _choose_streams(self) -> None:
        streams = self._container.streams  # by type: a server may list audio first
        if not streams.video:
            self._container.close()
            raise StreamError("protocol", "the stream has no video")
        if streams.video[0].codec_context is None:
            self._container.close()
            raise StreamError("decode", "no decoder for this codec")
        self.video = streams.video[0]
        # Sound of a codec that FFmpeg does not know is as good as none; the pictures are what counts.
        self.audio = next((stream for stream in streams.audio if stream.codec_context is not None), None)
        self.video.thread_type = "NONE"  # frame threads would add frames of delay
        self.video.codec_context.thread_count = 1

    @property
    def info(self) -> StreamInfo:
        """What the camera delivers."""
        context, rate = self.video.codec_context, self.video.average_rate or self.video.guessed_rate
        return StreamInfo(
            codec=context.name,
            width=context.width,
            height=context.height,
            fps=round(float(rate), 3) if rate else None,
            audio=self.audio.codec_context.name if self.audio else None,
        )

    def packets(self, stopping: Callable[[], bool]) -> Iterator[Any]:
        """Yield the packets of video and audio; files at their pace, and again from the start when they loop.

        Raises StreamError: `timeout` after silence, `ended` when the stream or file is over.
        """
        if self.is_live:
            yield from takewhile(lambda _: not stopping(), _timed(self._demux(), self.video.index))
            if not stopping():
                raise self._end()
            return
        pace = _Pace(stopping if self._camera.pace == "realtime" else None)
        loops = _Loops(self.video)
        while not stopping():
            count = 0
            for packet in self._demux():
                if stopping():
                    return
                count += 1
                loops.shift(packet)
                pace.wait_for(packet)
                yield packet
            if not self._camera.loop or source_of(self._url) == "live" or not count:
                break
            self._rewind()
            loops.next_round()
        if not stopping():
            raise StreamError("ended", "the file is over")

    def _demux(self) -> Iterator[Any]:
        streams = [self.video, self.audio] if self.audio else [self.video]
        self._read_s = time.monotonic()
        try:
            for packet in self._container.demux(streams):
                self._read_s = time.monotonic()
                if packet.size or not self.is_live:  # the empty one at a file's end flushes the decoder
                    yield packet
        except av.error.FFmpegError as exc:
            if exc.errno == errno.EIO:  # what FFmpeg calls a connection that broke off in the middle of a packet
                raise self._end() from None
            raise translate(exc, self._url, time.monotonic() - self._read_s, self._camera.timeout_s) from None

    def _end(self) -> StreamError:
        """Say why a live stream just ended; FFmpeg ends it in the same way after silence and after a hang-up."""
        if time.monotonic() - self._read_s >= self._camera.timeout_s:
            return StreamError("timeout", "the camera fell silent")
        return StreamError("ended", "the camera closed the connection")

    def _rewind(self) -> None:
        try:
            self._container.seek(0)
        except av.error.FFmpegError:  # a raw stream without index: open it again
            self._container.close()
            self._container = self._open()
            self._choose_streams()

    def close(self) -> None:
        """Close; only from the thread that reads."""
        with suppress(av.error.FFmpegError):
            self._container.close()


def _timed(packets: Iterator[Any], video_index: int) -> Iterator[Any]:
    """Give the first video packet its times: FFmpeg leaves them out over RTSP, and it is the first key frame.

    It is held until the second one tells; a stream with B-frames does not, and begins with its second GOP.
    """
    held: Any = None
    for packet in packets:
        if packet.stream_index != video_index:
            yield packet
            continue
        if packet.pts is None and packet.dts is None and held is None:
            held = packet
            continue
        if held is not None and packet.dts is not None and packet.dts == packet.pts:
            held.pts = held.dts = packet.dts - (held.duration or packet.duration or 1)
        if held is not None:
            yield held
        yield packet
        break
    yield from packets


class _Pace:
    """Holds packets back until their time, so that a file comes as a camera does."""

    def __init__(self, stopping: Callable[[], bool] | None) -> None:
        self._stopping = stopping
        self._start_s: float | None = None

    def wait_for(self, packet: Any) -> None:
        """Sleep until the packet is due; not at all without pace."""
        if self._stopping is None or packet.dts is None:
            return
        at_s = float(packet.dts * packet.time_base)
        if self._start_s is None:
            self._start_s = time.monotonic() - at_s
        if abs(self._start_s + at_s - time.monotonic()) > JUMP_S:
            self._start_s = time.monotonic() - at_s
        while (wait_s := self._start_s + at_s - time.monotonic()) > 0 and not self._stopping():
            time.sleep(min(wait_s, PACE_STEP_S))


class _Loops:
    """Lets time go on when a file begins again, so that nobody downstream sees it jump back."""

    def __init__(self, video: Any) -> None:
        rate = video.average_rate or video.guessed_rate
        self._frame = 1 / Fraction(rate) if rate else Fraction(1, 25)
        self._offset = Fraction(0)
        self._end = Fraction(0)
        self._first: Fraction | None = None

    def shift(self, packet: Any) -> None:
        """Move the packet's times behind the rounds before."""
        base = packet.time_base
        if packet.dts is not None:
            self._first = packet.dts * base if self._first is None else min(self._first, packet.dts * base)
            packet.dts += round(self._offset / base)
            self._end = max(self._end, packet.dts * base + (packet.duration * base or self._frame))
        if packet.pts is not None:
            packet.pts += round(self._offset / base)

    def next_round(self) -> None:
        """Begin the next round where the last one ended."""
        self._offset = self._end - (self._first or Fraction(0))


def probe(camera: Camera, url: str) -> StreamInfo:
    """Connect once and return what `url` delivers; raises StreamError with the reason."""
    if source_of(url) == "pictures":
        from .pictures import Pictures

        return Pictures(camera, url).info
    capture = Capture(camera, url)
    try:
        return capture.info
    finally:
        capture.close()
