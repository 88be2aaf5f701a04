"""What a teacher sees on training pictures as they are shown: its answer at every place, and its feature maps.

The teacher is a YOLOX file of the contract (`lepton-export adopt`), cut before it picks its best rows. Its strides
are the pupil's, so at equal picture size each of its places is one of the pupil's.
What belongs here: running the teacher.
What does not: losses (`imitation`), labelling pictures once for all (`distill`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
import torch
from google.protobuf.message import DecodeError
from onnx.utils import Extractor
from torch import Tensor

from ..contract import INPUT, read_metadata
from ..errors import LabError
from ..nets.nano import STRIDES, grid
from ..runtime import ORT_ERRORS
from .distill import shared_classes


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherSpec:
    """A YOLOX file of the contract, the pupil's labels, and three feature maps (strides 8, 16, 32) to look like."""

    path: Path
    labels: tuple[str, ...]
    maps: tuple[str, ...] = ()


class Seen(NamedTuple):
    """What the teacher saw on N pictures: A places, C classes that pupil and teacher share.

    `classes` int64 [C] are the pupil's numbers; `scores` float32 [N, A, C]; `boxes` float32 [N, A, 4] xyxy in pixels;
    `maps` the feature maps that were asked for, float32 [N, width, H / stride, W / stride].
    """

    classes: Tensor
    scores: Tensor
    boxes: Tensor
    maps: list[Tensor]

    def to(self, device: torch.device) -> Seen:
        """Return the same on another device."""
        classes, scores, boxes = (t.to(device, non_blocking=True) for t in self[:3])
        return Seen(classes, scores, boxes, [m.to(device, non_blocking=True) for m in self.maps])


class Teacher:
    """Looks at pictures of any size (multiples of 32) on ONNX Runtime, one thread.

    Raises LabError when the file is no YOLOX of the contract, shares no label, or has no tensors of the names wanted.
    """

    def __init__(self, spec: TeacherSpec) -> None:
        self.spec = spec
        model = _load(spec.path)
        taught = read_metadata(model, str(spec.path)).labels
        classes = shared_classes(taught, spec.labels)
        self.columns, self.classes = list(classes), torch.tensor(list(classes.values()))
        self.heads = _heads(model, 5 + len(taught), spec.path)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        cut = _cut(model, [*self.heads, *spec.maps], spec.path)
        try:
            self.session = ort.InferenceSession(cut.SerializeToString(), options, ["CPUExecutionProvider"])
            shapes = [m.shape for m in self.look(torch.zeros(1, 3, 96, 128, dtype=torch.uint8)).maps]
        except ORT_ERRORS as exc:
            raise LabError(f"{spec.path}: does not run on pictures of other sizes ({str(exc)[:160]})") from exc
        for name, shape, stride in zip(spec.maps, shapes, STRIDES, strict=False):
            if tuple(shape[2:]) != (96 // stride, 128 // stride):
                raise LabError(f"{spec.path}: `{name}` is no map of stride {stride}; --mimic wants strides 8, 16, 32")
        self.widths = [shape[1] for shape in shapes]

    def look(self, pictures: Tensor) -> Seen:
        """Return what the teacher sees on uint8 [N, 3, H, W], RGB."""
        images = np.ascontiguousarray(pictures.numpy())
        names = [*self.heads, *self.spec.maps]
        parts = [self.session.run(names, {INPUT: images[i : i + 1]}) for i in range(len(images))]
        tensors = [torch.from_numpy(np.concatenate(same)) for same in zip(*parts, strict=True)]
        raw = torch.cat([head.flatten(2) for head in tensors[: len(self.heads)]], 2).transpose(1, 2)
        points, strides = grid(int(pictures.shape[2]), int(pictures.shape[3]))
        corners = points - strides[:, None] / 2  # YOLOX counts from a place's corner, the grid gives its centre
        middle, half = corners + raw[..., :2] * strides[:, None], raw[..., 2:4].exp() * strides[:, None] / 2
        scores = raw[..., 4:5] * raw[..., 5:][..., self.columns]
        return Seen(self.classes, scores, torch.cat([middle - half, middle + half], -1), tensors[len(self.heads) :])


def _load(path: Path) -> onnx.ModelProto:
    try:
        return onnx.shape_inference.infer_shapes(onnx.load(str(path)))
    except (OSError, ValueError, DecodeError) as exc:
        raise LabError(f"{path}: cannot be read as ONNX ({exc})") from exc


def _heads(model: onnx.ModelProto, channels: int, path: Path) -> list[str]:
    """Return the three maps in which YOLOX joins box, objectness and classes, fine to coarse."""
    joined = {node.output[0] for node in model.graph.node if node.op_type == "Concat"}
    found = []
    for value in model.graph.value_info:
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        if value.name in joined and len(shape) == 4 and shape[1] == channels:
            found.append((shape[3], value.name))
    if len(found) != 3:
        raise LabError(f"{path}: {len(found)} maps of {channels} channels, not three; adopt a YOLOX to teach")
    return [name for _, name in sorted(found, reverse=True)]


def _cut(model: onnx.ModelProto, tensors: Sequence[str], path: Path) -> onnx.ModelProto:
    """Return the model up to the wanted tensors, its height and width left open."""
    known = {name for node in model.graph.node for name in node.output}
    if missing := [name for name in tensors if name not in known]:
        raise LabError(f"{path}: no tensors {missing}; look at it with a viewer such as Netron")
    cut = Extractor(model).extract_model([INPUT], list(tensors))
    for value in [*cut.graph.input, *cut.graph.output]:
        for axis, dimension in enumerate(value.type.tensor_type.shape.dim):
            if axis != 1:
                dimension.dim_param = f"{value.name}_{axis}"
    del cut.graph.value_info[:]
    return cut
