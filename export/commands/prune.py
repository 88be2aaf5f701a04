"""`lepton-export prune`: a narrower lepton-nano, fine-tuned and weighed against the original."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..files import model_file
from .arguments import natural, number, positive, size, sizes, whole

ABOUT = """\
Make a lepton-nano smaller: the least useful channels of every layer go, the rest is fine-tuned on
your data, and the result is judged on held-out pictures. Prints file size, mAP and latency before and after, and
writes no model that lost more than --max-drop. Killed at any moment, the same command goes on.

  lepton-export prune runs/mine/best.pt --keep 0.7 --data train.json pictures/ --val val.json pictures/ --out runs/slim

In the --out folder: last.pt, best.pt, log.csv, and model.onnx. Only lepton-nano can be pruned, a checkpoint or the
finished file; to make an adopted ONNX file smaller, use `quantize` or adopt it with --fp16."""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "prune",
        help="make a trained lepton-nano narrower",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "model", type=model_file, help="best.pt or last.pt of a training, a finished .onnx, or lepton-nano (shipped)"
    )
    parser.add_argument("--keep", type=float, default=0.7, help="share of the channels to keep (default: 0.7)")
    for flag, what in (("--data", "to fine-tune on"), ("--val", "held out, to judge on")):
        parser.add_argument(
            flag,
            nargs=2,
            metavar=("JSON", "FOLDER"),
            type=Path,
            required=True,
            help=f"COCO file {what}, and the folder of its pictures",
        )
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--max-drop", type=float, help="most mAP that may be lost, absolute (default: 0.02)")
    parser.add_argument("--limit", type=natural, default=0, help="judge on the first pictures of --val only")
    _add_training(parser.add_argument_group("fine-tuning"))
    parser.set_defaults(run=run)


def _add_training(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--epochs", type=whole, default=20, help="default: 20")
    group.add_argument("--hours", type=number, default=0.0, help="end after so many hours instead of epochs")
    group.add_argument("--batch", type=whole, default=16, help="pictures a step (default: 16)")
    group.add_argument("--rate", type=positive, default=5e-4, help="highest learning rate (default: 5e-4)")
    group.add_argument("--sizes", type=sizes, default=(256, 288, 320, 352), help="picture sizes, multiples of 32")
    group.add_argument("--size", type=size, default=(416, 320), metavar="WxH", help="input of model.onnx (416x320)")
    group.add_argument("--workers", type=natural, default=1, help="processes that augment (default: 1)")
    group.add_argument("--threads", type=natural, default=0, help="CPU threads; 0 = all cores")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ... (default: auto)")
    group.add_argument("--seed", type=natural, default=1)


def run(args: argparse.Namespace) -> int:
    """Prune, fine-tune, judge."""
    from ..compression.prune import Settings, prune
    from ..compression.toll import Truth
    from ..dataset import read_coco
    from ..training.start import read_nano
    from ..training.train import TrainConfig, training_device

    labels = tuple(read_nano(args.model).get("labels", ()))
    train = TrainConfig(
        epochs=args.epochs,
        hours=args.hours,
        batch=args.batch,
        rate=args.rate,
        sizes=args.sizes,
        early_sizes=args.sizes,
        workers=args.workers,
        threads=args.threads,
        device=training_device(args.device),
        seed=args.seed,
    )
    settings = Settings(
        keep=args.keep,
        train=train,
        size=args.size,
        truth=Truth(args.val[0], args.val[1], args.limit),
        max_drop=args.max_drop,
        threads=args.threads,
    )
    data, held_out = (read_coco(json, folder, labels) for json, folder in (args.data, args.val))
    result = prune(args.model, args.out, data, held_out, settings)
    before, after = result.parameters
    sys.stdout.write(f"{result.toll.to_text()}parameters{'':14}{before:10}{after:10}\n")
    sys.stdout.write(f"wrote {args.out / 'model.onnx'}\n")
    return 0
