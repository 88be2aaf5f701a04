"""Draws an evaluation as PNG: precision over recall per label, and the pictures with the worst misses."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..errors import LabError
from ..runtime import iou_matrix
from .evaluate import Evaluation
from .score import RECALLS

TILE = (480, 360)  # width, height of one picture on the sheet
COLUMNS = 4
WORST = 12
LEGEND_ROWS = 30
LINES = ("-", "--", ":", "-.")  # ten colours each
FOUND, MISSED, FALSE = (80, 200, 80), (60, 60, 255), (0, 190, 255)  # BGR: green, red, amber


def draw_curves(evaluation: Evaluation, path: Path) -> None:
    """Write precision over recall at IoU .50, one line a label that the truth has."""
    drawn = sum(label.boxes > 0 for label in evaluation.scores.classes)
    columns = -(-drawn // LEGEND_ROWS)
    figure = Figure(figsize=(6.5 + 1.7 * columns, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(title=evaluation.name, xlabel="recall at IoU .50", ylabel="precision")
    recall = np.linspace(0, 1, RECALLS)
    for column, label in enumerate(evaluation.scores.classes):
        if label.boxes:
            precision = np.clip(evaluation.scores.precision50[:, column], 0, 1)
            number = len(axes.lines)
            style, colour = LINES[number // 10 % len(LINES)], f"C{number % 10}"
            axes.plot(recall, precision, style, color=colour, label=f"{label.label} {label.ap50:.3f}")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.grid(visible=True, alpha=0.3)
    if drawn:
        figure.legend(fontsize=8, loc="outside right upper", ncols=columns)
    figure.savefig(path, dpi=110)


def worst_pictures(evaluation: Evaluation, threshold: float) -> list[int]:
    """Return the ids of the pictures with most missed and false boxes at `threshold`, worst first."""
    faults = {n: _faults(*_boxes(evaluation, n, threshold)) for n in evaluation.found}
    ranked = sorted(faults, key=lambda n: (-faults[n][0].sum() - 0.5 * faults[n][1].sum(), n))
    return [n for n in ranked if faults[n][0].any() or faults[n][1].any()][:WORST]


def draw_misses(
    evaluation: Evaluation, pictures: Iterable[tuple[int, NDArray[np.uint8]]], threshold: float, path: Path
) -> None:
    """Write one sheet of the worst pictures: missed boxes red, false ones amber, found ones green.

    `pictures` yields (image id, BGR picture) as the evaluation saw them. Raises LabError when `path` cannot be written.
    """
    wanted = worst_pictures(evaluation, threshold)
    tiles = {n: _tile(evaluation, n, picture, threshold) for n, picture in pictures if n in wanted}
    ordered = [tiles[n] for n in wanted if n in tiles]
    if not ordered:
        ordered = [np.full((TILE[1], TILE[0], 3), 255, np.uint8)]  # nothing was missed: an empty sheet says so
    ordered += [np.full_like(ordered[0], 255)] * (-len(ordered) % min(COLUMNS, len(ordered)))
    width = min(COLUMNS, len(ordered))
    sheet = np.vstack([np.hstack(ordered[i : i + width]) for i in range(0, len(ordered), width)])
    if not cv2.imwrite(str(path), sheet):
        raise LabError(f"{path}: cannot be written")


def _boxes(evaluation: Evaluation, number: int, threshold: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return truth and found boxes of one picture, float32 [n, 5]: xyxy and category id."""
    categories = {c["name"]: c["id"] for c in evaluation.truth["categories"]}
    ids = [categories.get(label, -1) for label in evaluation.labels]
    known = {i for i in ids if i >= 0}
    truth = [
        [x, y, x + w, y + h, a["category_id"]]
        for a in evaluation.truth["annotations"]
        if a["image_id"] == number and a["category_id"] in known and not a.get("iscrowd")
        for x, y, w, h in [a["bbox"]]
    ]
    rows = evaluation.found[number]
    rows = rows[rows[:, 4] >= threshold]
    category = np.array(ids, np.float32)[rows[:, 5].astype(int)]
    found = np.column_stack([rows[:, :4], category])[category >= 0]
    return np.array(truth, np.float32).reshape(-1, 5), found.astype(np.float32)


def _faults(truth: NDArray[np.float32], found: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which of the truth was missed and which of the found is false, at IoU .50 within a class."""
    match = (iou_matrix(truth[:, :4], found[:, :4]) >= 0.5) & (truth[:, None, 4] == found[None, :, 4])
    return ~match.any(1), ~match.any(0)


def _tile(evaluation: Evaluation, number: int, picture: NDArray[np.uint8], threshold: float) -> NDArray[np.uint8]:
    truth, found = _boxes(evaluation, number, threshold)
    missed, false = _faults(truth, found)
    scale = min(TILE[0] / picture.shape[1], TILE[1] / picture.shape[0])
    canvas = np.full((TILE[1], TILE[0], 3), 255, np.uint8)
    small = cv2.resize(picture, None, fx=scale, fy=scale)
    canvas[: small.shape[0], : small.shape[1]] = small[: TILE[1], : TILE[0]]
    for boxes, colour in ((found[~false], FOUND), (found[false], FALSE), (truth[missed], MISSED)):
        for x1, y1, x2, y2 in (boxes[:, :4] * scale).round().astype(int).tolist():
            cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, 2)
    cv2.putText(canvas, f"{number}: {missed.sum()} missed", (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, MISSED, 1)
    return canvas
