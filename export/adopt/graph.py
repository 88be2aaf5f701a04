"""A small builder that appends nodes and constants to an ONNX graph, aware of its opset."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import helper, numpy_helper

if TYPE_CHECKING:
    import onnx
    from numpy.typing import ArrayLike, DTypeLike


class Builder:
    """Collects nodes and constants under one name prefix, e.g. `tail/`; `nodes` and `constants` go into the graph."""

    def __init__(self, prefix: str, opset: int) -> None:
        self.prefix = prefix
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: ArrayLike, dtype: DTypeLike) -> str:
        """Add a constant tensor; return its name."""
        name = f"{self.prefix}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def floats(self, value: ArrayLike) -> str:
        """Add a float32 constant."""
        return self.constant(value, np.float32)

    def ints(self, value: ArrayLike) -> str:
        """Add an int64 constant."""
        return self.constant(value, np.int64)

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: object) -> str:
        """Add a node; return the name of its first output, the others follow with `_1`, `_2`."""
        name = f"{self.prefix}{kind.lower()}_{len(self.nodes)}"
        names = [name, *(f"{name}_{i}" for i in range(1, outputs))]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=name, **attributes))
        return name

    def slice(self, data: str, start: int, stop: int, axis: int = -1) -> str:
        """Take `data[..., start:stop]` along `axis`."""
        return self.op("Slice", data, self.ints([start]), self.ints([stop]), self.ints([axis]))

    def max_over(self, data: str, axis: int = -1) -> str:
        """Take the largest value along `axis`, which vanishes."""
        if self.opset >= 18:  # the axes became an input
            return self.op("ReduceMax", data, self.ints([axis]), keepdims=0)
        return self.op("ReduceMax", data, axes=[axis], keepdims=0)

    def sum_over(self, data: str, axis: int = -1) -> str:
        """Add up along `axis`, which vanishes."""
        if self.opset >= 13:
            return self.op("ReduceSum", data, self.ints([axis]), keepdims=0)
        return self.op("ReduceSum", data, axes=[axis], keepdims=0)

    def unsqueeze(self, data: str, axis: int = -1) -> str:
        """Insert an axis of one."""
        if self.opset >= 13:
            return self.op("Unsqueeze", data, self.ints([axis]))
        return self.op("Unsqueeze", data, axes=[axis])

    def squeeze(self, data: str, axis: int = -1) -> str:
        """Drop an axis of one."""
        if self.opset >= 13:
            return self.op("Squeeze", data, self.ints([axis]))
        return self.op("Squeeze", data, axes=[axis])

    def cast(self, data: str, to: int) -> str:
        """Convert to the element type `to` (an `onnx.TensorProto` number)."""
        return self.op("Cast", data, to=to)

    def concat(self, *parts: str, axis: int = -1) -> str:
        """Join tensors along `axis`."""
        return self.op("Concat", *parts, axis=axis)

    def rows(self, data: str, index: str) -> str:
        """Take the rows `index` [N, K] of `data` [N, n, c], giving [N, K, c]."""
        return self.op("GatherND", data, self.unsqueeze(index), batch_dims=1)

    def columns(self, data: str, index: str, height: int) -> str:
        """Take the columns `index` [N, K] of `data` [N, height, n], giving [N, height, K]."""
        spread = self.op("Expand", self.unsqueeze(index, 1), self.ints([1, height, 1]))
        return self.op("GatherElements", data, spread, axis=2)
