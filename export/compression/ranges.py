"""Activation ranges for INT8, by least squared error over calibration pictures.

Each tensor's histogram is gathered in two passes; of a grid of clippings the one with the least rounding error wins.
Where a tensor only feeds x * sigmoid(x), the error is measured after it: large negative values all become nearly 0,
so no steps are wasted on them. On yolox_nano (48 pictures) agreement with the float model: min-max .48, percentile
99.999 .65, this .69, and .95 with the first four convolutions left in float.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto
from tqdm import tqdm

from ..contract import INPUT
from .layers import feeds_silu, readers_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BINS = 1024
STEPS = 255
LOW_SHARES = np.linspace(0.05, 1.0, 20)
HIGH_SHARES = np.linspace(0.2, 1.0, 17)
LEAST_WIDTH = 1e-6

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of a tensor's values in equal bins between `low` and `high`."""

    low: float
    high: float
    counts: Floats

    @property
    def centres(self) -> Floats:
        """Return the middle of each bin."""
        return self.low + (np.arange(BINS) + 0.5) * (self.high - self.low) / BINS


def activation_ranges(model: onnx.ModelProto, images: Sequence[NDArray[np.uint8]]) -> dict[str, Range]:
    """Return the range of every float tensor of a contract model, from pictures uint8 [3, H, W]."""
    readers = readers_of(model.graph)
    histograms = _histograms(model, images)
    ranges = {
        name: best_range(histogram, _silu if feeds_silu(name, readers) else _identity)
        for name, histogram in histograms.items()
    }
    return {**ranges, INPUT: (0.0, 255.0)}


def best_range(histogram: Histogram, response: Callable[[Floats], Floats]) -> Range:
    """Return the clipping, always holding 0, whose 8-bit rounding changes `response` least."""
    centres, weights = histogram.centres, histogram.counts / histogram.counts.sum()
    wanted = response(centres)
    best, least = (min(histogram.low, 0.0), max(histogram.high, LEAST_WIDTH)), np.inf
    for low in min(histogram.low, 0.0) * LOW_SHARES:
        for high in np.maximum(histogram.high * HIGH_SHARES, LEAST_WIDTH):
            error = float((weights * (response(_rounded(centres, low, high)) - wanted) ** 2).sum())
            if error < least:
                best, least = (float(low), float(high)), error
    return best


def _rounded(values: Floats, low: float, high: float) -> Floats:
    scale = (high - low) / STEPS
    zero = np.round(-low / scale)
    return np.asarray((np.clip(np.round(values / scale) + zero, 0, STEPS) - zero) * scale)


def _histograms(model: onnx.ModelProto, images: Sequence[NDArray[np.uint8]]) -> dict[str, Histogram]:
    session, names = _open_inside(model)
    lows, highs = dict.fromkeys(names, np.inf), dict.fromkeys(names, -np.inf)
    with tqdm(total=2 * len(images), desc="calibrating", unit="picture", leave=False) as bar:
        for image in images:
            for name, value in zip(names, session.run(names, {INPUT: image[None]}), strict=True):
                lows[name], highs[name] = min(lows[name], value.min()), max(highs[name], value.max())
            bar.update()
        tops = {name: max(highs[name], lows[name] + 1e-3 * max(1.0, abs(lows[name]))) for name in names}
        counts = {name: np.zeros(BINS) for name in names}
        for image in images:
            for name, value in zip(names, session.run(names, {INPUT: image[None]}), strict=True):
                counts[name] += np.histogram(value, BINS, (lows[name], tops[name]))[0]
            bar.update()
    return {name: Histogram(float(lows[name]), float(tops[name]), counts[name]) for name in names}


def _open_inside(model: onnx.ModelProto) -> tuple[ort.InferenceSession, list[str]]:
    """Open a session that gives every float tensor between the nodes; unoptimised, so that none is fused away."""
    opened = onnx.ModelProto()
    opened.CopyFrom(onnx.shape_inference.infer_shapes(model))
    made = {name for node in opened.graph.node for name in node.output}
    inside = [v.name for v in opened.graph.value_info if v.type.tensor_type.elem_type == TensorProto.FLOAT]
    names = [name for name in inside if name in made]
    opened.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    return ort.InferenceSession(opened.SerializeToString(), options, providers=["CPUExecutionProvider"]), names


def _identity(values: Floats) -> Floats:
    return values


def _silu(values: Floats) -> Floats:
    return np.asarray(values / (1 + np.exp(-values)))
