"""Which nodes of a contract graph stay in floating point when the rest becomes INT8.

The front end and the tail compute pixels, not features: boxes rounded to 256 steps would be useless. The first
convolutions stay as well: on yolox_nano the agreement with the float model rose from .69 to .95 by keeping four,
and they hold almost no weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx

HEAVY = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"})  # what INT8 makes faster


def float_nodes(graph: onnx.GraphProto, keep_first: int) -> list[str]:
    """Names of the nodes that do not lie between two 8-bit layers: before the first of them, or after the last.

    8-bit layers are the heavy nodes but the first `keep_first`, in the graph's order. Raises LabError if none is left.
    """
    heavy = [node.name for node in graph.node if node.op_type in HEAVY]
    if keep_first >= len(heavy):
        raise LabError(f"--keep-first {keep_first}: the model has {len(heavy)} layers; nothing would become 8-bit")
    small = set(heavy[keep_first:])
    outside = _with_none_after(graph, small) | _with_none_before(graph, small)
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


def _with_none_after(graph: onnx.GraphProto, small: set[str]) -> set[str]:
    readers = readers_of(graph)
    leads: dict[str, bool] = {}
    for node in reversed(graph.node):
        after = (reader for name in node.output for reader in readers.get(name, []))
        leads[node.name] = node.name in small or any(leads[reader.name] for reader in after)
    return {name for name, leads_on in leads.items() if not leads_on}


def _with_none_before(graph: onnx.GraphProto, small: set[str]) -> set[str]:
    below: dict[str, bool] = {}  # by tensor
    outside = set()
    for node in graph.node:
        found = node.name in small or any(below.get(name, False) for name in node.input)
        below.update(dict.fromkeys(node.output, found))
        if not found:
            outside.add(node.name)
    return outside
