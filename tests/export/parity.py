"""Compares an adopted file with the foreign one run by hand, on the same pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from export.adopt import signature
from export.adopt.byhand import BY_HAND, prepare
from export.adopt.pipeline import Foreign, open_foreign
from export.runtime import Detector

if TYPE_CHECKING:
    from pathlib import Path


def by_hand(foreign: Foreign, planar_rgb: np.ndarray) -> np.ndarray:
    """Rows that the family's published post-processing gives for one contract picture."""
    picture = prepare(planar_rgb, foreign.family.pixels, foreign.seen)
    outputs = signature.run(foreign.model, foreign.seen.feeds(picture))
    return BY_HAND[foreign.family.name](outputs, foreign.seen)


def worst_difference(
    source: Path, adopted: Path, pictures: list[np.ndarray], min_score: float, **opening: object
) -> tuple[float, float, int]:
    """Largest difference of box (pixels) and score over all rows above `min_score`, and how many rows were compared.

    The adopted file gets all pictures in one batch, the foreign one each alone.
    """
    foreign, detector = open_foreign(source, **opening), Detector(adopted)
    batch = np.stack([detector.fit(picture)[0] for picture in pictures])
    pixels, scores, count = 0.0, 0.0, 0
    for image, rows in zip(batch, detector.run(batch), strict=True):
        expected = by_hand(foreign, image)
        expected = expected[expected[:, 4] >= min_score][: len(rows)]
        assert (np.diff(rows[:, 4]) <= 0).all()
        assert ((rows[:, 4] >= min_score).sum() >= len(expected)) or len(expected) == len(rows)
        for row in expected:
            box, score = _nearest(row, rows)
            pixels, scores, count = max(pixels, box), max(scores, score), count + 1
    return pixels, scores, count


def _nearest(row: np.ndarray, rows: np.ndarray) -> tuple[float, float]:
    """Differences to the nearest row of the same class; equal scores may swap places."""
    same = rows[(rows[:, 5] == row[5]) & (rows[:, 4] > 0)]
    assert len(same), f"class {row[5]} is missing"
    box = np.abs(same[:, :4] - row[:4]).max(axis=1)
    score = np.abs(same[:, 4] - row[4])
    best = (box + score * 100).argmin()
    return float(box[best]), float(score[best])


def noise(count: int, size: tuple[int, int] = (90, 130)) -> list[np.ndarray]:
    """Pictures with blobs of colour, so that convolutions have something to say."""
    random = np.random.default_rng(7)
    small = [random.integers(0, 256, (5, 7, 3), dtype=np.uint8) for _ in range(count)]
    return [cv2.resize(s, (size[1], size[0]), interpolation=cv2.INTER_NEAREST) for s in small]


def photos(material: Path, count: int) -> list[np.ndarray]:
    """Real pictures: bus and zidane, whole and in parts, so that a batch has different ones."""
    bus, zidane = (cv2.imread(str(material / "models" / name)) for name in ("bus.jpg", "zidane.jpg"))
    return [bus, zidane, bus[300:, :600], zidane[:, 500:]][:count]
