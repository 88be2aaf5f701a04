"""Reading COCO files: what is taken, what is left out, and how each fault is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from export.dataset import Dataset, join_datasets, read_coco, write_coco
from export.errors import DatasetError

from .scenes import write_scenes

IMAGE = {"id": 7, "file_name": "a.jpg", "width": 20, "height": 10}
BOX = {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4]}
CATEGORIES = [{"id": 3, "name": "person"}, {"id": 9, "name": "tree"}]


def _write(folder: Path, **changes: Any) -> Path:
    path = folder / "labels.json"
    path.write_text(json.dumps({"images": [IMAGE], "annotations": [BOX], "categories": CATEGORIES, **changes}))
    return path


def test_boxes_become_corners_with_the_labels_own_numbers(tmp_path: Path) -> None:
    """X y width height becomes corners; the class is the place in `labels`, the score 1 unless a teacher gave one."""
    taught = {**BOX, "id": 2, "score": 0.4}
    dataset = read_coco(_write(tmp_path, annotations=[BOX, taught]), tmp_path, ["car", "person"])

    np.testing.assert_allclose(dataset.samples[0].rows, [[1, 2, 4, 6, 1, 1], [1, 2, 4, 6, 0.4, 1]])
    assert dataset.counts() == {"car": 0, "person": 2}


@pytest.mark.parametrize(
    "left_out",
    [{**BOX, "category_id": 9}, {**BOX, "iscrowd": 1}, {**BOX, "bbox": [1, 2, 0, 4]}],
    ids=["another label", "crowd", "no area"],
)
def test_boxes_that_teach_nothing_are_left_out(tmp_path: Path, left_out: dict[str, Any]) -> None:
    """Unwanted labels, crowds and empty boxes do not become truth; the picture stays as a negative."""
    dataset = read_coco(_write(tmp_path, annotations=[left_out]), tmp_path, ["person"])

    assert len(dataset) == 1
    assert dataset.samples[0].rows.shape == (0, 6)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"images": []}, "no pictures"),
        ({"categories": None}, "no list `categories`"),
        ({"images": [{"id": 7}]}, "has no `file_name`"),
        ({"annotations": [{**BOX, "image_id": 8}]}, "annotation 1: field or reference 8 is missing"),
        ({"annotations": [{**BOX, "bbox": [1, 2]}]}, "annotation 1: bbox is not [x, y, width, height]"),
        ({"annotations": [{"id": 1, "image_id": 7, "category_id": 3}]}, "annotation 1: field or reference 'bbox'"),
        ({"annotations": [{**BOX, "score": None}]}, "annotation 1: bbox is not [x, y, width, height], or score"),
        ({"annotations": [{**BOX, "score": 7}]}, "a score of 0 to 1"),
        ({"annotations": [{**BOX, "bbox": [0, 0, float("nan"), 5]}]}, "finite numbers"),
        ({"annotations": [3]}, "annotation #0 is no record"),
    ],
)
def test_each_fault_is_named_with_its_record(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    """The message holds the file, the record and the field, so that it can be mended in an editor."""
    with pytest.raises(DatasetError) as caught:
        read_coco(_write(tmp_path, **changes), tmp_path)
    assert says in str(caught.value)
    assert "labels.json" in str(caught.value)


def test_missing_files_and_labels_are_named(tmp_path: Path) -> None:
    """No file, no JSON, no such label, no such picture."""
    broken = tmp_path / "broken.json"
    broken.write_text("{")

    with pytest.raises(DatasetError, match="cannot be read"):
        read_coco(tmp_path / "nothing.json", tmp_path)
    with pytest.raises(DatasetError, match="not JSON"):
        read_coco(broken, tmp_path)
    with pytest.raises(DatasetError, match="none of the labels"):
        read_coco(_write(tmp_path), tmp_path, ["ship"])
    with pytest.raises(DatasetError, match=r"a\.jpg: missing"):
        read_coco(_write(tmp_path), tmp_path).samples[0].read()


def test_what_is_written_reads_back_the_same(tmp_path: Path) -> None:
    """Boxes, scores and labels survive a round trip through the file."""
    dataset = read_coco(write_scenes(tmp_path, 3), tmp_path)

    write_coco(tmp_path / "again.json", dataset, tmp_path)
    again = read_coco(tmp_path / "again.json", tmp_path)

    assert again.labels == dataset.labels
    for first, second in zip(dataset.samples, again.samples, strict=True):
        assert first.path == second.path
        np.testing.assert_allclose(first.rows, second.rows, atol=0.01)


def test_a_split_is_the_same_for_the_same_seed_and_loses_nothing(tmp_path: Path) -> None:
    """Held-out pictures are never trained on, also after a restart."""
    dataset = read_coco(write_scenes(tmp_path, 10), tmp_path)

    kept, held = dataset.split(0.3, seed=1)
    again, _ = dataset.split(0.3, seed=1)

    assert (len(kept), len(held)) == (7, 3)
    assert [s.path for s in kept.samples] == [s.path for s in again.samples]
    assert {s.path for s in kept.samples} | {s.path for s in held.samples} == {s.path for s in dataset.samples}


def test_sets_with_different_labels_are_not_mixed(tmp_path: Path) -> None:
    """A class number would mean two things."""
    dataset = read_coco(write_scenes(tmp_path, 1), tmp_path)

    with pytest.raises(DatasetError, match="different labels"):
        join_datasets([dataset, Dataset(("dog",), dataset.samples)])


def test_a_picture_of_another_size_than_its_labels_is_refused(tmp_path: Path) -> None:
    """Boxes drawn on the large picture would lie anywhere on a resized or turned one."""
    dataset = read_coco(write_scenes(tmp_path, 1, size=96), tmp_path)
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((48, 96, 3), np.uint8))

    with pytest.raises(DatasetError, match=r"1\.png: is 96x48, its labels were drawn on 96x96"):
        dataset.samples[0].read()


def test_a_share_of_few_pictures_is_one_picture(tmp_path: Path) -> None:
    """A training always has something to be judged by, unless nothing was to be held out."""
    dataset = read_coco(write_scenes(tmp_path, 5), tmp_path)

    assert [len(part) for part in dataset.split(0.04, seed=1)] == [4, 1]
    assert [len(part) for part in dataset.split(0.0, seed=1)] == [5, 0]
