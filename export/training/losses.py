"""What training minimises: quality-aware class scores and complete IoU of boxes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the name that PyTorch's own documents use

from .assign import Assignment, assign, iou

if TYPE_CHECKING:
    from collections.abc import Mapping

Assigner = Callable[[Tensor, Tensor, Tensor, Tensor], Assignment]
BOX_WEIGHT = 2.5


def detection_loss(
    logits: Tensor, boxes: Tensor, points: Tensor, truth: Tensor, assigner: Assigner = assign
) -> tuple[Tensor, Mapping[str, float]]:
    """Return the loss of one batch and its parts for the log.

    logits [B, A, C], boxes [B, A, 4] xyxy in pixels, points [A, 2], truth [G, 7] as in `assign`.
    The class target of a positive place is its alignment with the object (quality and teacher's score in one).
    """
    found = assigner(logits.detach().sigmoid(), boxes.detach(), points, truth)
    target = torch.zeros_like(logits)
    target[found.picture, found.place, truth[found.truth, 6].long()] = found.target
    total = found.target.sum().clamp(min=1.0)
    class_loss = F.binary_cross_entropy_with_logits(logits, target, reduction="sum") / total
    distance = 1 - complete_iou(boxes[found.picture, found.place], truth[found.truth, 1:5])
    box_loss = (distance * found.target).sum() / total
    loss = class_loss + BOX_WEIGHT * box_loss
    return loss, {"class": float(class_loss.detach()), "box": float(box_loss.detach()), "positives": len(found.place)}


def complete_iou(predicted: Tensor, truth: Tensor) -> Tensor:
    """Return the complete IoU [n] of box pairs [n, 4]: IoU less distance of middles and of shapes (CIoU)."""
    overlap = iou(predicted, truth)
    span = torch.maximum(predicted[:, 2:], truth[:, 2:]) - torch.minimum(predicted[:, :2], truth[:, :2])
    middle = (predicted[:, :2] + predicted[:, 2:] - truth[:, :2] - truth[:, 2:]) / 2
    apart = (middle**2).sum(-1) / (span**2).sum(-1).clamp(min=1e-9)
    size_p, size_t = (boxes[:, 2:] - boxes[:, :2] for boxes in (predicted, truth))
    angles = [torch.atan(size[:, 0] / size[:, 1].clamp(min=1e-6)) for size in (size_p, size_t)]
    shape = 4 / math.pi**2 * (angles[0] - angles[1]) ** 2
    with torch.no_grad():
        weight = shape / (1 - overlap + shape).clamp(min=1e-9)
    return overlap - apart - weight * shape
