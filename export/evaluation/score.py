"""COCO scores of detections against a COCO file: mAP, per class, per size, recall, best threshold.

What belongs here: numbers from boxes. What does not: running models, drawing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

RECALLS = 101  # points of COCO's interpolated precision


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScore:
    """One label: AP over IoU .50:.95 and at .50, most recall at IoU .50, number of boxes in the truth."""

    label: str
    ap: float
    ap50: float
    recall50: float
    boxes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """All numbers of one evaluation, 0..1; -1 where the truth has no such box, as COCO does."""

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    classes: tuple[ClassScore, ...]
    precision50: NDArray[np.float64]  # [101, labels]: precision at recalls 0, .01 .. 1 and IoU .50
    scores50: NDArray[np.float64]  # [101, labels]: the score at which that recall is reached


def score_detections(
    truth: Mapping[str, Any], found: Mapping[int, NDArray[np.float32]], labels: Sequence[str]
) -> Scores:
    """Score `found`, rows [n, 6] by image id, against the COCO document `truth`; labels are matched by name.

    Only labels that the truth has as categories count; of those, only ones with boxes enter the means.
    """
    names = {category["name"]: category["id"] for category in truth["categories"]}
    # the judge sorts categories by their number, so must we
    shared = sorted((label for label in labels if label in names), key=lambda label: names[label])
    results = _results(found, {labels.index(label): names[label] for label in shared})
    document = {**truth, "info": {}, "annotations": [_complete(n, a) for n, a in enumerate(truth["annotations"], 1)]}
    reference = COCO(document)
    judge = COCOeval_faster(reference, reference.loadRes(results) if results else COCO(_empty(document)), "bbox")
    judge.params.catIds = [names[label] for label in shared]
    judge.params.imgIds = sorted(image["id"] for image in truth["images"])
    judge.evaluate()
    judge.accumulate()
    return _summary(judge, shared, truth, [names[label] for label in shared])


def best_threshold(scores: Scores, column: int) -> tuple[float, float]:
    """Return the score with the best F1 at IoU .50 for the label number `column`, and that F1."""
    recall = np.linspace(0, 1, RECALLS)
    precision = np.clip(scores.precision50[:, column], 0, 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
    best = int(f1.argmax())
    return float(scores.scores50[best, column]), float(f1[best])


def _results(found: Mapping[int, NDArray[np.float32]], categories: Mapping[int, int]) -> list[dict[str, Any]]:
    return [
        {
            "image_id": image_id,
            "category_id": categories[int(label)],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": score,
        }
        for image_id, rows in found.items()
        for x1, y1, x2, y2, score, label in rows.astype(float).tolist()
        if int(label) in categories
    ]


def _complete(number: int, annotation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the annotation with the fields that COCO's code needs and others leave out."""
    box = annotation["bbox"]
    return {"area": box[2] * box[3], "iscrowd": 0, **annotation, "id": number}


def _empty(document: Mapping[str, Any]) -> dict[str, Any]:
    return {**document, "annotations": []}


def _summary(judge: Any, shared: Sequence[str], truth: Mapping[str, Any], ids: Sequence[int]) -> Scores:
    """Read the accumulated arrays: precision [T, R, K, A, M], recall [T, K, A, M]; A is all, small, medium, large."""
    precision, recall, scores = (np.asarray(judge.eval[key]) for key in ("precision", "recall", "scores"))
    crowd_free = [a for a in truth["annotations"] if not a.get("iscrowd")]
    boxes = [sum(a["category_id"] == number for a in crowd_free) for number in ids]
    classes = tuple(
        ClassScore(
            label=label,
            ap=_mean(precision[:, :, k, 0, -1]),
            ap50=_mean(precision[0, :, k, 0, -1]),
            recall50=_mean(recall[0, k, 0, -1]),
            boxes=boxes[k],
        )
        for k, label in enumerate(shared)
    )
    return Scores(
        ap=_mean(precision[:, :, :, 0, -1]),
        ap50=_mean(precision[0, :, :, 0, -1]),
        ap75=_mean(precision[5, :, :, 0, -1]),
        ap_small=_mean(precision[:, :, :, 1, -1]),
        ap_medium=_mean(precision[:, :, :, 2, -1]),
        ap_large=_mean(precision[:, :, :, 3, -1]),
        classes=classes,
        precision50=precision[0, :, :, 0, -1],
        scores50=scores[0, :, :, 0, -1],
    )


def _mean(values: NDArray[np.float64]) -> float:
    valid = values[values > -1]
    return float(valid.mean()) if valid.size else -1.0
