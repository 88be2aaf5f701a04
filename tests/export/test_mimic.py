"""Feature distillation: the trunk of a published file, and a pupil that learns to look like it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from export.errors import LabError
from export.nets.nano import Nano, NanoConfig
from export.training.mimic import Mimic, MimicSpec, TeacherTrunk

torch.set_num_threads(1)  # tests share the machine

TINY = NanoConfig(classes=2, stem=8, stages=(16, 16, 32, 32), depths=(0, 0, 0, 0), neck=16, head=16)


def _write_teacher(path: Path, size: int = 64) -> MimicSpec:
    """Write a file pinned to batch 1 and one size: three patch convolutions, flattened to one output."""
    rng = np.random.default_rng(0)
    nodes, weights = [], [numpy_helper.from_array(np.array([1, -1]), "flat")]
    for stride in (8, 16, 32):
        kernel = rng.normal(0, 0.1 / stride, (4, 3, stride, stride)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"w{stride}"))
        nodes.append(helper.make_node("Conv", ["images", f"w{stride}"], [f"s{stride}"], strides=[stride, stride]))
        nodes.append(helper.make_node("Reshape", [f"s{stride}", "flat"], [f"f{stride}"]))
    nodes.append(helper.make_node("Concat", ["f8", "f16", "f32"], ["output"], axis=1))
    graph = helper.make_graph(
        nodes,
        "teacher",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, size, size])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, None])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return MimicSpec(path=path, tensors=("s8", "s16", "s32"))


def test_the_trunk_runs_on_other_sizes_than_the_file_was_pinned_to(tmp_path: Path) -> None:
    """Cut before its head, the file takes any size and number of pictures, in its own colour order."""
    spec = _write_teacher(tmp_path / "teacher.onnx")
    pictures = torch.rand(2, 3, 96, 128) * 255

    maps = TeacherTrunk(spec).features(pictures)
    as_rgb = TeacherTrunk(MimicSpec(path=spec.path, tensors=spec.tensors, channels="rgb")).features(pictures.flip(1))

    assert [tuple(m.shape) for m in maps] == [(2, 4, 12, 16), (2, 4, 6, 8), (2, 4, 3, 4)]
    torch.testing.assert_close(maps[0], as_rgb[0])


def test_a_pupil_learns_to_look_like_its_teacher(tmp_path: Path) -> None:
    """Forty steps on the loss alone make the pyramid less unlike the teacher's maps."""
    torch.manual_seed(0)
    model = Nano(TINY)
    mimic = Mimic(TeacherTrunk(_write_teacher(tmp_path / "teacher.onnx")), TINY.neck)
    optimizer = torch.optim.Adam([*model.parameters(), *mimic.parameters()], lr=5e-3)
    pictures = torch.nn.functional.interpolate(torch.rand(4, 3, 8, 8) * 255, (64, 64))
    losses = []
    for _ in range(40):
        loss = mimic.loss(pictures, model.features(pictures))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))

    assert losses[-1] < 0.6 * losses[0]


def test_tensors_that_the_file_has_not_are_named(tmp_path: Path) -> None:
    """A misspelt tensor is refused before anything is trained."""
    spec = _write_teacher(tmp_path / "teacher.onnx")

    with pytest.raises(LabError, match="no tensors"):
        TeacherTrunk(MimicSpec(path=spec.path, tensors=("s8", "s16", "s64")))
