"""A picture whose boxes are known, stored in the model: the daemon runs it every few seconds, verify checks it."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import onnx

from ..agreement import difference
from ..contract import read_metadata, write_metadata
from ..errors import QualityError
from ..files import whole_file

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from ..runtime import Detector

SCORE_TOLERANCE = 0.05
PIXEL_TOLERANCE = 4.0
MARGIN = 0.1  # rows this little above the threshold may flicker between devices, so they are no proof
MOST_ROWS = 10
COARSE = np.uint8(0xF8)  # colours in 32 steps: a fifth of the bytes, and the answer is computed on just these pixels


def make(detector: Detector, pictures: list[NDArray[np.uint8]]) -> dict[str, Any]:
    """Return the record for the picture with the surest detection.

    Raises QualityError when the model sees nothing clearly on any of them.
    """
    images = [detector.fit(picture)[0] & COARSE for picture in pictures]
    answers = [_clear_rows(detector, image) for image in images]
    best = max(range(len(images)), key=lambda i: answers[i][0, 4] if len(answers[i]) else 0.0)
    if len(answers[best]) == 0:
        least = detector.metadata.score_threshold + MARGIN
        raise QualityError(f"{detector.path}: nothing above score {least:.2f} on these pictures; give a clearer one")
    return _record(_to_png(images[best]), answers[best])


def renew(detector: Detector, record: dict[str, Any]) -> dict[str, Any]:
    """Return the record with this model's own rows for its picture; empty when it sees nothing clear there."""
    image = _from_png(record["image"])
    if image is None:
        return {}
    rows = _clear_rows(detector, image)
    return _record(record["image"], rows) if len(rows) else {}


def check(detector: Detector, record: dict[str, Any]) -> tuple[bool, str]:
    """Return whether the model still gives the stored boxes, and the numbers."""
    image = _from_png(record["image"])
    width, height = detector.size
    if image is None or image.shape != (3, height, width):
        return False, f"the stored picture is not a PNG of {width}x{height}"
    expected = np.asarray(record["detections"], np.float32).reshape(-1, 6)
    found = difference(expected, detector.run(image[None])[0])
    passed = found.missing == 0 and found.pixels <= record["pixel_tolerance"]
    return passed and found.score <= record["score_tolerance"], str(found)


def store(path: Path, record: dict[str, Any]) -> None:
    """Write the record into the model file, whole or not at all."""
    from dataclasses import replace

    model = onnx.load(str(path))
    write_metadata(model, replace(read_metadata(model, str(path)), known_answer=record))
    with whole_file(path) as draft:
        onnx.save(model, str(draft))


def _record(image: str, rows: NDArray[np.float32]) -> dict[str, Any]:
    return {
        "image": image,
        "detections": [[round(float(value), 4) for value in row] for row in rows],
        "score_tolerance": SCORE_TOLERANCE,
        "pixel_tolerance": PIXEL_TOLERANCE,
    }


def _clear_rows(detector: Detector, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    return detector.finish(detector.run(image[None])[0], detector.metadata.score_threshold + MARGIN)[:MOST_ROWS]


def _to_png(planar_rgb: NDArray[np.uint8]) -> str:
    _, data = cv2.imencode(".png", planar_rgb[::-1].transpose(1, 2, 0), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return base64.b64encode(data.tobytes()).decode("ascii")


def _from_png(text: str) -> NDArray[np.uint8] | None:
    try:
        data = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    except binascii.Error:
        return None
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    return None if picture is None else np.ascontiguousarray(picture[:, :, ::-1].transpose(2, 0, 1))
