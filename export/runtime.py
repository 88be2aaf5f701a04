"""Runs a model of the contract on pictures: fit, inference, suppression, boxes back in the picture's pixels.

What belongs here: what every command that shows pictures to a model needs. What does not: measuring, drawing, training.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as state

from .contract import INPUT, OUTPUT, PAD, Metadata
from .errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

ORT_ERRORS = (  # each derives from Exception alone
    *(state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf, state.NoSuchFile),
    *(state.NotImplemented, state.RuntimeException, RuntimeError, ValueError),
)
FALLBACK_BATCH = 8  # pictures a run of `detect` when the model takes any number


@dataclass(frozen=True, slots=True)
class Fit:
    """How a picture came into the model's input: input pixels = picture pixels x scale. Letterbox: both are equal."""

    scale_x: float
    scale_y: float
    width: int
    height: int

    def to_picture(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return float32 [n, 6] `rows` with boxes in the picture's pixels, clipped to the picture."""
        out = rows.copy()
        out[:, [0, 2]] = np.clip(out[:, [0, 2]] / self.scale_x, 0, self.width)
        out[:, [1, 3]] = np.clip(out[:, [1, 3]] / self.scale_y, 0, self.height)
        return out


def letterbox(picture: NDArray[np.uint8], width: int, height: int) -> tuple[NDArray[np.uint8], Fit]:
    """Return the BGR picture scaled to fit, placed top-left on grey 114, as uint8 [height, width, 3]."""
    rows, columns = picture.shape[:2]
    scale = min(width / columns, height / rows)
    size = (max(1, min(width, round(columns * scale))), max(1, min(height, round(rows * scale))))
    canvas = np.full((height, width, 3), PAD, np.uint8)
    canvas[: size[1], : size[0]] = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
    return canvas, Fit(scale, scale, columns, rows)


def stretch(picture: NDArray[np.uint8], width: int, height: int) -> tuple[NDArray[np.uint8], Fit]:
    """Return the BGR picture scaled to exactly width x height, its shape not kept."""
    rows, columns = picture.shape[:2]
    resized = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8), Fit(width / columns, height / rows, columns, rows)


def iou_matrix(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the IoU of every box of `a` [n, 4] with every one of `b` [m, 4] as float32 [n, m]."""
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = np.minimum(a[:, None, 2:4], b[None, :, 2:4])
    inter = np.prod(np.clip(bottom_right - top_left, 0, None), axis=2)
    areas = [np.prod(np.clip(boxes[:, 2:4] - boxes[:, :2], 0, None), axis=1) for boxes in (a, b)]
    union = areas[0][:, None] + areas[1][None, :] - inter
    return np.asarray(inter / np.maximum(union, 1e-9), np.float32)


def suppress(rows: NDArray[np.float32], iou: float) -> NDArray[np.float32]:
    """Return float32 [n, 6] `rows`, sorted by falling score, without those that a better one of their class covers."""
    rows = rows[np.argsort(-rows[:, 4], kind="stable")]
    overlap = iou_matrix(rows, rows) > iou
    overlap &= rows[:, None, 5] == rows[None, :, 5]
    kept = np.ones(len(rows), bool)
    for index in range(len(rows)):
        if kept[index]:
            kept[index + 1 :] &= ~overlap[index, index + 1 :]
    return rows[kept]


class Detector:
    """A model file of the contract, ready to run with ONNX Runtime.

    `threads` 0 leaves the choice to ONNX Runtime; `providers` None takes the CPU.
    Raises ContractError when the file cannot be loaded or is not of the contract.
    """

    def __init__(self, path: str | Path, threads: int = 0, providers: Sequence[str] | None = None) -> None:
        self.path = Path(path)
        self.session = _open_session(self.path, threads, list(providers or ["CPUExecutionProvider"]))
        self.metadata = Metadata.from_props(self.session.get_modelmeta().custom_metadata_map, str(path))
        self.size = self._checked_size()

    def _checked_size(self) -> tuple[int, int]:
        """Return (width, height) of the input; raises ContractError when inputs or outputs are not the contract's."""
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        if [node.name for node in inputs] != [INPUT] or [node.name for node in outputs] != [OUTPUT]:
            raise ContractError(f"{self.path}: inputs or outputs are not the contract's; see `lepton-export adopt`")
        shape = inputs[0].shape
        if inputs[0].type != "tensor(uint8)" or len(shape) != 4 or not all(isinstance(d, int) for d in shape[2:]):
            raise ContractError(f"{self.path}: `{INPUT}` is {inputs[0].type} {shape}, not uint8 [N, 3, H, W]")
        return int(shape[3]), int(shape[2])

    def fit(self, picture: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Fit]:
        """Return a BGR picture as the model wants it, uint8 planar RGB [3, H, W], and how it was fitted."""
        place = letterbox if self.metadata.fit == "letterbox" else stretch
        canvas, fit = place(picture, *self.size)
        return np.ascontiguousarray(canvas[:, :, ::-1].transpose(2, 0, 1)), fit

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the raw rows float32 [N, K, 6] of a batch uint8 [N, 3, H, W], in input pixels, not suppressed.

        Raises ContractError when the graph cannot run such a batch.
        """
        limit = self.metadata.batch or len(batch)
        try:
            parts = [self.session.run([OUTPUT], {INPUT: batch[i : i + limit]})[0] for i in range(0, len(batch), limit)]
        except ORT_ERRORS as exc:
            raise ContractError(f"{self.path}: cannot run a batch of {len(batch)} ({str(exc)[:200]})") from exc
        return np.concatenate(parts)

    def finish(self, rows: NDArray[np.float32], min_score: float) -> NDArray[np.float32]:
        """Return the rows [K, 6] of one picture that score at least `min_score`, without duplicates."""
        rows = rows[rows[:, 4] >= max(min_score, 1e-6)]
        return rows if self.metadata.suppressed else suppress(rows, self.metadata.nms_iou)

    def detect(self, pictures: Sequence[NDArray[np.uint8]], min_score: float) -> list[NDArray[np.float32]]:
        """Return for each BGR picture its detections float32 [n, 6], boxes in that picture's pixels."""
        found: list[NDArray[np.float32]] = []
        for chunk in _chunks(pictures, self.metadata.batch or FALLBACK_BATCH):
            fitted = [self.fit(picture) for picture in chunk]
            rows = self.run(np.stack([image for image, _ in fitted]))
            found += [fit.to_picture(self.finish(r, min_score)) for r, (_, fit) in zip(rows, fitted, strict=True)]
        return found


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _open_session(path: Path, threads: int, providers: list[str]) -> ort.InferenceSession:
    """Return a session; raises ContractError, translated once from ONNX Runtime's own exceptions."""
    if not path.is_file():
        raise ContractError(f"{path}: no such file")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(str(path), options, providers=providers)
    except ORT_ERRORS as exc:
        raise ContractError(f"{path}: ONNX Runtime cannot load it ({str(exc)[:200]})") from exc
