"""Each family's published post-processing in plain NumPy, one picture at a time: the yardstick of parity.

Written from the projects' own demos, apart from the graph tails, so that an error in one is not in the other.
Rows are float32 [n, 6] `x1 y1 x2 y2 score class` in input pixels, all candidates, before NMS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from .family import Pixels
    from .signature import Signature

    Arrays = Sequence[NDArray[np.generic]]


def prepare(planar_rgb: NDArray[np.uint8], pixels: Pixels, signature: Signature) -> NDArray[np.float32]:
    """One contract picture uint8 [3, H, W] as the foreign network wants it, batch 1."""
    image = planar_rgb.astype(np.float32)
    if pixels.channels == "bgr":
        image = image[::-1]
    image = (image - np.asarray(pixels.mean, np.float32).reshape(3, 1, 1)) / np.asarray(pixels.std, np.float32).reshape(
        3, 1, 1
    )
    return (image if signature.planar else image.transpose(1, 2, 0))[None]


def yolox(outputs: Arrays, signature: Signature) -> NDArray[np.float32]:
    """`demo_postprocess` and the scoring of YOLOX's onnx_inference.py."""
    raw = np.array(outputs[0][0], np.float32)
    width, height = signature.size
    grids, strides = [], []
    for stride in (8, 16, 32):
        xv, yv = np.meshgrid(np.arange(width // stride), np.arange(height // stride))
        grids.append(np.stack((xv, yv), 2).reshape(-1, 2))
        strides.append(np.full((grids[-1].shape[0], 1), stride))
    grid, stride_column = np.concatenate(grids), np.concatenate(strides)
    centres = (raw[:, :2] + grid) * stride_column
    sizes = np.exp(raw[:, 2:4]) * stride_column
    return _rows(_corners(centres, sizes), raw[:, 4:5] * raw[:, 5:])


def _corners(centres: NDArray[np.floating], sizes: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)


def _rows(boxes: NDArray[np.floating], class_scores: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rows by falling score of each box with its best class."""
    best = class_scores.argmax(axis=1)
    scores = class_scores[np.arange(len(best)), best]
    rows = np.column_stack([boxes, scores, best]).astype(np.float32)
    return np.asarray(rows[np.argsort(-rows[:, 4], kind="stable")])


BY_HAND: dict[str, Callable[[Arrays, Signature], NDArray[np.float32]]] = {"yolox": yolox}
