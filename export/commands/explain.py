"""`lepton-export explain`: which pixels one detection rests on."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import LabError
from ..files import model_file, refuse_overwriting
from .arguments import natural, whole

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..runtime import Detector

ABOUT = """\
Show why a model detected something: parts of the picture are hidden at random, many times, and pixels that must show
for the detection to stay become red. Works with every model of the contract. Writes a PNG of the picture under the map
with the box, and prints how much better the map is than chance.

  lepton-export explain model.onnx picture.jpg
  lepton-export explain model.onnx picture.jpg --box 50,395,215,898 --out why.png"""

LEAST_SCORE = 0.1  # weaker detections are not worth an explanation


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "explain",
        help="show which pixels a detection rests on",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=model_file, help="a model of the contract, or lepton-nano for the shipped one")
    parser.add_argument("picture", type=Path, help="the picture")
    parser.add_argument("--box", type=box, metavar="X1,Y1,X2,Y2", help="the detection, in the picture's pixels")
    parser.add_argument("--label", help="only detections of this label")
    parser.add_argument("--out", type=Path, help="where to write (default: PICTURE's name with -why.png)")
    parser.add_argument("--masks", type=whole, default=1000, help="how many times to hide parts (default: 1000)")
    parser.add_argument("--cells", type=whole, default=12, help="fineness of the map (default: 12 cells a side)")
    parser.add_argument("--batch", type=whole, default=16, help="pictures a run (default: 16)")
    parser.add_argument("--seed", type=natural, default=0, help="same seed, same map (default: 0)")
    parser.add_argument("--device", choices=("cpu", "cuda", "tensorrt"), default="cpu", help="where to run")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Explain one detection, draw it, and measure the map."""
    from ..devices import open_detector
    from ..explanation.drise import Settings, choose, saliency
    from ..explanation.faith import measure
    from ..explanation.overlay import draw, to_picture
    from ..frames import read_picture

    detector, picture = open_detector(args.model, args.device), read_picture(args.picture)
    image, fit = detector.fit(picture)
    rows = detector.finish(detector.run(image[None])[0], LEAST_SCORE)
    scales = (fit.scale_x, fit.scale_y, fit.scale_x, fit.scale_y)
    asked = [value * scale for value, scale in zip(args.box, scales, strict=True)] if args.box else None
    target = choose(rows, asked, _label_index(detector, args.label))
    if target is None:
        raise LabError(f"{args.picture}: no such detection; found: {_listed(detector, fit.to_picture(rows))}")
    settings = Settings(masks=args.masks, cells=args.cells, seed=args.seed, batch=args.batch)
    found = saliency(detector, image, target, settings)
    out = (args.out or args.picture.with_name(f"{args.picture.stem}-why.png")).with_suffix(".png")
    refuse_overwriting(out, args.picture)
    label = detector.metadata.labels[int(target[5])]
    _write(out, draw(picture, to_picture(found, fit), fit.to_picture(target[None])[0], label))
    sys.stdout.write(f"{label} {target[4]:.2f}: {measure(detector, image, target, found, args.cells)}\nwrote {out}\n")
    return 0


def _listed(detector: Detector, rows: NDArray[np.float32]) -> str:
    """Name what was found as --label and --box want it."""
    labels = detector.metadata.labels
    boxes = (f"{labels[int(r[5])]} at {','.join(str(round(v)) for v in r[:4])} ({r[4]:.2f})" for r in rows[:8].tolist())
    return "; ".join(boxes) or "nothing"


def _label_index(detector: Detector, label: str | None) -> int | None:
    if label is None:
        return None
    labels = detector.metadata.labels
    if label not in labels:
        raise LabError(f"--label {label}: {detector.path} knows {', '.join(labels)}")
    return labels.index(label)


def _write(out: Path, drawn: NDArray[np.uint8]) -> None:
    import cv2

    from ..files import whole_file

    with whole_file(out) as draft:
        if not cv2.imwrite(str(draft), drawn):
            raise LabError(f"{out}: cannot be written; is the disk full?")


def box(text: str) -> tuple[float, float, float, float]:
    """Parse four comma-separated numbers."""
    try:
        x1, y1, x2, y2 = (float(part) for part in text.split(","))
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is not a box such as 50,395,215,898") from exc
    if x2 <= x1 or y2 <= y1:
        raise argparse.ArgumentTypeError(f"{text!r}: the second corner must lie right of and below the first")
    return x1, y1, x2, y2
