"""`lepton-export quantize`: a contract model in INT8, calibrated on the user's own pictures."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..errors import LabError
from ..files import SHIPPED, model_file, refuse_overwriting
from .arguments import natural, whole

ABOUT = """\
Make a model smaller and, on hardware with 8-bit units, faster: static INT8, calibrated on pictures like those that
your cameras give. Prints file size, quality and latency before and after, keeps them in the file, and refuses to write
a model that lost more than --max-drop.

  lepton-export quantize model.onnx --calibrate recordings/ --out model-int8.onnx
  lepton-export quantize model.onnx --calibrate pictures/ --data labels.json --pictures images/ --max-drop 0.01"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "quantize",
        help="make a model INT8",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "model", type=model_file, help="a float32 model of the contract, or lepton-nano for the shipped one"
    )
    parser.add_argument("--out", type=Path, help="where to write (default: beside MODEL, with -int8)")
    parser.add_argument(
        "--calibrate", type=Path, nargs="+", required=True, help="pictures, recordings, or folders of either"
    )
    parser.add_argument("--count", type=whole, default=128, help="pictures to take from there (default: 128)")
    parser.add_argument("--keep-first", type=natural, default=4, help="convolutions that stay in float (default: 4)")
    parser.add_argument("--symmetric", action="store_true", help="signed activations, for TensorRT; slower on a CPU")
    add_judge_arguments(parser)
    parser.set_defaults(run=run)


def add_judge_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how quality is judged; shared with `prune`."""
    parser.add_argument("--data", type=Path, help="COCO JSON of labelled pictures, to judge by mAP")
    parser.add_argument("--pictures", type=Path, help="folder of those pictures (default: beside the JSON)")
    parser.add_argument("--limit", type=natural, default=0, help="judge on the first pictures of --data only")
    parser.add_argument(
        "--max-drop",
        type=float,
        help="most quality that may be lost, absolute (default: 0.02 mAP with --data, 0.2 of agreement without)",
    )
    parser.add_argument("--threads", type=natural, default=0, help="CPU threads for measuring (default: all)")


def run(args: argparse.Namespace) -> int:
    """Quantise and print the comparison."""
    from ..compression.int8 import Settings, quantize
    from ..compression.toll import Truth
    from ..frames import sample_pictures

    if not args.data and (args.pictures or args.limit):
        raise LabError("--pictures and --limit go with --data: the labelled pictures to judge by")
    truth = Truth(args.data, args.pictures or args.data.parent, args.limit) if args.data else None
    beside = Path() if args.model.parent == SHIPPED else args.model.parent
    target = args.out or beside / f"{args.model.stem}-int8.onnx"
    refuse_overwriting(target, args.model)
    settings = Settings(
        keep_first=args.keep_first,
        symmetric=args.symmetric,
        max_drop=args.max_drop,
        truth=truth,
        threads=args.threads,
    )
    toll = quantize(args.model, target, sample_pictures(args.calibrate, args.count), settings)
    sys.stdout.write(f"{toll.to_text()}wrote {target}\n")
    if toll.after.latency1_ms > toll.before.latency1_ms:
        sys.stdout.write("note: it is not faster on this CPU; INT8 pays on CPUs with VNNI and on GPUs\n")
    return 0
