"""Evaluation: COCO's numbers on truths that are known, MOT files, the command with its pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from export.cli import main
from export.errors import DatasetError
from export.evaluation.evaluate import Evaluation, evaluate_mot, to_metrics
from export.evaluation.mot import read_frames, read_mot
from export.evaluation.plots import worst_pictures
from export.evaluation.score import best_threshold, score_detections
from export.runtime import Detector

from . import contract_models

TRUTH: dict[str, Any] = {
    "images": [{"id": 1}, {"id": 2}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 5, "bbox": [10, 10, 20, 40]},
        {"id": 2, "image_id": 1, "category_id": 5, "bbox": [60, 10, 20, 40]},
        {"id": 3, "image_id": 2, "category_id": 8, "bbox": [0, 0, 100, 100]},
    ],
    "categories": [{"id": 5, "name": "person"}, {"id": 8, "name": "car"}],
}
PERSON, OTHER, CAR = [10, 10, 30, 50], [60, 10, 80, 50], [0, 0, 100, 100]
LABELS = ("car", "person")  # another order than the truth's


def _rows(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 6)


def test_perfect_detections_score_one_in_everything() -> None:
    """Labels are joined by name, whatever their numbers in model and truth are."""
    scores = score_detections(TRUTH, {1: _rows([*PERSON, 0.9, 1], [*OTHER, 0.8, 1]), 2: _rows([*CAR, 0.7, 0])}, LABELS)

    assert (scores.ap, scores.ap50, scores.ap75) == pytest.approx((1, 1, 1))
    assert {c.label: (c.boxes, c.recall50) for c in scores.classes} == {"car": (1, 1.0), "person": (2, 1.0)}


@pytest.mark.parametrize(
    ("found", "ap50"),
    [
        ([], 0.0),
        ([[*PERSON, 0.9, 1]], 0.5),
        ([[*PERSON, 0.9, 1], [200, 200, 220, 240, 0.8, 1], [*OTHER, 0.7, 1]], 0.835),
        ([[*PERSON, 0.9, 0], [*OTHER, 0.9, 0]], 0.0),
    ],
    ids=["nothing", "one of two", "a false one between", "of the wrong label"],
)
def test_misses_false_boxes_and_wrong_labels_cost_what_coco_says(found: list[list[float]], ap50: float) -> None:
    """A table for the label person, 101-point interpolated."""
    scores = score_detections(TRUTH, {1: _rows(*found), 2: _rows()}, LABELS)

    assert {c.label: c.ap50 for c in scores.classes}["person"] == pytest.approx(ap50, abs=0.01)


def test_the_best_threshold_is_the_score_where_f1_peaks() -> None:
    """Two right boxes at .9 and .6, a false one at .3: the threshold keeps the right ones and drops the false one."""
    found = {1: _rows([*PERSON, 0.9, 1], [*OTHER, 0.6, 1], [200, 200, 220, 240, 0.3, 1]), 2: _rows()}
    scores = score_detections(TRUTH, found, LABELS)

    threshold, f1 = best_threshold(scores, [c.label for c in scores.classes].index("person"))

    assert threshold == pytest.approx(0.6)
    assert f1 == pytest.approx(1.0)


def test_the_worst_picture_is_the_one_with_most_misses() -> None:
    """Picture 1 misses two boxes, picture 2 none: only the first is shown."""
    found = {1: _rows(), 2: _rows([*CAR, 0.9, 0])}
    evaluation = Evaluation("t", LABELS, TRUTH, found, score_detections(TRUTH, found, LABELS))

    assert worst_pictures(evaluation, 0.5) == [1]


def test_mot_boxes_with_confidence_nought_count_neither_way(tmp_path: Path) -> None:
    """They become crowd boxes, which COCO's evaluation ignores; frames without boxes are still frames."""
    path = tmp_path / "gt.txt"
    path.write_text("1,1,10,20,30,40,1,0,0,0\n3,1,10,20,30,40,0,-1,-1,-1\n")

    truth = read_mot(path)

    assert [image["id"] for image in truth["images"]] == [1, 2, 3]
    assert [(a["image_id"], a["iscrowd"]) for a in truth["annotations"]] == [(1, 0), (3, 1)]
    assert truth["annotations"][0]["bbox"] == [10, 20, 30, 40]


def test_a_broken_mot_line_is_named(tmp_path: Path) -> None:
    """The message holds the file and the line's number."""
    path = tmp_path / "gt.txt"
    path.write_text("1,1,10,20,30,40,1\n2,1,ten,20\n")

    with pytest.raises(DatasetError, match=r"gt\.txt:2: not `frame"):
        read_mot(path)


SIZE = contract_models.SIZE


def _bright_corner(bright: bool) -> np.ndarray:
    picture = np.zeros((SIZE, SIZE, 3), np.uint8)
    if bright:
        picture[:8, :8] = 255
    return picture


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return contract_models.build(tmp_path / "corner.onnx")


def _labelled(folder: Path, model: Path) -> Path:
    """Write two pictures whose truth is what the model sees on the bright one."""
    detector = Detector(model, threads=1)
    rows = detector.detect([np.asarray(_bright_corner(bright=True), np.uint8)], 0.1)[0]
    images, annotations = [], []
    for number, bright in ((1, True), (2, False)):
        cv2.imwrite(str(folder / f"{number}.png"), _bright_corner(bright=bright))
        images.append({"id": number, "file_name": f"{number}.png", "width": SIZE, "height": SIZE})
    for number, (x1, y1, x2, y2, _, label) in enumerate(rows.astype(float).tolist(), 1):
        box = [x1, y1, x2 - x1, y2 - y1]
        annotations.append({"id": number, "image_id": 1, "category_id": int(label), "bbox": box})
    categories = [{"id": n, "name": name} for n, name in enumerate(detector.metadata.labels)]
    path = folder / "labels.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def test_the_command_measures_stores_and_draws(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The numbers are printed and kept in the model file; curves and misses are pictures that can be read."""
    labels = _labelled(tmp_path, model)
    out = tmp_path / "report"

    code = main(
        ["evaluate", str(model), "--data", str(labels), str(tmp_path), "--out", str(out), "--store", "--threads", "1"]
    )

    metadata = Detector(model, threads=1).metadata
    assert code == 0
    assert "AP50 1.000" in capsys.readouterr().out
    assert metadata.metrics["map50"] == pytest.approx(1.0)
    assert json.loads((out / "metrics.json").read_text()) == metadata.metrics
    assert metadata.score_threshold == pytest.approx(metadata.metrics["threshold"])
    for name in ("curves.png", "misses.png"):
        assert cv2.imread(str(out / name)) is not None


def test_a_video_with_ground_truth_is_measured_frame_by_frame(tmp_path: Path, model: Path) -> None:
    """Three frames, two with the target: frames are matched with the truth from number 1."""
    video = tmp_path / "clip.mkv"
    with av.open(str(video), "w") as container:
        stream = container.add_stream("ffv1", rate=5)
        stream.width, stream.height, stream.pix_fmt = SIZE, SIZE, "bgr0"
        for bright in (True, False, True):
            frame = av.VideoFrame.from_ndarray(_bright_corner(bright=bright), format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    detector = Detector(model, threads=1)
    best = detector.detect([np.asarray(_bright_corner(bright=True), np.uint8)], 0.1)[0][0]
    label = detector.metadata.labels[int(best[5])]
    x1, y1, x2, y2 = best[:4].tolist()
    truth = tmp_path / "gt.txt"
    truth.write_text("".join(f"{n},1,{x1},{y1},{x2 - x1},{y2 - y1},1\n" for n in (1, 3)))
    if label != "person":
        pytest.skip("the test model's first label is not person")

    evaluation = evaluate_mot(detector, truth, video)

    assert sorted(evaluation.found) == [1, 2, 3]
    assert evaluation.scores.classes[0].recall50 == pytest.approx(1.0)


def test_a_truth_without_a_label_of_the_model_is_refused(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Zero AP would be misread as a bad model."""
    labels = tmp_path / "labels.json"
    image = {"id": 1, "file_name": "a.png", "width": 1, "height": 1}
    labels.write_text(json.dumps({"images": [image], "annotations": [], "categories": [{"id": 1, "name": "ship"}]}))

    code = main(["evaluate", str(model), "--data", str(labels), str(tmp_path)])

    assert code == 1
    assert "no label in common" in capsys.readouterr().err


def test_a_threshold_is_read_off_a_label_that_has_boxes_and_off_right_ones_only() -> None:
    """`person` is preferred where there are persons; where nothing was found right, there is no best score."""
    cars = {**TRUTH, "annotations": TRUTH["annotations"][2:]}

    def metrics(found: dict[int, np.ndarray]) -> dict[str, Any]:
        return to_metrics(Evaluation("t", LABELS, cars, found, score_detections(cars, found, LABELS)))

    right, wrong = metrics({2: _rows([*CAR, 0.7, 0])}), metrics({2: _rows([1, 1, 9, 9, 0.9, 0])})

    assert (right["threshold"], right["threshold_label"]) == (pytest.approx(0.7), "car")
    assert "threshold" not in wrong


def test_a_file_without_video_is_named(tmp_path: Path) -> None:
    """Sound alone is no video."""
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux([*stream.encode(frame), *stream.encode(None)])

    with pytest.raises(DatasetError, match=r"sound\.mp4: holds no video"):
        list(read_frames(path))


def test_nothing_to_measure_by_is_an_error_and_stores_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A truth without boxes, or a video shorter than its truth, measures nothing: no number, no threshold."""
    model = contract_models.build(tmp_path / "m.onnx")
    before = model.read_bytes()
    cv2.imwrite(str(tmp_path / "a.png"), _bright_corner(bright=True))
    image = {"id": 1, "file_name": "a.png", "width": SIZE, "height": SIZE}
    document = {"images": [image], "annotations": [], "categories": [{"id": 1, "name": "person"}]}
    (tmp_path / "none.json").write_text(json.dumps(document))

    code = main(["evaluate", str(model), "--data", str(tmp_path / "none.json"), str(tmp_path), "--store"])

    assert code == 1
    assert "nothing to measure" in capsys.readouterr().err
    assert model.read_bytes() == before
