"""What wild ONNX files need before anything can be built on them: constants, a modern opset, one size, own names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper, shape_inference, version_converter

from ..errors import AdoptError
from . import signature as sig

if TYPE_CHECKING:
    from pathlib import Path

MIN_OPSET = 17  # GatherND with batch axes, one spelling of Squeeze and Split, LayerNormalization
LOWEST_OPSET = 11  # TopK, Resize and Slice as we write them exist from here on
MIN_IR = 8  # from IR 4 on, constants need not be listed as inputs
SAME = 1e-3  # relative difference that two runs of one network may show after a rewrite


def load(path: Path) -> onnx.ModelProto:
    """Load a file with its external weights; raises AdoptError when it is no ONNX model."""
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model, full_check=False)
    except FileNotFoundError as exc:
        raise AdoptError(f"{path}: not found, or its weights file beside it is missing ({exc})") from exc
    except OSError as exc:
        raise AdoptError(f"{path}: cannot be read ({exc.strerror})") from exc
    except (onnx.checker.ValidationError, ValueError) as exc:
        raise AdoptError(f"{path}: not a valid ONNX model ({str(exc).splitlines()[0]})") from exc
    except DecodeError as exc:
        raise AdoptError(f"{path}: not an ONNX file") from exc
    if any(entry.domain not in {"", "ai.onnx"} for entry in model.opset_import):
        _refuse_unknown_domains(model, path)
    return model


def weights_to_constants(model: onnx.ModelProto) -> int:
    """Take weights off the list of inputs, where they block constant folding; return how many there were."""
    weights = {tensor.name for tensor in model.graph.initializer}
    kept = [value for value in model.graph.input if value.name not in weights]
    moved = len(model.graph.input) - len(kept)
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.ir_version = max(model.ir_version, MIN_IR)
    return moved


def constant_nodes_to_weights(model: onnx.ModelProto) -> None:
    """Turn Constant nodes that hold a tensor into initializers, so that later steps look in one place."""
    kept = []
    for node in model.graph.node:
        value = node.attribute[0] if node.op_type == "Constant" and node.attribute else None
        if value is not None and value.name == "value":
            value.t.name = node.output[0]
            model.graph.initializer.append(value.t)
        else:
            kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(kept)


def opset_of(model: onnx.ModelProto) -> int:
    """Version of the standard operators."""
    return max(int(entry.version) for entry in model.opset_import if entry.domain in {"", "ai.onnx"})


def fix_size(model: onnx.ModelProto, seen: sig.Signature) -> None:
    """Write the picture's size, and batch 1 where it is open, into the graph's inputs; forget shapes noted inside."""
    for value in model.graph.input:
        tensor = seen.image if value.name == seen.image.name else next(o for o in seen.others if o.name == value.name)
        for axis, (dim, length) in enumerate(zip(value.type.tensor_type.shape.dim, tensor.shape, strict=True)):
            if axis or seen.fixed_batch:
                dim.dim_value = length
    del model.graph.value_info[:]


def raise_opset(model: onnx.ModelProto, seen: sig.Signature) -> onnx.ModelProto:
    """Return the model at opset `MIN_OPSET` or above; unchanged when conversion fails but the opset will do.

    Raises AdoptError below opset 11 when conversion fails or changes what the network gives.
    """
    before = opset_of(model)
    if before >= MIN_OPSET:
        return model
    try:
        raised = version_converter.convert_version(model, MIN_OPSET)
        same = behaves_alike(model, raised, seen)
    except (RuntimeError, ValueError, AdoptError, onnx.checker.ValidationError, shape_inference.InferenceError):
        same = False
    if same:
        return raised
    if before < LOWEST_OPSET:
        raise AdoptError(f"opset {before} cannot be raised to {MIN_OPSET} faithfully; export it anew with opset 17")
    return model


def behaves_alike(before: onnx.ModelProto, after: onnx.ModelProto, seen: sig.Signature) -> bool:
    """Whether both give the same outputs for one picture of noise."""
    noise = np.random.default_rng(1).integers(0, 256, seen.image.shape)
    feeds = seen.feeds(noise)
    pairs = zip(sig.run(before, feeds), sig.run(after, feeds), strict=True)
    return all(close(a, b) for a, b in pairs)


def close(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two outputs agree within `SAME` of their own size."""
    if one.shape != other.shape:
        return False
    return bool(np.allclose(one.astype(np.float64), other.astype(np.float64), rtol=SAME, atol=SAME, equal_nan=True))


def prefix_names(model: onnx.ModelProto, prefix: str) -> onnx.ModelProto:
    """Return a copy in which every name starts with `prefix`, so that ours cannot clash.

    `onnx.compose.add_prefix` forgets weights of the outer graph that branches of If and Loop read.
    """
    renamed = onnx.ModelProto()
    renamed.CopyFrom(model)
    _prefix_graph(renamed.graph, prefix)
    return renamed


def _prefix_graph(graph: onnx.GraphProto, prefix: str) -> None:
    for named in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
        named.name = prefix + named.name
    for number, node in enumerate(graph.node):
        node.name = f"{prefix}{node.name or f'{node.op_type.lower()}_{number}'}"  # quantising finds nodes by name
        for names in (node.input, node.output):
            names[:] = [prefix + name if name else "" for name in names]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _prefix_graph(inner, prefix)


def weight(model: onnx.ModelProto, name: str) -> onnx.TensorProto | None:
    """Return the constant called `name`, if it is one."""
    return next((tensor for tensor in model.graph.initializer if tensor.name == name), None)


def replace_weight(tensor: onnx.TensorProto, value: np.ndarray) -> None:
    """Give a constant another value of the same type."""
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), tensor.name))


def _refuse_unknown_domains(model: onnx.ModelProto, path: Path) -> None:
    used = {f"{node.domain}.{node.op_type}" for node in model.graph.node if node.domain not in {"", "ai.onnx"}}
    strange = sorted(name for name in used if not name.startswith("com.microsoft."))
    if strange:
        raise AdoptError(f"{path}: uses operators that ONNX Runtime does not have: {', '.join(strange)}")
