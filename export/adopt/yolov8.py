"""The layout of YOLOv8, v9 and v11: `[N, 4 + classes, n]`, centre and size in pixels, class scores after sigmoid.

Source: ultralytics' documented export layout; read off exported files, no code of theirs is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from .family import RGB_UNIT, Candidates, Family, Pixels, best_rows, corners, one_output
from .yolox import END

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .graph import Builder
    from .signature import Signature

PYRAMIDS = ((8, 16, 32), (4, 8, 16, 32), (8, 16, 32, 64))


class YoloV8(Family):
    """Boxes in columns: one a cell, no object score."""

    name = "yolov8"
    about = "YOLOv8/v9/v11, [N, 4+classes, n] in pixels, RGB 0..1"
    pixels: ClassVar[Pixels] = RGB_UNIT
    nms_iou = 0.7

    def refusal(self, signature: Signature) -> str | None:
        """Accept one column a cell of a usual feature pyramid."""
        if reason := one_output(signature, 3):
            return reason
        _, height, n = signature.outputs[0].shape
        allowed = {signature.locations(strides) for strides in PYRAMIDS}
        if n in allowed and height > 4:
            return None
        return f"output [{height}, {n}], expected [4 + classes, one of {sorted(allowed)}]"

    def class_count(self, signature: Signature) -> int | None:
        """Rows after the box."""
        return signature.outputs[0].shape[1] - 4

    def candidates(self, signature: Signature) -> int:
        """One a column."""
        return signature.outputs[0].shape[2]

    def decode(self, build: Builder, outputs: Sequence[str], signature: Signature, rows: int) -> Candidates:
        """Pick columns before transposing, so that only `rows` of them are touched."""
        (output,) = outputs
        scores, index = best_rows(build, build.max_over(build.slice(output, 4, END, axis=1), axis=1), rows)
        picked = build.columns(output, index, signature.outputs[0].shape[1])
        boxes = build.op("Transpose", build.slice(picked, 0, 4, axis=1), perm=[0, 2, 1])
        classes = build.op("ArgMax", build.slice(picked, 4, END, axis=1), axis=1, keepdims=0)
        return Candidates(corners(build, build.slice(boxes, 0, 2), build.slice(boxes, 2, 4)), scores, classes)
