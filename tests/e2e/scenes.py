"""Films whose truth is known: a white lamp on a dark scene, there between two times."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

DARK, WHITE = 40, 250


def lamp_film(
    path: Path,
    *,
    seconds: float = 8.0,
    lit_s: tuple[float, float] = (4.0, 6.0),
    box: tuple[float, float, float, float] = (0.25, 0.25, 0.5, 0.75),
    size: tuple[int, int] = (320, 192),
    fps: int = 10,
    codec: str = "libx264",
    audio: bool = False,
) -> Path:
    """Encode a film with a lamp at `box` (fractions) while `lit_s`; a key frame each second."""
    width, height = size
    x1, y1, x2, y2 = (round(part * side) for part, side in zip(box, (width, height) * 2, strict=True))
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=fps)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.codec_context.gop_size = fps
        video.options = {"preset": "ultrafast", "tune": "zerolatency"}
        if codec == "libx265":
            video.options["x265-params"] = f"log-level=none:keyint={fps}:bframes=0"
        sound = container.add_stream("aac", rate=16000, layout="mono") if audio else None
        noise = np.random.default_rng(7)
        for number in range(round(seconds * fps)):
            picture = noise.integers(DARK - 8, DARK + 8, (height, width, 3), np.uint8)
            if lit_s[0] <= number / fps < lit_s[1]:
                picture[y1:y2, x1:x2] = WHITE
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound is not None:
            for start in range(0, round(seconds * 16000), 1024):
                tone = np.sin(np.arange(start, start + 1024) * 0.1).astype(np.float32)[None] * 0.2
                chunk = av.AudioFrame.from_ndarray(tone, "fltp", "mono")
                chunk.sample_rate, chunk.pts, chunk.time_base = 16000, start, Fraction(1, 16000)
                container.mux(sound.encode(chunk))
            container.mux(sound.encode(None))
    return path
