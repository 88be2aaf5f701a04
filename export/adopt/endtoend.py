"""End-to-end heads as YOLOv10 and YOLO26 have them: `[N, rows, 6]` of `x1 y1 x2 y2 score class`, no NMS needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from onnx import TensorProto

from .family import RGB_UNIT, Candidates, Family, Pixels, best_rows, one_output
from .yolox import STRIDES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .graph import Builder
    from .signature import Signature

MOST_ROWS = 1000  # published heads give 100 to 300


class EndToEnd(Family):
    """Rows are final; they are only sorted, and cut to the contract's number."""

    name = "end-to-end"
    about = "YOLOv10/YOLO26 end-to-end, [N, rows, 6] in pixels, RGB 0..1"
    pixels: ClassVar[Pixels] = RGB_UNIT
    suppressed = True

    def refusal(self, signature: Signature) -> str | None:
        """Accept a few rows of six, unless there is one a cell, as one-class YOLOX and YOLOv5 have."""
        if reason := one_output(signature, 3):
            return reason
        _, rows, width = signature.outputs[0].shape
        cells = signature.locations(STRIDES)
        if width == 6 and rows <= MOST_ROWS and rows not in {cells, 3 * cells}:
            return None
        return f"output [{rows}, {width}], expected [up to {MOST_ROWS}, 6]"

    def class_count(self, signature: Signature) -> int | None:  # noqa: ARG002
        """Not told by the shape."""
        return None

    def candidates(self, signature: Signature) -> int:
        """One a row."""
        return signature.outputs[0].shape[1]

    def decode(self, build: Builder, outputs: Sequence[str], signature: Signature, rows: int) -> Candidates:  # noqa: ARG002
        """Sort the rows."""
        scores, index = best_rows(build, build.squeeze(build.slice(outputs[0], 4, 5)), rows)
        picked = build.rows(outputs[0], index)
        classes = build.cast(build.squeeze(build.slice(picked, 5, 6)), TensorProto.INT64)
        return Candidates(build.slice(picked, 0, 4), scores, classes)
