"""Reads a video with MOTChallenge ground truth as a COCO document whose pictures are frames.

A line is `frame,id,x,y,w,h,conf,...`, frames from 1, pixels; conf 0 marks a box that counts neither way.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from ..errors import DatasetError


def read_frames(video: Path) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield (frame number from 1, BGR uint8 [H, W, 3]) of a video; raises DatasetError when it cannot be decoded."""
    number = 0
    try:
        with av.open(str(video)) as container:
            if not container.streams.video:
                raise DatasetError(f"{video}: holds no video")
            for number, frame in enumerate(container.decode(video=0), 1):
                yield number, np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
    except (OSError, av.error.FFmpegError) as exc:
        where = f"after frame {number}" if number else "at its start"
        raise DatasetError(f"{video}: not a video that can be read, {where} ({exc})") from exc


def read_mot(path: Path, label: str = "person") -> dict[str, Any]:
    """Return the COCO document of a MOT ground-truth file; image ids are frame numbers.

    Raises DatasetError naming the line that is out of format.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise DatasetError(f"{path}: cannot be read ({exc})") from exc
    annotations: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            annotations.append({"id": len(annotations) + 1, **_annotation(line, f"{path}:{number}")})
    frames = sorted({a["image_id"] for a in annotations})
    if not frames:
        raise DatasetError(f"{path}: no boxes")
    images = [{"id": frame, "file_name": f"frame {frame}"} for frame in range(1, frames[-1] + 1)]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": label}]}


def _annotation(line: str, where: str) -> dict[str, Any]:
    try:
        frame, _, x, y, w, h, conf = (float(text) for text in line.split(",")[:7])
    except ValueError as exc:
        raise DatasetError(f"{where}: not `frame,id,x,y,w,h,conf`: {line[:60]!r}") from exc
    ignored = int(conf == 0)
    return {"image_id": int(frame), "category_id": 1, "bbox": [x, y, w, h], "area": w * h, "iscrowd": ignored}
