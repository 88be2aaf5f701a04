"""What every check is given: the model, its pictures, and how exact its precision can be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..adopt.family import PixelOverrides

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ..runtime import Detector

    Picture = NDArray[np.uint8]

SCENES = 8
COMPARED_ROWS = 50
LEAST_SCORE = 0.01


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Differences that a change of batch or of file may cause."""

    pixels: float
    score: float


BATCH_TOLERANCE = {"fp32": Tolerance(0.1, 1e-3), "fp16": Tolerance(1.5, 1e-2), "int8": Tolerance(0.5, 5e-3)}
SOURCE_TOLERANCE = {"fp32": Tolerance(1.0, 1e-2), "fp16": Tolerance(4.0, 5e-2)}


@dataclass(frozen=True, slots=True)
class Trial:
    """A model under trial.

    `source` is the file it was made from, if the user has it, adopted with `pixels`; each of `buckets` is timed for
    `timing_s`.
    """

    path: Path
    detector: Detector
    pictures: Sequence[Picture]
    source: Path | None = None
    pixels: PixelOverrides = field(default_factory=PixelOverrides)
    buckets: Sequence[int] = (1, 2, 4, 8)
    timing_s: float = 1.0

    @property
    def images(self) -> NDArray[np.uint8]:
        """The pictures as the model takes them, [n, 3, H, W]."""
        return np.stack([self.detector.fit(picture)[0] for picture in self.pictures])

    def tolerance(self, table: dict[str, Tolerance]) -> Tolerance:
        """Pick by the model's precision; unknown ones are held to the strictest."""
        return table.get(self.detector.metadata.precision, table["fp32"])


def strong(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows worth comparing: the best few above noise."""
    return rows[rows[:, 4] >= LEAST_SCORE][:COMPARED_ROWS]


def synthetic_scenes(count: int = SCENES) -> list[Picture]:
    """Make pictures of coloured blobs and gradients in several sizes, always the same."""
    random = np.random.default_rng(11)
    sizes = [(480, 640), (720, 1280), (640, 480), (300, 300)]
    scenes = []
    for index in range(count):
        height, width = sizes[index % len(sizes)]
        coarse = random.integers(0, 256, (6 + index, 9, 3), dtype=np.uint8)
        smooth = cv2.INTER_CUBIC if index % 2 else cv2.INTER_NEAREST
        scenes.append(np.asarray(cv2.resize(coarse, (width, height), interpolation=smooth), np.uint8))
    return scenes


def uniform_pictures() -> dict[str, Picture]:
    """Pictures on which there is nothing to see."""
    return {
        name: np.full((480, 640, 3), value, np.uint8) for name, value in (("black", 0), ("grey", 114), ("white", 255))
    }


def odd_pictures() -> dict[str, Picture]:
    """Noise, and sizes at the edge of what a camera could send."""
    random = np.random.default_rng(12)
    shapes = {"noise": (480, 640), "1x1": (1, 1), "1x2000": (2000, 1), "2000x1": (1, 2000), "4000x3000": (3000, 4000)}
    return {name: random.integers(0, 256, (*shape, 3), dtype=np.uint8) for name, shape in shapes.items()}
