"""Non-maximum suppression on the top-K rows of one frame, outside the graph: inside it would stop CUDA graphs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float32]


def suppress(rows: Rows, iou: float) -> Rows:
    """Return the rows that no better row of the same class covers by more than `iou`.

    `rows` is float32 [n, 6] `x1 y1 x2 y2 score class` by falling score; so is the result. Greedy, per class, as in
    "Rich feature hierarchies" (Girshick et al., 2014).
    """
    if len(rows) < 2:
        return rows
    covers = _same_class_iou(rows) > iou
    kept = np.ones(len(rows), dtype=bool)
    for best in range(len(rows) - 1):
        if kept[best]:
            kept[best + 1 :] &= ~covers[best, best + 1 :]
    return rows[kept]


def _same_class_iou(rows: Rows) -> Rows:
    """Return [n, n] intersection over union; 0 between rows of different classes."""
    low, high = rows[:, :2], rows[:, 2:4]
    sides = np.clip(np.minimum(high[:, None], high[None]) - np.maximum(low[:, None], low[None]), 0, None)
    overlap = sides[..., 0] * sides[..., 1]
    area = np.prod(np.clip(high - low, 0, None), axis=1)
    union = area[:, None] + area[None] - overlap
    same = rows[:, 5][:, None] == rows[:, 5][None]
    return np.where(same & (union > 0), overlap / np.maximum(union, 1e-9), 0).astype(np.float32)


def confident(rows: Rows, min_score: float) -> Rows:
    """Return the rows with at least `min_score`; `rows` is sorted by falling score, unused rows score 0."""
    count = int(np.searchsorted(-rows[:, 4], -np.float32(min_score), side="right"))
    used = rows[:count]
    return used[used[:, 4] > 0]
