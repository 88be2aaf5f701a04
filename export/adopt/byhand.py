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


def centre_columns(outputs: Arrays, signature: Signature) -> NDArray[np.float32]:  # noqa: ARG001
    """YOLOv8: transpose, centre and size, best class."""
    raw = np.array(outputs[0][0], np.float32).T
    return _rows(_corners(raw[:, :2], raw[:, 2:4]), raw[:, 4:])


def centre_rows(outputs: Arrays, signature: Signature) -> NDArray[np.float32]:  # noqa: ARG001
    """YOLOv5, v6, v7: centre and size, object x class."""
    raw = np.array(outputs[0][0], np.float32)
    return _rows(_corners(raw[:, :2], raw[:, 2:4]), raw[:, 4:5] * raw[:, 5:])


def end_to_end(outputs: Arrays, signature: Signature) -> NDArray[np.float32]:  # noqa: ARG001
    """YOLOv10: the rows are final."""
    raw = np.array(outputs[0][0], np.float32)
    return np.asarray(raw[np.argsort(-raw[:, 4], kind="stable")])


def detr(outputs: Arrays, signature: Signature) -> NDArray[np.float32]:
    """Labels, boxes, scores as they come, found by their shapes."""
    by_kind = {(t.dtype.kind, len(t.shape)): array[0] for t, array in zip(signature.outputs, outputs, strict=True)}
    table = np.column_stack([by_kind["f", 3], by_kind["f", 2], by_kind["i", 2]]).astype(np.float32)
    return np.asarray(table[np.argsort(-table[:, 4], kind="stable")])


def detr_logits(outputs: Arrays, signature: Signature) -> NDArray[np.float32]:
    """RT-DETR's PostProcessor: sigmoid, top pairs of query and class, boxes to corners and pixels."""
    logits, boxes = (np.array(array[0], np.float32) for array in outputs)
    if logits.shape[1] == 4:
        logits, boxes = boxes, logits
    scores = 1 / (1 + np.exp(-logits))
    query, label = np.unravel_index(np.argsort(-scores, axis=None, kind="stable"), scores.shape)
    pixels = _corners(boxes[:, :2], boxes[:, 2:]) * np.tile(np.asarray(signature.size, np.float32), 2)
    return np.column_stack([pixels[query], scores[query, label], label]).astype(np.float32)


def nanodet(outputs: Arrays, signature: Signature) -> NDArray[np.float32]:
    """NanoDet-m's demo: per stride, softmax over 8 bins, distances from centres at (x + 0.5) * stride."""
    maps = [np.array(array[0], np.float32) for array in outputs]
    classes = sorted((m for m in maps if m.shape[1] != 32), key=len, reverse=True)
    sides = sorted((m for m in maps if m.shape[1] == 32), key=len, reverse=True)
    parts = [_distances(s, signature.size, stride, 0.5) for s, stride in zip(sides, (8, 16, 32), strict=True)]
    return _rows(np.concatenate(parts), np.concatenate(classes))


def nanodet_plus(outputs: Arrays, signature: Signature) -> NDArray[np.float32]:
    """NanoDet-Plus' demo: one table over four strides, centres at x * stride."""
    table = np.array(outputs[0][0], np.float32)
    parts, start = [], 0
    for stride in (8, 16, 32, 64):
        count = -(-signature.size[0] // stride) * -(-signature.size[1] // stride)
        parts.append(_distances(table[start : start + count, -32:], signature.size, stride, 0.0))
        start += count
    return _rows(np.concatenate(parts), table[:, :-32])


def fastestdet(outputs: Arrays, signature: Signature) -> NDArray[np.float32]:
    """FastestDet's runtime.py, cell by cell."""
    table = np.array(outputs[0][0], np.float32).transpose(1, 2, 0)
    rows_count, columns = table.shape[:2]
    width, height = signature.size
    found = []
    for y in range(rows_count):
        for x in range(columns):
            data = table[y, x]
            score = data[0] ** 0.6 * data[5:].max() ** 0.4
            box_width, box_height = 1 / (1 + np.exp(-data[3])), 1 / (1 + np.exp(-data[4]))
            cx, cy = (x + np.tanh(data[1])) / columns, (y + np.tanh(data[2])) / rows_count
            x1, y1, x2, y2 = cx - box_width / 2, cy - box_height / 2, cx + box_width / 2, cy + box_height / 2
            found.append((x1 * width, y1 * height, x2 * width, y2 * height, score, data[5:].argmax()))
    rows = np.asarray(found, np.float32)
    return np.asarray(rows[np.argsort(-rows[:, 4], kind="stable")])


def ssd(outputs: Arrays, signature: Signature) -> NDArray[np.float32]:
    """TensorFlow's API: the first num_detections rows, corners as y, x in 0..1, classes from 1."""
    named = {t.name.split(":")[0]: array for t, array in zip(signature.outputs, outputs, strict=True)}
    count = int(np.ravel(named["num_detections"])[0])
    width, height = signature.size
    boxes = named["detection_boxes"][0][:count, [1, 0, 3, 2]] * np.asarray([width, height, width, height])
    columns = boxes, named["detection_scores"][0][:count], named["detection_classes"][0][:count] - 1
    rows = np.column_stack(columns).astype(np.float32)
    return np.asarray(rows[np.argsort(-rows[:, 4], kind="stable")])


def _distances(sides: NDArray[np.float32], size: tuple[int, int], stride: int, offset: float) -> NDArray[np.float32]:
    """Boxes of one feature map from distributions [n, 32] over distances left, top, right, bottom."""
    xs, ys = np.meshgrid(np.arange(-(-size[0] // stride)), np.arange(-(-size[1] // stride)))
    cx, cy = (xs.ravel() + offset) * stride, (ys.ravel() + offset) * stride
    exponents = np.exp(sides.reshape(-1, 4, 8) - sides.reshape(-1, 4, 8).max(axis=2, keepdims=True))
    left, top, right, bottom = ((exponents * np.arange(8)).sum(2) / exponents.sum(2) * stride).T
    return np.stack([cx - left, cy - top, cx + right, cy + bottom], axis=1).astype(np.float32)


def _corners(centres: NDArray[np.floating], sizes: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)


def _rows(boxes: NDArray[np.floating], class_scores: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rows by falling score of each box with its best class."""
    best = class_scores.argmax(axis=1)
    scores = class_scores[np.arange(len(best)), best]
    rows = np.column_stack([boxes, scores, best]).astype(np.float32)
    return np.asarray(rows[np.argsort(-rows[:, 4], kind="stable")])


BY_HAND: dict[str, Callable[[Arrays, Signature], NDArray[np.float32]]] = {
    "yolox": yolox,
    "yolox-decoded": centre_rows,
    "yolov5": centre_rows,
    "yolov6": centre_rows,
    "yolov8": centre_columns,
    "end-to-end": end_to_end,
    "detr": detr,
    "detr-logits": detr_logits,
    "rf-detr": detr_logits,
    "nanodet": nanodet,
    "nanodet-plus": nanodet_plus,
    "fastestdet": fastestdet,
    "ssd": ssd,
}
