"""NanoDet: class scores and box sides as distributions over 8 bins, which are averaged (generalised focal loss).

NanoDet-m as first published has six outputs, cells centred at (x + 0.5) * stride; NanoDet-Plus has one output
`[N, n, classes + 32]` over four strides, cells at x * stride. Source: RangiLyu/nanodet (Apache-2.0), demo and heads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .family import Candidates, Family, Pixels, best_rows, one_output
from .yolox import END, grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .graph import Builder
    from .signature import Signature

BINS = 8
SIDES = 4 * BINS
CAFFE_PIXELS = Pixels("bgr", mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395))
STRIDES = (8, 16, 32)
PLUS_STRIDES = (8, 16, 32, 64)


class NanoDetPlus(Family):
    """One output over four strides."""

    name = "nanodet-plus"
    about = "NanoDet-Plus, [N, n, classes+32], BGR with ImageNet normalisation"
    pixels: ClassVar[Pixels] = CAFFE_PIXELS
    nms_iou = 0.6
    strides: ClassVar[tuple[int, ...]] = PLUS_STRIDES
    offset: ClassVar[float] = 0.0

    def refusal(self, signature: Signature) -> str | None:
        """Accept one row a cell of four strides."""
        if reason := one_output(signature, 3):
            return reason
        _, n, width = signature.outputs[0].shape
        if n == signature.locations(self.strides) and width > SIDES:
            return None
        return f"output [{n}, {width}], expected [{signature.locations(self.strides)}, classes + {SIDES}]"

    def class_count(self, signature: Signature) -> int | None:
        """Columns before the sides."""
        return signature.outputs[0].shape[2] - SIDES

    def candidates(self, signature: Signature) -> int:
        """One a cell."""
        return signature.locations(self.strides)

    def decode(self, build: Builder, outputs: Sequence[str], signature: Signature, rows: int) -> Candidates:
        """Split the columns, then as all NanoDets."""
        count = self.class_count(signature) or 0
        scores, sides = build.slice(outputs[0], 0, count), build.slice(outputs[0], count, END)
        return self._decode(build, scores, sides, signature, rows)

    def _decode(self, build: Builder, classes: str, sides: str, signature: Signature, rows: int) -> Candidates:
        """Sides are the mean of their bins, in strides from the cell's centre: left, top, right, bottom."""
        scores, index = best_rows(build, build.max_over(classes), rows)
        cells, strides = grid(signature.size, self.strides)
        centre = build.op("Gather", build.floats((cells + self.offset) * strides[:, None]), index)
        stride = build.op("Gather", build.floats(strides[:, None]), index)
        bins = build.op("Reshape", build.rows(sides, index), build.ints([0, 0, 4, BINS]))
        mean = build.op("MatMul", build.op("Softmax", bins, axis=3), build.floats(np.arange(BINS)))
        away = build.op("Mul", mean, stride)
        low = build.op("Sub", centre, build.slice(away, 0, 2))
        high = build.op("Add", centre, build.slice(away, 2, 4))
        best = build.op("ArgMax", build.rows(classes, index), axis=-1, keepdims=0)
        return Candidates(build.concat(low, high), scores, best)


class NanoDet(NanoDetPlus):
    """Six outputs: three maps of classes, three of sides."""

    name = "nanodet"
    about = "NanoDet-m, three class maps and three side maps, BGR with ImageNet normalisation"
    strides = STRIDES
    offset = 0.5

    def refusal(self, signature: Signature) -> str | None:
        """Accept a class map and a side map a stride."""
        expected = [signature.locations((stride,)) for stride in self.strides]
        classes, sides = _maps(signature)
        if len(signature.outputs) == 6 and _lengths(signature, classes) == _lengths(signature, sides) == expected:
            return None
        return (
            f"has {len(signature.outputs)} outputs, expected for strides {self.strides} [n, classes] and [n, {SIDES}]"
        )

    def class_count(self, signature: Signature) -> int | None:
        """Width of the class maps."""
        return signature.outputs[_maps(signature)[0][0]].shape[2]

    def decode(self, build: Builder, outputs: Sequence[str], signature: Signature, rows: int) -> Candidates:
        """Join the maps of all strides, then as all NanoDets."""
        classes, sides = _maps(signature)
        joined = build.concat(*(outputs[i] for i in classes), axis=1)
        return self._decode(build, joined, build.concat(*(outputs[i] for i in sides), axis=1), signature, rows)


def _maps(signature: Signature) -> tuple[list[int], list[int]]:
    """Find class maps and of side maps, finest first."""
    flat = [i for i, tensor in enumerate(signature.outputs) if len(tensor.shape) == 3]
    flat.sort(key=lambda i: -signature.outputs[i].shape[1])
    sides = [i for i in flat if signature.outputs[i].shape[2] == SIDES]
    return [i for i in flat if i not in sides], sides


def _lengths(signature: Signature, indices: list[int]) -> list[int]:
    return [signature.outputs[i].shape[1] for i in indices]
