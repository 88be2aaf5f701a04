"""Trains `lepton-nano`: the loop, its clock, its log and its checkpoints.

A run lives in a folder: `last.pt` (all that resuming needs, every epoch and every few minutes), `best.pt` (averaged
weights with the best score on the held-out pictures), `log.csv`. Killed at any moment, it goes on from `last.pt`.
"""

from __future__ import annotations

import csv
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog
import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..errors import LabError
from ..nets.nano import Nano, NanoConfig, grid
from . import checkpoint
from .augment import AugmentConfig
from .imitation import Imitation
from .loader import Augmented, Batch, Batches, make_loader
from .losses import detection_loss
from .schedule import Ema, learning_rate
from .teacher import Teacher, TeacherSpec
from .validate import validate

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ..dataset import Dataset

log = structlog.get_logger()

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, "Mapping[str, float]"]]
GENTLE_FROM = 0.85  # of the training; then no more mosaics, so that the last pictures are like real ones
CLIP_NORM = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """How to train. `hours` above 0 lets the clock end the run, whatever `epochs` says."""

    epochs: int = 100
    hours: float = 0.0
    batch: int = 8
    sizes: tuple[int, ...] = (224, 256, 288, 320, 352)
    early_sizes: tuple[int, ...] = (192, 224, 256)
    early_until: float = 0.6  # share of the training with small pictures: twice as many of them in the same time
    optimizer: str = "adamw"
    rate: float = 2e-3
    decay: float = 0.03
    warmup: float = 0.03
    seed: int = 1
    workers: int = 1
    threads: int = 0
    device: str = "cpu"
    amp: str = "bf16"
    patience: int = 0  # epochs without a better score before the run ends; 0 = never
    validate_every: int = 1
    save_every_s: float = 120.0
    freeze: tuple[str, ...] = ()
    label_weight: float = 1.0  # of the labels' loss beside a teacher's
    compile: bool = False  # a minute for each picture size, then steps are quicker; wants a C++ compiler
    augment: AugmentConfig = field(default_factory=AugmentConfig)


class Trainer:
    """One training run in `folder`; a folder with a `last.pt` is gone on with.

    `start` is a state dict to begin from (transfer learning); layers whose shape differs keep their random start.
    `teacher` sees each training picture too, and the network learns to imitate its answer and its feature maps.
    `origin` names what the start was made from; a run is not gone on with from another one.
    `build` and `loss` are for experiments with other networks of the same outputs, and other ways to learn from labels.
    """

    def __init__(
        self,
        folder: Path,
        net: NanoConfig,
        config: TrainConfig,
        *,
        start: Mapping[str, Tensor] | None = None,
        teacher: TeacherSpec | None = None,
        origin: str = "",
        build: Callable[[NanoConfig], Nano] = Nano,
        loss: Loss = detection_loss,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.origin = origin
        self.folder, self.net, self.config, self.clock = folder, net, config, clock
        self.labels: tuple[str, ...] = ()
        seed_everything(config.seed, config.threads)
        self.device = torch.device(config.device)
        self.loss = loss
        self.model = build(net).to(self.device, memory_format=torch.channels_last)
        if start is not None:
            transfer(self.model, start)
        freeze(self.model, config.freeze)
        self.ema = Ema(self.model)
        self.teacher = teacher
        self.imitation = Imitation(net.neck, Teacher(teacher).widths).to(self.device) if teacher else None
        modules = [self.model, self.imitation] if self.imitation else [self.model]
        run = self.model.with_maps
        self.network = torch.compile(run, dynamic=False) if config.compile else run
        self.optimizer = make_optimizer(nn.ModuleList(modules), config)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=config.amp == "fp16")
        self.epoch, self.best, self.stale, self.steps = 0, -1.0, 0, 0
        self._stopping = False
        self._started = clock()  # less what earlier processes of this run have spent
        if (folder / "last.pt").exists():
            self._resume()

    @property
    def spent_s(self) -> float:
        """Seconds that this run has taken, those before a kill included."""
        return self.clock() - self._started

    def stop(self) -> None:
        """End the run after the step in hand; safe in a signal handler. `fit` then raises KeyboardInterrupt."""
        self._stopping = True

    def fit(self, train: Augmented, repeats: list[int], held_out: Dataset) -> float:
        """Train to the end and return the best score (AP50 on `held_out`), -1 when it has no boxes to judge by."""
        if self.labels and self.labels != held_out.labels:
            raise LabError(f"{self.folder}: holds a run for {list(self.labels)}; give those --labels, or another --out")
        self.labels = held_out.labels
        batches = Batches(repeats, self.config.batch, self.config.sizes, self.config.seed)
        while not self._done():
            batches.epoch = self.epoch
            early = self._progress(0) < self.config.early_until
            batches.sizes = list(self.config.early_sizes if early else self.config.sizes)
            gentle = self._progress(0) >= GENTLE_FROM
            train.config = self.config.augment.gentle() if gentle else self.config.augment
            pin = self.device.type == "cuda"
            losses = self._epoch(make_loader(train, batches, self.config.workers, pin=pin, teacher=self.teacher))
            self.epoch += 1
            self._close_epoch(losses, held_out)
            if self._stopping:
                raise KeyboardInterrupt
        return self.best

    def _epoch(self, loader: Any) -> dict[str, float]:
        """Run one epoch, or what the clock allows of it; return the mean parts of the loss."""
        self.model.train()
        freeze(self.model, self.config.freeze)
        sums: dict[str, float] = {}
        saved = self.clock()
        bar = tqdm(loader, desc=f"epoch {self.epoch + 1}", unit="batch", leave=False, mininterval=2.0)
        for count, batch in enumerate(bar):
            parts = self._step(batch, count / len(loader))
            for key, value in parts.items():
                sums[key] = sums.get(key, 0.0) + value
            bar.set_postfix({key: f"{value / (count + 1):.3f}" for key, value in sums.items()})
            if self._stopping:
                self._save()
                raise KeyboardInterrupt
            if self.clock() - saved > self.config.save_every_s:
                self._save()
                saved = self.clock()
            if self.config.hours and self._progress(0) >= 1:
                break
        return {key: value / (count + 1) for key, value in sums.items()}

    def _step(self, batch: Batch, share: float) -> Mapping[str, float]:
        rate = learning_rate(self.config.rate, self._progress(share), self.config.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        pictures = batch.pictures.to(self.device, non_blocking=True).float()
        truth = batch.truth.to(self.device, non_blocking=True)
        points, _ = grid(pictures.shape[2], pictures.shape[3], self.device)
        with autocast(self.config):
            maps, logits, boxes = self.network(pictures)
        loss, parts = self.loss(logits, boxes, points, truth)
        if self.imitation and batch.seen:
            imitation, more = self.imitation(maps, logits, boxes, batch.seen.to(self.device))
            loss, parts = self.config.label_weight * loss + imitation, {**parts, **more}
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.update(self.model)
        self.steps += 1
        if not torch.isfinite(loss):
            raise LabError(f"the loss is {float(loss)} at step {self.steps}; lower --rate, or use --amp off")
        return {"loss": float(loss.detach()), **parts}

    def _progress(self, share: float) -> float:
        """Return how much of the training is done, 0..1, by the clock when it has a budget, else by epochs."""
        if self.config.hours:
            return min(1.0, self.spent_s / (self.config.hours * 3600))
        return (self.epoch + share) / self.config.epochs

    def _done(self) -> bool:
        tired = bool(self.config.patience) and self.stale >= self.config.patience
        over = self._progress(0) >= 1 if self.config.hours else self.epoch >= self.config.epochs
        return tired or over

    def _close_epoch(self, losses: dict[str, float], held_out: Dataset) -> None:
        score: float | None = None
        if self.epoch % self.config.validate_every == 0 or self._done():
            score = validate(self.ema.model, held_out, self.device, max(self.config.sizes))
            better = score is None or score > self.best  # with nothing to judge by, the newest is the best
            self.stale = 0 if better else self.stale + 1
            if better:
                self.best = self.best if score is None else score
                checkpoint.save(self.folder / "best.pt", self._weights())
        self._save()
        rate = self.optimizer.param_groups[0]["lr"]
        row = {"epoch": self.epoch, "spent_s": round(self.spent_s, 1), "rate": f"{rate:.2e}", "score": score, **losses}
        write_log(self.folder / "log.csv", row)
        log.info("epoch_done", **row)

    def _weights(self) -> dict[str, Any]:
        about = {"net": asdict(self.net), "labels": self.labels, "epoch": self.epoch, "score": self.best}
        return {"model": self.ema.model.state_dict(), **about}

    def _save(self) -> None:
        state = {
            **self._weights(),
            "raw": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "imitation": self.imitation.state_dict() if self.imitation else {},
            "ema_steps": self.ema.steps,
            "steps": self.steps,
            "spent_s": self.spent_s,
            "stale": self.stale,
            "plan": self._plan(),
        }
        checkpoint.save(self.folder / "last.pt", state)

    def _plan(self) -> dict[str, Any]:
        """Return what must not change in the middle of a run."""
        maps = list(self.teacher.maps) if self.teacher else None
        config = self.config
        return {
            "optimizer": config.optimizer,
            "freeze": list(config.freeze),
            "teacher's maps": maps,
            "start": self.origin,
        }

    def _resume(self) -> None:
        state = checkpoint.load(self.folder / "last.pt")
        if state["net"] != asdict(self.net):
            raise LabError(f"{self.folder}: holds a run of another network {state['net']}; choose another --out")
        if state["plan"] != self._plan():
            raise LabError(f"{self.folder}: holds a run with {state['plan']}, not {self._plan()}; choose another --out")
        self.labels = tuple(state["labels"])
        self.model.load_state_dict(state["raw"])
        self.ema.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.imitation:
            self.imitation.load_state_dict(state["imitation"])
        self.ema.steps, self.steps, self.epoch = state["ema_steps"], state["steps"], state["epoch"]
        self.best, self.stale = state["score"], state["stale"]
        self._started = self.clock() - state["spent_s"]
        log.info("run_resumed", folder=str(self.folder), epoch=self.epoch, spent_s=round(self.spent_s))


def seed_everything(seed: int, threads: int) -> None:
    """Seed all generators; `threads` above 0 limits PyTorch to so many."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries draw from the global generator
    torch.manual_seed(seed)
    if threads:
        torch.set_num_threads(threads)


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Return adamw, adam or sgd over the weights that train; biases and normalisation do not decay."""
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise LabError("everything is frozen, so nothing is left to learn; --freeze less")
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    match config.optimizer:
        case "adamw":
            return torch.optim.AdamW(groups, lr=config.rate, fused=True)
        case "adam":
            return torch.optim.Adam(groups, lr=config.rate)
        case "sgd":
            return torch.optim.SGD(groups, lr=config.rate, momentum=0.9, nesterov=True)
    raise LabError(f"optimizer `{config.optimizer}`: choose adamw, adam or sgd")


def freeze(model: nn.Module, prefixes: tuple[str, ...]) -> None:
    """Stop training of all modules whose name begins with one of `prefixes`, their running statistics included."""
    for prefix in prefixes:
        found = [m for name, m in model.named_modules() if name == prefix or name.startswith(prefix + ".")]
        if not found:
            names = sorted({name for name, _ in model.named_modules() if name and name.count(".") < 2})
            raise LabError(f"no part `{prefix}` to freeze; there are {names}")
        for module in found:
            module.eval()
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(requires_grad=False)


def transfer(model: nn.Module, start: Mapping[str, Tensor]) -> None:
    """Take over every weight of `start` that has the same name and shape."""
    mine = model.state_dict()
    same = {key: value for key, value in start.items() if key in mine and mine[key].shape == value.shape}
    model.load_state_dict({**mine, **same})
    log.info("weights_transferred", taken=len(same), left=len(mine) - len(same))


def training_device(text: str) -> str:
    """Return the torch device that `auto`, `cpu`, `cuda` or `cuda:N` means; raises LabError when it is not there."""
    there = torch.cuda.device_count()
    if text == "auto":
        return "cuda" if there else "cpu"
    name, _, index = text.partition(":")
    if name not in {"cpu", "cuda"} or (name == "cuda" and not (index or "0").isdecimal()):
        raise LabError(f"--device {text}: give auto, cpu, cuda or cuda:N")
    if name == "cuda" and int(index or 0) >= there:
        raise LabError(f"--device {text}: PyTorch sees {there} CUDA devices here")
    return text


def autocast(config: TrainConfig) -> Any:
    """Return the mixed-precision context: bf16 on CPU and GPU, fp16 on GPU, or none."""
    types = {"bf16": torch.bfloat16, "fp16": torch.float16, "off": torch.float32}
    if config.amp not in types or (config.amp == "fp16" and config.device == "cpu"):
        raise LabError(f"amp `{config.amp}` on {config.device}: choose bf16, fp16 (GPU only) or off")
    device = torch.device(config.device).type
    return torch.autocast(device, types[config.amp], enabled=config.amp != "off")


def write_log(path: Path, row: dict[str, Any]) -> None:
    """Append one line to a CSV file; the first one writes the header."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)
