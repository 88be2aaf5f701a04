"""Learning from a teacher's whole answer, place by place, beside learning from boxes.

Labels name the objects; a teacher's answer also says how sure it is everywhere else, on the very picture that is shown.
Features are compared after standardising each channel (as PKD, arXiv 2207.02039), so scales do not matter.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that PyTorch's own documents use

from .losses import BOX_WEIGHT, complete_iou
from .teacher import Seen

MIMIC_WEIGHT = 6.0  # so that looking alike weighs about as much as the boxes' own loss
SURE = 0.05  # a teacher's score below which its box is no box


class Imitation(nn.Module):
    """The loss of a pupil against its teacher; one 1x1 convolution a feature map, for training only."""

    def __init__(self, pupil_width: int, teacher_widths: Sequence[int]) -> None:
        super().__init__()
        self.adapters = nn.ModuleList(nn.Conv2d(pupil_width, wide, 1) for wide in teacher_widths)

    def forward(
        self, maps: Sequence[Tensor], logits: Tensor, boxes: Tensor, seen: Seen
    ) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of one batch and its parts for the log.

        maps: the pupil's pyramid; logits [N, A, classes] and boxes [N, A, 4] (xyxy in pixels) of its head.
        """
        answer = answer_loss(logits[..., seen.classes], boxes, seen)
        if not self.adapters:
            return answer, {"answer": float(answer.detach())}
        unlike = self.unlike(maps, seen.maps)
        return answer + MIMIC_WEIGHT * unlike, {"answer": float(answer.detach()), "unlike": float(unlike.detach())}

    def unlike(self, maps: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
        """Return how unlike the pupil's maps are to the teacher's: mean of 1 - correlation over scales, 0..2."""
        pairs = zip(self.adapters, maps, targets, strict=True)
        return torch.stack([1 - correlation(adapter(pupil.float()), target) for adapter, pupil, target in pairs]).mean()


def answer_loss(logits: Tensor, boxes: Tensor, seen: Seen) -> Tensor:
    """Return the cross-entropy of the scores plus the boxes' loss, each place weighed by the teacher's best score."""
    sure = seen.scores.amax(-1)
    total = sure.sum().clamp(min=1.0)
    scores = F.binary_cross_entropy_with_logits(logits, seen.scores, reduction="sum") / total
    where = sure > SURE
    distance = 1 - complete_iou(boxes[where], seen.boxes[where])
    return scores + BOX_WEIGHT * (distance * sure[where]).sum() / total


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean over channels of the correlation of two maps [N, C, H, W] over pictures and places."""
    a, b = (x.transpose(0, 1).flatten(1) for x in (a, b))
    a, b = (x - x.mean(1, keepdim=True) for x in (a, b))
    norms = a.norm(dim=1) * b.norm(dim=1)
    return ((a * b).sum(1) / norms.clamp(min=1e-6)).mean()
