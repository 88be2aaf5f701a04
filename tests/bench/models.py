"""Detectors of the contract beside each other: the same pictures, the same evaluator, and times taken in turns.

python -m tests.bench.models lepton-nano.onnx fastestdet.lepton.onnx nanodet.lepton.onnx yolox-nano.lepton.onnx

The pictures are those of LEPTON_MATERIAL (default ../shared/material). Means over labels take the first model's.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from export.evaluation.evaluate import Evaluation, evaluate_coco, evaluate_mot
from export.evaluation.score import ClassScore
from export.runtime import Detector

RUNS = 60  # of each model, one after the other
VIDEOS = {"PETS": "PETS09-S2L1_first300", "TUD": "TUD-Stadtmitte"}
PICTURES = {
    "COCO-128 val": ("coco128/val2017.json", "coco128/images"),
    "person/test": ("person/test.json", "person/test"),
}


def evaluations(detector: Detector, material: Path) -> Iterator[tuple[str, Evaluation]]:
    """Yield each set's name with what the detector reaches on it."""
    for name, stem in VIDEOS.items():
        truth = next((material / "videos").glob(f"{stem}*.gt.txt"))
        video = next(path for path in truth.parent.glob(f"{stem}*") if path.suffix == ".mp4")
        yield name, evaluate_mot(detector, truth, video)
    for name, (json, folder) in PICTURES.items():
        yield name, evaluate_coco(detector, material / "datasets" / json, material / "datasets" / folder)


def person(evaluation: Evaluation) -> ClassScore:
    """Return the numbers of the one label that all sets have."""
    return next(c for c in evaluation.scores.classes if c.label == "person")


def mean_ap(evaluation: Evaluation, labels: tuple[str, ...]) -> float:
    """Return the mAP over those of `labels` that the set has boxes of."""
    return float(np.mean([c.ap for c in evaluation.scores.classes if c.label in labels and c.boxes]))


def times_ms(detectors: list[Detector], batch: int) -> list[float]:
    """Return each model's time for a batch, in turns; the 10th percentile, spoilt least by other work."""
    random = np.random.default_rng(5)
    inputs = [random.integers(0, 256, (batch, 3, d.size[1], d.size[0]), dtype=np.uint8) for d in detectors]
    taken = np.zeros((RUNS, len(detectors)))
    for run in range(-2, RUNS):  # two to warm up
        for number, (detector, pictures) in enumerate(zip(detectors, inputs, strict=True)):
            start_s = time.perf_counter()
            detector.run(pictures)
            taken[run, number] = time.perf_counter() - start_s
    return [float(np.percentile(column, 10)) * 1000 for column in taken.T]


def main() -> None:
    """Print one table of accuracy and one of times, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--material", type=Path, default=Path(os.environ.get("LEPTON_MATERIAL", "../shared/material")))
    args = parser.parse_args()
    detectors = [Detector(path) for path in args.models]
    print("| model | set | person AP50 | person AP | recall50 | mAP, first model's labels |\n|---|---|---|---|---|---|")
    for detector in detectors:
        for name, evaluation in evaluations(detector, args.material):
            p, mean = person(evaluation), mean_ap(evaluation, detectors[0].metadata.labels)
            print(
                f"| {detector.path.stem} | {name} | {p.ap50:.3f} | {p.ap:.3f} | {p.recall50:.3f} | {mean:.3f} |",
                flush=True,
            )
    print("\n| model | threads | batch 1, ms | batch 8, ms |\n|---|---|---|---|")
    for threads in (1, 2):
        timed = [Detector(path, threads=threads) for path in args.models]
        for detector, one, eight in zip(timed, times_ms(timed, 1), times_ms(timed, 8), strict=True):
            print(f"| {detector.path.stem} | {threads} | {one:.1f} | {eight:.1f} |")


if __name__ == "__main__":
    main()
