"""Distillation: how a teacher looks at pictures and how its boxes join those of people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from export.cli import main
from export.dataset import read_coco
from export.errors import DatasetError, LabError
from export.training.distill import ALL_VIEWS, ONE_VIEW, join, read_folder, shared_classes, take_frames, teach

from . import contract_models

NONE = np.zeros((0, 6), np.float32)


def _rows(*rows: list[float]) -> NDArray[np.float32]:
    return np.array(rows, np.float32).reshape(-1, 6)


class WhiteFinder:
    """A teacher that sees the white rectangle of a picture, if it is at least `least_px` of the picture's width."""

    def __init__(self, least: float) -> None:
        self.least = least

    def detect(self, pictures: Sequence[NDArray[np.uint8]], min_score: float) -> list[NDArray[np.float32]]:
        assert min_score <= 0.8
        found = []
        for picture in pictures:
            y, x = np.nonzero(picture[..., 0] == 255)
            seen = len(x) > 0 and (x.max() - x.min()) / picture.shape[1] >= self.least
            found.append(_rows([x.min(), y.min(), x.max() + 1, y.max() + 1, 0.8, 7]) if seen else NONE.copy())
        return found


def _picture(x: int, y: int, side: int) -> NDArray[np.uint8]:
    picture = np.zeros((100, 100, 3), np.uint8)
    picture[y : y + side, x : x + side] = 255
    return picture


def test_all_views_agree_on_one_box() -> None:
    """Whole, mirrored and tiles see the same target: taught once, in its pixels, as the pupil's class."""
    rows = teach(WhiteFinder(0.05), _picture(10, 20, 12), {7: 2}, 0.3, ALL_VIEWS)

    np.testing.assert_allclose(rows, [[10, 20, 22, 32, 0.8, 2]], atol=1e-4)


def test_tiles_find_what_is_too_small_for_one_look() -> None:
    """A target of 8 % of the width is below what this teacher sees at once, and above it in a tile of 60 %."""
    teacher, picture = WhiteFinder(0.1), _picture(70, 80, 8)

    assert len(teach(teacher, picture, {7: 0}, 0.3, ONE_VIEW)) == 0
    np.testing.assert_allclose(teach(teacher, picture, {7: 0}, 0.3, ALL_VIEWS)[0, :4], [70, 80, 78, 88], atol=1e-4)


def test_a_target_that_a_tile_cuts_is_taught_whole() -> None:
    """Half an object at a tile's inner edge is dropped; the whole look has it entire."""
    rows = teach(WhiteFinder(0.05), _picture(35, 35, 30), {7: 0}, 0.3, ALL_VIEWS)

    np.testing.assert_allclose(rows[:, :4], [[35, 35, 65, 65]], atol=1e-4)


@pytest.mark.parametrize(
    ("drawn", "taught", "kept"),
    [
        ([[0, 0, 10, 10, 1, 0]], [[1, 0, 11, 10, 0.9, 0]], [[0, 0, 10, 10, 1, 0]]),
        ([[0, 0, 10, 10, 1, 0]], [[1, 0, 11, 10, 0.9, 1]], [[0, 0, 10, 10, 1, 0], [1, 0, 11, 10, 0.9, 1]]),
        ([[0, 0, 10, 10, 1, 0]], [[50, 0, 60, 10, 0.4, 0]], [[0, 0, 10, 10, 1, 0], [50, 0, 60, 10, 0.4, 0]]),
        (
            [[0, 0, 40, 20, 1, 0]],
            [[0, 0, 10, 20, 0.9, 0], [20, 0, 30, 20, 0.8, 0]],
            [[0, 0, 10, 20, 0.9, 0], [20, 0, 30, 20, 0.8, 0]],
        ),
        ([], [[0, 0, 10, 10, 0.5, 0]], [[0, 0, 10, 10, 0.5, 0]]),
        ([[0, 0, 10, 10, 1, 0]], [], [[0, 0, 10, 10, 1, 0]]),
    ],
    ids=["the same object", "another label", "a new one", "a group's box", "nothing drawn", "nothing taught"],
)
def test_peoples_boxes_win_and_groups_give_way(
    drawn: list[list[float]], taught: list[list[float]], kept: list[list[float]]
) -> None:
    """A table of what stays when both have boxes."""
    np.testing.assert_allclose(join(_rows(*drawn), _rows(*taught)), _rows(*kept))


def test_classes_are_joined_by_name() -> None:
    """The teacher's number to the pupil's; a teacher that knows none of the labels is refused."""
    assert shared_classes(("dog", "person", "kite"), ("person", "dog")) == {0: 1, 1: 0}
    with pytest.raises(LabError, match="none of the labels"):
        shared_classes(("kite",), ("person",))


def _write_clip(path: Path, frames: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=5)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "bgr0"
        for _ in range(frames):
            picture = np.zeros((32, 32, 3), np.uint8)
            picture[:8, :8] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode())


def test_every_nth_frame_is_taken(tmp_path: Path) -> None:
    """Frames 1, 4 and 7 of seven."""
    _write_clip(tmp_path / "clip.mkv", 7)

    dataset = take_frames(tmp_path / "clip.mkv", 3, tmp_path / "frames", ("person",))

    assert [sample.path.name for sample in dataset.samples] == [f"clip_{n:06d}.jpg" for n in (1, 4, 7)]


def test_the_command_labels_a_video_with_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A recording becomes a COCO set whose boxes carry the teacher's scores, ready for `train`."""
    teacher = contract_models.build(tmp_path / "teacher.onnx")
    labels = ",".join(_labels(teacher))
    _write_clip(tmp_path / "gate.mkv", 4)
    out = tmp_path / "gate.json"

    source = ["--video", str(tmp_path / "gate.mkv"), "--every", "2", "--quick"]

    code = main(["distill", str(teacher), *source, "--out", str(out), "--labels", labels])

    dataset = read_coco(out, tmp_path / "gate")
    assert code == 0
    assert len(dataset) == 2
    assert all(len(sample.rows) and (sample.rows[:, 4] < 1).all() for sample in dataset.samples)
    assert all(cv2.imread(str(sample.path)) is not None for sample in dataset.samples)
    assert "2 pictures" in capsys.readouterr().out


def _labels(model: Path) -> tuple[str, ...]:
    from export.runtime import Detector

    return Detector(model, threads=1).metadata.labels


def test_a_drawn_box_that_the_teacher_found_as_well_is_no_group() -> None:
    """Its own twin does not count: a person behind another stays a person's box, and two others make a group."""
    drawn = _rows([0, 0, 100, 200, 1, 0])
    twin, small, other = [2, 2, 98, 198, 0.9, 0], [10, 10, 40, 80, 0.6, 0], [50, 20, 80, 90, 0.6, 0]

    np.testing.assert_array_equal(join(drawn, _rows(twin, small)), np.concatenate([drawn, _rows(small)]))
    np.testing.assert_array_equal(join(drawn, _rows(small, other)), _rows(small, other))


def test_places_that_cannot_be_written_are_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name without .json would be the folder of the frames; pictures outside the folder have no name in it."""
    teacher = contract_models.build(tmp_path / "t.onnx")
    picture = tmp_path / "a.png"
    cv2.imwrite(str(picture), np.zeros((32, 32, 3), np.uint8))
    images = [{"id": 1, "file_name": str(picture), "width": 32, "height": 32}]
    document = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "person"}]}
    (tmp_path / "in.json").write_text(json.dumps(document))
    (tmp_path / "pictures").mkdir()
    base = ["distill", str(teacher), "--data", str(tmp_path / "in.json"), str(tmp_path / "pictures"), "--out"]

    assert main([*base, str(tmp_path / "gate")]) == 1
    assert "name it" in capsys.readouterr().err
    assert main([*base, str(tmp_path / "gate.json")]) == 1
    assert "lies outside" in capsys.readouterr().err


def test_a_broken_picture_is_named_and_a_failed_video_leaves_nothing(tmp_path: Path) -> None:
    """No picture is left out in silence; frames without their labels are not left behind."""
    folder = tmp_path / "pictures" / "deep"
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "a.webp"), np.zeros((32, 32, 3), np.uint8))
    assert len(read_folder(tmp_path / "pictures", ("person",))) == 1
    (folder / "b.png").write_bytes(b"no picture")

    with pytest.raises(DatasetError, match=r"b\.png: not a picture"):
        read_folder(tmp_path / "pictures", ("person",))
    with pytest.raises(DatasetError, match="not a video"):
        take_frames(folder / "b.png", 1, tmp_path / "frames", ("person",))
    assert not (tmp_path / "frames").exists()
