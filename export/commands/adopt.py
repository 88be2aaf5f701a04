"""`lepton-export adopt`: a published detector's ONNX file becomes a model of the contract."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from .arguments import any_size, share

ABOUT = """\
Turn a detector that somebody else published as ONNX into the one kind of file that leptond runs.

The family is recognised from the graph. Normalisation, box decoding and top-300 go into the graph; a fixed batch of 1
is made dynamic. Your file stays as it is; a new one is written.

Families: yolox, yolox-decoded, yolov5 (and v7), yolov6, yolov8 (and v9, v11), end-to-end (YOLOv10, YOLO26),
detr (RT-DETR, D-FINE, DEIM with post-processing inside), detr-logits (without), rf-detr, nanodet, nanodet-plus,
fastestdet, ssd (TensorFlow with NMS inside).

  lepton-export adopt yolox_nano.onnx --labels coco --out yolox-nano.onnx
  lepton-export adopt yolov8n.onnx --out mine.onnx                  # labels are read from the file
  lepton-export adopt ssd.onnx --labels coco91 --size 300x300 --out ssd-contract.onnx"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "adopt",
        help="turn a published detector into the contract",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="the published ONNX file")
    parser.add_argument("--out", type=Path, help="where to write (default: FILE's name with .lepton.onnx)")
    parser.add_argument("--labels", help="coco, coco91, a file with one name a line, or a comma list")
    parser.add_argument("--family", help="name the output layout instead of recognising it")
    parser.add_argument("--size", type=any_size, metavar="WxH", help="picture size, where the file leaves it open")
    parser.add_argument("--score-threshold", type=share, default=0.5, help="the daemon's default (default: 0.5)")
    parser.add_argument("--nms-iou", type=share, help="overlap above which the weaker of two boxes is dropped")
    parser.add_argument("--fp16", action="store_true", help="halve the weights; for GPUs, slower on a CPU")
    parser.add_argument("--name", help="the model's name in status and alerts (default: FILE's name)")
    parser.add_argument("--licence", default="", help="licence of the weights, kept in the file")
    add_pixel_arguments(parser)
    parser.add_argument("--fit", choices=("letterbox", "stretch"), help="how a frame is brought to the picture size")
    parser.set_defaults(run=run)


def add_pixel_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what overrides a family's normalisation; shared with `verify`."""
    group = parser.add_argument_group("when the model was trained unlike its family")
    group.add_argument("--channels", choices=("rgb", "bgr"), help="colour order that the network wants")
    group.add_argument("--mean", type=triple, metavar="A,B,C", help="subtracted from 0..255 values")
    group.add_argument("--std", type=divisors, metavar="A,B,C", help="divides after that; 255,255,255 gives 0..1")


def run(args: argparse.Namespace) -> int:
    """Adopt one file and say what came out."""
    from ..adopt.family import PixelOverrides
    from ..adopt.pipeline import Request, adopt
    from ..files import refuse_overwriting
    from ..labels import read_labels

    request = Request(
        labels=read_labels(args.labels) if args.labels else None,
        family=args.family,
        size=args.size,
        pixels=PixelOverrides(channels=args.channels, mean=args.mean, std=args.std),
        fit=args.fit,
        nms_iou=args.nms_iou,
        score_threshold=args.score_threshold,
        name=args.name,
        licence=args.licence,
        fp16=args.fp16,
    )
    target = args.out or args.file.with_suffix(".lepton.onnx")
    refuse_overwriting(target, args.file)
    done = adopt(args.file, target, request)
    width, height = done.size
    sys.stdout.write(
        f"{args.file} -> {target}\n"
        f"  family {done.family}, {width}x{height}, {len(done.metadata.labels)} labels, {done.rows} rows, "
        f"{done.metadata.precision}, {'no NMS needed' if done.metadata.suppressed else 'NMS in the daemon'}\n"
    )
    for warning in done.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    sys.stdout.write(f"next: lepton-export verify {target} --source {args.file}\n")
    return 0


def triple(text: str) -> tuple[float, float, float]:
    """Parse three comma-separated numbers."""
    try:
        first, second, third = (float(part) for part in text.split(","))
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is not three numbers such as 123.7,116.3,103.5") from exc
    if not all(map(math.isfinite, (first, second, third))):
        raise argparse.ArgumentTypeError(f"{text!r}: three finite numbers are wanted")
    return first, second, third


def divisors(text: str) -> tuple[float, float, float]:
    """Parse three numbers above 0."""
    values = triple(text)
    if min(values) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r}: divides the pixels, so each must be above 0")
    return values
