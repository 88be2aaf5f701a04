"""Frees a graph that was exported for one picture: finds where the batch runs and rewrites the shapes that pin it.

Wild exports hold `Reshape` targets such as [1, 2, 58, 40, 40] or [58, 2, 1600]. The batch axis is followed from
the picture through the graph; in each pinned target the one number that stands for the batch is made open.
The rewrite is a proposal: the caller proves it by running the network on several pictures.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper, shape_inference

from ..errors import AdoptError
from . import signature as sig
from .surgery import close, weight

if TYPE_CHECKING:
    from collections.abc import Mapping

Shape = tuple[int, ...]


def with_open_batch(model: onnx.ModelProto, seen: sig.Signature) -> onnx.ModelProto | None:
    """Return a copy that takes any batch, proven on three pictures; None when the graph forbids it."""
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    if seen.fixed_batch:
        _open_reshapes(opened, seen)
    _open_dims(opened)
    _drop_unused_weights(opened)
    return opened if _takes_batches(model, opened, seen) else None


def target_axis(source: Shape, batch_axis: int, target: Shape) -> int | None:
    """Axis of a reshaped tensor that carries the batch, given shapes at batch 1.

    The batch is the outer factor of its axis, so everything from it inwards has the same number of elements
    before and after. Among several such axes one of length 1 is the batch alone.
    """
    inner = prod(source[batch_axis:])
    fits = [axis for axis in range(len(target)) if prod(target[axis:]) == inner]
    alone = [axis for axis in fits if target[axis] == 1]
    return next(iter(alone or fits), None)


def opened_target(asked: Shape, reached: Shape, axis: int) -> Shape:
    """Return the Reshape target `asked` (it gave `reached` at batch 1) with its batch axis open."""
    if axis == 0 and reached[0] == 1 and -1 in asked[1:]:
        return (0, *asked[1:])
    closed = [full if part == -1 else part for part, full in zip(asked, reached, strict=True)]
    closed[axis] = -1
    return tuple(closed)


def _open_reshapes(model: onnx.ModelProto, seen: sig.Signature) -> None:
    shapes = _shapes(model)
    axes = {seen.image.name: 0} | {other.name: 0 for other in seen.others}
    for node in model.graph.node:
        source = next((name for name in node.input if name in axes), None)
        if source is None or node.op_type in {"Shape", "Size"}:
            continue
        axis = _follow(model, node, source, axes[source], shapes)
        if axis is None:
            continue
        axes.update((name, axis) for name in node.output if name)
        if node.op_type == "Reshape":
            _open_reshape(model, node, axis, shapes)


def _open_reshape(model: onnx.ModelProto, node: onnx.NodeProto, axis: int, shapes: Mapping[str, Shape]) -> None:
    target = weight(model, node.input[1])
    if target is None:
        return  # computed from a Shape node: already open
    asked = tuple(int(part) for part in numpy_helper.to_array(target))
    opened = opened_target(asked, shapes[node.output[0]], axis)
    name = f"{node.output[0]}_open"  # targets are shared between nodes, so each gets its own
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(opened, np.int64), name))
    node.input[1] = name


def _follow(
    model: onnx.ModelProto, node: onnx.NodeProto, source: str, axis: int, shapes: Mapping[str, Shape]
) -> int | None:
    """Axis of the batch in the node's output; None when it cannot be told."""
    before, after = shapes.get(source), shapes.get(node.output[0])
    if before is None or after is None:
        return None
    if node.op_type == "Transpose":
        order = _attribute(node, "perm") or list(reversed(range(len(before))))
        return int(order.index(axis))
    if node.op_type in {"Reshape", "Squeeze", "Unsqueeze"}:
        return target_axis(before, axis, after)
    if node.op_type == "Gather" and source == node.input[0]:
        return _after_gather(node, axis, before, after)
    if node.op_type.startswith(("Reduce", "Arg")) and len(after) < len(before):
        return _after_dropping(model, node, axis, len(before))
    return axis + len(after) - len(before)  # operators that keep axes, and broadcasting, which aligns at the end


def _after_gather(node: onnx.NodeProto, axis: int, before: Shape, after: Shape) -> int:
    along = (_attribute(node, "axis") or 0) % len(before)
    return axis + len(after) - len(before) if axis > along else axis


def _after_dropping(model: onnx.ModelProto, node: onnx.NodeProto, axis: int, rank: int) -> int:
    dropped = _attribute(node, "axes") or _attribute(node, "axis")
    if dropped is None and len(node.input) > 1 and (axes := weight(model, node.input[1])) is not None:
        dropped = numpy_helper.to_array(axes).tolist()
    listed = [dropped] if isinstance(dropped, int) else dropped or []
    return axis - sum(1 for gone in listed if gone % rank < axis)


def _attribute(node: onnx.NodeProto, name: str) -> Any:
    """Return an int or a list of int, as the operator has it."""
    return next((onnx.helper.get_attribute_value(a) for a in node.attribute if a.name == name), None)


def _shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """Shapes of all tensors at batch 1."""
    graph = shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(d.HasField("dim_value") for d in dims):
            shapes[value.name] = tuple(d.dim_value for d in dims)
    return shapes


def _drop_unused_weights(model: onnx.ModelProto) -> None:
    """Forget the targets that were replaced; ONNX Runtime warns of weights that nobody reads."""
    read = {name for node in model.graph.node for name in node.input} | {value.name for value in model.graph.output}
    if any(attribute.HasField("g") for node in model.graph.node for attribute in node.attribute):
        return  # subgraphs read weights of the outer graph by name
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _open_dims(model: onnx.ModelProto) -> None:
    del model.graph.value_info[:]
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")  # inferred anew


def _takes_batches(before: onnx.ModelProto, after: onnx.ModelProto, seen: sig.Signature) -> bool:
    """Whether three pictures in one batch give what each gives alone."""
    pictures = np.random.default_rng(2).integers(0, 256, (3, *seen.image.shape[1:]))
    try:
        together = sig.run(after, seen.feeds(pictures))
        alone = [sig.run(before, seen.feeds(pictures[i : i + 1])) for i in range(3)]
    except AdoptError:
        return False
    stacked = [np.concatenate(parts) for parts in zip(*alone, strict=True)]
    return all(close(a, b) for a, b in zip(stacked, together, strict=True))
