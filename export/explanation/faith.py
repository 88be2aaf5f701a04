"""Whether a map is true: delete pixels in its order and the detection should go soon; insert them, it should come soon.

Source: Petsiuk et al., "RISE", BMVC 2018 (deletion and insertion, area under the curve). Chance is the mean over random
maps of the same smoothness.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .drise import strengths
from .masks import hidden, random_masks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..runtime import Detector

    Image = NDArray[np.uint8]
    Map = NDArray[np.float32]

STEPS = 20
RANDOM_MAPS = 5


@dataclass(frozen=True, slots=True)
class Faith:
    """Areas under the curves, 0..1: deletion is better low, insertion better high; and the same for random maps."""

    deletion: float
    insertion: float
    chance_deletion: float
    chance_insertion: float

    @property
    def better_than_chance(self) -> bool:
        """Whether the map beats random ones on both."""
        return self.deletion < self.chance_deletion and self.insertion > self.chance_insertion

    def __str__(self) -> str:
        return (
            f"deletion {self.deletion:.3f} (chance {self.chance_deletion:.3f}, lower is better), "
            f"insertion {self.insertion:.3f} (chance {self.chance_insertion:.3f}, higher is better)"
        )


def measure(detector: Detector, image: Image, target: NDArray[np.float32], found: Map, cells: int = 12) -> Faith:
    """Score the map `found` [H, W] for `target` against random maps, always the same ones."""
    own = _areas(detector, image, target, found)
    random = [
        _areas(detector, image, target, chance)
        for chance in random_masks(RANDOM_MAPS, detector.size, cells, 0.5, seed=99)
    ]
    deletion, insertion = np.mean(random, axis=0)
    return Faith(*own, float(deletion), float(insertion))


def _areas(detector: Detector, image: Image, target: NDArray[np.float32], order: Map) -> tuple[float, float]:
    """Areas of deletion and insertion when pixels go by falling `order`."""
    ranks = np.empty(order.size)
    ranks[np.argsort(-order, axis=None, kind="stable")] = np.linspace(0, 1, order.size)
    places = ranks.reshape(order.shape)
    shares = np.linspace(0, 1, STEPS + 1)
    kept = [(places >= share).astype(np.float32) for share in shares]
    deletion = strengths(detector, [hidden(image, mask) for mask in kept], target)
    insertion = strengths(detector, [hidden(image, 1 - mask) for mask in kept], target)
    return float(np.trapezoid(deletion, shares)), float(np.trapezoid(insertion, shares))
