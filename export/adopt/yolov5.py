"""Layouts with decoded boxes and an object score: `[N, n, 5 + classes]`, centre and size in pixels.

YOLOv5 and v7 have three anchors a cell; YOLOv6 and YOLOX exported with decoding inside have one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from .family import RGB_UNIT, Candidates, Family, Pixels, corners, one_output
from .yolox import STRIDES, classes_of, is_decoded, pick_by_object_and_class

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .graph import Builder
    from .signature import Signature


class YoloV5(Family):
    """Three anchors a cell."""

    name = "yolov5"
    about = "YOLOv5/v7, decoded [N, 3n, 5+classes] in pixels, RGB 0..1"
    pixels: ClassVar[Pixels] = RGB_UNIT
    nms_iou = 0.6
    anchors: ClassVar[int] = 3

    def refusal(self, signature: Signature) -> str | None:
        """Accept the right number of rows, in pixels."""
        if reason := one_output(signature, 3):
            return reason
        _, n, width = signature.outputs[0].shape
        allowed = self.anchors * signature.locations(STRIDES), self.anchors * signature.locations((8, 16, 32, 64))
        if n not in allowed or width < 6:
            return f"output [{n}, {width}], expected [{allowed[0]}, 5 + classes]"
        return None if is_decoded(signature) else "boxes are not in pixels"

    def class_count(self, signature: Signature) -> int | None:
        """Columns after box and object."""
        return signature.outputs[0].shape[2] - 5

    def candidates(self, signature: Signature) -> int:
        """One a row."""
        return signature.outputs[0].shape[1]

    def decode(self, build: Builder, outputs: Sequence[str], signature: Signature, rows: int) -> Candidates:  # noqa: ARG002
        """Corners of the best rows."""
        scores, picked, _ = pick_by_object_and_class(build, outputs[0], rows)
        boxes = corners(build, build.slice(picked, 0, 2), build.slice(picked, 2, 4))
        return Candidates(boxes, scores, classes_of(build, picked, 5))


class YoloV6(YoloV5):
    """One box a cell, distances added to cell centres inside."""

    name = "yolov6"
    about = "YOLOv6, decoded [N, n, 5+classes] in pixels, RGB 0..1"
    anchors = 1

    def refusal(self, signature: Signature) -> str | None:
        """Accept decoded rows without Exp, which only YOLOX uses."""
        reason = super().refusal(signature)
        return reason or ("has Exp inside, as YOLOX" if "Exp" in signature.ops else None)


class YoloxDecoded(YoloV5):
    """YOLOX exported with `--decode_in_inference`."""

    name = "yolox-decoded"
    about = "YOLOX exported with decoding inside, [N, n, 5+classes] in pixels, BGR 0..255"
    pixels: ClassVar[Pixels] = Pixels("bgr")
    nms_iou = 0.65
    anchors = 1

    def refusal(self, signature: Signature) -> str | None:
        """Accept decoded rows with Exp inside."""
        reason = super().refusal(signature)
        return reason or (None if "Exp" in signature.ops else "has no Exp inside")
