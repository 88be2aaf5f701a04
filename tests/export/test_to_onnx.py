"""From torch to the contract: checkpoints, own modules, and what is refused."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from export.cli import main
from export.contract import Metadata
from export.errors import ContractError, LabError, QualityError
from export.files import model_file
from export.nets.nano import Nano, NanoConfig
from export.runtime import Detector
from export.to_onnx import Deployed, export_module, module_from
from export.training import checkpoint

torch.set_num_threads(1)  # tests share the machine

OWN = """
import torch
class Net(torch.nn.Module):
    def forward(self, images):
        level = images.float().mean((1, 2, 3)) / 255
        box = torch.tensor([[1.0, 2.0, 3.0, 4.0]]).expand(level.shape[0], 4)
        return torch.cat([box, level[:, None], torch.zeros_like(level[:, None])], 1)[:, None]
def build():
    return Net()
def number():
    return 3
"""


def _metadata(**changes: object) -> Metadata:
    return Metadata(**{"name": "m", "labels": ("person",), "suppressed": True, **changes})  # type: ignore[arg-type]


def test_ones_own_module_becomes_a_model_by_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`torch mynet:build` from the folder of the module writes a file that gives the module's rows."""
    (tmp_path / "ownnet.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)

    code = main(["torch", "ownnet:build", "--out", "own.onnx", "--size", "64x32", "--labels", "person", "--suppressed"])

    detector = Detector("own.onnx", threads=1)
    rows = detector.run(np.full((2, 3, 32, 64), 51, np.uint8))
    assert code == 0, capsys.readouterr().err
    assert detector.size == (64, 32)
    assert detector.metadata.suppressed
    np.testing.assert_allclose(rows[:, 0], [[1, 2, 3, 4, 0.2, 0]] * 2, atol=1e-6)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("ownnet", "write it as module:function"),
        ("ownnet:nothing", "nothing"),
        ("nowhere_at_all:build", "nowhere_at_all"),
        ("ownnet:number", "gave a int"),
    ],
)
def test_specs_that_give_no_module_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, says: str
) -> None:
    """Each message repeats the spec and says what is wrong with it."""
    (tmp_path / "ownnet.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)

    with pytest.raises(LabError) as caught:
        module_from(spec)
    assert says in str(caught.value)


def test_a_checkpoint_becomes_a_model_with_its_labels(tmp_path: Path) -> None:
    """A checkpoint holds network, labels and weights: the command needs nothing else."""
    net = NanoConfig(classes=2, stem=8, stages=(16, 16, 32, 32), depths=(0, 0, 0, 0), neck=16, head=16)
    state = {"model": Nano(net).state_dict(), "net": asdict(net), "labels": ("cat", "dog"), "epoch": 1, "score": 0.0}
    checkpoint.save(tmp_path / "last.pt", state)

    code = main(["torch", str(tmp_path / "last.pt"), "--out", str(tmp_path / "m.onnx"), "--size", "96x64"])

    detector = Detector(tmp_path / "m.onnx", threads=1)
    assert code == 0
    assert detector.metadata.labels == ("cat", "dog")
    assert len(detector.metadata.source_sha256) == 64
    assert detector.run(np.zeros((3, 3, 64, 96), np.uint8)).shape == (3, 126, 6)


def test_a_module_that_does_not_meet_the_contract_writes_nothing(tmp_path: Path) -> None:
    """Five columns instead of six: refused, and no file is left behind."""

    class Five(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.float().mean((1, 2, 3))[:, None, None].expand(-1, 2, 5)

    with pytest.raises(ContractError, match=r"not float32 \[N, K, 6\]"):
        export_module(Five(), tmp_path / "m.onnx", (32, 32), _metadata())
    assert list(tmp_path.iterdir()) == []


def test_sizes_that_the_strides_do_not_divide_are_refused() -> None:
    """The coarsest map has a stride of 32."""
    with pytest.raises(LabError, match="multiples of 32"):
        Deployed(Nano(NanoConfig(classes=1)), 100, 64)


class _Frozen(torch.nn.Module):
    """A box that Python computed: tracing keeps the number of the picture that it saw."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        score = images.float().mean((1, 2, 3)) / 255
        box = torch.tensor([1.0, 2.0, float(images.float().mean()), 200.0]).expand(images.shape[0], 4)
        return torch.cat([box, score[:, None], torch.zeros_like(score)[:, None]], 1)[:, None]


def test_a_module_whose_file_gives_other_boxes_writes_nothing(tmp_path: Path) -> None:
    """Scores alone do not prove a file: here they agree, and the box is that of the traced picture."""
    with pytest.raises(QualityError, match="differs from the module"):
        export_module(_Frozen(), tmp_path / "m.onnx", (32, 32), _metadata())
    assert list(tmp_path.iterdir()) == []


def test_a_finished_file_keeps_what_it_says_of_itself(tmp_path: Path) -> None:
    """Written again for another size, its threshold, its NMS and its licence stay, unless they are given anew."""
    args = ["torch", "lepton-nano", "--size", "96x64", "--out"]
    before = Detector(model_file("lepton-nano"), threads=1).metadata

    assert main([*args, str(tmp_path / "a.onnx")]) == 0
    assert main([*args, str(tmp_path / "b.onnx"), "--score-threshold", "0.4", "--licence", "mine"]) == 0

    kept, new = (Detector(tmp_path / name, threads=1).metadata for name in ("a.onnx", "b.onnx"))
    assert (kept.score_threshold, kept.nms_iou, kept.licence) == (
        before.score_threshold,
        before.nms_iou,
        before.licence,
    )
    assert (new.score_threshold, new.nms_iou, new.licence) == (0.4, before.nms_iou, "mine")


def test_labels_that_the_network_has_no_classes_for_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Eleven classes and two names would be another model."""
    code = main(["torch", "lepton-nano", "--labels", "person,car", "--out", str(tmp_path / "a.onnx")])

    assert code == 1
    assert "has 11 classes" in capsys.readouterr().err
