"""Snapshots: the frame of an alert as JPEG, clean and with the box drawn in (OpenCV), privacy masks black in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import av
import cv2
import numpy as np

from ..config.settings import Polygon
from ..errors import MediaError
from .segments import AV_ERRORS, read_header, template_streams, to_av
from .timeline import TimedPacket
from .whole_file import whole_file

Image = np.ndarray[Any, np.dtype[np.uint8]]  # [height, width, 3] BGR
JPEG_QUALITY: Final = 90
BOX_BGR: Final = (0, 230, 255)  # amber: rare in scenes, readable on dark and light
INK_BGR: Final = (0, 0, 0)
LINE_PART: Final = 1 / 270  # of the picture's shorter side
TEXT_PART: Final = 1 / 28
FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
FONT_HEIGHT_PX: Final = 22.0  # of FONT at scale 1


@dataclass(frozen=True)
class Marking:
    """What is drawn: the box x1 y1 x2 y2 in fractions of width and height, and the text at it."""

    box: tuple[float, float, float, float]
    caption: str


def decode_nearest(init_segment: bytes, packets: Sequence[TimedPacket], utc_ns: int) -> Image:
    """Return the frame whose packet arrived nearest to `utc_ns`; `packets` begin with a video key frame.

    Raises MediaError when nothing can be decoded.
    """
    video = [packet for packet in packets if packet.is_video]
    if not video:
        raise MediaError("no packets of the snapshot's time")
    wanted = min(video, key=lambda packet: abs(packet.utc_ns - utc_ns))
    first = max(i for i, p in enumerate(video) if i == 0 or (p.is_keyframe and p.time_ns <= wanted.time_ns))
    # What is decoded before the wanted packet is all that its frame can depend on.
    needed = [packet for packet in video[first:] if packet.time_ns <= wanted.time_ns]
    frame = _decode(init_segment, needed, wanted)
    try:
        image: Image = frame.to_ndarray(format="bgr24")
    except AV_ERRORS as exc:
        raise MediaError(f"the snapshot's frame, {frame.format.name}, cannot be turned into BGR: {exc}") from exc
    return image


def _decode(init_segment: bytes, packets: Sequence[TimedPacket], wanted: TimedPacket) -> Any:
    best = None
    with template_streams(init_segment) as streams:
        stream = streams[read_header(init_segment).video_index]
        decoder = av.CodecContext.create(stream.codec_context.codec.name, "r")
        decoder.extradata = stream.codec_context.extradata
        decoder.thread_count = 1
        try:
            for packet in [*(to_av(packet, stream, 0) for packet in packets), None]:
                for frame in decoder.decode(packet):
                    if frame.pts is None:
                        continue  # a damaged stream's; nobody can say when it was
                    if best is None or abs(frame.pts - wanted.pts) <= abs(best.pts - wanted.pts):
                        best = frame
        except AV_ERRORS as exc:
            raise MediaError(f"the snapshot's frame cannot be decoded: {exc}") from exc
    if best is None:
        raise MediaError("the snapshot's frame cannot be decoded: no frame came out")
    return best


def blacken(image: Image, masks: Sequence[Polygon]) -> None:
    """Make the areas black in place; points are fractions of width and height."""
    height, width = image.shape[:2]
    for mask in masks:
        points = np.round(np.asarray(mask) * (width, height)).astype(np.int32)
        cv2.fillPoly(image, [points], INK_BGR)


def draw(image: Image, marking: Marking) -> Image:
    """Return a copy with the box and its caption; sizes follow the picture's, so both are readable at any."""
    result = image.copy()
    height, width = image.shape[:2]
    line_px = max(2, round(min(height, width) * LINE_PART))
    x1, y1, x2, y2 = (
        round(min(max(part, 0.0), 1.0) * (size - 1))
        for part, size in zip(marking.box, (width, height, width, height), strict=True)
    )
    cv2.rectangle(result, (x1, y1), (x2, y2), INK_BGR, line_px * 2)
    cv2.rectangle(result, (x1, y1), (x2, y2), BOX_BGR, line_px)
    if marking.caption:
        _draw_caption(result, marking.caption, (x1, y1, y2))
    return result


def _draw_caption(image: Image, caption: str, at: tuple[int, int, int]) -> None:
    """Write on a filled label above the box, below it when there is no room, else inside; never outside the picture."""
    height, width = image.shape[:2]
    # OpenCV's font knows ASCII only and prints question marks for the rest.
    text = caption.encode("ascii", "replace").decode()
    scale = max(10.0, min(height, width) * TEXT_PART) / FONT_HEIGHT_PX
    thickness = max(1, round(scale * 1.6))
    (text_px, _), _ = cv2.getTextSize(text, FONT, scale, thickness)
    if text_px > width * 0.95:
        scale *= width * 0.95 / text_px
        thickness = max(1, round(scale * 1.6))
    (text_px, text_height), baseline = cv2.getTextSize(text, FONT, scale, thickness)
    pad = max(2, text_height // 3)
    label_height = text_height + baseline + 2 * pad
    x1, y1, y2 = at
    left = max(0, min(x1, width - text_px - 2 * pad))
    below = y2 if y2 + label_height <= height else max(0, min(y1, height - label_height))
    top = y1 - label_height if y1 >= label_height else below
    cv2.rectangle(image, (left, top), (left + text_px + 2 * pad, top + label_height), BOX_BGR, cv2.FILLED)
    origin = (left + pad, top + pad + text_height)
    cv2.putText(image, text, origin, FONT, scale, INK_BGR, thickness, cv2.LINE_AA)


def save_jpeg(image: Image, path: Path) -> int:
    """Write `path` in one step and return its bytes.

    Raises MediaError when the disk does not take it.
    """
    try:
        done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    except cv2.error as exc:
        raise MediaError(f"snapshot {path} cannot be encoded: {exc}") from exc
    if not done:
        raise MediaError(f"snapshot {path} cannot be encoded")
    try:
        with whole_file(path) as draft:
            draft.write_bytes(data.tobytes())
    except OSError as exc:
        raise MediaError(f"snapshot {path} cannot be written: {exc}") from exc
    return int(data.size)
