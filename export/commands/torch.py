"""`lepton-export torch`: a checkpoint, or any torch detector whose forward meets the contract, becomes a file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .arguments import any_size, share

ABOUT = """\
Write a model of the contract from PyTorch: a checkpoint or a finished lepton-nano of `train`, or your own module.

  lepton-export torch runs/mine/last.pt --out mine.onnx --size 416x320
  lepton-export torch lepton-nano --out wide.onnx --size 640x384       # the shipped one, for another input size
  lepton-export torch mynet:build --labels person,car --size 640x384 --out mynet.onnx

`mynet:build` is a function without arguments in mynet.py that returns a torch.nn.Module in eval mode. Its forward
takes uint8 [N, 3, H, W] (planar RGB 0..255) and returns float32 [N, K, 6]: x1 y1 x2 y2 score class, in input pixels,
by falling score, unused rows zero. The file is written only when it gives what the module gives."""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "torch",
        help="write a checkpoint or your own torch module as a model",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", help="checkpoint (.pt), finished .onnx, lepton-nano, or module:function")
    parser.add_argument("--out", type=Path, required=True, help="ONNX file to write")
    parser.add_argument("--size", type=any_size, default="416x320", metavar="WxH", help="input size (default: 416x320)")
    parser.add_argument("--labels", help="comma list of the classes (default: those of the checkpoint)")
    parser.add_argument("--name", help="the model's name in status and alerts (default: name of --out)")
    parser.add_argument("--fit", choices=("letterbox", "stretch"), help="how a frame is brought to the size")
    parser.add_argument("--suppressed", action="store_true", help="rows carry no duplicates: the daemon runs no NMS")
    parser.add_argument("--nms-iou", type=share, help="overlap that drops the weaker box (default: the file's, or 0.6)")
    parser.add_argument("--score-threshold", type=share, help="the daemon's default (default: the file's, or 0.5)")
    parser.add_argument("--licence", default="", help="licence of the weights, kept in the file")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Export and check one module."""
    from ..contract import Metadata
    from ..errors import LabError
    from ..files import model_file, refuse_overwriting, sha256_of
    from ..labels import names_of
    from ..to_onnx import deployed, export_module, module_from
    from ..training.start import read_nano

    path = model_file(args.source)
    ours = path.suffix in {".pt", ".onnx"}
    refuse_overwriting(args.out, path)
    state = read_nano(path) if ours else {}
    module = deployed(state, args.size, str(path)) if ours else module_from(args.source)
    labels = names_of(args.labels) if args.labels else tuple(state.get("labels", ()))
    if not labels:
        raise LabError(f"{args.source}: says no labels; name them with --labels person,car")
    if ours and len(labels) != len(state.get("labels", labels)):
        raise LabError(f"--labels {args.labels}: {len(labels)} names, but {path} has {len(state['labels'])} classes")
    presence = state.get("net") == "presence"
    said = state.get("said", {})  # of a finished file: what is not given anew stays
    metadata = Metadata(
        name=args.name or args.out.stem,
        labels=labels,
        suppressed=args.suppressed or presence,
        fit=args.fit or ("stretch" if presence else "letterbox"),
        nms_iou=_first(args.nms_iou, said.get("nms_iou"), 0.6),
        score_threshold=_first(args.score_threshold, said.get("score_threshold"), 0.5),
        source=args.source,
        source_sha256=sha256_of(path) if ours else "",
        licence=args.licence or said.get("licence", ""),
    )
    export_module(module, args.out, args.size, metadata)
    sys.stdout.write(f"wrote {args.out}\nnext: lepton-export verify {args.out}\n")
    return 0


def _first(*values: float | None) -> float:
    return next(value for value in values if value is not None)
