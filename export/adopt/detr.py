"""The DETR family: RT-DETR, D-FINE, DEIM, RF-DETR. Two published exports, both without NMS.

With post-processing inside: inputs `images`, `orig_target_sizes` (width, height), outputs labels, boxes, scores.
Without: outputs of logits `[N, queries, classes]` and boxes `[N, queries, 4]`, centre and size in 0..1.
Source: the `deploy` post-processors of lyuwenyu/RT-DETR, Peterande/D-FINE and roboflow/rf-detr (all Apache-2.0).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from onnx import TensorProto

from ..contract import INPUT
from .family import RGB_UNIT, Candidates, Family, Pixels, best_rows, corners

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .graph import Builder
    from .signature import Signature, Tensor

IMAGENET = Pixels("rgb", mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))


class Detr(Family):
    """Labels, boxes and scores come out; the size input becomes a constant, the picture's own size."""

    name = "detr"
    about = "RT-DETR/D-FINE/DEIM with labels, boxes, scores and a size input, RGB 0..1, stretched"
    pixels: ClassVar[Pixels] = RGB_UNIT
    suppressed = True
    fit: ClassVar[Literal["letterbox", "stretch"]] = "stretch"

    def refusal(self, signature: Signature) -> str | None:
        """Accept a size input and three outputs that are boxes, whole numbers, and scores."""
        if len(signature.others) != 1:
            return f"has {len(signature.others)} inputs beside the picture, expected one of sizes [N, 2]"
        if None in _positions(signature):
            return f"outputs {[list(t.shape) for t in signature.outputs]}, expected labels, boxes [N, n, 4], scores"
        return None

    def class_count(self, signature: Signature) -> int | None:  # noqa: ARG002
        """Not told by the shape."""
        return None

    def candidates(self, signature: Signature) -> int:
        """One a query that the network's own top-K kept."""
        return max(t.shape[1] for t in signature.outputs)

    def extra_inputs(self, build: Builder, signature: Signature) -> dict[str, str]:
        """Feed the picture's size, once a picture, so that boxes come in its pixels."""
        other = signature.others[0]
        count = build.slice(build.op("Shape", INPUT), 0, 1, axis=0)
        size = build.constant([signature.size], other.dtype)
        return {other.name: build.op("Expand", size, build.concat(count, build.ints([2]), axis=0))}

    def decode(self, build: Builder, outputs: Sequence[str], signature: Signature, rows: int) -> Candidates:
        """Sort what came out."""
        labels, boxes, scores = (outputs[i] for i in _positions(signature) if i is not None)
        best, index = best_rows(build, scores, rows)
        picked = build.op("GatherElements", labels, index, axis=1)
        return Candidates(build.rows(boxes, index), best, build.cast(picked, TensorProto.INT64))


class DetrLogits(Family):
    """Raw queries: the best `rows` pairs of query and class after sigmoid."""

    name = "detr-logits"
    about = "RT-DETR/D-FINE raw logits [N, n, classes] and boxes [N, n, 4] in 0..1, RGB 0..1, stretched"
    pixels: ClassVar[Pixels] = RGB_UNIT
    suppressed = True
    fit: ClassVar[Literal["letterbox", "stretch"]] = "stretch"

    def refusal(self, signature: Signature) -> str | None:
        """Accept two outputs of three axes over the same queries, one of them of width four."""
        if signature.others or len(signature.outputs) != 2:
            return f"has {len(signature.outputs)} outputs, expected logits and boxes only"
        if _logits_and_boxes(signature.outputs) is None:
            return f"outputs {[list(t.shape) for t in signature.outputs]}, expected [N, n, classes] and [N, n, 4]"
        return self._refuse_names({tensor.name for tensor in signature.outputs})

    def _refuse_names(self, names: set[str]) -> str | None:
        return "its outputs are named as RF-DETR's" if names == RF_DETR_NAMES else None

    def class_count(self, signature: Signature) -> int | None:
        """Width of the logits."""
        logits, _ = _logits_and_boxes(signature.outputs) or (0, 1)
        return signature.outputs[logits].shape[2]

    def candidates(self, signature: Signature) -> int:
        """One a pair of query and class."""
        return signature.outputs[0].shape[1] * (self.class_count(signature) or 1)

    def decode(self, build: Builder, outputs: Sequence[str], signature: Signature, rows: int) -> Candidates:
        """As the published post-processor: top-K over all pairs, query = pair / classes, class = the remainder."""
        logits, boxes = _logits_and_boxes(signature.outputs) or (0, 1)
        width = build.ints(signature.outputs[logits].shape[2])
        pairs = build.op("Reshape", outputs[logits], build.ints([0, -1]))
        best, index = best_rows(build, pairs, rows)  # sigmoid keeps the order, so it runs on the winners only
        picked = build.rows(outputs[boxes], build.op("Div", index, width))
        scale = build.floats(signature.size)
        centres = build.op("Mul", build.slice(picked, 0, 2), scale)
        sizes = build.op("Mul", build.slice(picked, 2, 4), scale)
        return Candidates(corners(build, centres, sizes), build.op("Sigmoid", best), build.op("Mod", index, width))


class RfDetr(DetrLogits):
    """RF-DETR: the same, with ImageNet normalisation; its class numbers are COCO's (`--labels coco91`)."""

    name = "rf-detr"
    about = "RF-DETR, outputs `dets` and `labels`, RGB with ImageNet normalisation, stretched"
    pixels: ClassVar[Pixels] = IMAGENET

    def _refuse_names(self, names: set[str]) -> str | None:
        return None if names == RF_DETR_NAMES else "its outputs are not named `dets` and `labels`"


RF_DETR_NAMES = {"dets", "labels"}


def _positions(signature: Signature) -> tuple[int | None, int | None, int | None]:
    """Find labels, boxes, scores: by type and shape where these differ, else by name."""
    whole = [i for i, t in enumerate(signature.outputs) if t.dtype.kind == "i" and len(t.shape) == 2]
    boxes = [i for i, t in enumerate(signature.outputs) if len(t.shape) == 3 and t.shape[2] == 4]
    scores = [i for i, t in enumerate(signature.outputs) if t.dtype.kind == "f" and len(t.shape) == 2]
    if len(signature.outputs) != 3 or not len(whole) == len(boxes) == len(scores) == 1:
        return None, None, None
    return whole[0], boxes[0], scores[0]


def _logits_and_boxes(outputs: Sequence[Tensor]) -> tuple[int, int] | None:
    """Find logits and boxes; four classes are told apart by the names only."""
    if any(len(t.shape) != 3 for t in outputs) or outputs[0].shape[1] != outputs[1].shape[1]:
        return None
    widths = [t.shape[2] for t in outputs]
    if 4 not in widths:
        return None
    if widths == [4, 4]:
        named = [i for i, t in enumerate(outputs) if "box" in t.name or t.name == "dets"]
        return (1 - named[0], named[0]) if len(named) == 1 else None
    boxes = widths.index(4)
    return int(np.abs(boxes - 1)), boxes
