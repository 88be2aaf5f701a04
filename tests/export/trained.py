"""Networks as a training leaves them, without the training."""

from __future__ import annotations

import torch

from export.nets.nano import Head


def trained_like(model: torch.nn.Module) -> torch.nn.Module:
    """Give normalisation layers statistics, and the scales factors, as a training leaves them."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.copy_(torch.randn(module.num_features, generator=generator) * 0.1)
            module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
        if isinstance(module, Head):
            module.scales.data = torch.tensor([1.3, 0.9, 0.7])
    return model.eval()
