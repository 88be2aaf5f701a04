"""TensorFlow's detection API as tf2onnx exports it: NMS inside, outputs detection_boxes, _scores, _classes, num_.

Boxes are `ymin xmin ymax xmax` in 0..1, classes count from 1. Pictures are interleaved (NHWC), resized inside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from onnx import TensorProto

from .family import Candidates, Family, Pixels, best_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .graph import Builder
    from .signature import Signature

BOXES, SCORES, CLASSES, COUNT = "detection_boxes", "detection_scores", "detection_classes", "num_detections"


class Ssd(Family):
    """SSD, and all others of that API."""

    name = "ssd"
    about = "TensorFlow SSD with NMS inside, detection_boxes/scores/classes, RGB 0..255, stretched"
    pixels: ClassVar[Pixels] = Pixels("rgb")
    suppressed = True
    fit: ClassVar[Literal["letterbox", "stretch"]] = "stretch"
    first_class = 1

    def refusal(self, signature: Signature) -> str | None:
        """Accept the API's own output names, with or without `:0`; raw copies beside them are ignored."""
        missing = [name for name in (BOXES, SCORES, CLASSES, COUNT) if _index(signature, name) is None]
        return f"lacks the outputs {', '.join(missing)}" if missing else None

    def class_count(self, signature: Signature) -> int | None:  # noqa: ARG002
        """Not told by the shape."""
        return None

    def candidates(self, signature: Signature) -> int:
        """One a row that its NMS kept."""
        return signature.outputs[_index(signature, SCORES) or 0].shape[1]

    def decode(self, build: Builder, outputs: Sequence[str], signature: Signature, rows: int) -> Candidates:
        """Rows beyond num_detections get score 0; corners change places and become pixels."""
        boxes, scores, classes, count = (outputs[_index(signature, n) or 0] for n in (BOXES, SCORES, CLASSES, COUNT))
        total = self.candidates(signature)
        number = build.op("Reshape", build.cast(count, TensorProto.FLOAT), build.ints([-1, 1]))
        used = build.op("Less", build.floats(np.arange(total)[None]), number)
        best, index = best_rows(build, build.op("Where", used, scores, build.floats(0.0)), rows)
        width, height = signature.size
        corners = build.op("Gather", build.rows(boxes, index), build.ints([1, 0, 3, 2]), axis=2)
        pixels = build.op("Mul", corners, build.floats([width, height, width, height]))
        picked = build.op("GatherElements", classes, index, axis=1)
        return Candidates(pixels, best, build.cast(picked, TensorProto.INT64))


def _index(signature: Signature, name: str) -> int | None:
    """Index of the output `name`, or `name:0`, or one whose path ends so."""
    endings = [t.name.split("/")[-1].split(":")[0] for t in signature.outputs]
    return endings.index(name) if endings.count(name) == 1 else None
