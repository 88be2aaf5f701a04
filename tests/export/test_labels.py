"""Label sets are read as given, and refused with a remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from export.errors import LabError
from export.labels import COCO, noted_labels, read_labels

if TYPE_CHECKING:
    from pathlib import Path


def test_coco_has_eighty_names() -> None:
    """The set everybody calls COCO."""
    assert read_labels("coco").names == COCO
    assert len(COCO) == 80


@pytest.mark.material
def test_coco_equals_the_list_beside_the_published_models(material: Path) -> None:
    """Name by name."""
    assert tuple((material / "models" / "coco80.txt").read_text().split("\n")[:80]) == COCO


@pytest.mark.parametrize(
    ("number", "name"),
    [(0, None), (1, "person"), (3, "car"), (11, "fire hydrant"), (12, None), (13, "stop sign"), (90, "toothbrush")],
)
def test_coco91_maps_cocos_category_numbers(number: int, name: str | None) -> None:
    """Numbers with holes become places in the list of 80."""
    labels = read_labels("coco91")
    assert labels.class_map is not None

    place = labels.class_map[number]

    assert (None if place < 0 else labels.names[place]) == name


def test_names_come_from_a_file_or_a_comma_list(tmp_path: Path) -> None:
    """Empty lines and blanks around names are not names."""
    file = tmp_path / "mine.txt"
    file.write_text("cat\n\n dog \n")

    assert read_labels(str(file)).names == ("cat", "dog")
    assert read_labels("cat, dog").names == ("cat", "dog")


@pytest.mark.parametrize(
    ("text", "message"),
    [("gone.txt", "no such file"), ("a,,b", "an empty name"), ("a,b,a", "repeated names: a")],
)
def test_bad_lists_are_refused(text: str, message: str) -> None:
    """The message repeats what was given."""
    with pytest.raises(LabError, match=message) as caught:
        read_labels(text)

    assert text in str(caught.value)


def test_noted_names_must_be_complete() -> None:
    """A list with a hole is no list."""
    assert noted_labels({"names": "{0: 'a', 1: 'b'}"}) is not None
    assert noted_labels({"names": "{0: 'a', 2: 'b'}"}) is None
    assert noted_labels({}) is None
