"""Measures a model of the contract on labelled pictures or videos, in COCO's numbers.

What belongs here: which pictures a model sees and what is told of the scores. What does not: how a score is computed
(`score`), pictures of it (`plots`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..dataset import read_coco, read_labelled
from ..errors import DatasetError
from ..runtime import Detector
from .mot import read_frames, read_mot
from .score import Scores, best_threshold, score_detections

MIN_SCORE = 0.01  # rows below weigh next to nothing in AP and cost much time
CHUNK = 8

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The model's labels, the truth, what was found, float32 [n, 6] by image id in picture pixels, and the scores."""

    name: str
    labels: tuple[str, ...]
    truth: dict[str, Any]
    found: dict[int, NDArray[np.float32]]
    scores: Scores


def evaluate_coco(detector: Detector, json_path: Path, folder: Path, limit: int = 0) -> Evaluation:
    """Measure on a COCO file whose pictures lie in `folder`; `limit` above 0 takes the first pictures only.

    Raises DatasetError when the file or a picture is missing or broken, or it shares no label with the model.
    """
    truth = _limited(_read_truth(json_path), limit)
    _check_labels(detector, truth, json_path)
    return _evaluate(detector, json_path.stem, truth, coco_pictures(truth, folder))


def evaluate_mot(detector: Detector, truth_path: Path, video: Path, limit: int = 0) -> Evaluation:
    """Measure persons on a video with MOTChallenge ground truth; `limit` above 0 takes the first frames only."""
    truth = _limited(read_mot(truth_path), limit)
    _check_labels(detector, truth, truth_path)
    evaluation = _evaluate(detector, video.stem, truth, islice(read_frames(video), len(truth["images"])))
    if (seen := len(evaluation.found)) < len(truth["images"]):
        raise DatasetError(f"{video}: has {seen} frames, {truth_path} speaks of {len(truth['images'])}: another video?")
    return evaluation


def coco_pictures(truth: dict[str, Any], folder: Path) -> Iterator[tuple[int, Picture]]:
    """Yield (image id, BGR picture) of every image of a COCO document; raises DatasetError naming the file."""
    for image in truth["images"]:
        path = folder / str(image["file_name"])
        yield int(image["id"]), read_labelled(path, int(image["width"]), int(image["height"]))


def find(detector: Detector, pictures: Iterable[tuple[int, Picture]], total: int) -> dict[int, NDArray[np.float32]]:
    """Return the model's rows by image id, with a progress bar."""
    found: dict[int, NDArray[np.float32]] = {}
    source = iter(pictures)
    with tqdm(total=total, desc=detector.path.name, unit="picture", leave=False) as bar:
        while chunk := list(islice(source, CHUNK)):
            rows = detector.detect([picture for _, picture in chunk], MIN_SCORE)
            found.update(zip((number for number, _ in chunk), rows, strict=True))
            bar.update(len(chunk))
    return found


def to_metrics(evaluation: Evaluation) -> dict[str, Any]:
    """Return the numbers as the model's metadata keeps them: rounded, person apart.

    `threshold` is the score with the best F1 for person, or else for the label with most boxes; absent when nothing
    was found right.
    """
    scores = evaluation.scores
    metrics: dict[str, Any] = {
        "dataset": evaluation.name,
        "pictures": len(evaluation.truth["images"]),
        "map": round(scores.ap, 4),
        "map50": round(scores.ap50, 4),
        "map75": round(scores.ap75, 4),
        "small": round(scores.ap_small, 4),
        "medium": round(scores.ap_medium, 4),
        "large": round(scores.ap_large, 4),
        "ap50": {c.label: round(c.ap50, 4) for c in scores.classes if c.boxes},
    }
    names = [c.label for c in scores.classes]
    if "person" in names:
        person = scores.classes[names.index("person")]
        metrics |= {"person_ap50": round(person.ap50, 4), "person_recall50": round(person.recall50, 4)}
    boxes = [c.boxes for c in scores.classes]
    column = max(range(len(names)), key=lambda n: (boxes[n] > 0, names[n] == "person", boxes[n]))
    threshold, f1 = best_threshold(scores, column)
    if f1 > 0:
        metrics |= {"threshold": round(threshold, 3), "f1": round(f1, 4), "threshold_label": names[column]}
    return metrics


def to_text(evaluation: Evaluation) -> str:
    """Return the numbers as a table for people."""
    s = evaluation.scores
    sizes = f"small {s.ap_small:.3f}   medium {s.ap_medium:.3f}   large {s.ap_large:.3f}"
    lines = [
        f"{evaluation.name}: {len(evaluation.truth['images'])} pictures",
        f"  AP {s.ap:.3f}   AP50 {s.ap50:.3f}   AP75 {s.ap75:.3f}   {sizes}",
        f"  {'label':16} {'boxes':>6} {'AP':>6} {'AP50':>6} {'recall50':>9} {'best at':>8} {'F1':>6}",
    ]
    for column, label in enumerate(s.classes):
        if label.boxes:
            threshold, f1 = best_threshold(s, column)
            numbers = f"{label.ap:6.3f} {label.ap50:6.3f} {label.recall50:9.3f} {threshold:8.2f} {f1:6.3f}"
            lines.append(f"  {label.label:16} {label.boxes:6d} {numbers}")
    return "\n".join(lines) + "\n"


def _evaluate(
    detector: Detector, name: str, truth: dict[str, Any], pictures: Iterable[tuple[int, Picture]]
) -> Evaluation:
    labels = detector.metadata.labels
    known = {category["id"] for category in truth["categories"] if category["name"] in labels}
    if not any(a["category_id"] in known and not a.get("iscrowd") for a in truth["annotations"]):
        raise DatasetError(
            f"{name}: no box of the model's labels on {len(truth['images'])} pictures: nothing to measure"
        )
    found = find(detector, pictures, len(truth["images"]))
    return Evaluation(name, labels, truth, found, score_detections(truth, found, labels))


def _read_truth(path: Path) -> dict[str, Any]:
    """Return the COCO document; `read_coco` says what is wrong with one that is out of format."""
    read_coco(path, path.parent)
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def _limited(truth: dict[str, Any], limit: int) -> dict[str, Any]:
    if not limit:
        return truth
    images = truth["images"][:limit]
    ids = {image["id"] for image in images}
    return {**truth, "images": images, "annotations": [a for a in truth["annotations"] if a["image_id"] in ids]}


def _check_labels(detector: Detector, truth: dict[str, Any], path: Path) -> None:
    names = {category["name"] for category in truth["categories"]}
    if not names & set(detector.metadata.labels):
        raise DatasetError(
            f"{path}: has {sorted(names)}, the model {list(detector.metadata.labels)}: no label in common"
        )
