"""Draws a saliency map over its picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..runtime import Fit

HEAT = 0.5  # opacity of the map
GREEN = (0, 255, 0)


def to_picture(found: NDArray[np.float32], fit: Fit) -> NDArray[np.float32]:
    """Bring a map [H, W] in input pixels to the picture's own size, leaving the letterbox's edge away."""
    columns = max(1, min(found.shape[1], round(fit.width * fit.scale_x)))
    rows = max(1, min(found.shape[0], round(fit.height * fit.scale_y)))
    return np.asarray(cv2.resize(found[:rows, :columns], (fit.width, fit.height)), np.float32)


def draw(
    picture: NDArray[np.uint8], found: NDArray[np.float32], row: NDArray[np.float32], label: str
) -> NDArray[np.uint8]:
    """Return the BGR picture under its map (same size), with the explained box and its label and score."""
    heat = cv2.applyColorMap((found * 255).astype(np.uint8), cv2.COLORMAP_JET)
    drawn = cv2.addWeighted(picture, 1 - HEAT, heat, HEAT, 0)
    x1, y1, x2, y2 = (int(value) for value in row[:4].round())
    cv2.rectangle(drawn, (x1, y1), (x2, y2), GREEN, 2)
    text_at = (x1 + 4, max(18, y1 + 20))
    cv2.putText(drawn, f"{label} {row[4]:.2f}", text_at, cv2.FONT_HERSHEY_SIMPLEX, 0.6, GREEN, 2, cv2.LINE_AA)
    return np.asarray(drawn, np.uint8)
