"""Tiny foreign detectors that the tests build: published layouts on one patch convolution with random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from pathlib import Path


class Net:
    """Collects nodes of a foreign graph; every random weight comes from one seed."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def const(self, value: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: object) -> str:
        names = [f"t{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0]

    def conv(self, data: str, into: int, out: int, stride: int, scale: float) -> str:
        """Add a patch convolution: each cell sees its own stride x stride pixels."""
        kernel = self.random.normal(0, scale / stride, (out, into, stride, stride)).astype(np.float32)
        bias = self.random.normal(0, 0.3, out).astype(np.float32)
        return self.op("Conv", data, self.const(kernel), self.const(bias), strides=[stride, stride])

    def flat(self, data: str, shape: list[int]) -> str:
        return self.op("Reshape", data, self.const(np.asarray(shape, np.int64)))

    def save(
        self,
        path: Path,
        inputs: list[tuple[str, int, list]],
        outputs: dict[str, tuple[int, list]],
        opset: int = 11,
        props: dict[str, str] | None = None,
    ) -> Path:
        """Write the graph; `outputs` maps a tensor to its declared type and shape."""
        graph = helper.make_graph(
            self.nodes,
            "foreign",
            [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs],
            [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in outputs.items()],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
        helper.set_model_props(model, props or {})
        onnx.save(model, str(path))
        return path


def yolox(path: Path, size: int = 64, classes: int = 3, scale: float = 0.004) -> Path:
    """YOLOX-like: fixed batch 1, opset 11, Reshape targets pinned to 1, scores by Sigmoid, boxes raw."""
    net = Net(1)
    width = 5 + classes
    parts = []
    for stride in (8, 16, 32):
        raw = net.conv("images", 3, width, stride, scale)
        boxes = net.op("Slice", raw, *(net.const(np.int64([v])) for v in (0, 4, 1)))
        rest = net.op("Sigmoid", net.op("Slice", raw, *(net.const(np.int64([v])) for v in (4, width, 1))))
        joined = net.op("Concat", boxes, rest, axis=1)
        parts.append(net.flat(joined, [1, width, (size // stride) ** 2]))
    last = net.op("Transpose", net.op("Concat", *parts, axis=2), perm=[0, 2, 1])
    count = sum((size // s) ** 2 for s in (8, 16, 32))
    return net.save(
        path, [("images", TensorProto.FLOAT, [1, 3, size, size])], {last: (TensorProto.FLOAT, [1, count, width])}
    )
