"""Scores a network during training on held-out pictures, without an ONNX file in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..evaluation.score import score_detections
from ..runtime import letterbox, suppress

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from ..dataset import Dataset

BATCH = 16
MIN_SCORE = 0.01
ROWS = 100
IOU = 0.65
SURE = 0.5  # a teacher's box below this score is no truth to judge by


@torch.no_grad()
def validate(model: nn.Module, dataset: Dataset, device: torch.device, size: int) -> float | None:
    """Return AP50 (mean over labels that have boxes) of `model` on `dataset`, letterboxed to `size` x `size`.

    None when the dataset has no boxes to judge by. The model must be in eval mode.
    """
    truth = _document(dataset)
    if not truth["annotations"]:
        return None
    found: dict[int, NDArray[np.float32]] = {}
    for start in range(0, len(dataset), BATCH):
        samples = dataset.samples[start : start + BATCH]
        fitted = [letterbox(sample.read(), size, size) for sample in samples]
        batch = np.stack([canvas[:, :, ::-1].transpose(2, 0, 1) for canvas, _ in fitted])
        logits, boxes = model(torch.from_numpy(batch).to(device).float())
        for offset, (_, fit) in enumerate(fitted):
            rows = suppress(_top(logits[offset].sigmoid(), boxes[offset]), IOU)
            found[start + offset] = fit.to_picture(rows)
    return max(0.0, score_detections(truth, found, dataset.labels).ap50)


def _top(scores: Tensor, boxes: Tensor) -> NDArray[np.float32]:
    """Return the best rows [n, 6] of one picture: each place with its best class."""
    best, label = scores.max(1)
    top = best.topk(min(ROWS, len(best))).indices
    top = top[best[top] > MIN_SCORE]
    rows = torch.cat([boxes[top], best[top, None], label[top, None].float()], 1)
    return np.asarray(rows.cpu().numpy(), np.float32)


def _document(dataset: Dataset) -> dict[str, Any]:
    """Return the dataset as a COCO document whose image ids are positions in it."""
    annotations = [
        {"image_id": number, "category_id": int(row[5]), "bbox": [row[0], row[1], row[2] - row[0], row[3] - row[1]]}
        for number, sample in enumerate(dataset.samples)
        for row in sample.rows.astype(float).tolist()
        if row[4] >= SURE
    ]
    return {
        "images": [{"id": n, "width": s.width, "height": s.height} for n, s in enumerate(dataset.samples)],
        "annotations": [{"id": n + 1, **a} for n, a in enumerate(annotations)],
        "categories": [{"id": n, "name": label} for n, label in enumerate(dataset.labels)],
    }
