"""YOLOX: `[N, n, 5 + classes]`, boxes as offsets in cells of stride 8, 16, 32, scores as object x class.

Source: demo/ONNXRuntime/onnx_inference.py and `demo_postprocess` of Megvii's YOLOX (Apache-2.0).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .family import Candidates, Family, Pixels, best_rows, corners, one_output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .graph import Builder
    from .signature import Signature

STRIDES = (8, 16, 32)
END = int(np.iinfo(np.int64).max)  # a slice to the end


class Yolox(Family):
    """Raw head, as the published files have it."""

    name = "yolox"
    about = "YOLOX, raw head [N, n, 5+classes], BGR 0..255"
    pixels: ClassVar[Pixels] = Pixels("bgr")

    def refusal(self, signature: Signature) -> str | None:
        """Accept a raw head: it has one row a cell and no Exp, which only an export with decoding inside has."""
        if reason := one_output(signature, 3):
            return reason
        _, n, width = signature.outputs[0].shape
        if n != signature.locations(STRIDES) or width < 6:
            return f"output [{n}, {width}], expected [{signature.locations(STRIDES)}, 5 + classes]"
        return "boxes are decoded inside already" if is_decoded(signature) else None

    def class_count(self, signature: Signature) -> int | None:
        """Columns after box and object."""
        return signature.outputs[0].shape[2] - 5

    def candidates(self, signature: Signature) -> int:
        """One a cell."""
        return signature.outputs[0].shape[1]

    def decode(self, build: Builder, outputs: Sequence[str], signature: Signature, rows: int) -> Candidates:
        """Centres are (xy + cell) * stride, sizes exp(wh) * stride."""
        (output,) = outputs
        scores, picked, index = pick_by_object_and_class(build, output, rows)
        cells, strides = grid(signature.size, STRIDES)
        stride = build.op("Gather", build.floats(strides[:, None]), index)
        cell = build.op("Gather", build.floats(cells), index)
        centres = build.op("Mul", build.op("Add", build.slice(picked, 0, 2), cell), stride)
        sizes = build.op("Mul", build.op("Exp", build.slice(picked, 2, 4)), stride)
        return Candidates(corners(build, centres, sizes), scores, classes_of(build, picked, 5))


def is_decoded(signature: Signature) -> bool:
    """Whether the first two columns are pixels rather than offsets in cells, which stay within a few cells."""
    return float(np.median(np.abs(signature.probe[0][:, :, :2]))) > 4.0


def pick_by_object_and_class(build: Builder, output: str, rows: int) -> tuple[str, str, str]:
    """Best rows of [N, n, 5 + classes] by object x best class: scores [N, K], rows [N, K, 5 + classes], indices."""
    best = build.max_over(build.slice(output, 5, END))
    objectness = build.squeeze(build.slice(output, 4, 5))
    scores, index = best_rows(build, build.op("Mul", objectness, best), rows)
    return scores, build.rows(output, index), index


def classes_of(build: Builder, picked: str, start: int) -> str:
    """Index of the largest of the columns from `start` on."""
    return build.op("ArgMax", build.slice(picked, start, END), axis=-1, keepdims=0)


def grid(size: tuple[int, int], strides: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cell positions [n, 2] (x, y) and strides [n] of all feature maps, row by row, finest first."""
    width, height = size
    cells, steps = [], []
    for stride in strides:
        rows, columns = np.mgrid[: -(-height // stride), : -(-width // stride)]
        cells.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        steps.append(np.full(rows.size, stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(steps).astype(np.float32)
