"""How far two lists of detections differ: row by row for equal networks, by overlap for compressed ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .runtime import iou_matrix

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

MATCH_IOU = 0.5


@dataclass(frozen=True, slots=True)
class Difference:
    """Rows compared, rows with no counterpart of their class, and the largest differences of box and score."""

    compared: int = 0
    missing: int = 0
    pixels: float = 0.0
    score: float = 0.0

    def __add__(self, other: Difference) -> Difference:
        return Difference(
            self.compared + other.compared,
            self.missing + other.missing,
            max(self.pixels, other.pixels),
            max(self.score, other.score),
        )

    def __str__(self) -> str:
        text = f"{self.compared} rows, worst {self.pixels:.2g} px, {self.score:.2g} score"
        return f"{text}, {self.missing} missing" if self.missing else text


def difference(expected: NDArray[np.float32], got: NDArray[np.float32]) -> Difference:
    """Compare rows [n, 6] with their nearest of the same class, so that equal scores may swap places."""
    total = Difference()
    for row in expected:
        same = got[(got[:, 5] == row[5]) & (got[:, 4] > 0)]
        if len(same) == 0:
            total += Difference(1, 1)
            continue
        pixels, scores = np.abs(same[:, :4] - row[:4]).max(axis=1), np.abs(same[:, 4] - row[4])
        best = int((pixels + 100 * scores).argmin())
        total += Difference(1, 0, float(pixels[best]), float(scores[best]))
    return total


def agreement(pairs: Iterable[tuple[NDArray[np.float32], NDArray[np.float32]]]) -> float:
    """Return the share of detections, 0..1, on which two models agree: twice the matches over all of both.

    A match is the same class at IoU 0.5 or more, each row used once. 1.0 when neither saw anything.
    """
    matched, total = 0, 0
    for one, other in pairs:
        matched += _matches(one, other)
        total += len(one) + len(other)
    return 2 * matched / total if total else 1.0


def _matches(one: NDArray[np.float32], other: NDArray[np.float32]) -> int:
    overlap = iou_matrix(one, other) * (one[:, None, 5] == other[None, :, 5])
    matched = 0
    while overlap.size and overlap.max() >= MATCH_IOU:
        row, column = np.unravel_index(overlap.argmax(), overlap.shape)
        overlap[row, :] = overlap[:, column] = 0
        matched += 1
    return matched
