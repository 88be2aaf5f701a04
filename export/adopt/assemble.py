"""Puts a contract graph together: front end, the foreign network, tail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..contract import INPUT, MAX_ROWS, OUTPUT
from . import surgery
from .family import best_rows
from .graph import Builder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .family import Candidates, Family, Pixels
    from .signature import Signature

NET = "net/"  # prefix of the foreign network's names
FRONT = "front/"
TAIL = "tail/"
TINY_SCORE = 1e-3  # rows below are zeroed: no threshold that anybody sets lies there
_ORT_TYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.float16): TensorProto.FLOAT16}


def assemble(
    network: onnx.ModelProto, seen: Signature, family: Family, pixels: Pixels, class_map: Sequence[int] | None, *,
    open_batch: bool,
) -> onnx.ModelProto:  # fmt: skip
    """Return the contract graph (without metadata).

    `class_map` gives the label index for each class number of the model, -1 where there is no label.
    """
    inner = surgery.prefix_names(network, NET)
    opset = surgery.opset_of(inner)
    front, tail = Builder(FRONT, opset), Builder(TAIL, opset)
    _wire(inner, family.extra_inputs(front, seen))
    _build_front(front, inner, seen, pixels)
    rows = min(MAX_ROWS, family.candidates(seen))
    candidates = family.decode(tail, _float_outputs(tail, seen), seen, rows)
    _finish(tail, candidates, family.first_class, class_map, rows)
    return _graph(inner, front, tail, seen, open_batch=open_batch)


def _build_front(front: Builder, inner: onnx.ModelProto, seen: Signature, pixels: Pixels) -> None:
    """uint8 planar RGB -> what the network takes; order and scale vanish into its first convolution if they can."""
    name = NET + seen.image.name
    order = [2, 1, 0] if pixels.channels == "bgr" else [0, 1, 2]
    mean, std = np.asarray(pixels.mean, np.float32), np.asarray(pixels.std, np.float32)
    if seen.planar and _fold(inner, name, order, std):
        mean, std, order = mean[order], np.ones(3, np.float32), [0, 1, 2]
    data = INPUT
    if order != [0, 1, 2]:
        data = front.op("Gather", data, front.ints(order), axis=1)
    if seen.image.dtype != np.uint8:
        data = _normalised(front, data, mean, std, seen.image.dtype)
    if not seen.planar:
        data = front.op("Transpose", data, perm=[0, 2, 3, 1])
    if not front.nodes:
        front.op("Identity", data)
    front.nodes[-1].output[0] = name


def _normalised(front: Builder, data: str, mean: np.ndarray, std: np.ndarray, dtype: np.dtype[np.generic]) -> str:
    data = front.cast(data, _ORT_TYPES[dtype])
    if mean.any():
        data = front.op("Sub", data, front.constant(mean.reshape(3, 1, 1), dtype))
    if (std != 1).any():
        data = front.op("Mul", data, front.constant(1 / std.reshape(3, 1, 1), dtype))
    return data


def _fold(inner: onnx.ModelProto, picture: str, order: list[int], std: np.ndarray) -> bool:
    """Move channel order and scale into the weights of a lone first convolution.

    The mean stays outside: a convolution pads with zeros after normalisation, so moving it would change the borders.
    """
    users = [node for node in inner.graph.node if picture in node.input]
    if len(users) != 1 or users[0].op_type != "Conv" or users[0].input[0] != picture:
        return False
    kernel = surgery.weight(inner, users[0].input[1])
    shared = sum(name == users[0].input[1] for node in inner.graph.node for name in node.input) > 1
    if kernel is None or shared or kernel.data_type != TensorProto.FLOAT or kernel.dims[1] != 3:
        return False
    scaled = numpy_helper.to_array(kernel) / std.reshape(1, 3, 1, 1)
    surgery.replace_weight(kernel, scaled[:, order].astype(np.float32))
    return True


def _float_outputs(tail: Builder, seen: Signature) -> list[str]:
    """Names of the network's outputs; halves become float32, so that pixels of large pictures stay exact."""
    names = []
    for tensor in seen.outputs:
        name = NET + tensor.name
        names.append(tail.cast(name, TensorProto.FLOAT) if tensor.dtype == np.float16 else name)
    return names


def _finish(tail: Builder, found: Candidates, first_class: int, class_map: Sequence[int] | None, rows: int) -> None:
    """Classes to label indices; boxes, score, class into one tensor; weak and unlabelled rows to zero."""
    valid = tail.op("Greater", found.scores, tail.floats(TINY_SCORE))
    classes = found.classes
    if first_class:
        classes = tail.op("Sub", classes, tail.ints(first_class))
    if class_map is not None:
        classes, known = _mapped(tail, found.classes, class_map)
        valid = tail.op("And", valid, known)
    columns = (tail.unsqueeze(found.scores), tail.unsqueeze(tail.cast(classes, TensorProto.FLOAT)))
    table = tail.concat(found.boxes, *columns)
    table = tail.op("Where", tail.unsqueeze(valid), table, tail.floats(0.0))
    if class_map is not None:  # unlabelled rows left holes
        _, index = best_rows(tail, tail.squeeze(tail.slice(table, 4, 5)), rows)
        tail.rows(table, index)
    tail.nodes[-1].output[0] = OUTPUT


def _mapped(tail: Builder, numbers: str, class_map: Sequence[int]) -> tuple[str, str]:
    limit = tail.ints(len(class_map) - 1)
    classes = tail.op("Gather", tail.ints(class_map), tail.op("Max", tail.op("Min", numbers, limit), tail.ints(0)))
    return classes, tail.op("Greater", classes, tail.ints(-1))


def _wire(inner: onnx.ModelProto, wiring: dict[str, str]) -> None:
    for node in inner.graph.node:
        for position, name in enumerate(node.input):
            plain = name.removeprefix(NET)
            if name.startswith(NET) and plain in wiring:
                node.input[position] = wiring[plain]


def _graph(
    inner: onnx.ModelProto, front: Builder, tail: Builder, seen: Signature, *, open_batch: bool
) -> onnx.ModelProto:
    width, height = seen.size
    batch = "N" if open_batch else 1
    graph = helper.make_graph(
        [*front.nodes, *inner.graph.node, *tail.nodes],
        "lepton",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, [batch, 3, height, width])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [batch, None, 6])],
        [*inner.graph.initializer, *front.constants, *tail.constants],
    )
    model = helper.make_model(graph, opset_imports=inner.opset_import, ir_version=inner.ir_version)
    model.producer_name = "lepton-export"
    return model
