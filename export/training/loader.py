"""Feeds training: pictures decoded once into memory, augmented batches of changing size, the same for the same seed."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from tqdm import tqdm

from .augment import AugmentConfig, Chance, augment
from .teacher import Seen, Teacher, TeacherSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ..dataset import Dataset

MAX_SIDE_PX = 512  # larger pictures are kept at this size: training pictures are smaller still


class Augmented(TorchDataset):
    """Augmented pictures of a dataset; an index is (epoch, sample, size in pixels)."""

    def __init__(self, dataset: Dataset, config: AugmentConfig, seed: int) -> None:
        self.config, self.seed = config, seed
        self.pictures: list[NDArray[np.uint8]] = []
        self.rows: list[NDArray[np.float32]] = []
        for sample in tqdm(dataset.samples, desc="reading pictures", unit="picture", leave=False):
            picture, rows = sample.read(), sample.rows.copy()
            scale = min(1.0, MAX_SIDE_PX / max(picture.shape[:2]))
            if scale < 1:
                picture = np.asarray(
                    cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8
                )
                rows[:, :4] *= scale
            self.pictures.append(picture)
            self.rows.append(rows)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, key: tuple[int, int, int]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        epoch, index, size = key
        rng = np.random.default_rng((self.seed, epoch, index))
        picture, rows = augment(self._load, index % len(self), len(self), size, Chance(self.config, rng))
        return picture[:, :, ::-1], rows

    def sample(self, size: int, count: int = 64) -> Tensor:
        """Return up to `count` augmented pictures uint8 [n, 3, size, size], RGB, spread over the set."""
        numbers = np.linspace(0, len(self) - 1, min(count, len(self))).astype(int)
        pictures = np.stack([self[0, int(n), size][0] for n in numbers])
        return torch.from_numpy(pictures).permute(0, 3, 1, 2)

    def _load(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        return self.pictures[index], self.rows[index]


class Batches:
    """Batch sampler: all samples once an epoch in random order, those of `repeat` more often, one size a batch."""

    def __init__(self, repeats: Sequence[int], batch: int, sizes: Sequence[int], seed: int) -> None:
        self.order = np.repeat(np.arange(len(repeats)), repeats)
        self.batch, self.sizes, self.seed, self.epoch = batch, list(sizes), seed, 0

    def __len__(self) -> int:
        return max(1, len(self.order) // self.batch)

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        order = rng.permutation(self.order)
        for start in range(0, len(self) * self.batch, self.batch):
            size = int(rng.choice(self.sizes))
            # the copies of a repeated sample get keys of their own through the position
            yield [
                (self.epoch * 1_000_000 + start + i, int(n), size)
                for i, n in enumerate(order[start : start + self.batch])
            ]


class Batch(NamedTuple):
    """What one step learns from.

    `pictures` uint8 [B, 3, H, W] (RGB, channels last in memory), `truth` [G, 7] as `assign` wants it, and what the
    teacher sees on the pictures, if there is one.
    """

    pictures: Tensor
    truth: Tensor
    seen: Seen | None


class Collate:
    """Makes a batch of augmented pictures; the teacher is opened in the process that uses it."""

    def __init__(self, teacher: TeacherSpec | None) -> None:
        self.spec = teacher
        self.teacher: Teacher | None = None

    def __call__(self, items: list[tuple[NDArray[np.uint8], NDArray[np.float32]]]) -> Batch:
        """Return the batch of these samples, pictures uint8 [size, size, 3]."""
        pictures = torch.from_numpy(np.stack([picture for picture, _ in items])).permute(0, 3, 1, 2)
        truth = [np.insert(rows, 0, number, axis=1) for number, (_, rows) in enumerate(items)]
        if self.spec and not self.teacher:
            self.teacher = Teacher(self.spec)
        seen = self.teacher.look(pictures) if self.teacher else None
        return Batch(pictures, torch.from_numpy(np.concatenate(truth).astype(np.float32)), seen)


def make_loader(
    dataset: Augmented, batches: Batches, workers: int, *, pin: bool, teacher: TeacherSpec | None = None
) -> DataLoader:
    """Return a loader of `Batch`; `workers` processes augment and teach beside the training, 0 does it in line."""
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=Collate(teacher),
        pin_memory=pin,
        worker_init_fn=_quiet_worker,
        multiprocessing_context="fork" if workers else None,
    )


def _quiet_worker(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; it ends its workers
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
