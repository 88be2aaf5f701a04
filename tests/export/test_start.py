"""Beginning a training from what is there: checkpoints, and finished files whose normalisation was folded away."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from export.cli import main
from export.contract import Metadata
from export.errors import LabError
from export.nets.nano import Nano, NanoConfig
from export.runtime import Detector
from export.to_onnx import Deployed, export_module
from export.training import checkpoint
from export.training.start import settle, start_from

from . import contract_models
from .trained import trained_like

torch.set_num_threads(1)  # tests share the machine

SMALL = NanoConfig(classes=2, stem=8, stages=(16, 16, 32, 32), neck=16, head=16)
LABELS = ("person", "car")


def _pictures() -> torch.Tensor:
    small = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 255
    return torch.nn.functional.interpolate(small, (64, 64), mode="bilinear").to(torch.uint8)


def _finished(folder: Path) -> tuple[Nano, Path]:
    """Write a network as `train` does at its end; return a copy that is not folded."""
    torch.manual_seed(0)
    model = Nano(SMALL)
    trained_like(model)
    copy = Nano(SMALL)
    copy.load_state_dict(model.state_dict())
    metadata = Metadata(name="small", labels=LABELS, suppressed=False, nms_iou=0.6)
    export_module(Deployed(model, 64, 64), folder / "small.onnx", (64, 64), metadata)
    return copy.eval(), folder / "small.onnx"


def _answers(model: Nano, state: dict[str, torch.Tensor] | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    if state is not None:
        model.load_state_dict(state)
    with torch.no_grad():
        logits, boxes = model(_pictures().float())
    return logits, boxes


def test_a_finished_file_gives_a_network_that_answers_as_before(tmp_path: Path) -> None:
    """Folding and unfolding is exact up to rounding, and each normalisation fits the data it is shown."""
    before, path = _finished(tmp_path)

    state = start_from(path, LABELS, _pictures()).weights

    after = Nano(SMALL).eval()
    torch.testing.assert_close(_answers(after, state), _answers(before), atol=2e-3, rtol=1e-3)
    pictures = _pictures().float()
    with torch.no_grad():
        learning, resting = after.train().features(pictures), before.features(pictures)
    torch.testing.assert_close(learning, resting, atol=2e-3, rtol=1e-3)


def test_settling_changes_statistics_and_no_answer() -> None:
    """A normalisation that was told nothing about its data knows it afterwards; the network says the same."""
    torch.manual_seed(0)
    model = Nano(SMALL)
    trained_like(model)
    before = _answers(model)
    kept = model.backbone.stem.bn.running_mean.clone()

    settle(model, _pictures())

    assert not torch.allclose(kept, model.backbone.stem.bn.running_mean, atol=1e-2)
    with torch.no_grad():
        tower = model.head.class_tower
        scales = [tower.conv(m).mean((0, 2, 3)) for m in model.features(_pictures().float())]
    torch.testing.assert_close(tower.bn.running_mean, torch.stack(scales).mean(0), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(_answers(model), before, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", ["checkpoint", "file"])
def test_classes_are_taken_over_by_name(tmp_path: Path, kind: str) -> None:
    """Labels in another order, one new, one gone: known classes keep their scores, whatever their number."""
    before, path = _finished(tmp_path)
    if kind == "checkpoint":
        path = tmp_path / "last.pt"
        checkpoint.save(path, {"model": before.state_dict(), "net": asdict(SMALL), "labels": list(LABELS)})
    labels = ("dog", "car", "cat")

    start = start_from(path, labels, _pictures())

    logits, boxes = _answers(Nano(start.net).eval(), start.weights)
    known, known_boxes = _answers(before)
    torch.testing.assert_close(logits[..., 1], known[..., 1], atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(boxes, known_boxes, atol=2e-2, rtol=1e-3)


def test_the_shape_of_the_network_is_read_off_a_finished_file(tmp_path: Path) -> None:
    """A pruned network goes on in its own widths, not in those of the shipped one."""
    _, path = _finished(tmp_path)

    assert start_from(path, LABELS, _pictures()).net == SMALL


def test_a_finished_file_can_be_written_again_for_another_input_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`torch small.onnx --size 96x64` gives the places of the wider input the answers that the network gives there."""
    model, path = _finished(tmp_path)
    picture = _pictures()[:1].repeat(1, 1, 1, 2)[..., :96]

    code = main(["torch", str(path), "--size", "96x64", "--out", str(tmp_path / "wide.onnx")])

    assert code == 0, capsys.readouterr().err
    detector = Detector(tmp_path / "wide.onnx", threads=1)
    with torch.no_grad():
        best = model(picture.float())[0].sigmoid().amax()
    assert detector.size == (96, 64)
    assert detector.metadata.labels == LABELS
    assert float(detector.run(picture.numpy())[0, 0, 4]) == pytest.approx(float(best), abs=1e-3)


@pytest.mark.parametrize(("kind", "says"), [("adopted", "not a lepton-nano that"), ("bytes", "cannot be read as ONNX")])
def test_a_file_that_train_did_not_write_is_refused(tmp_path: Path, kind: str, says: str) -> None:
    """Adopted detectors have other layers, and bytes that are no file have none."""
    path = tmp_path / "other.onnx"
    if kind == "adopted":
        contract_models.build(path)
    else:
        path.write_bytes(b"no model")

    with pytest.raises(LabError, match=says):
        start_from(path, LABELS, _pictures())
