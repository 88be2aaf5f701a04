"""Where a picture lies in the model's input, and polygons as pixels. Pure arithmetic: no pixels of a camera, no I/O.

Placement is the model contract's: scaled to fit, top-left, the rest grey; or stretched over the whole input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from .messages import Fit

RelativePolygon = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Placement:
    """The rectangle (0, 0)-(placed_width, placed_height) that the picture fills; scales are input / camera pixels."""

    scale_x: float
    scale_y: float
    placed_width: int
    placed_height: int


def fit_box(source_w: int, source_h: int, width: int, height: int, fit: Fit) -> Placement:
    """Return where a picture of `source_w` x `source_h` pixels lies in an input of `width` x `height`.

    The scales are those of the rounded size, so that boxes go back exactly as the pixels came.
    """
    if fit == "stretch":
        return Placement(width / source_w, height / source_h, width, height)
    scale = min(width / source_w, height / source_h)
    placed_width = max(1, min(width, round(source_w * scale)))
    placed_height = max(1, min(height, round(source_h * scale)))
    return Placement(placed_width / source_w, placed_height / source_h, placed_width, placed_height)


def to_source(rows: NDArray[np.float32], placement: Placement, source_w: int, source_h: int) -> NDArray[np.float32]:
    """Return rows float32 [n, 6] `x1 y1 x2 y2 score class` in camera pixels, clipped to the picture."""
    moved = rows.astype(np.float32, copy=True)
    moved[:, 0:4:2] = np.clip(rows[:, 0:4:2] / placement.scale_x, 0, source_w)
    moved[:, 1:4:2] = np.clip(rows[:, 1:4:2] / placement.scale_y, 0, source_h)
    return moved


def rasterise(polygons: Sequence[RelativePolygon], width: int, height: int, margin: int = 0) -> NDArray[np.bool_]:
    """Return bool [height, width], True for every pixel that a polygon touches, however little; then grown by `margin`.

    Points are fractions of width and height. Where a polygon crosses itself both parts are inside: for a privacy mask
    too much is right and too little is not.
    """
    mask = np.zeros((height, width), np.bool_)
    for polygon in polygons:
        points = np.asarray(polygon, np.float64) * (width, height)
        mask |= _winds_around_centres(points, width, height)
        _mark_edges(mask, points)
    return _grown(mask, margin)


def _winds_around_centres(points: NDArray[np.float64], width: int, height: int) -> NDArray[np.bool_]:
    """Return the pixels whose centre has a winding number other than zero."""
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    winding = np.zeros((height, width), np.int32)
    for (x1, y1), (x2, y2) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y1 == y2:
            continue
        rows = (y >= min(y1, y2)) & (y < max(y1, y2))
        crossing_x = x1 + (y[rows] - y1) * (x2 - x1) / (y2 - y1)
        winding[rows] += np.where(x[None, :] < crossing_x[:, None], 1 if y2 > y1 else -1, 0)
    return np.asarray(winding != 0, np.bool_)


def _mark_edges(mask: NDArray[np.bool_], points: NDArray[np.float64]) -> None:
    """Mark every pixel that an edge runs through: between two crossings of the grid an edge stays in one pixel."""
    height, width = mask.shape
    for start, end in zip(points, np.roll(points, -1, axis=0), strict=True):
        at = np.unique(
            np.concatenate([[0.0, 1.0], _grid_crossings(start[0], end[0]), _grid_crossings(start[1], end[1])])
        )
        middles = start + (end - start) * ((at[:-1] + at[1:]) / 2)[:, None]
        columns, rows = np.floor(middles).astype(int).T
        mask[rows.clip(0, height - 1), columns.clip(0, width - 1)] = True


def _grid_crossings(start: float, end: float) -> NDArray[np.float64]:
    """Return the shares 0..1 of the way from `start` to `end` at which a whole number is crossed."""
    if start == end:
        return np.empty(0)
    whole = np.arange(ceil(min(start, end)), np.floor(max(start, end)) + 1)
    return np.asarray(np.clip((whole - start) / (end - start), 0.0, 1.0), np.float64)


def _grown(mask: NDArray[np.bool_], margin: int) -> NDArray[np.bool_]:
    """Return the mask with every True spread over `margin` pixels to each side."""
    for axis in (0, 1):
        spread = mask.copy()
        for distance in range(1, min(margin, mask.shape[axis] - 1) + 1):
            ahead, behind = [slice(None)] * 2, [slice(None)] * 2
            ahead[axis], behind[axis] = slice(distance, None), slice(None, -distance)
            spread[tuple(ahead)] |= mask[tuple(behind)]
            spread[tuple(behind)] |= mask[tuple(ahead)]
        mask = spread
    return mask
