"""`lepton-nano`: a plain convolutional detector, small enough for a CPU and quick enough for many cameras.

Backbone of stride-2 3x3 stages of 32, 64, 128, 256 channels, a light feature pyramid (up, then down again), and one
head for all three scales that is decoupled (class beside box), anchor-free (distances to four sides, as FCOS) and has
no objectness: the class score itself is trained to be the quality of the box (as TOOD, "TAL").
ReLU, no depthwise convolutions: what ONNX Runtime fuses and int8 keeps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

STRIDES = (8, 16, 32)
PRIOR = 0.01  # first score of every class, from RetinaNet: else the many empty places drown the rest


@dataclass(frozen=True, slots=True, kw_only=True)
class NanoConfig:
    """Shape of the network; the defaults are the shipped model's."""

    classes: int = 11
    stem: int = 16
    stages: tuple[int, int, int, int] = (32, 64, 128, 256)
    depths: tuple[int, int, int, int] = (0, 2, 2, 2)
    neck: int = 64
    head: int = 32


class Conv(nn.Module):
    """Convolution, batch normalisation, ReLU; `skip` adds the input before ReLU. `fuse` makes it one kernel."""

    def __init__(
        self, cin: int, cout: int, kernel: int = 3, stride: int = 1, *, skip: bool = False, relu: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(cout, eps=1e-3, momentum=0.03)
        self.skip, self.relu = skip, relu

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, cout, H / stride, W / stride]."""
        y = self.bn(self.conv(x))
        y = y + x if self.skip else y
        return torch.relu_(y) if self.relu else y

    def fuse(self) -> None:
        """Fold normalisation and skip into the kernel and a bias; exact, once, for export (as RepVGG)."""
        bn = self.bn
        if not isinstance(bn, nn.BatchNorm2d):
            return
        mean, var = bn.running_mean, bn.running_var
        if mean is None or var is None:
            raise TypeError("batch normalisation without running statistics cannot be fused")
        scale = bn.weight / torch.sqrt(var + bn.eps)
        kernel = self.conv.weight * scale[:, None, None, None]
        if self.skip:
            centre = kernel.shape[-1] // 2
            kernel[:, :, centre, centre] += torch.eye(kernel.shape[0])
        fused = nn.Conv2d(
            self.conv.in_channels, kernel.shape[0], kernel.shape[-1], self.conv.stride, self.conv.padding, bias=True
        )
        fused.weight = nn.Parameter(kernel)
        fused.bias = nn.Parameter(bn.bias - mean * scale)
        self.conv, self.bn, self.skip = fused, nn.Identity(), False


class Block(nn.Module):
    """Bottleneck: to half of the channels, `depth` 3x3 layers with skips, back by a 1x1, the input added.

    Added, not concatenated: the gradient of a concatenation is a strided slice, slow in batch normalisation.
    """

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        half = width // 2
        self.reduce = Conv(width, half, 1)
        self.layers = nn.Sequential(*(Conv(half, half, 3, skip=True) for _ in range(depth)))
        self.expand = Conv(half, width, 1, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, width, H, W]."""
        return torch.relu_(self.expand(self.layers(self.reduce(x))) + x)


class Backbone(nn.Module):
    """Stem and four stages; returns the maps of strides 8, 16 and 32."""

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        self.stem = Conv(3, config.stem, 3, 2)
        widths = (config.stem, *config.stages)
        self.stages = nn.ModuleList(
            nn.Sequential(Conv(a, b, 3, 2), *([Block(b, depth)] if depth else []))
            for a, b, depth in zip(widths, widths[1:], config.depths, strict=False)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return three maps, fine to coarse."""
        maps = []
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps[1:]


class Neck(nn.Module):
    """Feature pyramid: coarse meaning goes up to the fine maps, fine places come down again (PAN, additions)."""

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        width = config.neck
        self.lateral = nn.ModuleList(Conv(c, width, 1) for c in config.stages[1:])
        self.up = nn.ModuleList(Block(width, 1) for _ in range(2))
        self.down = nn.ModuleList(Conv(width, width, 3, 2) for _ in range(2))
        self.out = nn.ModuleList(Block(width, 1) for _ in range(2))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Return three maps of `neck` channels, fine to coarse."""
        p3, p4, p5 = (layer(x) for layer, x in zip(self.lateral, maps, strict=True))
        p4 = self.up[0](p4 + nn.functional.interpolate(p5, scale_factor=2.0, mode="nearest"))
        p3 = self.up[1](p3 + nn.functional.interpolate(p4, scale_factor=2.0, mode="nearest"))
        p4 = self.out[0](p4 + self.down[0](p3))
        p5 = self.out[1](p5 + self.down[1](p4))
        return [p3, p4, p5]


class Head(nn.Module):
    """Class scores and distances to the four sides at every place; one set of weights for three scales."""

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        self.class_tower = Conv(config.neck, config.head)
        self.box_tower = Conv(config.neck, config.head)
        self.classes = nn.Conv2d(config.head, config.classes, 1)
        self.boxes = nn.Conv2d(config.head, 4, 1)
        self.scales = nn.Parameter(torch.ones(len(STRIDES)))
        nn.init.constant_(_bias(self.classes), -math.log((1 - PRIOR) / PRIOR))
        nn.init.constant_(_bias(self.boxes), 1.0)

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits [N, A, classes] and distances left, top, right, bottom [N, A, 4] in strides."""
        logits, distances = [], []
        for index, x in enumerate(maps):
            logits.append(self.classes(self.class_tower(x)).flatten(2))
            distances.append((self.boxes(self.box_tower(x)) * self.scales[index]).flatten(2))
        raw = torch.cat(distances, 2).transpose(1, 2).float()
        return torch.cat(logits, 2).transpose(1, 2).float(), nn.functional.softplus(raw)


class Nano(nn.Module):
    """The whole detector on float pictures [N, 3, H, W] of 0..255, RGB; H and W are multiples of 32."""

    def __init__(self, config: NanoConfig | None = None) -> None:
        super().__init__()
        self.config = config or NanoConfig()
        self.backbone = Backbone(self.config)
        self.neck = Neck(self.config)
        self.head = Head(self.config)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits [N, A, classes] and boxes [N, A, 4] as x1 y1 x2 y2 in input pixels."""
        return self.with_maps(pictures)[1:]

    def with_maps(self, pictures: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Return the pyramid's three maps, fine to coarse, then logits and boxes as `forward`."""
        maps = self.features(pictures)
        return maps, *self.predict(maps, int(pictures.shape[2]), int(pictures.shape[3]))

    def features(self, pictures: Tensor) -> list[Tensor]:
        """Return the pyramid's three maps, fine to coarse."""
        maps: list[Tensor] = self.neck(self.backbone(pictures / 255.0))
        return maps

    def predict(self, maps: list[Tensor], height: int, width: int) -> tuple[Tensor, Tensor]:
        """Return logits and boxes, as `forward`, from the pyramid of pictures of `height` x `width`."""
        logits, distances = self.head(maps)
        points, strides = grid(height, width, logits.device)
        distances = distances * strides[:, None]
        return logits, torch.cat([points - distances[..., :2], points + distances[..., 2:]], -1)

    def fuse(self) -> Nano:
        """Fold every normalisation and skip into its kernel, in place; for export, after `eval`."""
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, Conv):
                    module.fuse()
        return self


def grid(height: int, width: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Return the centres [A, 2] (x, y in pixels) and strides [A] of all places, fine to coarse, row by row."""
    points, strides = [], []
    for stride in STRIDES:
        y, x = torch.meshgrid(
            torch.arange(height // stride, device=device), torch.arange(width // stride, device=device), indexing="ij"
        )
        points.append((torch.stack([x, y], -1).reshape(-1, 2) + 0.5) * stride)
        strides.append(torch.full((x.numel(),), float(stride), device=device))
    return torch.cat(points), torch.cat(strides)


def _bias(layer: nn.Conv2d) -> Tensor:
    if layer.bias is None:
        raise TypeError("the head's last layer has a bias")
    return layer.bias
