"""`lepton-presence`: the classic convolutional classifier that says whether somebody is in the picture.

Its preprocessing is part of the network, in whole numbers, so that it gives to the bit what OpenCV's `resize`,
`GaussianBlur` and `normalize` give on 8-bit pictures. Layers and sizes follow the specification, with Keras' defaults:
convolutions without padding, 2x2 pooling that drops an odd last row.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

SIZE = 224
FILTERS = (32, 64, 128, 256)
DENSE = (1024, 256, 128)
PRESENT = 0.5  # score above which somebody is there
KERNEL = (1, 4, 6, 4, 1)  # sixteenths; OpenCV's fixed 5-tap Gaussian, used when no sigma is given
COEF = 2048  # OpenCV resizes 8-bit pictures with weights in 11 bits


class Preprocess(nn.Module):
    """uint8 [N, 3, H, W] of one fixed size -> float32 [N, 3, 224, 224] in 0..1: resize, blur, min-max normalisation."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__()
        self.same = (width, height) == (SIZE, SIZE)
        for name, side in (("x", width), ("y", height)):
            first, second, weight = linear_taps(side, across=name == "x")
            self.register_buffer(f"{name}_first", first)
            self.register_buffer(f"{name}_second", second)
            self.register_buffer(f"{name}_weight", weight)
        self.register_buffer("kernel", torch.tensor(KERNEL, dtype=torch.float32))

    def forward(self, images: Tensor) -> Tensor:
        """Return the normalised pictures; a picture of one colour gives zeros."""
        picture = images.float() if self.same else self.resize(images.to(torch.int32)).float()
        picture = self.blur(picture)
        low, high = picture.amin((1, 2, 3), keepdim=True), picture.amax((1, 2, 3), keepdim=True)
        return (picture - low) / (high - low).clamp(min=1.0)

    def resize(self, picture: Tensor) -> Tensor:
        """Return int32 [N, 3, 224, 224], linear as cv2.INTER_LINEAR on 8 bits: its weights and its roundings."""
        left, right = picture[..., self.x_first], picture[..., self.x_second]
        rows = left * (COEF - self.x_weight) + right * self.x_weight
        weight = self.y_weight[:, None]
        top = _shift(_shift(rows[..., self.y_first, :], 4) * (COEF - weight), 16)
        bottom = _shift(_shift(rows[..., self.y_second, :], 4) * weight, 16)
        return _shift(top + bottom + 2, 2)

    def blur(self, picture: Tensor) -> Tensor:
        """Return the picture under the 5x5 Gaussian, borders mirrored, rounded to whole numbers as OpenCV does."""
        planes = nn.functional.pad(picture, (2, 2, 2, 2), mode="reflect").flatten(0, 1)[:, None]
        rows = nn.functional.conv2d(planes, self.kernel.view(1, 1, 1, 5))
        both = nn.functional.conv2d(rows, self.kernel.view(1, 1, 5, 1))
        return torch.floor((both + 128) / 256).view(-1, 3, SIZE, SIZE)


class Presence(nn.Module):
    """Four convolutions with pooling, three dense layers, one logit; sigmoid gives the score.

    `dense` other than the specification's is for experiments: the first dense layer holds 37 of 38 M weights.
    """

    def __init__(self, dense: tuple[int, ...] = DENSE) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, side = 3, SIZE
        for filters in FILTERS:
            layers += [nn.Conv2d(channels, filters, 3), nn.ReLU(), nn.MaxPool2d(2)]
            channels, side = filters, (side - 2) // 2
        layers.append(nn.Flatten())
        width = channels * side * side
        for size in dense:
            layers += [nn.Linear(width, size), nn.ReLU()]
            width = size
        self.layers = nn.Sequential(*layers, nn.Linear(width, 1))

    def forward(self, pictures: Tensor) -> Tensor:
        """Return logits [N] of pictures float32 [N, 3, 224, 224] in 0..1."""
        return self.layers(pictures)[:, 0]


class DeployedPresence(nn.Module):
    """The contract's view: one row, the whole picture as its box, the probability of somebody as its score."""

    def __init__(self, model: Presence, width: int, height: int) -> None:
        super().__init__()
        self.preprocess = Preprocess(width, height)
        self.model = model
        self.register_buffer("box", torch.tensor([[0.0, 0.0, float(width), float(height)]]))

    def forward(self, images: Tensor) -> Tensor:
        """Return rows [N, 1, 6] of uint8 [N, 3, H, W]."""
        score = self.model(self.preprocess(images)).sigmoid()[:, None]
        row = torch.cat([self.box.expand(score.shape[0], 4), score, torch.zeros_like(score)], 1)
        return row[:, None]


def linear_taps(side: int, *, across: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return for each of 224 places the two source pixels and the weight of the second, of 2048, as cv2.resize does.

    Beyond the border both pixels are the last one: `across` the picture it counts once, down the picture as two halves
    that are rounded each for itself.
    """
    place = ((np.arange(SIZE) + 0.5) * (side / SIZE) - 0.5).astype(np.float32)
    first = np.floor(place).astype(np.int64)
    share = (place - first).astype(np.float32)
    if across:
        share[(first < 0) | (first >= side - 1)] = 0
    weight = np.rint(share * COEF).astype(np.int32)
    pixels = [torch.from_numpy(np.clip(first + step, 0, side - 1)) for step in (0, 1)]
    return pixels[0], pixels[1], torch.from_numpy(weight)


def _shift(values: Tensor, bits: int) -> Tensor:
    """Return values >> bits; whole-number division, which every ONNX provider has, of what is never negative."""
    return torch.div(values, 2**bits, rounding_mode="floor")
