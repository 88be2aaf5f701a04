"""Learning rate over a training, and the averaged weights (EMA) that are kept of it."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import nn

FINAL_SHARE = 0.02  # last learning rate as a share of the first


def learning_rate(base: float, progress: float, warmup: float) -> float:
    """Return the rate at `progress` 0..1: a straight line up during the first `warmup`, then half a cosine down."""
    if progress < warmup:
        return base * max(progress / warmup, 1e-3)
    turn = min(1.0, (progress - warmup) / max(1e-9, 1 - warmup))
    return base * (FINAL_SHARE + (1 - FINAL_SHARE) * (1 + math.cos(math.pi * turn)) / 2)


class Ema:
    """Exponential moving average of a model's weights and running statistics; quick at first, slow later."""

    def __init__(self, model: nn.Module, decay: float = 0.999, tau: float = 500.0) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
        self.decay, self.tau, self.steps = decay, tau, 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards `model` by one step."""
        self.steps += 1
        decay = self.decay * (1 - math.exp(-self.steps / self.tau))
        current = model.state_dict()
        mine = self.model.state_dict()
        floats = [key for key, value in mine.items() if value.dtype.is_floating_point]
        torch._foreach_lerp_([mine[k] for k in floats], [current[k].detach() for k in floats], 1 - decay)
        for key in mine.keys() - set(floats):
            mine[key].copy_(current[key])
