"""Tiny servers that behave as cameras do when something is wrong, and clips made here for them and for files."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray


@contextmanager
def server(reply: bytes | None, *, hang_up: bool = False) -> Iterator[int]:
    """Answer every request with `reply`, RTSP's CSeq filled in; None: say nothing. Give the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []

    def talk(connection: socket.socket) -> None:
        while request := _received(connection):
            if reply is None:
                continue
            numbers = [line for line in request.split(b"\r\n") if line.lower().startswith(b"cseq")]
            connection.sendall(reply.replace(b"CSEQ", numbers[0] if numbers else b"X-None: 0"))
            if hang_up:
                break
        connection.close()

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            threading.Thread(target=talk, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in connections:
            connection.close()


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(4096)
    except OSError:
        return b""


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def picture(index: int, size: tuple[int, int] = (160, 96)) -> NDArray[np.uint8]:
    """Return a picture whose brightness tells its number: 8 grey levels a step."""
    return np.full((size[1], size[0], 3), 16 + 8 * (index % 28), np.uint8)


def make_clip(
    path: Path,
    frames: int = 20,
    *,
    codec: str = "libx264",
    audio: str = "",
    gop: int = 5,
    pix_fmt: str = "yuv420p",
    bframes: int = 3,
    open_gop: bool = False,
    size: tuple[int, int] = (160, 96),
) -> Path:
    """Write a clip of 10 fps whose frames tell their numbers."""
    gops = f"bframes={bframes}:open-gop={int(open_gop)}:scenecut=0:keyint={gop}:min-keyint={gop}"
    options = {"libx265": {"x265-params": f"log-level=none:{gops}"}, "libx264": {"x264-params": gops}}
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=10)
        video.width, video.height, video.pix_fmt = *size, pix_fmt
        video.codec_context.gop_size = gop
        video.codec_context.options = options.get(codec, {})
        sound = container.add_stream(audio, rate=16000 if audio == "aac" else 8000) if audio else None
        for index in range(frames):
            container.mux(video.encode(VideoFrame.from_ndarray(picture(index, size), "rgb24")))
        container.mux(video.encode(None))
        if sound is not None:
            container.mux([packet for frame in _silence(sound, frames) for packet in sound.encode(frame)])
            container.mux(sound.encode(None))
    return path


def _silence(sound: av.AudioStream, frames: int) -> Iterator[av.AudioFrame]:
    rate = sound.codec_context.sample_rate
    for index in range(frames * rate // 10 // 1024 + 1):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, index * 1024, Fraction(1, rate)
        yield frame
