"""Half precision: the foreign network in float16; the tail around it stays float32, where halves would round pixels."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from onnxruntime.transformers.float16 import convert_float_to_float16

from ..errors import AdoptError

if TYPE_CHECKING:
    import onnx

    from .signature import Signature


def to_fp16(network: onnx.ModelProto, seen: Signature) -> tuple[onnx.ModelProto, Signature]:
    """Return the network with weights, arithmetic and picture in float16, outputs as they were, and its new face.

    Raises AdoptError when the network cannot be converted.
    """
    for number, node in enumerate(network.graph.node):
        node.name = node.name or f"node_{number}"  # the converter finds nodes by name
    logging.getLogger("onnxruntime.transformers.float16").setLevel(logging.ERROR)
    outputs = [value.name for value in network.graph.output]
    try:
        halved: onnx.ModelProto = convert_float_to_float16(network, keep_io_types=outputs)
    except (ValueError, RuntimeError, AssertionError) as exc:
        raise AdoptError(f"cannot be halved ({exc}); leave --fp16 away") from exc
    _mend_order(halved.graph)
    dtype = np.dtype(np.uint8) if seen.image.dtype == np.uint8 else np.dtype(np.float16)
    return halved, replace(seen, image=replace(seen.image, dtype=dtype))


def _mend_order(graph: onnx.GraphProto) -> None:
    """Put the converter's casts, which it appends at the end and sometimes twice, where they are read."""
    waiting = list({tuple(node.output): node for node in graph.node}.values())
    made = {name for node in waiting for name in node.output}
    ready: set[str] = set()
    ordered: list[onnx.NodeProto] = []
    while waiting:
        later = []
        for node in waiting:
            if all(name in ready or name not in made for name in node.input):
                ordered.append(node)
                ready.update(node.output)
            else:
                later.append(node)
        if len(later) == len(waiting):
            raise AdoptError("cannot be halved (the converted graph has a cycle); leave --fp16 away")
        waiting = later
    del graph.node[:]
    graph.node.extend(ordered)
