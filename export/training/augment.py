"""Changes pictures as cameras and scenes do: mirror, scale, shape, turn, shift, colour, blur, noise, and mosaics.

Each picture is warped once, straight to its place in the training picture. What belongs here: pictures and boxes in,
pictures and boxes out, all chance from the generator passed in. What does not: files, batches.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..contract import PAD

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator
    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]
    Rows = NDArray[np.float32]

Window = tuple[int, int, int, int]  # x1 y1 x2 y2 in the training picture

MIN_SIDE_PX = 4.0  # a box that becomes smaller is dropped
MIN_LEFT = 0.3  # so is one of which less than this share is still in the picture


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """How much of what; ranges are (least, most), probabilities are 0..1."""

    mosaic: float = 0.35
    mix: float = 0.0  # two pictures in one; for learning from a teacher, who says what is still to be seen
    mirror: float = 0.5
    scale: tuple[float, float] = (0.55, 1.6)  # 1 = the picture just fits
    mosaic_scale: tuple[float, float] = (0.8, 2.0)
    shape: tuple[float, float] = (0.9, 1.5)  # width against height; sets are often stored squeezed to a square
    rotate_deg: float = 0.0  # boxes around turned boxes are too wide: see TRAINING.md before raising it
    translate: float = 0.15
    hue: float = 0.015
    saturation: float = 0.6
    value: float = 0.4
    grey: float = 0.08  # infrared cameras
    blur: float = 0.15
    noise: float = 0.2

    def gentle(self) -> AugmentConfig:
        """Return how the last pictures of a training change: whole ones, nearly as cameras give them."""
        calm = {"mosaic": 0.0, "mix": 0.0, "blur": self.blur / 3, "noise": self.noise / 2}
        scale = (max(0.6, self.scale[0]), min(1.3, self.scale[1]))
        return replace(self, **calm, scale=scale, shape=(self.shape[0], min(1.3, self.shape[1])))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Chance:
    """What may happen and the generator that decides it."""

    config: AugmentConfig
    rng: Generator

    def scaled(self, scale: tuple[float, float]) -> Chance:
        """Return the same with another range of scales."""
        return Chance(replace(self.config, scale=scale), self.rng)


def augment(
    load: Callable[[int], tuple[Picture, Rows]], index: int, others: int, size: int, chance: Chance
) -> tuple[Picture, Rows]:
    """Return a BGR picture uint8 [size, size, 3] made of sample `index`, perhaps with some of `others`, and its boxes.

    `load` gives picture and boxes of a sample number below `others`.
    """
    rng = chance.rng
    scene = _compose(load, index, others, size, chance)
    if rng.random() < chance.config.mix:
        scene = mix(scene, _compose(load, int(rng.integers(others)), others, size, chance), rng.uniform(0.5, 0.85))
    return camera(scene[0], chance), scene[1]


def mix(front: tuple[Picture, Rows], back: tuple[Picture, Rows], share: float) -> tuple[Picture, Rows]:
    """Return one picture shining through another (mixup, arXiv 1710.09412); a box's score shrinks with its share."""
    picture = cv2.addWeighted(front[0], share, back[0], 1 - share, 0)
    rows = [front[1].copy(), back[1].copy()]
    for part, weight in zip(rows, (share, 1 - share), strict=True):
        part[:, 4] *= weight
    return np.asarray(picture, np.uint8), np.concatenate(rows)


def _compose(
    load: Callable[[int], tuple[Picture, Rows]], index: int, others: int, size: int, chance: Chance
) -> tuple[Picture, Rows]:
    """Return one sample warped onto the canvas, or four as a mosaic."""
    rng, config = chance.rng, chance.config
    canvas = np.full((size, size, 3), PAD, np.uint8)
    if rng.random() < config.mosaic:
        numbers = [index, *rng.integers(0, others, 3).tolist()]
        windows = _quarters(size, *(rng.uniform(0.3, 0.7, 2) * size).astype(int).tolist())
        inside = chance.scaled(config.mosaic_scale)
        parts = [_place(canvas, w, *load(n), inside) for n, w in zip(numbers, windows, strict=True)]
        rows = np.concatenate(parts)
    else:
        rows = _place(canvas, (0, 0, size, size), *load(index), chance)
    return canvas, rows


def _quarters(size: int, x: int, y: int) -> list[Window]:
    return [(0, 0, x, y), (x, 0, size, y), (0, y, x, size), (x, y, size, size)]


def _place(canvas: Picture, window: Window, picture: Picture, rows: Rows, chance: Chance) -> Rows:
    """Warp `picture` into the window of `canvas`; return its boxes there."""
    x1, y1, x2, y2 = window
    out = (x2 - x1, y2 - y1)
    matrix = random_affine((picture.shape[1], picture.shape[0]), out, chance)
    canvas[y1:y2, x1:x2] = cv2.warpAffine(
        picture, matrix, out, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(PAD,) * 3
    )
    rows = warp_boxes(rows, matrix, *out)
    rows[:, :4] += np.array([x1, y1, x1, y1], np.float32)
    return rows


def random_affine(size: tuple[int, int], out: tuple[int, int], chance: Chance) -> NDArray[np.float64]:
    """Return the 2x3 matrix from a picture to its window, sizes as (width, height).

    Fitted, then mirrored, scaled, squeezed, turned and shifted.
    """
    config, rng = chance.config, chance.rng
    shape = np.sqrt(_log_uniform(rng, *config.shape))
    base = min(out[0] / (size[0] * shape), out[1] * shape / size[1])
    scale = base * _log_uniform(rng, *config.scale)
    sx, sy = scale * shape, scale / shape
    if rng.random() < config.mirror:
        sx = -sx
    turn = np.deg2rad(rng.uniform(-config.rotate_deg, config.rotate_deg))
    linear = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ np.diag([sx, sy])
    window, picture = np.array(out, np.float64), np.array(size, np.float64)
    spare = np.maximum(np.abs(window - np.abs([sx, sy]) * picture) / 2, window * config.translate)
    goal = window / 2 + rng.uniform(-1, 1, 2) * spare
    return np.column_stack([linear, goal - linear @ (picture / 2)])


def warp_boxes(rows: Rows, matrix: NDArray[np.float64], width: int, height: int) -> Rows:
    """Return the boxes around the warped boxes, clipped to width x height, without those that are nearly gone."""
    if not len(rows):
        return rows.copy()
    corners = rows[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2) @ matrix[:, :2].T + matrix[:, 2]
    boxes = np.concatenate([corners.min(1), corners.max(1)], 1)
    clipped = np.clip(boxes, 0, [width, height, width, height])
    sides, left = boxes[:, 2:] - boxes[:, :2], clipped[:, 2:] - clipped[:, :2]
    kept = (left.min(1) >= MIN_SIDE_PX) & (left.prod(1) >= MIN_LEFT * sides.prod(1))
    return np.asarray(np.concatenate([clipped, rows[:, 4:]], 1)[kept], np.float32)


def camera(picture: Picture, chance: Chance) -> Picture:
    """Return the picture as another camera or light might have given it: colour, grey, blur, noise."""
    config, rng = chance.config, chance.rng
    picture = _colour(picture, config, rng)
    if rng.random() < config.grey:
        picture = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR).astype(np.uint8)
    if rng.random() < config.blur:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 1.4)), np.uint8)
    if rng.random() < config.noise:
        noise = rng.standard_normal(picture.shape, np.float32) * np.float32(rng.uniform(2, 10))
        picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
    return picture


def _colour(picture: Picture, config: AugmentConfig, rng: Generator) -> Picture:
    """Shift hue, scale saturation and value by tables, as YOLOv5 does."""
    hue, saturation, value = rng.uniform(-1, 1, 3) * [config.hue, config.saturation, config.value]
    levels = np.arange(256, dtype=np.float64)
    tables = [(levels + hue * 180) % 180, levels * (1 + saturation), levels * (1 + value)]
    planes = cv2.split(cv2.cvtColor(picture, cv2.COLOR_BGR2HSV))
    mapped = [cv2.LUT(p, np.clip(t, 0, 255).astype(np.uint8)) for p, t in zip(planes, tables, strict=True)]
    return np.asarray(cv2.cvtColor(cv2.merge(mapped), cv2.COLOR_HSV2BGR), np.uint8)


def _log_uniform(rng: Generator, least: float, most: float) -> float:
    return float(np.exp(rng.uniform(np.log(least), np.log(most))))
