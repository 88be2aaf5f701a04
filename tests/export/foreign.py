"""Tiny foreign detectors that the tests build: published layouts on one patch convolution with random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16

if TYPE_CHECKING:
    from pathlib import Path

FLOAT, INT64, UINT8 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8
SIZE = 64
END = 2**31


class Net:
    """Collects nodes of a foreign graph; every random weight comes from one seed."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def const(self, value: object, dtype: type = np.float32) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: object) -> str:
        names = [f"t{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0]

    def conv(self, data: str, out: int, stride: int, scale: float) -> str:
        """Add a patch convolution: each cell sees its own stride x stride pixels."""
        kernel = self.random.normal(0, scale / stride, (out, 3, stride, stride)).astype(np.float32)
        bias = self.random.normal(0, 0.3, out).astype(np.float32)
        return self.op("Conv", data, self.const(kernel), self.const(bias), strides=[stride, stride])

    def reshape(self, data: str, *shape: int) -> str:
        return self.op("Reshape", data, self.const(shape, np.int64))

    def part(self, data: str, start: int, stop: int, axis: int = 1) -> str:
        return self.op("Slice", data, *(self.const([value], np.int64) for value in (start, stop, axis)))

    def times(self, data: str, factor: object) -> str:
        return self.op("Mul", data, self.const(factor))

    def maps(self, width: int, scale: float, strides: tuple[int, ...] = (8, 16, 32), data: str = "images") -> str:
        """Add one convolution a stride, flattened and joined: [1, width, cells], pinned to batch 1."""
        parts = [self.reshape(self.conv(data, width, s, scale), 1, width, (SIZE // s) ** 2) for s in strides]
        return self.op("Concat", *parts, axis=2) if len(parts) > 1 else parts[0]

    def turned(self, data: str) -> str:
        return self.op("Transpose", data, perm=[0, 2, 1])

    def branch(self, data: str) -> str:
        """Add an If whose branches read `data` and a weight from outside, as TensorFlow's control flow does."""
        weight, always = self.const(2.0), self.const(True, np.bool_)
        branches = []
        for name, factor in (("then", weight), ("else", data)):
            out = helper.make_tensor_value_info(f"{name}_out", FLOAT, None)
            node = helper.make_node("Mul", [data, factor], [f"{name}_out"])
            branches.append(helper.make_graph([node], name, [], [out]))
        return self.op("If", always, then_branch=branches[0], else_branch=branches[1])

    def rename(self, tensor: str, name: str) -> str:
        return self.op_named("Identity", name, tensor)

    def op_named(self, kind: str, name: str, *inputs: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def save(
        self,
        path: Path,
        outputs: dict[str, int],
        inputs: list[tuple[str, int, list[int | str]]] | None = None,
        opset: int = 11,
        props: dict[str, str] | None = None,
    ) -> Path:
        """Write the graph; `outputs` maps a tensor to its type; weights are listed as inputs, as old exports do."""
        declared = inputs or [("images", FLOAT, [1, 3, SIZE, SIZE])]
        listed = [helper.make_tensor_value_info(w.name, w.data_type, w.dims) for w in self.weights]
        graph = helper.make_graph(
            self.nodes,
            "foreign",
            [helper.make_tensor_value_info(*face) for face in declared] + listed,
            [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
        helper.set_model_props(model, props or {})
        onnx.save(onnx.shape_inference.infer_shapes(model), str(path))
        return path


def yolox(path: Path, classes: int = 3, scale: float = 0.004) -> Path:
    """Each scale: raw offsets, then object and classes through Sigmoid; all scales flattened and joined."""
    net, scales = Net(1), []
    for stride in (8, 16, 32):
        raw = net.conv("images", 5 + classes, stride, scale)
        said = net.op("Concat", net.part(raw, 0, 4), net.op("Sigmoid", net.part(raw, 4, END)), axis=1)
        scales.append(net.reshape(said, 1, 5 + classes, (SIZE // stride) ** 2))
    return net.save(path, {net.turned(net.op("Concat", *scales, axis=2)): FLOAT})


def yolox_decoded(path: Path) -> Path:
    """Centre and size in pixels, through Exp."""
    net = Net(2)
    raw = net.maps(8, 0.004)
    sizes = net.times(net.op("Exp", net.part(raw, 2, 4)), 16.0)
    centres = net.times(net.op("Sigmoid", net.part(raw, 0, 2)), float(SIZE))
    joined = net.op("Concat", centres, sizes, net.op("Sigmoid", net.part(raw, 4, END)), axis=1)
    return net.save(path, {net.turned(joined): FLOAT})


def yolov6(path: Path) -> Path:
    """Give decoded rows, one a cell, without Exp."""
    net = Net(3)
    joined = _pixels_and_scores(net, net.maps(8, 1.0))
    return net.save(path, {net.turned(joined): FLOAT})


def yolov5(path: Path) -> Path:
    """Three anchors a cell."""
    net = Net(4)
    raw = net.reshape(net.turned(net.maps(24, 1.0)), 1, -1, 8)
    return net.save(path, {net.turned(_pixels_and_scores(net, net.turned(raw))): FLOAT})


def yolov8(path: Path, classes: int = 3) -> Path:
    """Columns; batch and size left open, names and size noted in the metadata."""
    net = Net(5)
    parts = []
    for stride in (8, 16, 32):
        parts.append(net.reshape(net.conv("images", 4 + classes, stride, 1.0), 0, 4 + classes, -1))  # noqa: PERF401
    joined = _pixels_and_scores(net, net.op("Concat", *parts, axis=2))
    props = {"names": "{0: 'cat', 1: \"dog's\", 2: 'cow'}", "imgsz": f"[{SIZE}, {SIZE}]"}
    return net.save(path, {joined: FLOAT}, [("images", FLOAT, ["batch", 3, "height", "width"])], 17, props)


def end_to_end(path: Path) -> Path:
    """16 rows of corners, score, class."""
    net = Net(6)
    raw = net.maps(6, 1.0, (16,))
    low = net.times(net.op("Sigmoid", net.part(raw, 0, 2)), 20.0)
    high = net.op("Add", low, net.times(net.op("Sigmoid", net.part(raw, 2, 4)), 40.0))
    classes = net.op("Floor", net.times(net.op("Sigmoid", net.part(raw, 5, 6)), 3.0))
    joined = net.op("Concat", low, high, net.op("Sigmoid", net.part(raw, 4, 5)), classes, axis=1)
    return net.save(path, {net.turned(joined): FLOAT})


def detr(path: Path) -> Path:
    """Labels, boxes, scores with a size input, repeated for the batch as published exports do."""
    net = Net(7)
    raw = net.turned(net.maps(7, 1.0, (16,)))
    scores = net.op("Sigmoid", net.part(raw, 4, 7, 2))
    sizes = net.op("Cast", net.op("Concat", "sizes", "sizes", axis=1), to=FLOAT)
    boxes = net.op("Mul", net.op("Sigmoid", net.part(raw, 0, 4, 2)), net.op("Unsqueeze", sizes, axes=[1]))
    best = net.op("ReduceMax", scores, axes=[2], keepdims=0)
    labels = net.op("ArgMax", scores, axis=2, keepdims=0)
    inputs = [("images", FLOAT, [1, 3, SIZE, SIZE]), ("sizes", INT64, [1, 2])]
    return net.save(path, {labels: INT64, boxes: FLOAT, best: FLOAT}, inputs)


def detr_logits(path: Path, names: tuple[str, str] = ("logits", "pred_boxes"), classes: int = 3) -> Path:
    """Give queries without post-processing."""
    net = Net(8)
    raw = net.turned(net.maps(4 + classes, 1.0, (16,)))
    net.rename(net.part(raw, 4, END, 2), names[0])
    net.rename(net.op("Sigmoid", net.part(raw, 0, 4, 2)), names[1])
    return net.save(path, {names[1]: FLOAT, names[0]: FLOAT})


def nanodet(path: Path) -> Path:
    """Three class maps, three side maps."""
    net = Net(9)
    outputs = {}
    for stride in (8, 16, 32):
        raw = net.turned(net.maps(3 + 32, 1.0, (stride,)))
        outputs[net.op("Sigmoid", net.part(raw, 0, 3, 2))] = FLOAT
        outputs[net.part(raw, 3, END, 2)] = FLOAT
    return net.save(path, outputs)


def nanodet_plus(path: Path) -> Path:
    """One table over four strides."""
    net = Net(10)
    raw = net.turned(net.maps(3 + 32, 1.0, (8, 16, 32, 64)))
    joined = net.op("Concat", net.op("Sigmoid", net.part(raw, 0, 3, 2)), net.part(raw, 3, END, 2), axis=2)
    return net.save(path, {joined: FLOAT})


def fastestdet(path: Path) -> Path:
    """One map of stride 16, whose channels are shuffled as ShuffleNet does: Reshape targets that hide the batch."""
    net = Net(11)
    raw = net.conv("images", 8, 16, 2.0)
    pairs = net.op("Transpose", net.reshape(raw, 4, 2, 16), perm=[1, 0, 2])
    halves = net.reshape(pairs, 2, -1, 4, 4, 4)
    first, second = (net.op("Gather", halves, net.const(i, np.int64), axis=0) for i in (0, 1))
    raw = net.op("Concat", first, second, axis=1)
    scores = net.op("Sigmoid", net.part(raw, 0, 1)), net.op("Softmax", net.part(raw, 5, 8), axis=1)
    return net.save(path, {net.op("Concat", scores[0], net.part(raw, 1, 5), scores[1], axis=1): FLOAT})


def ssd(path: Path, classes: int = 3) -> Path:
    """TensorFlow's face: interleaved uint8 of open size, four named outputs, 10 of 16 rows in use."""
    net = Net(12)
    picture = net.times(net.op("Cast", net.op("Transpose", "inputs", perm=[0, 3, 1, 2]), to=FLOAT), 1 / 255)
    raw = net.turned(net.reshape(net.conv(picture, 6, 16, 1.0), 0, 6, -1))
    names = [f"detection_{what}:0" for what in ("boxes", "scores", "classes")]
    net.rename(net.op("Sigmoid", net.part(raw, 0, 4, 2)), names[0])
    net.rename(net.op("Squeeze", net.op("Sigmoid", net.branch(net.part(raw, 4, 5, 2))), axes=[2]), names[1])
    numbers = net.op("Ceil", net.times(net.op("Sigmoid", net.part(raw, 5, 6, 2)), float(classes)))
    net.rename(net.op("Squeeze", numbers, axes=[2]), names[2])
    zero = net.op("ReduceMax", net.times(raw, 0.0), axes=[1, 2], keepdims=0)
    net.op_named("Add", "num_detections:0", zero, net.const(10.0))
    inputs = [("inputs", UINT8, ["n", "h", "w", 3])]
    return net.save(path, dict.fromkeys((*names, "num_detections:0"), FLOAT), inputs)


def pinned(path: Path) -> Path:
    """End-to-end rows through a reduction over all pictures: no batch can give what each gives alone."""
    net = Net(13)
    raw = net.turned(net.op("Sigmoid", net.maps(6, 1.0, (16,))))
    whole = net.op("ReduceMean", raw, keepdims=1)
    return net.save(path, {net.op("Div", raw, whole): FLOAT})


def _pixels_and_scores(net: Net, raw: str) -> str:
    """Columns of centre and size in pixels, then scores."""
    boxes = net.times(net.op("Sigmoid", net.part(raw, 0, 4)), float(SIZE))
    return net.op("Concat", boxes, net.op("Sigmoid", net.part(raw, 4, END)), axis=1)


def halved(path: Path) -> Path:
    """Turn a file into float16, inputs and outputs too."""
    model = onnx.load(str(path))
    weights = {tensor.name for tensor in model.graph.initializer}
    pictures = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(pictures)
    onnx.save(convert_float_to_float16(model), str(path))
    return path
