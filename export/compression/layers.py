"""Which nodes of a contract graph stay in floating point when the rest becomes INT8.

The front end and the tail compute pixels, not features: boxes rounded to 256 steps would be useless. The first
convolutions stay as well: on yolox_nano the agreement with the float model rose from .69 to .95 by keeping four,
and they hold almost no weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx

HEAVY = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"})  # what INT8 makes faster
ACTIVATIONS = frozenset({"Sigmoid", "Mul", "Relu", "LeakyRelu", "Clip", "HardSwish", "HardSigmoid"})


def float_nodes(graph: onnx.GraphProto, keep_first: int) -> list[str]:
    """Names of nodes before the first heavy node, after the last, and the first `keep_first` with their activations."""
    readers = readers_of(graph)
    outside = _without_heavy_after(graph, readers) | _without_heavy_before(graph)
    for node in [node for node in graph.node if node.op_type in HEAVY][:keep_first]:
        outside |= {node.name} | {after.name for after in readers.get(node.output[0], []) if _activates(after)}
    return [node.name for node in graph.node if node.name in outside]


def readers_of(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    """Nodes that read each tensor."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers


def feeds_silu(name: str, readers: Mapping[str, list[onnx.NodeProto]]) -> bool:
    """Whether a tensor is read by x * sigmoid(x) only."""
    return sorted(node.op_type for node in readers.get(name, [])) == ["Mul", "Sigmoid"]


def free_edges(graph: onnx.GraphProto, floats: set[str]) -> None:
    """Let the nodes named in `floats` read what was computed, not its 8-bit rounding.

    The quantiser rounds every output of a quantised convolution, also of the last ones, which give boxes.
    """
    made_by = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.name not in floats:
            continue
        for place, name in enumerate(node.input):
            rounding = made_by.get(name)
            if rounding is not None and rounding.op_type == "DequantizeLinear":
                source = made_by.get(rounding.input[0])
                node.input[place] = source.input[0] if source is not None else name
    _drop_unread(graph)


def _drop_unread(graph: onnx.GraphProto) -> None:
    """Remove Q and DQ nodes that nobody reads any more."""
    kept = list(graph.node)
    while True:
        read = {name for node in kept for name in node.input} | {value.name for value in graph.output}
        still = [node for node in kept if not node.op_type.endswith("Linear") or set(node.output) & read]
        if len(still) == len(kept):
            break
        kept = still
    del graph.node[:]
    graph.node.extend(kept)


def _activates(node: onnx.NodeProto) -> bool:
    return node.op_type in ACTIVATIONS


def _without_heavy_after(graph: onnx.GraphProto, readers: Mapping[str, list[onnx.NodeProto]]) -> set[str]:
    leads: dict[str, bool] = {}
    for node in reversed(graph.node):
        after = (reader for name in node.output for reader in readers.get(name, []))
        leads[node.name] = node.op_type in HEAVY or any(leads[reader.name] for reader in after)
    return {name for name, leads_on in leads.items() if not leads_on}


def _without_heavy_before(graph: onnx.GraphProto) -> set[str]:
    below: dict[str, bool] = {}  # by tensor
    outside = set()
    for node in graph.node:
        found = node.op_type in HEAVY or any(below.get(name, False) for name in node.input)
        below.update(dict.fromkeys(node.output, found))
        if not found:
            outside.add(node.name)
    return outside
