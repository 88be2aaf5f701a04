"""Clips that the tests encode themselves: small, a second long, one for each codec."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

FPS = 25
SIZE = (192, 128)


def picture(index: int) -> np.ndarray:
    """Draw a grey ramp that moves, so that no two frames are equal; uint8 [H, W, 3]."""
    ramp = (np.arange(SIZE[0]) * 2 + index * 5) % 256
    rows = np.broadcast_to(ramp, (SIZE[1], SIZE[0]))
    return np.stack([rows, rows[::-1], 255 - rows], axis=-1).astype(np.uint8)


def write_clip(path: Path, codec: str, options: dict[str, str], *, audio: bool = False, frames: int = FPS) -> Path:
    """Encode `frames` pictures at 25 fps, and a tone of the same length when `audio`."""
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=FPS, options=options)
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        tone = container.add_stream("aac", rate=16_000, layout="mono") if audio else None
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if tone is not None:
            samples = np.sin(np.arange(frames * 640) * 0.2).astype(np.float32)[None]
            sound = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            sound.sample_rate, sound.pts = 16_000, 0
            container.mux(tone.encode(sound))
            container.mux(tone.encode(None))
    return path


@pytest.fixture(scope="session")
def h264_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """H.264 with B-frames and two key frames, and AAC."""
    options = {"preset": "ultrafast", "bf": "2", "b-adapt": "0", "g": "13", "keyint_min": "13", "crf": "10"}
    return write_clip(tmp_path_factory.mktemp("clips") / "h264.mp4", "libx264", options, audio=True)


@pytest.fixture(scope="session")
def h265_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """H.265, one key frame, pictures larger than one RTP packet."""
    options = {"preset": "ultrafast", "crf": "5", "x265-params": "log-level=none:bframes=2:pools=1:frame-threads=1"}
    return write_clip(tmp_path_factory.mktemp("clips") / "h265.mp4", "libx265", options)
