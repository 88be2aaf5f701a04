"""FastestDet: one map `[N, 5 + classes, H/16, W/16]`: object, tanh offset, sigmoid size, classes after softmax.

Source: example/onnx-runtime/runtime.py of dog-qiuqiu/FastestDet (BSD-3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from .family import Candidates, Family, Pixels, best_rows, corners, one_output
from .yolox import END, grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .graph import Builder
    from .signature import Signature

STRIDE = 16
OBJECT_POWER, CLASS_POWER = 0.6, 0.4


class FastestDet(Family):
    """A single stride, stretched pictures."""

    name = "fastestdet"
    about = "FastestDet, [N, 5+classes, H/16, W/16], BGR 0..1, stretched"
    pixels: ClassVar[Pixels] = Pixels("bgr", std=(255.0, 255.0, 255.0))
    fit: ClassVar[Literal["letterbox", "stretch"]] = "stretch"
    nms_iou = 0.45

    def refusal(self, signature: Signature) -> str | None:
        """Accept one map of stride 16."""
        if reason := one_output(signature, 4):
            return reason
        _, height, rows, columns = signature.outputs[0].shape
        width_px, height_px = signature.size
        if (rows, columns) == (height_px // STRIDE, width_px // STRIDE) and height > 5:
            return None
        return f"output [{height}, {rows}, {columns}], expected [5 + classes, H/{STRIDE}, W/{STRIDE}]"

    def class_count(self, signature: Signature) -> int | None:
        """Channels after object and box."""
        return signature.outputs[0].shape[1] - 5

    def candidates(self, signature: Signature) -> int:
        """One a cell."""
        return signature.locations((STRIDE,))

    def decode(self, build: Builder, outputs: Sequence[str], signature: Signature, rows: int) -> Candidates:
        """Centre = cell + tanh, in cells; size = sigmoid, in pictures; score = object^0.6 * class^0.4."""
        height = signature.outputs[0].shape[1]
        flat = build.op("Reshape", outputs[0], build.ints([0, height, -1]))
        scores, index = best_rows(build, self._scores(build, flat), rows)
        picked = build.op("Transpose", build.columns(flat, index, height), perm=[0, 2, 1])
        cells, _ = grid(signature.size, (STRIDE,))
        cell = build.op("Gather", build.floats(cells), index)
        centres = build.op("Add", build.op("Tanh", build.slice(picked, 1, 3)), cell)
        sizes = build.op("Mul", build.op("Sigmoid", build.slice(picked, 3, 5)), build.floats(signature.size))
        boxes = corners(build, build.op("Mul", centres, build.floats(float(STRIDE))), sizes)
        classes = build.op("ArgMax", build.slice(picked, 5, END), axis=-1, keepdims=0)
        return Candidates(boxes, scores, classes)

    def _scores(self, build: Builder, flat: str) -> str:
        objects = build.squeeze(build.slice(flat, 0, 1, axis=1), axis=1)
        best = build.max_over(build.slice(flat, 5, END, axis=1), axis=1)
        powers = build.op("Pow", objects, build.floats(OBJECT_POWER)), build.op("Pow", best, build.floats(CLASS_POWER))
        return build.op("Mul", *powers)
