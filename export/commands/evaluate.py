"""`lepton-export evaluate`: COCO's numbers for a model on labelled pictures or videos."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import model_file
from .arguments import natural

if TYPE_CHECKING:
    from ..evaluation.evaluate import Evaluation
    from ..runtime import Detector

ABOUT = """\
Measure a model of the contract: mAP as COCO counts it, per label and per size, recall, the score with the best F1.

  lepton-export evaluate model.onnx --data val.json pictures/ --out report/
  lepton-export evaluate model.onnx --mot PETS.gt.txt PETS.mp4        # a video with MOTChallenge ground truth
  lepton-export evaluate model.onnx --data val.json pictures/ --store # keeps numbers and threshold in the file

In the --out folder: metrics.json, curves.png (precision over recall), misses.png (the worst pictures)."""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "evaluate",
        help="measure a model on labelled pictures",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=model_file, help="a model of the contract, or lepton-nano for the shipped one")
    truth = parser.add_mutually_exclusive_group(required=True)
    truth.add_argument("--data", type=Path, nargs=2, metavar=("JSON", "FOLDER"), help="COCO labels and their pictures")
    truth.add_argument("--mot", type=Path, nargs=2, metavar=("TRUTH", "VIDEO"), help="MOTChallenge labels of a video")
    parser.add_argument("--out", type=Path, help="folder for metrics.json, curves.png and misses.png")
    parser.add_argument("--limit", type=natural, default=0, help="measure on the first pictures only")
    parser.add_argument("--store", action="store_true", help="keep numbers and best threshold in the model file")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--device", choices=("cpu", "cuda", "tensorrt"), default="cpu", help="where to run")
    parser.add_argument("--threads", type=natural, default=0, help="CPU threads; 0 = all cores")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, print, and write what was asked for."""
    from ..devices import open_detector
    from ..evaluation.evaluate import evaluate_coco, evaluate_mot, to_metrics, to_text

    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
    detector = open_detector(args.model, args.device, args.threads)
    if args.data:
        evaluation = evaluate_coco(detector, args.data[0], args.data[1], args.limit)
    else:
        evaluation = evaluate_mot(detector, args.mot[0], args.mot[1], args.limit)
    metrics = to_metrics(evaluation)
    sys.stdout.write(json.dumps(metrics) + "\n" if args.json else to_text(evaluation))
    if args.out:
        _report(args, evaluation, metrics)
    if args.store:
        _store(args.model, detector, metrics)
    return 0


def _report(args: argparse.Namespace, evaluation: Evaluation, metrics: dict[str, object]) -> None:
    from ..evaluation.evaluate import coco_pictures
    from ..evaluation.mot import read_frames
    from ..evaluation.plots import draw_curves, draw_misses
    from ..files import whole_file

    pictures = coco_pictures(evaluation.truth, args.data[1]) if args.data else read_frames(args.mot[1])
    threshold = float(str(metrics.get("threshold", 0.5)))
    with whole_file(args.out / "metrics.json") as draft:
        draft.write_text(json.dumps(metrics, indent=2) + "\n")
    with whole_file(args.out / "curves.png") as draft:
        draw_curves(evaluation, draft)
    with whole_file(args.out / "misses.png") as draft:
        draw_misses(evaluation, pictures, threshold, draft)
    sys.stderr.write(f"wrote {args.out}/metrics.json, curves.png, misses.png\n")


def _store(path: Path, detector: Detector, metrics: dict[str, object]) -> None:
    from dataclasses import replace

    import onnx

    from ..contract import write_metadata
    from ..files import whole_file

    threshold = float(str(metrics.get("threshold", detector.metadata.score_threshold)))
    model = onnx.load(str(path))
    write_metadata(model, replace(detector.metadata, metrics=metrics, score_threshold=threshold))
    with whole_file(path) as draft:
        onnx.save(model, str(draft))
    sys.stdout.write(f"stored the numbers and score threshold {threshold:.2f} in {path}\n")
