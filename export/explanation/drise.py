"""D-RISE: a pixel matters when pictures that show it still give the detection.

Source: Petsiuk et al., "Black-box Explanation of Object Detectors via Saliency Maps", CVPR 2021. Rows of the contract
carry one class each, so the similarity is IoU x score for rows of the same class.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from ..runtime import iou_matrix
from .masks import hidden, random_masks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from ..runtime import Detector

    Image = NDArray[np.uint8]
    Map = NDArray[np.float32]
    Row = NDArray[np.float32]

LEAST_OVERLAP = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`masks`: how many; more give smoother maps. `cells` a side: more give finer maps and need more masks."""

    masks: int = 1000
    cells: int = 12
    visible: float = 0.5
    seed: int = 0
    batch: int = 16


def choose(rows: Row, box: Sequence[float] | None, label: int | None) -> Row | None:
    """Return the row [6] to explain: of `label` if given, the one that overlaps `box` most, else the surest.

    None when nothing fits.
    """
    fitting = rows if label is None else rows[rows[:, 5] == label]
    if box is not None and len(fitting):
        overlap = iou_matrix(np.asarray([box], np.float32), fitting[:, :4])[0]
        fitting = fitting[overlap.argmax()][None] if overlap.max() >= LEAST_OVERLAP else fitting[:0]
    return np.asarray(fitting[fitting[:, 4].argmax()]) if len(fitting) else None


def saliency(detector: Detector, image: Image, target: Row, settings: Settings) -> Map:
    """Return the map float32 [H, W], 0..1, for the row `target` (input pixels) of a picture uint8 [3, H, W]."""
    total = np.zeros(image.shape[1:], np.float64)
    shown = np.zeros(image.shape[1:], np.float64)
    masks = random_masks(settings.masks, detector.size, settings.cells, settings.visible, settings.seed)
    with tqdm(total=settings.masks, desc="explaining", unit="mask", leave=False) as bar:
        for chunk in _chunks(masks, settings.batch):
            weights = strengths(detector, [hidden(image, mask) for mask in chunk], target)
            total += np.tensordot(weights, np.stack(chunk), axes=1)
            shown += np.sum(chunk, axis=0)
            bar.update(len(chunk))
    return _scaled(total / np.maximum(shown, 1e-9))


def strengths(detector: Detector, images: Sequence[Image], target: Row) -> NDArray[np.float64]:
    """Return how strongly each picture still gives the target, 0..1: the best IoU x score among rows of its class."""
    found = detector.run(np.stack(images))
    overlap = [iou_matrix(target[None, :4], rows[:, :4])[0] * rows[:, 4] * (rows[:, 5] == target[5]) for rows in found]
    return np.asarray([float(values.max(initial=0.0)) for values in overlap])


def _scaled(values: NDArray[np.float64]) -> Map:
    low, high = values.min(), values.max()
    return np.asarray((values - low) / max(high - low, 1e-12), np.float32)


def _chunks(masks: Iterable[Map], size: int) -> Iterator[list[Map]]:
    source = iter(masks)
    while chunk := list(islice(source, size)):
        yield chunk
