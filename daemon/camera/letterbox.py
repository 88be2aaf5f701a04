"""Decoded frames to the model's input: scaled, RGB, privacy masks black, written straight into a frame slot.

Planes are made small first and coloured afterwards, so colour costs the model's pixels, not the camera's. Measured for
1280x720 to 416x234 on one core: 0.45 ms; swscale with its default bicubic 2.0 ms. OpenCV's linear scaling is what the
published models were trained with (YOLOX preproc).
What does not belong here: which frames are wanted, and where slots come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from ..geometry import Placement, RelativePolygon, fit_box, rasterise
from ..messages import Fit

Pixels = NDArray[np.uint8]

GREY: Final = 114  # of the padding; YOLOX preproc
_PLANAR: Final = frozenset({"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "yuv440p", "yuvj440p"})
_SEMI_PLANAR: Final = frozenset({"nv12", "nv16", "nv24"})
_FULL_RANGE: Final = 2  # AVCOL_RANGE_JPEG
_BT709: Final = 1  # AVCOL_SPC_BT709
_BT2020: Final = frozenset({9, 10})  # AVCOL_SPC_BT2020_NCL, _CL
_UNSPECIFIED: Final = frozenset({0, 2, 3})  # RGB (which no YUV frame is), unspecified, reserved
_HD_HEIGHT: Final = 576  # above it an untagged stream is BT.709, as players take it (mpv: mp_csp_guess_colorspace)
_KR_KB: Final = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}
# One output pixel mixes camera pixels up to 3 away: 1 by linear scaling, 2 by chroma of half the size.
_BLEED_PX: Final = 3
_LUMA_SIZE: Final = (320, 180)  # the motion gate's picture before it is averaged 4 x 4
_LUMA_SHRINK: Final = 4


def yuv_to_rgb_matrix(matrix: str, *, full_range: bool) -> NDArray[np.float32]:
    """Return float32 [3, 4] that takes (Y, U, V, 1) in 0..255 to (R, G, B); ITU-R BT.601, BT.709 and BT.2020."""
    kr, kb = _KR_KB[matrix]
    kg = 1 - kr - kb
    luma, chroma, black = (1.0, 1.0, 0.0) if full_range else (255 / 219, 255 / 224, 16.0)
    rows = np.array(
        [
            [luma, 0, 2 * (1 - kr) * chroma],
            [luma, -2 * kb * (1 - kb) / kg * chroma, -2 * kr * (1 - kr) / kg * chroma],
            [luma, 2 * (1 - kb) * chroma, 0],
        ]
    )
    return np.column_stack([rows, -rows @ (black, 128, 128)]).astype(np.float32)


def _colours_of(frame: VideoFrame) -> NDArray[np.float32]:
    space = int(frame.colorspace)
    if space == _BT709 or (space in _UNSPECIFIED and frame.height > _HD_HEIGHT):
        matrix = "bt709"
    else:
        matrix = "bt2020" if space in _BT2020 else "bt601"
    full_range = frame.format.name.startswith("yuvj") or int(frame.color_range) == _FULL_RANGE
    return yuv_to_rgb_matrix(matrix, full_range=full_range)


def _plane(plane: Any, channels: int = 1) -> Pixels:
    """Return a decoded plane as uint8 [height, width] or [height, width, 2], without a copy."""
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height]
    if channels == 1:
        return rows[:, : plane.width]
    return rows[:, : plane.width * channels].reshape(plane.height, plane.width, channels)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What stays the same as long as the camera's picture keeps its size and colours."""

    key: tuple[Any, ...]
    placement: Placement
    matrix: NDArray[np.float32]
    keep: Pixels | None  # uint8 [placed_height, placed_width, 3], 0 under privacy masks, else 255
    # Scratch, used for every frame: fresh memory of this size costs a page fault every 4 kB.
    planes: list[Pixels]  # Y, U, V, each [placed_height, placed_width]
    yuv: Pixels  # [placed_height, placed_width, 3]
    rgb: Pixels  # [placed_height, placed_width, 3]


class Letterbox:
    """Fills one model input a frame. One for each camera: it keeps the scratch memory of that camera's size."""

    def __init__(self, width: int, height: int, fit: Fit, privacy_masks: Sequence[RelativePolygon] = ()) -> None:
        self.width = width
        self.height = height
        self._fit = fit
        self._masks = privacy_masks
        self._plan: _Plan | None = None
        # One for good: a new swscale context a frame leaks resident memory.
        self._reformatter = VideoReformatter()

    @property
    def size_bytes(self) -> int:
        """Bytes of one input."""
        return 3 * self.height * self.width

    def write(self, frame: VideoFrame, out: Pixels) -> None:
        """Write `frame` into `out`, uint8 [3, height, width] planar RGB, whatever its pixel format."""
        plan = self._plan_for(frame)
        wide, high = plan.placement.placed_width, plan.placement.placed_height
        rgb = self._small_rgb(frame, plan, (wide, high))
        if plan.keep is not None:
            cv2.bitwise_and(rgb, plan.keep, dst=rgb)
        cv2.split(rgb, [out[channel, :high, :wide] for channel in range(3)])
        out[:, high:, :] = GREY
        out[:, :high, wide:] = GREY

    def _plan_for(self, frame: VideoFrame) -> _Plan:
        key = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range)
        if self._plan is None or self._plan.key != key:
            placement = fit_box(frame.width, frame.height, self.width, self.height, self._fit)
            high, wide = placement.placed_height, placement.placed_width
            planes = [np.empty((high, wide), np.uint8) for _ in range(3)]
            yuv, rgb = np.empty((high, wide, 3), np.uint8), np.empty((high, wide, 3), np.uint8)
            self._plan = _Plan(key, placement, _colours_of(frame), self._keep(placement), planes, yuv, rgb)
        return self._plan

    def _keep(self, placement: Placement) -> Pixels | None:
        if not self._masks:
            return None
        margin = ceil(_BLEED_PX * max(placement.scale_x, placement.scale_y))
        hidden = rasterise(self._masks, placement.placed_width, placement.placed_height, margin)
        return np.repeat(np.where(hidden, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)

    def _small_rgb(self, frame: VideoFrame, plan: _Plan, size: tuple[int, int]) -> Any:
        name = frame.format.name
        if name in _PLANAR:
            for plane, small in zip(frame.planes[:3], plan.planes, strict=True):
                cv2.resize(_plane(plane), size, dst=small)
        elif name in _SEMI_PLANAR:
            cv2.resize(_plane(frame.planes[0]), size, dst=plan.planes[0])
            cv2.split(cv2.resize(_plane(frame.planes[1], 2), size), plan.planes[1:])
        else:
            return _packed(self._reformatter.reformat(frame, *size, "rgb24", interpolation="BILINEAR"), 3)
        cv2.merge(plan.planes, plan.yuv)
        return cv2.transform(plan.yuv, plan.matrix, plan.rgb)


class LumaView:
    """A small brightness picture for the motion gate, black under the privacy masks. One for each camera."""

    width: Final = _LUMA_SIZE[0] // _LUMA_SHRINK
    height: Final = _LUMA_SIZE[1] // _LUMA_SHRINK

    def __init__(self, privacy_masks: Sequence[RelativePolygon] = ()) -> None:
        self._hidden = rasterise(privacy_masks, self.width, self.height, margin=1) if privacy_masks else None
        self._reformatter = VideoReformatter()

    def of(self, frame: VideoFrame) -> Pixels:
        """Return uint8 [45, 80]; each value the mean of a 4 x 4 block, so that noise does not look like motion."""
        if frame.format.name in _PLANAR | _SEMI_PLANAR:
            luma = cv2.resize(_plane(frame.planes[0]), _LUMA_SIZE)
        else:
            luma = _packed(self._reformatter.reformat(frame, *_LUMA_SIZE, "gray", interpolation="BILINEAR"), 1)
        small = np.asarray(cv2.resize(luma, (self.width, self.height), interpolation=cv2.INTER_AREA), np.uint8)
        if self._hidden is not None:
            small[self._hidden] = 0
        return small


def _packed(frame: VideoFrame, channels: int) -> Pixels:
    """Return a frame of one plane as an array of our own, for the reformatter may use its memory again."""
    return _plane(frame.planes[0], channels).copy()
