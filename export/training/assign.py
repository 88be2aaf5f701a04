"""Which places of the network answer for which object: task-aligned assignment (TOOD, arXiv 2108.07755)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

CANDIDATES = 10  # places an object takes at most
ALPHA, BETA = 0.5, 6.0  # weight of score and of overlap in the alignment; as YOLOv8 and its kin use it
MIN_HALF_PX = 6.0  # an object smaller than the finest stride still has a place inside


@dataclass(frozen=True, slots=True)
class Assignment:
    """Positive places, one entry each: picture, place, object (row of the truth) and the score to learn, 0..1."""

    picture: Tensor
    place: Tensor
    truth: Tensor
    target: Tensor


@torch.no_grad()
def assign(scores: Tensor, boxes: Tensor, points: Tensor, truth: Tensor) -> Assignment:
    """Match predictions with objects.

    scores [B, A, C] 0..1, boxes [B, A, 4] xyxy, points [A, 2] centres of the places,
    truth [G, 7]: picture, x1, y1, x2, y2, score, class. The score to learn is the alignment, scaled so that the best
    place of an object gets its IoU, times the truth's own score (1 for people's boxes, less for a teacher's).
    """
    picture, label = truth[:, 0].long(), truth[:, 6].long()
    inside = _inside(points, truth[:, 1:5])
    overlap = iou(truth[:, None, 1:5], boxes[picture]) * inside
    alignment = scores[picture, :, label].clamp(min=1e-6) ** ALPHA * overlap**BETA
    top = alignment.topk(min(CANDIDATES, alignment.shape[1]), dim=1).indices
    chosen = torch.zeros_like(inside).scatter_(1, top, value=True) & inside & (overlap > 0)
    best = torch.zeros(boxes.shape[:2], device=boxes.device)
    best.scatter_reduce_(0, picture[:, None].expand_as(overlap), overlap * chosen, "amax")
    chosen &= overlap == best[picture]  # a place answers for the one object that it overlaps most
    alignment, overlap = alignment * chosen, overlap * chosen
    target = alignment / alignment.amax(1, keepdim=True).clamp(min=1e-12) * overlap.amax(1, keepdim=True)
    which, place = chosen.nonzero(as_tuple=True)
    return Assignment(picture[which], place, which, (target * truth[:, 5:6])[which, place])


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the IoU of boxes [..., 4] that broadcast against each other."""
    inter = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    area_a = (a[..., 2:] - a[..., :2]).clamp(min=0).prod(-1)
    area_b = (b[..., 2:] - b[..., :2]).clamp(min=0).prod(-1)
    return inter / (area_a + area_b - inter).clamp(min=1e-9)


def _inside(points: Tensor, boxes: Tensor) -> Tensor:
    """Return bool [G, A]: the place's centre lies in the box, grown to MIN_HALF_PX around its middle."""
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = ((boxes[:, 2:] - boxes[:, :2]) / 2).clamp(min=MIN_HALF_PX)
    return ((points[None] - middle[:, None]).abs() < half[:, None]).all(-1)
