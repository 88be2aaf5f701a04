"""Pruning from checkpoint to judged model: narrow the network, fine-tune it, export it, weigh it against the original.

The run lives in a folder like a training's: killed, the same command goes on with the fine-tuning.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ..contract import Metadata
from ..errors import LabError
from ..files import sha256_of
from ..runtime import Detector
from ..to_onnx import deployed, export_module, nano_from_checkpoint
from ..training import checkpoint
from ..training.loader import Augmented
from ..training.start import read_nano, settle
from ..training.train import TrainConfig, Trainer
from .channels import pruned
from .toll import Toll, Truth, refuse_loss, weigh

if TYPE_CHECKING:
    from ..dataset import Dataset
    from ..nets.nano import Nano


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to prune: the share of channels to `keep`, how to fine-tune, the input `size` (width, height) judged at."""

    keep: float
    train: TrainConfig
    size: tuple[int, int]
    truth: Truth
    max_drop: float | None = None
    threads: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """What pruning cost, and the number of parameters before and after."""

    toll: Toll
    parameters: tuple[int, int] = field(default=(0, 0))


def prune(source: Path, folder: Path, data: Dataset, held_out: Dataset, settings: Settings) -> Result:
    """Prune the lepton-nano `source`, a checkpoint or a finished file; write `folder`/model.onnx.

    The folder holds the checkpoints of its fine-tuning as well. Raises LabError when `source` is another network,
    QualityError when more was lost than allowed: then there is no model.onnx, but the fine-tuning can be prolonged.
    """
    state = read_nano(source)
    if state.get("net") == "presence":
        raise LabError(f"{source}: lepton-presence has no channels to prune; only lepton-nano can be pruned")
    original = nano_from_checkpoint(state, str(source))
    smaller = pruned(original, settings.keep)
    pictures = Augmented(data, settings.train.augment, settings.train.seed)
    settle(smaller, pictures.sample(max(settings.train.sizes)))
    origin = f"{sha256_of(source)}, {settings.keep:g} kept"
    trainer = Trainer(folder, smaller.config, settings.train, start=smaller.state_dict(), origin=origin)
    trainer.fit(pictures, [1] * len(data), held_out)
    toll = _judge(source, state, folder, settings)
    return Result(toll, (_parameters(original), _parameters(smaller)))


def _judge(source: Path, state: dict[str, Any], folder: Path, settings: Settings) -> Toll:
    """Export both, weigh them, and write the smaller one if it lost no more than allowed."""
    best, target = folder / "best.pt", folder / "model.onnx"
    labels = tuple(state["labels"])
    with TemporaryDirectory(prefix="lepton-") as scratch:
        before, after = (Path(scratch) / name for name in ("before.onnx", "after.onnx"))
        about = Metadata(
            name="lepton-nano", labels=labels, suppressed=False, **{"nms_iou": 0.6, **state.get("said", {})}
        )
        export_module(deployed(state, settings.size, str(source)), before, settings.size, about)
        _export(best, after, settings, about)
        toll = weigh(Detector(before, settings.threads), Detector(after, settings.threads), [], settings.truth)
    refuse_loss(toll, settings.max_drop, source, "Fine-tune longer (more --epochs or --hours) or keep more (--keep)")
    said = replace(
        about,
        source=f"{source.name}, {settings.keep:.0%} of its channels, fine-tuned",
        source_sha256=sha256_of(source),
        metrics={"dataset": settings.truth.json.stem, "map": round(toll.after.quality, 4), "pruning": toll.to_record()},
    )
    _export(best, target, settings, said)
    return toll


def _export(weights: Path, target: Path, settings: Settings, metadata: Metadata) -> None:
    export_module(deployed(checkpoint.load(weights), settings.size, str(weights)), target, settings.size, metadata)


def _parameters(model: Nano) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
