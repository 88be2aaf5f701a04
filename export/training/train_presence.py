"""Trains `lepton-presence` as specified: Adam, binary cross-entropy, accuracy, 10 epochs.

A picture is positive when a box of the wanted label lies on it. The folder of a run is as in `train`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import structlog
import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..dataset import Dataset
from ..errors import DatasetError, LabError
from ..nets.presence import DENSE, PRESENT, SIZE, Preprocess, Presence
from ..to_onnx import presence_from
from . import checkpoint
from .train import seed_everything, write_log

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class PresenceConfig:
    """How to train; the defaults are the specification's."""

    epochs: int = 10
    batch: int = 32
    rate: float = 1e-3
    seed: int = 1
    threads: int = 0
    device: str = "cpu"
    amp: bool = True  # bfloat16
    dense: tuple[int, ...] = DENSE


@dataclass(frozen=True, slots=True)
class Pictures:
    """uint8 [n, 3, 224, 224] RGB and float32 [n]: 1 where somebody is."""

    images: Tensor
    present: Tensor
    label: str


def read_pictures(dataset: Dataset, label: str) -> Pictures:
    """Return all pictures at 224 x 224; raises DatasetError when there is nothing to tell apart."""
    wanted = dataset.labels.index(label) if label in dataset.labels else -1
    present = [float((sample.rows[:, 5] == wanted).any()) for sample in dataset.samples]
    if not 0 < sum(present) < len(present):
        raise DatasetError(f"{int(sum(present))} of {len(present)} pictures show `{label}`: both kinds are needed")
    images = np.empty((len(dataset), 3, SIZE, SIZE), np.uint8)
    for number, sample in enumerate(tqdm(dataset.samples, desc="reading pictures", unit="picture", leave=False)):
        images[number] = cv2.resize(sample.read(), (SIZE, SIZE))[:, :, ::-1].transpose(2, 0, 1)
    return Pictures(torch.from_numpy(images), torch.tensor(present), label)


def train_presence(
    folder: Path,
    config: PresenceConfig,
    train: Pictures,
    held_out: Pictures,
    clock: Callable[[], float] = time.monotonic,
) -> float:
    """Train to the end, going on from `last.pt` where there is one; return the accuracy on `held_out`."""
    folder.mkdir(parents=True, exist_ok=True)
    seed_everything(config.seed, config.threads)
    model = Presence(config.dense).to(config.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.rate)
    first, accuracy = 0, 0.0
    if (folder / "last.pt").exists():
        state = checkpoint.load(folder / "last.pt")
        if (state.get("net"), tuple(state.get("labels", ()))) != ("presence", (train.label,)):
            raise LabError(
                f"{folder}: holds a run of another network, or for {state.get('labels')}; choose another --out"
            )
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first, accuracy = int(state["epoch"]), float(state["score"])
    for epoch in range(first, config.epochs):
        started = clock()
        loss = _epoch(model, optimizer, train, config, epoch)
        accuracy = measure(model, held_out, config.device)
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1}
        checkpoint.save(
            folder / "last.pt",
            {**state, "score": accuracy, "net": "presence", "dense": config.dense, "labels": (train.label,)},
        )
        row = {"epoch": epoch + 1, "loss": loss, "accuracy": accuracy, "spent_s": round(clock() - started, 1)}
        write_log(folder / "log.csv", row)
        log.info("epoch_done", **row)
    return accuracy


def load_presence(path: Path) -> Presence:
    """Return the network of a checkpoint of this training."""
    return presence_from(checkpoint.load(path), str(path))


def measure(model: Presence, pictures: Pictures, device: str) -> float:
    """Return the share of pictures on the right side of the threshold."""
    preprocess = Preprocess(SIZE, SIZE).to(device)
    model.eval()
    right = 0
    with torch.no_grad():
        for images, present in zip(pictures.images.split(64), pictures.present.split(64), strict=True):
            scores = model(preprocess(images.to(device))).sigmoid().cpu()
            right += int(((scores > PRESENT).float() == present).sum())
    return right / max(1, len(pictures.present))


def _epoch(
    model: Presence, optimizer: torch.optim.Optimizer, train: Pictures, config: PresenceConfig, epoch: int
) -> float:
    """Run one epoch in an order that depends on seed and epoch alone; return the mean loss."""
    preprocess = Preprocess(SIZE, SIZE).to(config.device)
    order = torch.from_numpy(np.random.default_rng((config.seed, epoch)).permutation(len(train.present)))
    model.train()
    total = 0.0
    for part in tqdm(order.split(config.batch), desc=f"epoch {epoch + 1}", unit="batch", leave=False):
        images, present = train.images[part].to(config.device), train.present[part].to(config.device)
        pictures = preprocess(images)  # in full precision: it is exact
        with torch.autocast(torch.device(config.device).type, torch.bfloat16, enabled=config.amp):
            logits = model(pictures)
        loss: Any = nn.functional.binary_cross_entropy_with_logits(logits.float(), present)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total += float(loss.detach()) * len(part)
    return total / len(train.present)
