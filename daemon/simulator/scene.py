"""The film of the demo: an empty yard, somebody comes in behind a low wall, stays, and leaves; without a seam.

The yard is drawn. The person is a photograph, so that a detector trained on people truly sees one: astronaut Eileen
Collins, NASA Great Images (https://flic.kr/p/r9qvLn), no known copyright restrictions, released into the public
domain; taken from scikit-image's `data.astronaut`, cut out and scaled to `astronaut.webp`. NASA endorses nothing here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

PICTURE_NAME = "astronaut.webp"
DEFAULT_SECONDS = 15.0
# Share of the film's length -> where the middle of the person is, as a share of the picture's width.
WALK = ((0.0, -0.2), (0.18, -0.2), (0.38, 0.45), (0.62, 0.55), (0.82, 1.2), (1.0, 1.2))
WALL_TOP = 0.74
PERSON_HEIGHT = 0.34  # of the frame's, from the wall up: small enough for nano models, large enough for a good snapshot
BODY = (0.005, 0.725)  # columns of the picture that are body; the rest is the helmet she carries
STEPS_PER_S = 1.8
NOISE_LEVELS = 1.5


@dataclass(frozen=True, slots=True)
class Presence:
    """Where the person is: `box` is x1 y1 x2 y2 in pixels, cut to the frame; `visible` the share of it inside, 0..1."""

    box: tuple[float, float, float, float]
    visible: float


def person_at(time_s: float, seconds: float = DEFAULT_SECONDS, size: tuple[int, int] = (1280, 720)) -> Presence | None:
    """Tell the truth for one moment of the film, which repeats; None for an empty yard. `size` is width, height."""
    width, height = size
    left, top, _ = _corner(time_s, seconds, size)
    cutout_width = _cutout_size(height)[0]
    x1, x2 = left + BODY[0] * cutout_width, left + BODY[1] * cutout_width
    inside = max(0.0, min(x2, width) - max(x1, 0.0))
    if inside <= 0:
        return None
    return Presence((max(x1, 0.0), top, min(x2, width), WALL_TOP * height), inside / (x2 - x1))


def write_scene(
    path: Path, seconds: float = DEFAULT_SECONDS, fps: int = 10, size: tuple[int, int] = (1280, 720)
) -> None:
    """Encode one loop of the film as H.264 in MP4, a key frame a second; `size` is width, height, both even."""
    with av.open(str(path), "w") as container:
        # As cameras encode: no B-frames, regular key frames.
        stream = container.add_stream("libx264", rate=fps, options={"preset": "veryfast", "bf": "0", "g": str(fps)})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for index, picture in enumerate(render(seconds, fps, size)):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def render(seconds: float, fps: int, size: tuple[int, int]) -> Iterator[Picture]:
    """Draw the film's pictures, BGR uint8 [H, W, 3]."""
    yard = draw_yard(size)
    cutout = cv2.resize(_person(), _cutout_size(size[1]), interpolation=cv2.INTER_AREA)
    noise = np.random.default_rng(1).normal(0, NOISE_LEVELS, yard.shape).astype(np.int8)
    for index in range(round(seconds * fps)):
        picture = yard.copy()
        _paste(picture, cutout, *_corner(index / fps, seconds, size))
        yield _add_noise(picture, np.roll(noise, index * 37, axis=1))


def draw_yard(size: tuple[int, int]) -> Picture:
    """Draw the empty yard, BGR uint8 [H, W, 3]: a plastered house with a door, asphalt, and the wall in front."""
    width, height = size
    yard = np.empty((height, width, 3), np.float32)
    ground, wall = round(0.58 * height), round(WALL_TOP * height)
    yard[:ground] = np.linspace(150, 172, ground)[:, None, None] * np.array([0.93, 0.98, 1.0])
    yard[ground:wall] = np.linspace(88, 104, wall - ground)[:, None, None]
    yard[wall:] = np.linspace(142, 112, height - wall)[:, None, None] * np.array([0.9, 0.95, 1.0])
    _draw_house(yard, width, ground)
    _draw_wall(yard, width, height, wall)
    grain = np.random.default_rng(2).normal(0, 9, (height // 2, width // 2, 1)).astype(np.float32)
    yard += cv2.GaussianBlur(cv2.resize(grain, size), (0, 0), 1.0)[..., None]
    return np.clip(yard, 0, 255).astype(np.uint8)


def _draw_house(yard: NDArray[np.float32], width: int, ground: int) -> None:
    """Draw a grey door, a strip of plinth and a drainpipe: things, but none that a detector knows."""
    left, right, top = round(0.76 * width), round(0.88 * width), round(0.24 * ground)
    cv2.rectangle(yard, (0, round(0.9 * ground)), (width, ground), (118.0, 122.0, 124.0), -1)
    cv2.rectangle(yard, (left, top), (right, ground), (96.0, 92.0, 84.0), -1)
    cv2.rectangle(yard, (left, top), (right, ground), (70.0, 68.0, 64.0), max(1, width // 240))
    cv2.rectangle(yard, (round(0.09 * width), 0), (round(0.1 * width), ground), (125.0, 128.0, 126.0), -1)


def _draw_wall(yard: NDArray[np.float32], width: int, height: int, wall: int) -> None:
    """Draw concrete blocks with joints and a bright coping."""
    block_height, block_width = max(2, (height - wall) // 3), max(2, width // 10)
    for row, y in enumerate(range(wall, height, block_height)):
        cv2.line(yard, (0, y), (width, y), (92.0, 96.0, 98.0), 1)
        for x in range(row % 2 * block_width // 2, width, block_width):
            cv2.line(yard, (x, y), (x, y + block_height), (92.0, 96.0, 98.0), 1)
    cv2.rectangle(yard, (0, wall), (width, wall + max(1, height // 60)), (168.0, 174.0, 176.0), -1)


@cache
def _person() -> Picture:
    """Load the cut-out person, BGR and opacity, uint8 [h, w, 4]."""
    data = resources.files(__package__).joinpath(PICTURE_NAME).read_bytes()
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED), np.uint8)


def _cutout_size(frame_height: int) -> tuple[int, int]:
    height, width = _person().shape[:2]
    scaled = round(PERSON_HEIGHT * frame_height)
    return round(width * scaled / height), scaled


def _corner(time_s: float, seconds: float, size: tuple[int, int]) -> tuple[int, int, int]:
    """Left and top of the cut-out, and the wall's row that hides what is below, at one moment; pixels."""
    width, height = size
    times, places = zip(*WALK, strict=True)
    share = time_s % seconds / seconds
    middle = float(np.interp(share, times, places)) * width
    # Who walks bobs up and down; the feet of the cut-out stay below the wall's edge.
    bob = abs(math.sin(math.pi * STEPS_PER_S * time_s)) * 0.012 * height
    cutout_width, cutout_height = _cutout_size(height)
    wall = round(WALL_TOP * height)
    return round(middle - cutout_width / 2), round(wall - cutout_height + bob), wall


def _paste(picture: Picture, cutout: Picture, left: int, top: int, wall: int) -> None:
    """Blend the cut-out in at its corner, as far as it is inside the frame and above the wall."""
    x1, x2 = max(left, 0), min(left + cutout.shape[1], picture.shape[1])
    y2 = min(top + cutout.shape[0], wall)
    if x1 >= x2:
        return
    part = cutout[: y2 - top, x1 - left : x2 - left]
    opacity = part[..., 3:].astype(np.float32) / 255
    under = picture[top:y2, x1:x2]
    under[:] = (part[..., :3] * opacity + under * (1 - opacity)).astype(np.uint8)


def _add_noise(picture: Picture, noise: NDArray[np.int8]) -> Picture:
    return np.clip(picture + noise.astype(np.int16), 0, 255).astype(np.uint8)
