"""What each piece of lepton-nano and of its training is worth: equal runs from nothing, one piece changed in each.

python -m tests.bench.ablation --data person.json person/train 1 --data coco128.json coco128/images 8 \
    --judge person/test.json person/test --judge coco128/val2017.json coco128/images --teacher teacher.onnx
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from export.dataset import Dataset, join_datasets, read_coco
from export.nets.nano import STRIDES, Conv, Head, Nano, NanoConfig, Neck, grid
from export.training.assign import Assignment, iou
from export.training.augment import AugmentConfig
from export.training.loader import Augmented
from export.training.losses import detection_loss
from export.training.teacher import TeacherSpec
from export.training.train import Loss, TrainConfig, Trainer
from export.training.validate import validate

LABELS = ("person",)
JUDGED_PX = 320
RADIUS = 1.5  # strides around an object's middle, as FCOS' centre sampling
FAR = (0.0, 64.0, 128.0, 1e9)  # longer side in pixels that each stride answers for


@dataclass(frozen=True, slots=True)
class Variant:
    """One run: how the network is built, how labels are learnt from, whether and how a teacher helps."""

    name: str
    build: Callable[[NanoConfig], Nano] = Nano
    loss: Loss = detection_loss
    teacher: bool = False
    mimic: bool = False
    augment: AugmentConfig = field(default_factory=AugmentConfig)


def without_skips(config: NanoConfig) -> Nano:
    """Build a network whose 3x3 layers have no identity beside them."""
    model = Nano(config)
    for module in model.modules():
        if isinstance(module, Conv):
            module.skip = False
    return model


class NoPyramid(Neck):
    """Each scale for itself."""

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Return the laterals."""
        return [layer(x) for layer, x in zip(self.lateral, maps, strict=True)]


class UpOnly(Neck):
    """Coarse meaning goes up; nothing comes down again (FPN)."""

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Return three maps."""
        p3, p4, p5 = (layer(x) for layer, x in zip(self.lateral, maps, strict=True))
        p4 = self.up[0](p4 + nn.functional.interpolate(p5, scale_factor=2.0, mode="nearest"))
        return [self.up[1](p3 + nn.functional.interpolate(p4, scale_factor=2.0, mode="nearest")), p4, p5]


def with_neck(neck: type[Neck], config: NanoConfig) -> Nano:
    """Build a network with another neck."""
    model = Nano(config)
    model.neck = neck(config)
    return model


class Coupled(Head):
    """Classes and boxes share one tower of twice the width."""

    def __init__(self, config: NanoConfig) -> None:
        super().__init__(replace(config, head=2 * config.head))
        self.box_tower = nn.Identity()
        self.shared, self.class_tower = self.class_tower, nn.Identity()

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits and distances."""
        logits, distances = super().forward([self.shared(x) for x in maps])
        return logits, distances


def coupled(config: NanoConfig) -> Nano:
    """Build a network with the coupled head."""
    model = Nano(config)
    model.head = Coupled(config)
    return model


def fixed_places(scores: Tensor, boxes: Tensor, points: Tensor, truth: Tensor) -> Assignment:
    """Assign by place and size alone, as FCOS: an object's middle, on the stride of its size; the score is the IoU."""
    size = int(points.max()) + STRIDES[0] // 2
    level = grid(size, size)[1]
    middle = (truth[:, 1:3] + truth[:, 3:5]) / 2
    near = ((points[None] - middle[:, None]).abs() < RADIUS * level[None, :, None]).all(-1)
    longer = (truth[:, 3:5] - truth[:, 1:3]).amax(1)[:, None]
    for stride, least, most in zip(STRIDES, FAR, FAR[1:], strict=False):
        near &= (level != stride)[None] | ((longer >= least) & (longer < most))
    picture = truth[:, 0].long()
    area = (truth[:, 3:5] - truth[:, 1:3]).prod(1)
    smallest = torch.full(boxes.shape[:2], torch.inf)
    smallest.scatter_reduce_(0, picture[:, None].expand_as(near), torch.where(near, area[:, None], torch.inf), "amin")
    which, place = (near & (area[:, None] == smallest[picture])).nonzero(as_tuple=True)
    overlap = iou(truth[which, 1:5], boxes[picture[which], place])
    return Assignment(picture[which], place, which, overlap * truth[which, 5])


VARIANTS = (
    Variant("as shipped, labels alone"),
    Variant("no skips around 3x3", build=without_skips),
    Variant("no pyramid", build=partial(with_neck, NoPyramid)),
    Variant("pyramid up only (FPN)", build=partial(with_neck, UpOnly)),
    Variant("class and box share a tower", build=coupled),
    Variant("fixed places (FCOS)", loss=partial(detection_loss, assigner=fixed_places)),
    Variant("turned by up to 6 degrees", augment=AugmentConfig(rotate_deg=6.0)),
    Variant("no mosaic", augment=AugmentConfig(mosaic=0.0)),
    Variant("with a teacher's answers", teacher=True),
    Variant("with answers and feature maps", teacher=True, mimic=True),
    Variant(
        "all that, and mixing and far zooms",
        teacher=True,
        mimic=True,
        augment=AugmentConfig(mix=0.25, scale=(0.55, 2.5)),
    ),
)


def run(variant: Variant, args: argparse.Namespace, train: Dataset, repeats: list[int], judges: list[Dataset]) -> None:
    """Train one variant and print its line."""
    maps = tuple(args.mimic) if variant.mimic else ()
    teacher = TeacherSpec(path=args.teacher, labels=LABELS, maps=maps) if variant.teacher else None
    config = TrainConfig(
        epochs=args.epochs,
        batch=16,
        sizes=(args.size,),
        early_sizes=(args.size,),
        augment=variant.augment,
        threads=1,
        workers=0,  # so that this process' CPU time is all of it
        seed=args.seed,
    )
    folder = args.out / f"{variant.name.replace(' ', '-').replace(',', '')}-{args.size}px-{args.epochs}ep-{args.seed}"
    if folder.exists():
        raise SystemExit(f"{folder}: was run already; choose another --out")
    trainer = Trainer(folder, NanoConfig(classes=1), config, teacher=teacher, build=variant.build, loss=variant.loss)
    pictures = Augmented(train, variant.augment, args.seed)
    begun = time.process_time()
    trainer.fit(pictures, repeats, Dataset(LABELS, ()))  # judged below, out of the measured time
    spent = time.process_time() - begun
    scores = [validate(trainer.ema.model, judge, trainer.device, JUDGED_PX) for judge in judges]
    weights = sum(p.numel() for p in trainer.model.parameters() if p in trainer.optimizer.state)
    shown = trainer.steps * config.batch
    columns = " ".join(f"{score:8.3f}" for score in scores)
    print(f"{variant.name:<36} {weights / 1e6:5.2f} M {1000 * spent / max(1, shown):6.1f} ms {columns}", flush=True)


def main() -> None:
    """Run every variant, or those whose name contains one of the words given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs=3, action="append", required=True, metavar=("JSON", "FOLDER", "REPEAT"))
    parser.add_argument("--judge", nargs=2, action="append", required=True, metavar=("JSON", "FOLDER"))
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--mimic", nargs=3, default=("net/1028", "net/1070", "net/1112"))
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    parser.add_argument("words", nargs="*")
    args = parser.parse_args()
    parts = [read_coco(json, folder, LABELS) for json, folder, _ in args.data]
    repeats = [int(item[2]) for item, part in zip(args.data, parts, strict=True) for _ in range(len(part))]
    judges = [read_coco(json, folder, LABELS) for json, folder in args.judge]
    print(f"{'':<36} weights  CPU a picture, AP50 of person on {', '.join(Path(j).stem for j, _ in args.judge)}")
    for variant in VARIANTS:
        if not args.words or any(word in variant.name for word in args.words):
            run(variant, args, join_datasets(parts), repeats, judges)


if __name__ == "__main__":
    main()
