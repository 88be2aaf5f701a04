"""Tiny models of the contract with one chosen fault each, for tests of what must notice it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.contract import Metadata, write_metadata

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 32
FAULTS = ("none", "unsorted", "class", "nan", "ghost", "mixing", "random")


def build(path: Path, fault: str = "none", **metadata: object) -> Path:
    """Write a model that sees one box: the brighter the picture's top-left corner is than its middle, the surer.

    A second row, half as sure, follows.
    """
    nodes, weights = [], []

    def const(value: object, dtype: type = np.float32) -> str:
        weights.append(numpy_helper.from_array(np.asarray(value, dtype), f"c{len(weights)}"))
        return weights[-1].name

    def op(kind: str, *inputs: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, list(inputs), [f"t{len(nodes)}"], name=f"n{len(nodes)}", **attributes))
        return nodes[-1].output[0]

    pixels = op("Cast", "images", to=TensorProto.FLOAT)
    kernel = np.zeros((1, 3, SIZE, SIZE), np.float32)
    kernel[:, :, :8, :8] = 1 / (3 * 64 * 255)
    kernel[:, :, 12:20, 12:20] = -1 / (3 * 64 * 255)
    value = op("Reshape", op("Conv", pixels, const(kernel)), const([-1, 1, 1], np.int64))
    score = op("Clip", value, const(0.0), const(0.95))
    if fault == "mixing":
        score = op("Add", op("Mul", score, const(0.9)), op("Mul", op("ReduceMax", score, keepdims=1), const(0.05)))
    if fault == "ghost":
        score = op("Max", score, const(0.9))
    if fault == "random":
        score = op("Max", score, op("RandomUniformLike", score, high=0.5))
    factors = {"unsorted": [0.5, 1.0]}.get(fault, [1.0, 0.5])
    scores = op("Mul", score, const(np.reshape(factors, (1, 2, 1))))
    classes = 7.0 if fault == "class" else 1.0
    rest = np.float32([[[2, 3, 20, np.nan if fault == "nan" else 21], [4, 5, 22, 23]]])
    zero = op("Mul", scores, const(0.0))
    row = op("Concat", op("Add", zero, const(rest)), scores, op("Add", zero, const(classes)), axis=2)
    used = op("Greater", scores, const(1e-6))
    nodes.append(helper.make_node("Where", [used, row, const(0.0)], ["detections"], name="last"))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("detections", TensorProto.FLOAT, ["N", 2, 6])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    said = {"name": "tiny", "labels": ("cat", "person"), "suppressed": True, **metadata}
    write_metadata(model, Metadata(**said))
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def bright_corner(size: int = 64) -> np.ndarray:
    """Make a picture that the model above is sure about."""
    picture = np.zeros((size, size, 3), np.uint8)
    picture[: size // 4, : size // 4] = 255
    return picture
