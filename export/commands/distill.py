"""`lepton-export distill`: a teacher labels your pictures, so that `train` can fit a small model to your cameras."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import share, whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..dataset import Dataset

ABOUT = """\
Let a good detector of the contract label pictures for a small one to learn from. Its scores are kept: `train` learns
what the teacher is sure of as sure, and what it doubts as doubtful. Boxes that people drew stay as they are.

  lepton-export distill teacher.onnx --video gate.mp4 --every 25 --out gate.json     # frames go to gate/
  lepton-export distill teacher.onnx --pictures frames/ --out mine.json
  lepton-export distill teacher.onnx --data train.json pictures/ --out more.json     # adds to existing labels

then: lepton-export train --data gate.json gate/ --start lepton-nano --out runs/gate"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    from .train import LABELS

    parser = subparsers.add_parser(
        "distill",
        help="label pictures with a teacher",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("teacher", type=Path, help="a model of the contract; `adopt` makes one of a published detector")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, nargs=2, metavar=("JSON", "FOLDER"), help="COCO labels to add to")
    source.add_argument("--pictures", type=Path, metavar="FOLDER", help="pictures without labels")
    source.add_argument("--video", type=Path, help="a recording; its frames are written beside --out")
    parser.add_argument("--out", type=Path, required=True, help="COCO JSON to write")
    parser.add_argument("--every", type=whole, default=25, help="take one of so many frames of the video (default: 25)")
    parser.add_argument("--labels", default=LABELS, help="classes wanted: a,b,c or a file (default: lepton-nano's)")
    parser.add_argument(
        "--min-score", type=share, default=0.3, help="boxes that score less are left out (default: 0.3)"
    )
    parser.add_argument("--quick", action="store_true", help="one look a picture instead of six (mirror and tiles)")
    parser.add_argument("--device", choices=("cpu", "cuda", "tensorrt"), default="cpu", help="where the teacher runs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Label and write."""
    from ..dataset import write_coco
    from ..devices import open_detector
    from ..errors import LabError
    from ..files import refuse_overwriting
    from ..labels import names_of
    from ..training.distill import ALL_VIEWS, ONE_VIEW, label, shared_classes

    if args.out.suffix != ".json":
        raise LabError(f"--out {args.out}: a COCO file, name it {args.out}.json")
    teacher = open_detector(args.teacher, args.device)
    labels = names_of(args.labels)
    classes = shared_classes(teacher.metadata.labels, labels)
    if args.data:
        refuse_overwriting(args.out, args.data[0])
    dataset, folder = _source(args, labels)
    if outside := [sample.path for sample in dataset.samples if not sample.path.is_relative_to(folder)]:
        raise LabError(f"{outside[0]}: lies outside {folder}; name the pictures by their place in that folder")
    labelled = label(teacher, dataset, classes, args.min_score, ONE_VIEW if args.quick else ALL_VIEWS)
    write_coco(args.out, labelled, folder)
    boxes = ", ".join(f"{name} {count}" for name, count in labelled.counts().items() if count) or "none"
    sys.stdout.write(f"{len(labelled)} pictures, boxes: {boxes}\nwrote {args.out}; its pictures lie in {folder}\n")
    return 0


def _source(args: argparse.Namespace, labels: Sequence[str]) -> tuple[Dataset, Path]:
    """Return the pictures and the folder that they lie in."""
    from ..dataset import read_coco
    from ..training.distill import read_folder, take_frames

    if args.data:
        return read_coco(args.data[0], args.data[1], labels), args.data[1]
    if args.pictures:
        return read_folder(args.pictures, labels), args.pictures
    folder = args.out.with_suffix("")
    return take_frames(args.video, args.every, folder, labels), folder
