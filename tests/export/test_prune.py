"""Pruning removes whole channels, the worthless ones first, and leaves a lepton-nano that trains and exports."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest
import torch

from export.cli import main
from export.compression.channels import groups, narrowed, pruned
from export.dataset import read_coco
from export.errors import LabError
from export.nets.nano import Nano, NanoConfig
from export.runtime import Detector
from export.training import checkpoint

from .scenes import write_scenes
from .trained import trained_like

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

torch.set_num_threads(1)  # tests share the machine

CONFIG = NanoConfig(classes=3)


@pytest.fixture
def model() -> Nano:
    torch.manual_seed(0)
    net = Nano(CONFIG)
    for name, buffer in net.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2.0)
    return net.eval()


def _outputs(net: Nano) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        picture = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1)) * 255
        logits, boxes = net(picture)
    return logits, boxes


def test_keeping_everything_changes_nothing(model: Nano) -> None:
    """The groups cover the network without disturbing it."""
    for ours, theirs in zip(_outputs(pruned(model, 1.0)), _outputs(model), strict=True):
        assert torch.equal(ours, theirs)


def test_channels_that_do_nothing_go_first_and_are_not_missed(model: Nano) -> None:
    """With half of each group silenced, keeping half gives the same network: nothing is joined wrongly."""
    silent = torch.Generator().manual_seed(2)
    modules = dict(model.named_modules())
    for group in groups(model, narrowed(CONFIG, 0.5)):
        width = modules[group.makers[0]].bn.weight.shape[0]
        dead = torch.randperm(width, generator=silent)[: width - group.width]
        for name in group.makers:
            with torch.no_grad():
                modules[name].bn.weight[dead] = 0
                modules[name].bn.bias[dead] = 0
                modules[name].bn.running_mean[dead] = 0

    smaller = pruned(model, 0.5)

    assert smaller.config.stages == (16, 32, 64, 128)
    for ours, theirs in zip(_outputs(smaller), _outputs(model), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-3)


def test_half_of_the_channels_is_about_a_quarter_of_the_weights(model: Nano) -> None:
    """Both sides of each convolution shrink."""
    before, after = (sum(p.numel() for p in net.parameters()) for net in (model, pruned(model, 0.5)))

    assert 0.2 < after / before < 0.35


def test_every_convolution_belongs_to_a_group(model: Nano) -> None:
    """Nothing but the picture's channels and the last layers' outputs is left out."""
    found = list(groups(model, CONFIG))
    makers = {name for group in found for name in group.makers}
    readers = {name for group in found for name in group.readers}
    convolutions = {
        name.removesuffix(".conv") for name, module in model.named_modules() if isinstance(module, torch.nn.Conv2d)
    }

    assert convolutions - makers == {"head.classes", "head.boxes"}
    assert convolutions - readers == {"backbone.stem"}


def _checkpoint(folder: Path, labels: tuple[str, ...]) -> Path:
    """Write a network as a training would."""
    torch.manual_seed(3)
    config = NanoConfig(classes=len(labels), stem=16, stages=(32, 32, 32, 32), depths=(0, 1, 0, 0), neck=32, head=16)
    state = {"model": trained_like(Nano(config)).state_dict(), "net": asdict(config), "labels": labels}
    checkpoint.save(folder / "base.pt", state)
    return folder / "base.pt"


@pytest.mark.parametrize("name", ["base.pt", "base.onnx"])
def test_the_command_prunes_fine_tunes_judges_and_exports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """From a checkpoint, or from a finished file, to a model of the contract with its comparison inside."""
    json = write_scenes(tmp_path / "data", 8)
    base = _checkpoint(tmp_path, read_coco(json, tmp_path / "data").labels).with_name(name)
    if name.endswith(".onnx"):
        assert main(["torch", str(tmp_path / "base.pt"), "--out", str(base), "--size", "96x96"]) == 0
    pair = [str(json), str(tmp_path / "data")]
    command = ["prune", str(base), "--keep", "0.5", "--data", *pair, "--val", *pair, "--out", str(tmp_path / "slim")]

    code = main([*command, "--epochs", "1", "--batch", "4", "--sizes", "96", "--size", "96x96", "--workers", "0",
                 "--threads", "1"])  # fmt: skip

    assert code == 0
    assert "parameters" in capsys.readouterr().out
    said = Detector(tmp_path / "slim" / "model.onnx").metadata
    assert said.source == f"{name}, 50% of its channels, fine-tuned"
    assert said.metrics["pruning"]["before"]["size_bytes"] > said.metrics["pruning"]["after"]["size_bytes"]


def test_a_loss_above_the_limit_leaves_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The fine-tuning stays, to be prolonged; the refusal says how."""
    json = write_scenes(tmp_path / "data", 8)
    base = _checkpoint(tmp_path, read_coco(json, tmp_path / "data").labels)
    pair = [str(json), str(tmp_path / "data")]
    command = ["prune", str(base), "--keep", "0.5", "--data", *pair, "--val", *pair, "--out", str(tmp_path / "slim")]

    code = main([*command, "--epochs", "1", "--batch", "4", "--sizes", "96", "--size", "96x96", "--workers", "0",
                 "--threads", "1", "--max-drop", "-1"])  # fmt: skip

    assert code == 1
    assert "Fine-tune longer" in capsys.readouterr().err
    assert (tmp_path / "slim" / "best.pt").exists()
    assert not (tmp_path / "slim" / "model.onnx").exists()


def test_another_network_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """lepton-presence has dense layers; the message says what can be pruned."""
    json = write_scenes(tmp_path / "data", 8)
    checkpoint.save(tmp_path / "p.pt", {"model": {}, "net": "presence", "labels": ()})
    pair = [str(json), str(tmp_path / "data")]

    code = main(["prune", str(tmp_path / "p.pt"), "--data", *pair, "--val", *pair, "--out", str(tmp_path / "slim")])

    assert code == 1
    assert "only lepton-nano can be pruned" in capsys.readouterr().err


@pytest.mark.parametrize("keep", [0.0, -0.5, 1.5])
def test_a_share_outside_its_range_is_refused(model: Nano, keep: float) -> None:
    """The message names the flag."""
    with pytest.raises(LabError, match="--keep"):
        pruned(model, keep)
