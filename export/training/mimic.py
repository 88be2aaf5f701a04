"""Feature distillation: the pupil's pyramid learns to look like a teacher's, beside learning from boxes.

A small network that starts from nothing gets a target for every place of every map, not for the objects alone.
Features are compared after standardising each channel (as PKD, arXiv 2207.02039), so scales do not matter.
What belongs here: running the teacher's trunk on training pictures, and the loss. What does not: boxes, scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx.utils import Extractor
from torch import Tensor, nn

from ..errors import LabError
from ..runtime import ORT_ERRORS


@dataclass(frozen=True, slots=True, kw_only=True)
class MimicSpec:
    """A published ONNX detector and which of its tensors to mimic, fine to coarse: maps of strides 8, 16, 32.

    `channels` is the colour order that the file wants, its values are 0..255.
    """

    path: Path
    tensors: tuple[str, ...]
    channels: str = "bgr"


class TeacherTrunk:
    """The part of a detector that gives the wanted tensors, on pictures of any size; runs on ONNX Runtime, one thread.

    Raises LabError when the file has no such tensors or its trunk takes one size only.
    """

    def __init__(self, spec: MimicSpec) -> None:
        self.spec = spec
        model = _cut(spec)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self.session = ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
            self.input = self.session.get_inputs()[0].name
            self.widths = [value.shape[1] for value in self.features(torch.zeros(1, 3, 96, 128))]
        except ORT_ERRORS as exc:
            raise LabError(f"{spec.path}: its trunk does not run on other sizes ({str(exc)[:160]})") from exc

    def features(self, pictures: Tensor) -> list[Tensor]:
        """Return the tensors for pictures float32 [N, 3, H, W], RGB 0..255."""
        images: NDArray[np.float32] = pictures.cpu().numpy()
        if self.spec.channels == "bgr":
            images = np.ascontiguousarray(images[:, ::-1])
        parts = [self.session.run(list(self.spec.tensors), {self.input: images[i : i + 1]}) for i in range(len(images))]
        return [torch.from_numpy(np.concatenate(maps)) for maps in zip(*parts, strict=True)]


class Mimic(nn.Module):
    """One 1x1 convolution a scale from the pupil's channels to the teacher's, for training only, and the loss."""

    def __init__(self, trunk: TeacherTrunk, width: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.adapters = nn.ModuleList(nn.Conv2d(width, wide, 1) for wide in trunk.widths)

    def loss(self, pictures: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """Return how unlike the pupil's `maps` are to the teacher's, mean of 1 - correlation over scales, 0..2."""
        targets = self.trunk.features(pictures)
        pairs = zip(self.adapters, maps, targets, strict=True)
        unlike = [1 - _correlation(adapter(pupil.float()), target.to(pupil.device)) for adapter, pupil, target in pairs]
        return torch.stack(unlike).mean()


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean over channels of the correlation of two maps [N, C, H, W] over pictures and places."""
    a, b = (x.transpose(0, 1).flatten(1) for x in (a, b))
    a, b = (x - x.mean(1, keepdim=True) for x in (a, b))
    norms = a.norm(dim=1) * b.norm(dim=1)
    return ((a * b).sum(1) / norms.clamp(min=1e-6)).mean()


def _cut(spec: MimicSpec) -> onnx.ModelProto:
    """Return the model up to the wanted tensors, its height and width left open."""
    try:
        model = onnx.load(str(spec.path))
    except (OSError, ValueError) as exc:
        raise LabError(f"{spec.path}: cannot be read as ONNX ({exc})") from exc
    known = {name for node in model.graph.node for name in node.output}
    if missing := [name for name in spec.tensors if name not in known]:
        raise LabError(f"{spec.path}: no tensors {missing}; look at it with a viewer such as Netron")
    weights = {initializer.name for initializer in model.graph.initializer}
    image = next(value for value in model.graph.input if value.name not in weights)
    cut = Extractor(onnx.shape_inference.infer_shapes(model)).extract_model([image.name], list(spec.tensors))
    for value in [*cut.graph.input, *cut.graph.output]:
        for axis, dimension in enumerate(value.type.tensor_type.shape.dim):
            if axis != 1:
                dimension.dim_param = f"{value.name}_{axis}"
    del cut.graph.value_info[:]
    return cut
