"""Pictures that the tests draw: bright boxes on dark noise, with their COCO files."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

COLOURS = ((60, 60, 230), (230, 120, 40))  # BGR: class 0 is red, class 1 is blue
LABELS = ("person", "car")


def draw_scene(seed: int, size: int = 96) -> tuple[NDArray[np.uint8], list[list[float]]]:
    """Return a BGR picture and its rows x1 y1 x2 y2 class: one or two filled boxes that do not touch."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(20, 60, (size, size, 3)).astype(np.uint8)
    rows = []
    for column in range(int(rng.integers(1, 3))):
        width, height = (int(side) for side in rng.integers(size // 5, size // 2 - 4, 2))
        x1 = column * size // 2 + int(rng.integers(0, size // 2 - width))
        y1 = int(rng.integers(0, size - height))
        label = int(rng.integers(0, 2))
        picture[y1 : y1 + height, x1 : x1 + width] = COLOURS[label]
        rows.append([x1, y1, x1 + width, y1 + height, label])
    return picture, rows


def write_scenes(folder: Path, count: int, size: int = 96, first_seed: int = 0) -> Path:
    """Write `count` scenes as PNG and their COCO file `labels.json`; return the file's path."""
    folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number in range(1, count + 1):
        picture, rows = draw_scene(first_seed + number, size)
        cv2.imwrite(str(folder / f"{number}.png"), picture)
        images.append({"id": number, "file_name": f"{number}.png", "width": size, "height": size})
        for x1, y1, x2, y2, label in rows:
            box = [x1, y1, x2 - x1, y2 - y1]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": int(label) + 1, "bbox": box}
            )
    categories = [{"id": n + 1, "name": name} for n, name in enumerate(LABELS)]
    path = folder / "labels.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path
