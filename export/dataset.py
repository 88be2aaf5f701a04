"""Reads object-detection datasets in COCO's JSON format and refuses, by name, what is wrong with them.

An annotation may carry `score` (a teacher's confidence, 0..1; people's boxes have none and count as 1).
What belongs here: files to records to arrays. What does not: augmentation, batches.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from .errors import DatasetError
from .files import whole_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture and its boxes, float32 [n, 6]: x1 y1 x2 y2 score class, in the picture's pixels."""

    path: Path
    image_id: int
    width: int
    height: int
    rows: NDArray[np.float32]

    def read(self) -> NDArray[np.uint8]:
        """Return the picture as BGR uint8 [H, W, 3]; raises DatasetError as `read_labelled`."""
        return read_labelled(self.path, self.width, self.height)


@dataclass(frozen=True, slots=True)
class Dataset:
    """The samples of one or more COCO files, their classes numbered by `labels`."""

    labels: tuple[str, ...]
    samples: tuple[Sample, ...]

    def __len__(self) -> int:
        return len(self.samples)

    def split(self, share: float, seed: int) -> tuple[Dataset, Dataset]:
        """Return the dataset without a random `share` of its pictures, and that share, one picture at least."""
        order = np.random.default_rng(seed).permutation(len(self.samples))
        held = set(order[: max(share > 0, round(len(order) * share))].tolist())
        parts = [tuple(s for i, s in enumerate(self.samples) if (i in held) == inside) for inside in (False, True)]
        return Dataset(self.labels, parts[0]), Dataset(self.labels, parts[1])

    def counts(self) -> dict[str, int]:
        """Return how many boxes each label has."""
        classes = [s.rows[:, 5] for s in self.samples]
        total = np.bincount(np.concatenate(classes).astype(int) if classes else [], minlength=len(self.labels))
        return dict(zip(self.labels, map(int, total), strict=True))


def read_labelled(path: Path, width: int, height: int) -> NDArray[np.uint8]:
    """Return a picture as BGR uint8 [height, width, 3], turned as its EXIF tag says.

    Raises DatasetError when it cannot be decoded or is of another size than its labels were drawn on.
    """
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise DatasetError(f"{path}: missing, or not a picture that OpenCV reads")
    if picture.shape[:2] != (height, width):
        found = f"{picture.shape[1]}x{picture.shape[0]}"
        raise DatasetError(
            f"{path}: is {found}, its labels were drawn on {width}x{height}; resized, or turned by EXIF?"
        )
    return np.asarray(picture, np.uint8)


def read_coco(json_path: str | Path, folder: str | Path, labels: Sequence[str] | None = None) -> Dataset:
    """Read a COCO detection file whose pictures lie in `folder`; categories that are no label are left out.

    `labels` None takes all categories of the file, in their order. Crowd boxes are left out.
    Raises DatasetError naming the file, the record and the field.
    """
    path = Path(json_path)
    document = _load(path)
    names = {_get(c, "id", path, "category"): str(_get(c, "name", path, "category")) for c in document["categories"]}
    wanted = tuple(labels) if labels else tuple(names.values())
    if not set(wanted) & set(names.values()):
        raise DatasetError(f"{path}: none of the labels {list(wanted)} is a category; it has {sorted(names.values())}")
    rows: dict[int, list[list[float]]] = {_get(image, "id", path, "image"): [] for image in document["images"]}
    if len(rows) < len(document["images"]):
        raise DatasetError(f"{path}: {len(document['images']) - len(rows)} images have the id of another one")
    for number, annotation in enumerate(document["annotations"]):
        if not isinstance(annotation, dict):
            raise DatasetError(f"{path}: annotation #{number} is no record: {str(annotation)[:80]}")
        _add_box(annotation, names, wanted, rows, f"{path}: annotation {annotation.get('id', f'#{number}')}")
    root = Path(folder)
    return Dataset(wanted, tuple(_sample(image, root, rows[image["id"]], path) for image in document["images"]))


def join_datasets(datasets: Iterable[Dataset]) -> Dataset:
    """Return all samples as one dataset; raises DatasetError when the labels differ."""
    parts = list(datasets)
    if len({part.labels for part in parts}) != 1:
        raise DatasetError("the datasets have different labels; name them with --labels")
    return Dataset(parts[0].labels, tuple(sample for part in parts for sample in part.samples))


def write_coco(path: Path, dataset: Dataset, folder: Path) -> None:
    """Write `dataset` as COCO JSON with scores, file names relative to `folder`; whole or not at all."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, sample in enumerate(dataset.samples, 1):
        size = {"width": sample.width, "height": sample.height}
        images.append({"id": number, "file_name": str(sample.path.relative_to(folder)), **size})
        for x1, y1, x2, y2, score, label in sample.rows.astype(float).tolist():
            box = [round(v, 2) for v in (x1, y1, x2 - x1, y2 - y1)]
            about = {"id": len(annotations) + 1, "image_id": number, "category_id": int(label) + 1, "bbox": box}
            annotations.append({**about, "area": round(box[2] * box[3], 2), "iscrowd": 0, "score": round(score, 4)})
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(dataset.labels)]
    with whole_file(path) as draft:
        draft.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def _load(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text())
    except OSError as exc:
        raise DatasetError(f"{path}: cannot be read ({exc.strerror})") from exc
    except (json.JSONDecodeError, UnicodeDecodeError) as exc:
        raise DatasetError(f"{path}: not JSON ({exc})") from exc
    for key in ("images", "annotations", "categories"):
        if not isinstance(document, dict) or not isinstance(document.get(key), list):
            raise DatasetError(f"{path}: no list `{key}`; a COCO detection file has images, annotations, categories")
    if not document["images"]:
        raise DatasetError(f"{path}: no pictures")
    return dict(document)


def _get(record: Any, key: str, path: Path, what: str) -> Any:
    if not isinstance(record, dict) or key not in record:
        raise DatasetError(f"{path}: a record of `{what}` has no `{key}`: {str(record)[:80]}")
    return record[key]


def _add_box(
    annotation: dict[str, Any],
    names: dict[int, str],
    labels: tuple[str, ...],
    rows: dict[int, list[list[float]]],
    where: str,
) -> None:
    try:
        name = names[annotation["category_id"]]
        target = rows[annotation["image_id"]]
        x, y, w, h = (float(v) for v in annotation["bbox"])
        score = float(annotation.get("score", 1.0))
    except KeyError as exc:
        raise DatasetError(f"{where}: field or reference {exc} is missing") from exc
    except (TypeError, ValueError) as exc:
        raise DatasetError(f"{where}: bbox is not [x, y, width, height], or score no number: {annotation}") from exc
    if not all(map(math.isfinite, (x, y, w, h))) or not 0 <= score <= 1:
        raise DatasetError(f"{where}: bbox {annotation['bbox']}, score {score}: finite numbers, and a score of 0 to 1")
    if name in labels and w > 0 and h > 0 and not annotation.get("iscrowd"):
        target.append([x, y, x + w, y + h, score, float(labels.index(name))])


def _sample(image: dict[str, Any], root: Path, rows: list[list[float]], path: Path) -> Sample:
    file = root / str(_get(image, "file_name", path, "image"))
    try:
        number, width, height = (int(_get(image, key, path, "image")) for key in ("id", "width", "height"))
    except (TypeError, ValueError) as exc:
        raise DatasetError(f"{path}: id, width or height is no number: {str(image)[:80]}") from exc
    return Sample(file, number, width, height, np.array(rows, np.float32).reshape(-1, 6))
