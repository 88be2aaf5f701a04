"""`lepton-export train`: trains lepton-nano or lepton-presence on COCO-format datasets."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import LabError
from ..files import model_file, sha256_of
from ..labels import names_of
from .arguments import natural, number, positive, scale, share, size, sizes, whole

if TYPE_CHECKING:
    from ..dataset import Dataset

ABOUT = """\
Train a detector on pictures with COCO-format labels. Killed at any moment, the same command goes on where it stopped.

  lepton-export train --data train.json pictures/ --out runs/mine
  lepton-export train --data train.json pictures/ --out runs/mine --hours 2     # the clock ends it, not --epochs
  lepton-export train --data mine.json frames/ --out runs/mine \\
      --start lepton-nano --freeze backbone --epochs 20                         # go on from the shipped file
  lepton-export train --data mine.json frames/ --out runs/mine --teacher yolox_s.lepton.onnx --mix 0.25
  lepton-export train --net presence --data train.json pictures/ --out runs/presence

In the --out folder: last.pt (to go on from), best.pt (best held-out score), log.csv, and model.onnx at the end."""
NANO_ONLY = (
    "hours", "patience", "workers", "compile", "sizes", "early_sizes", "early_until", "size", "mosaic", "mix", "zoom",
    "rotate", "optimizer", "decay", "warmup", "start", "teacher", "mimic", "label_weight", "freeze",
)  # fmt: skip
LABELS = "person,bicycle,car,motorcycle,bus,truck,cat,dog,bird,backpack,suitcase"


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "train",
        help="train a detector on COCO-format data",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--net", choices=("nano", "presence"), default="nano", help="which network (default: nano)")
    _add_data(parser.add_argument_group("data"))
    groups = [
        (_add_length, parser.add_argument_group("length and speed")),
        (_add_pictures, parser.add_argument_group("pictures (nano)")),
        (_add_learning, parser.add_argument_group("learning (nano, but for --rate and --seed)")),
    ]
    for add, group in groups:
        add(group)
    everything = {action.dest: action.default for action in parser._actions}  # noqa: SLF001 - argparse has no list of them
    parser.set_defaults(run=run, nano_only={key: everything[key] for key in NANO_ONLY})


def _add_data(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--data",
        nargs="+",
        action="append",
        required=True,
        metavar="ITEM",
        help="JSON FOLDER [REPEAT]: a COCO file, the folder of its pictures, how often an epoch shows them; repeatable",
    )
    group.add_argument("--val", nargs=2, metavar=("JSON", "FOLDER"), help="held-out pictures (default: see --hold-out)")
    group.add_argument("--hold-out", type=share, default=0.04, help="share of the first --data kept for validation")
    group.add_argument("--labels", help="classes: a,b,c or a file (default: lepton-nano's that the data has)")


def _add_length(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--epochs", type=whole, help="default: 100 for nano, 10 for presence")
    group.add_argument("--hours", type=number, default=0.0, help="end after so many hours instead of epochs (nano)")
    group.add_argument("--patience", type=natural, default=0, help="stop after so many validations without gain (nano)")
    group.add_argument("--batch", type=whole, help="pictures a step (default: 8 for nano, 32 for presence)")
    group.add_argument("--workers", type=natural, default=1, help="processes that augment (default: 1; a GPU wants 4+)")
    group.add_argument("--threads", type=natural, default=0, help="CPU threads of the training; 0 = all cores")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ... (default: auto)")
    group.add_argument("--compile", action="store_true", help="compile the network first; wants a C++ compiler (nano)")
    group.add_argument("--amp", choices=("bf16", "fp16", "off"), default="bf16", help="mixed precision (fp16: GPU)")


def _add_pictures(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--sizes", type=sizes, default=(224, 256, 288, 320, 352), help="sizes, multiples of 32: 256,320")
    group.add_argument("--early-sizes", type=sizes, default=(192, 224, 256), help="those of the first part, for speed")
    group.add_argument("--early-until", type=share, default=0.6, help="share of the training with --early-sizes")
    group.add_argument("--size", type=size, default=(416, 320), metavar="WxH", help="input of model.onnx (416x320)")
    group.add_argument("--mosaic", type=share, default=0.35, help="share of pictures made of four (default: 0.35)")
    group.add_argument("--mix", type=share, default=0.0, help="share of two pictures in one; best with a --teacher")
    group.add_argument("--zoom", type=scale, default=1.6, help="largest scale; 1 = a picture fits (default: 1.6)")
    group.add_argument(
        "--rotate", type=number, default=0.0, metavar="DEG", help="turn pictures up to this (default: 0)"
    )


def _add_learning(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--optimizer", choices=("adamw", "adam", "sgd"), default="adamw")
    group.add_argument(
        "--rate", type=positive, help="highest learning rate (default: 2e-3 for nano, 1e-3 for presence)"
    )
    group.add_argument("--decay", type=number, default=0.03, help="weight decay (default: 0.03)")
    group.add_argument("--warmup", type=share, default=0.03, help="share of the training before the highest rate")
    group.add_argument("--seed", type=natural, default=1)
    group.add_argument(
        "--start",
        type=model_file,
        metavar="FILE",
        help="checkpoint or finished .onnx to begin from; lepton-nano: shipped",
    )
    group.add_argument(
        "--teacher", type=Path, metavar="ONNX", help="an adopted YOLOX that looks at each picture too; see `distill`"
    )
    group.add_argument(
        "--mimic",
        nargs=3,
        default=(),
        metavar=("S8", "S16", "S32"),
        help="three tensors of the teacher, strides 8, 16, 32, for nano's pyramid to look like",
    )
    group.add_argument(
        "--label-weight", type=number, default=1.0, help="weight of the labels beside the teacher (default: 1)"
    )
    group.add_argument("--freeze", default="", help="comma list of parts that do not learn: backbone, neck, head.boxes")


def run(args: argparse.Namespace) -> int:
    """Train, then write model.onnx."""
    from ..dataset import join_datasets, read_coco
    from ..training.train import training_device

    if (args.mimic or args.label_weight != 1) and not args.teacher:
        raise LabError("--mimic and --label-weight go with a --teacher; give one, an adopted YOLOX")
    repeats = [_repeat(item) for item in args.data]
    device = training_device(args.device)
    labels = _labels(args)
    parts = [read_coco(item[0], item[1], labels) for item in args.data]
    if args.val:
        held_out = read_coco(args.val[0], args.val[1], labels)
    else:
        parts[0], held_out = parts[0].split(args.hold_out, args.seed)
    counts = [repeat for part, repeat in zip(parts, repeats, strict=True) for _ in range(len(part))]
    joined = join_datasets(parts)
    if not len(joined):
        raise LabError(f"--data {args.data[0][0]}: no picture is left to learn from; hold out less (--hold-out)")
    _say(joined, held_out)
    if args.net == "presence":
        return _presence(args, joined, held_out, device)
    return _nano(args, joined, held_out, counts, device)


def _repeat(item: list[str]) -> int:
    """Return how often an epoch shows the pictures of one --data."""
    if len(item) not in {2, 3} or (len(item) == 3 and not (item[2].isdecimal() and int(item[2]) > 0)):
        raise LabError(f"--data {' '.join(item)}: write JSON FOLDER, and perhaps a whole number from 1 on")
    return int(item[2]) if len(item) == 3 else 1


def _nano(args: argparse.Namespace, train: Dataset, held_out: Dataset, repeats: list[int], device: str) -> int:
    from ..contract import Metadata
    from ..nets.nano import NanoConfig
    from ..to_onnx import deployed, export_module
    from ..training import checkpoint
    from ..training.augment import AugmentConfig
    from ..training.loader import Augmented
    from ..training.start import start_from
    from ..training.teacher import TeacherSpec
    from ..training.train import TrainConfig, Trainer

    config = TrainConfig(
        epochs=args.epochs or 100,
        hours=args.hours,
        batch=args.batch or 8,
        sizes=args.sizes,
        early_sizes=args.early_sizes,
        early_until=args.early_until,
        augment=AugmentConfig(mosaic=args.mosaic, mix=args.mix, scale=(0.55, args.zoom), rotate_deg=args.rotate),
        optimizer=args.optimizer,
        rate=args.rate or 2e-3,
        decay=args.decay,
        warmup=args.warmup,
        seed=args.seed,
        workers=args.workers,
        threads=args.threads,
        device=device,
        amp=args.amp,
        patience=args.patience,
        freeze=tuple(part for part in args.freeze.split(",") if part),
        compile=args.compile,
        label_weight=args.label_weight,
    )
    pictures = Augmented(train, config.augment, args.seed)
    start = start_from(args.start, train.labels, pictures.sample(max(args.sizes))) if args.start else None
    net = start.net if start else NanoConfig(classes=len(train.labels))
    teacher = TeacherSpec(path=args.teacher, labels=train.labels, maps=tuple(args.mimic)) if args.teacher else None
    origin = sha256_of(args.start) if args.start else ""
    trainer = Trainer(args.out, net, config, start=start.weights if start else None, teacher=teacher, origin=origin)
    # Python's own handler raises wherever the program is, and is lost in the clean-up of a loader
    before = signal.signal(signal.SIGINT, lambda *_: trainer.stop())
    try:
        best = trainer.fit(pictures, repeats, held_out)
    finally:
        signal.signal(signal.SIGINT, before)
    where = args.out / "last.pt"
    metadata = Metadata(name="lepton-nano", labels=train.labels, suppressed=False, nms_iou=0.6, source=str(where))
    export_module(deployed(checkpoint.load(where), args.size, str(where)), args.out / "model.onnx", args.size, metadata)
    judged = (
        f"best AP50 on {len(held_out)} held-out pictures: {best:.3f}" if best >= 0 else "no held-out boxes to judge by"
    )
    sys.stdout.write(f"{judged}\n")
    return _done(args.out / "model.onnx")


def _presence(args: argparse.Namespace, train: Dataset, held_out: Dataset, device: str) -> int:
    if alien := [name.replace("_", "-") for name, plain in args.nano_only.items() if getattr(args, name) != plain]:
        raise LabError(f"--{alien[0]} belongs to --net nano; lepton-presence learns as its specification says")
    from ..contract import Metadata
    from ..nets.presence import PRESENT, SIZE, DeployedPresence
    from ..to_onnx import export_module
    from ..training.train_presence import PresenceConfig, load_presence, read_pictures, train_presence

    config = PresenceConfig(
        epochs=args.epochs or 10,
        batch=args.batch or 32,
        rate=args.rate or 1e-3,
        seed=args.seed,
        threads=args.threads,
        device=device,
        amp=args.amp != "off",
    )
    label = train.labels[0]
    best = train_presence(args.out, config, read_pictures(train, label), read_pictures(held_out, label))
    where = args.out / "last.pt"
    module = DeployedPresence(load_presence(where), SIZE, SIZE)
    metadata = Metadata(
        name="lepton-presence",
        labels=(label,),
        suppressed=True,
        fit="stretch",
        score_threshold=PRESENT,
        source=str(where),
    )
    export_module(module, args.out / "model.onnx", (SIZE, SIZE), metadata)
    sys.stdout.write(f"accuracy on {len(held_out)} held-out pictures: {best:.3f}\n")
    return _done(args.out / "model.onnx")


def _labels(args: argparse.Namespace) -> tuple[str, ...]:
    """Return the classes asked for, else lepton-nano's among the data's categories, else all of them."""
    if args.labels:
        return names_of(args.labels)
    from ..dataset import read_coco

    known = {name for item in args.data for name in read_coco(item[0], item[1]).labels}
    return tuple(label for label in LABELS.split(",") if label in known) or tuple(sorted(known))


def _say(train: Dataset, held_out: Dataset) -> None:
    counts = train.counts()
    boxes = ", ".join(f"{name} {count}" for name, count in counts.items() if count) or "none"
    without = ", ".join(name for name, count in counts.items() if not count)
    without = f"; WITHOUT BOXES: {without}" if without else ""
    sys.stdout.write(f"{len(train)} pictures to learn from, {len(held_out)} held out; boxes: {boxes}{without}\n")


def _done(model: Path) -> int:
    sys.stdout.write(f"wrote {model}\nnext: lepton-export evaluate {model} --data JSON FOLDER --store\n")
    return 0
