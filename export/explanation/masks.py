"""Random smooth masks, as RISE makes them: a coarse random grid, enlarged and shifted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..contract import PAD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Map = NDArray[np.float32]


def random_masks(count: int, size: tuple[int, int], cells: int, visible: float, seed: int) -> Iterator[Map]:
    """Yield `count` masks float32 [H, W] in 0..1; about the share `visible` of the picture shows.

    `size` is (width, height). The same seed gives the same masks.
    """
    random = np.random.default_rng(seed)
    width, height = size
    cell_width, cell_height = -(-width // cells), -(-height // cells)
    for _ in range(count):
        grid = (random.random((cells + 1, cells + 1)) < visible).astype(np.float32)
        large = (cell_width * (cells + 1), cell_height * (cells + 1))
        mask = cv2.resize(grid, large, interpolation=cv2.INTER_LINEAR)
        x, y = int(random.integers(cell_width)), int(random.integers(cell_height))
        yield np.asarray(mask[y : y + height, x : x + width], np.float32)


def hidden(image: NDArray[np.uint8], mask: Map) -> NDArray[np.uint8]:
    """Return the picture uint8 [3, H, W] where it shows, the letterbox's grey where it is hidden."""
    return np.asarray(image * mask + PAD * (1.0 - mask), np.uint8)
