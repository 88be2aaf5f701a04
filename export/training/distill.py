"""Labels pictures with a teacher: any detector of the contract writes a COCO dataset whose boxes carry its scores.

Boxes that people drew stay and have score 1; the teacher adds what they lack. What belongs here: looking at a picture
at several scales, and joining two sets of boxes. What does not: training on the result (`train`).
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np
from tqdm import tqdm

from ..dataset import Dataset, Sample
from ..errors import DatasetError, LabError
from ..evaluation.mot import read_frames
from ..frames import PICTURES, read_picture
from ..runtime import iou_matrix, suppress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

MERGE_IOU = 0.5  # two boxes of one class that overlap more are one object
INSIDE = 0.8  # share of a box inside a group's box from which it is one of the group


class Teacher(Protocol):
    """What labelling needs of a detector; `runtime.Detector` is one."""

    def detect(self, pictures: Sequence[NDArray[np.uint8]], min_score: float) -> list[NDArray[np.float32]]:
        """Return for each BGR picture float32 [n, 6], boxes in the picture's pixels."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """How the teacher looks at a picture: whole, mirrored, and in 2 x 2 overlapping tiles for what is small."""

    mirror: bool = True
    tiles: bool = True
    tile_share: float = 0.6  # width and height of a tile as a share of the picture's


ALL_VIEWS = Views()
ONE_VIEW = Views(mirror=False, tiles=False)


def teach(
    teacher: Teacher, picture: NDArray[np.uint8], classes: dict[int, int], min_score: float, views: Views
) -> NDArray[np.float32]:
    """Return what the teacher sees on one BGR picture, float32 [n, 6], classes renumbered by `classes`.

    `classes` maps the teacher's class to the pupil's; others are left out. Boxes of all views are suppressed together.
    """
    height, width = picture.shape[:2]
    cuts = [(0, 0, width, height), *(_tiles(width, height, views.tile_share) if views.tiles else ())]
    found = [_move(rows, x, y) for (x, y, _, _), rows in _look(teacher, picture, cuts, min_score)]
    found = [found[0], *(_whole(r, cut, width, height) for r, cut in zip(found[1:], cuts[1:], strict=True))]
    if views.mirror:
        mirrored = teacher.detect([np.ascontiguousarray(picture[:, ::-1])], min_score)[0]
        mirrored[:, [0, 2]] = width - mirrored[:, [2, 0]]
        found.append(mirrored)
    return suppress(_renumber(np.concatenate(found), classes), MERGE_IOU)


def join(drawn: NDArray[np.float32], taught: NDArray[np.float32], group_score: float = 0.5) -> NDArray[np.float32]:
    """Return drawn boxes [n, 6] (score 1) and those taught ones [m, 6] that are none of them.

    A drawn box around two or more confident taught ones of its class, other than itself, is a group, not an object: it
    is left out.
    """
    if not len(drawn) or not len(taught):
        return np.concatenate([drawn, taught])
    same = drawn[:, None, 5] == taught[None, :, 5]
    inside = same & (_share_inside(taught, drawn).T > INSIDE) & (iou_matrix(drawn, taught) < MERGE_IOU)
    groups = (inside & (taught[None, :, 4] >= group_score)).sum(1) >= 2
    kept = drawn[~groups]
    overlap = iou_matrix(kept, taught) * (kept[:, None, 5] == taught[None, :, 5])
    new = taught[overlap.max(0) < MERGE_IOU] if len(kept) else taught
    return np.concatenate([kept, new])


def shared_classes(taught: Sequence[str], labels: Sequence[str]) -> dict[int, int]:
    """Return the pupil's class by the teacher's, joined by name; raises LabError when they share none."""
    classes = {index: labels.index(name) for index, name in enumerate(taught) if name in labels}
    if not classes:
        raise LabError(f"the teacher knows {list(taught)[:12]}, none of the labels {list(labels)}")
    return classes


def label(
    teacher: Teacher, dataset: Dataset, classes: dict[int, int], min_score: float, views: Views = ALL_VIEWS
) -> Dataset:
    """Return the dataset with the teacher's boxes added to those drawn by people; shows progress."""
    samples = []
    for sample in tqdm(dataset.samples, desc="labelling", unit="picture", leave=False):
        taught = teach(teacher, sample.read(), classes, min_score, views)
        samples.append(replace(sample, rows=join(sample.rows, taught)))
    return Dataset(dataset.labels, tuple(samples))


def take_frames(video: Path, every: int, folder: Path, labels: Sequence[str]) -> Dataset:
    """Write every so many frames of a video as JPEG into `folder`; return them as pictures without boxes."""
    samples: list[Sample] = []
    frames = read_frames(video)
    with _all_or_none(folder):
        for number, frame in tqdm(frames, desc=video.name, unit="frame", leave=False):
            if (number - 1) % every == 0:
                path = folder / f"{video.stem}_{number:06d}.jpg"
                if not cv2.imwrite(str(path), frame):
                    raise LabError(f"{path}: cannot be written; is the disk full?")
                samples.append(_unlabelled(path, len(samples) + 1, frame))
    return Dataset(tuple(labels), tuple(samples))


@contextmanager
def _all_or_none(folder: Path) -> Iterator[None]:
    """Make `folder`; when what is done there fails or is interrupted, take away what it wrote."""
    folder.mkdir(parents=True, exist_ok=True)
    before = set(folder.iterdir())
    try:
        yield
    except BaseException:
        for path in set(folder.iterdir()) - before:
            path.unlink()
        if not before:
            folder.rmdir()
        raise


def read_folder(folder: Path, labels: Sequence[str]) -> Dataset:
    """Return all pictures of a folder, searched deep, without boxes.

    Raises DatasetError when there are none, or naming one that cannot be read.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES)
    if not paths:
        raise DatasetError(f"{folder}: holds no {', '.join(sorted(PICTURES))}")
    samples = [_unlabelled(path, number, read_picture(path)) for number, path in enumerate(paths, 1)]
    return Dataset(tuple(labels), tuple(samples))


def _unlabelled(path: Path, number: int, picture: NDArray[np.uint8]) -> Sample:
    return Sample(path, number, picture.shape[1], picture.shape[0], np.zeros((0, 6), np.float32))


def _look(
    teacher: Teacher, picture: NDArray[np.uint8], cuts: list[tuple[int, int, int, int]], min_score: float
) -> Iterator[tuple[tuple[int, int, int, int], NDArray[np.float32]]]:
    parts = [np.ascontiguousarray(picture[y : y + h, x : x + w]) for x, y, w, h in cuts]
    yield from zip(cuts, teacher.detect(parts, min_score), strict=True)


def _tiles(width: int, height: int, share: float) -> list[tuple[int, int, int, int]]:
    """Return x, y, width, height of four overlapping tiles in the corners."""
    w, h = round(width * share), round(height * share)
    return [(x, y, w, h) for y in (0, height - h) for x in (0, width - w)]


def _move(rows: NDArray[np.float32], x: int, y: int) -> NDArray[np.float32]:
    rows = rows.copy()
    rows[:, [0, 2]] += x
    rows[:, [1, 3]] += y
    return rows


def _whole(rows: NDArray[np.float32], cut: tuple[int, int, int, int], width: int, height: int) -> NDArray[np.float32]:
    """Return the boxes of a tile that its inner edges do not cut: half an object is not an object."""
    x, y, w, h = cut
    touches = (rows[:, 0] <= x + 2) & (x > 0) | (rows[:, 2] >= x + w - 2) & (x + w < width)
    touches |= (rows[:, 1] <= y + 2) & (y > 0) | (rows[:, 3] >= y + h - 2) & (y + h < height)
    return rows[~touches]


def _renumber(rows: NDArray[np.float32], classes: dict[int, int]) -> NDArray[np.float32]:
    rows = rows[np.isin(rows[:, 5], list(classes))]
    rows[:, 5] = [classes[int(c)] for c in rows[:, 5]]
    return rows


def _share_inside(boxes: NDArray[np.float32], around: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return float32 [n, m]: which share of each of `boxes` lies inside each of `around`."""
    top_left = np.maximum(boxes[:, None, :2], around[None, :, :2])
    bottom_right = np.minimum(boxes[:, None, 2:4], around[None, :, 2:4])
    inter = np.prod(np.clip(bottom_right - top_left, 0, None), axis=2)
    areas = np.prod(boxes[:, 2:4] - boxes[:, :2], axis=1)
    return np.asarray(inter / np.maximum(areas[:, None], 1e-9), np.float32)
