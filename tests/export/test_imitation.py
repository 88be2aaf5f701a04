"""A teacher beside the labels: what it sees at every place, and a pupil that learns to answer and to look like it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

from export.adopt.pipeline import Request, adopt
from export.dataset import read_coco
from export.errors import LabError
from export.labels import Labels, read_labels
from export.nets.nano import Nano, NanoConfig
from export.runtime import Detector
from export.training.augment import AugmentConfig
from export.training.imitation import Imitation, answer_loss
from export.training.loader import Augmented
from export.training.teacher import Seen, Teacher, TeacherSpec
from export.training.train import TrainConfig, Trainer

from . import foreign
from .scenes import write_scenes

torch.set_num_threads(1)  # tests share the machine

TINY = NanoConfig(classes=2, stem=8, stages=(16, 16, 32, 32), depths=(0, 0, 0, 0), neck=16, head=16)


def _teacher(folder: Path, labels: tuple[str, ...] = ("c", "a"), maps: tuple[str, ...] | None = None) -> TeacherSpec:
    """Adopt a tiny YOLOX of the classes a, b, c; its maps are its three convolutions."""
    path = folder / "teacher.onnx"
    adopt(foreign.yolox(folder / "raw.onnx"), path, Request(labels=Labels(("a", "b", "c"))))
    convolutions = [node.output[0] for node in onnx.load(str(path)).graph.node if node.op_type == "Conv"]
    return TeacherSpec(path=path, labels=labels, maps=tuple(convolutions) if maps is None else maps)


def _pictures(size: int = 64) -> torch.Tensor:
    small = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 255
    return torch.nn.functional.interpolate(small, (size, size)).to(torch.uint8)


def test_the_places_of_a_teacher_hold_the_rows_of_its_file(tmp_path: Path) -> None:
    """At the file's own size, each row that the daemon would get is the box and score of one place."""
    spec = _teacher(tmp_path, labels=("a", "b", "c"))

    seen = Teacher(spec).look(_pictures())

    rows = torch.from_numpy(Detector(spec.path, threads=1).run(_pictures().numpy()))
    best, label = seen.scores.max(2)
    order = best.argsort(1, descending=True)[:, :20]
    torch.testing.assert_close(rows[:, :20, 4], best.gather(1, order))
    torch.testing.assert_close(rows[:, :20, 5].long(), label.gather(1, order))
    torch.testing.assert_close(rows[:, :20, :4], seen.boxes.gather(1, order[..., None].expand(-1, -1, 4)))


def test_a_teacher_sees_other_sizes_than_its_file_is_pinned_to_and_speaks_of_shared_labels_only(tmp_path: Path) -> None:
    """Places follow the picture; scores come in columns that name the pupil's classes."""
    teacher = Teacher(_teacher(tmp_path, labels=("c", "zebra", "a")))

    seen = teacher.look(_pictures(96))

    assert seen.scores.shape == (4, 144 + 36 + 9, 2)
    assert seen.boxes.shape == (4, 189, 4)
    assert seen.classes.tolist() == [2, 0]  # the teacher's a and c are the pupil's third and first
    assert [tuple(m.shape) for m in seen.maps] == [(4, 8, 12, 12), (4, 8, 6, 6), (4, 8, 3, 3)]


@pytest.mark.material
def test_a_published_yolox_teaches_at_any_size(material: Path, tmp_path: Path) -> None:
    """Megvii's file, pinned to 416 x 416, sees the bus and its people on a picture of 320 x 256 as well."""
    adopt(material / "models/yolox_nano_416x416.onnx", tmp_path / "t.onnx", Request(labels=read_labels("coco")))
    picture = cv2.resize(cv2.imread(str(material / "models/bus.jpg")), (320, 256))
    planes = torch.from_numpy(np.ascontiguousarray(picture[:, :, ::-1].transpose(2, 0, 1)))[None]

    seen = Teacher(TeacherSpec(path=tmp_path / "t.onnx", labels=("person", "bus"))).look(planes)

    assert seen.classes.tolist() == [0, 1]
    assert (seen.scores[0].amax(0) > 0.5).all()


def test_a_pupil_learns_its_teachers_answer_and_look(tmp_path: Path) -> None:
    """Sixty steps without any label bring scores, boxes and feature maps nearer to the teacher's."""
    torch.manual_seed(0)
    teacher = Teacher(_teacher(tmp_path))
    model, imitation = Nano(TINY), Imitation(TINY.neck, teacher.widths)
    optimizer = torch.optim.Adam([*model.parameters(), *imitation.parameters()], lr=5e-3)
    seen, history = teacher.look(_pictures()), []
    for _ in range(60):
        loss, parts = imitation(*model.with_maps(_pictures().float()), seen)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(parts)

    first, last = history[0], history[-1]
    assert last["answer"] < 0.7 * first["answer"]
    assert last["unlike"] < 0.6 * first["unlike"]


def test_the_teachers_own_answer_has_the_least_loss() -> None:
    """Being surer, less sure or elsewhere than the teacher costs more than saying what it said."""
    scores = torch.tensor([[[0.9], [0.2]]])
    boxes = torch.tensor([[[0.0, 0, 20, 40], [5, 5, 30, 30]]])
    seen = Seen(torch.tensor([0]), scores, boxes, [])

    same = float(answer_loss(scores.logit(), boxes, seen))

    for change in (-1.0, 1.0):
        assert float(answer_loss(scores.logit() + change, boxes, seen)) > same
        assert float(answer_loss(scores.logit(), boxes + 5 * change, seen)) > same


def test_training_with_a_teacher_goes_on_after_a_stop(tmp_path: Path) -> None:
    """The adapters of the feature maps are part of the checkpoint; workers open the teacher for themselves."""
    spec = _teacher(tmp_path)
    quiet = AugmentConfig(mosaic=0.0)
    dataset = read_coco(write_scenes(tmp_path / "data", 8), tmp_path / "data")
    train = Augmented(dataset, quiet, seed=1)
    config = {"batch": 4, "sizes": (96,), "early_sizes": (96,), "workers": 1, "threads": 1, "augment": quiet}

    first = Trainer(tmp_path / "run", TINY, TrainConfig(epochs=1, **config), teacher=spec)
    first.fit(train, [1] * 8, dataset)
    again = Trainer(tmp_path / "run", TINY, TrainConfig(epochs=2, **config), teacher=spec)
    learnt = {key: value.clone() for key, value in again.imitation.state_dict().items()}
    again.fit(train, [1] * 8, dataset)

    assert again.epoch == 2
    assert learnt.keys() == first.imitation.state_dict().keys() == again.imitation.state_dict().keys()
    assert all(torch.equal(learnt[key], value) for key, value in first.imitation.state_dict().items())
    assert not torch.equal(learnt["adapters.0.weight"], again.imitation.state_dict()["adapters.0.weight"])
    assert "unlike" in (tmp_path / "run/log.csv").read_text().splitlines()[0]


def test_labels_without_weight_teach_nothing_beside_a_teacher(tmp_path: Path) -> None:
    """With weight 0 two sets of labels give the same weights; with weight 1 they do not."""
    spec, quiet = _teacher(tmp_path), AugmentConfig(mosaic=0.0)
    dataset = read_coco(write_scenes(tmp_path / "data", 4), tmp_path / "data")
    config = {"epochs": 1, "batch": 4, "sizes": (64,), "early_sizes": (64,), "workers": 0, "threads": 1}

    def learnt(name: str, weight: float, *, labelled: bool) -> torch.Tensor:
        train = Augmented(dataset, quiet, seed=1)
        train.rows = [rows if labelled else rows[:0] for rows in train.rows]
        settings = TrainConfig(**config, augment=quiet, label_weight=weight)
        trainer = Trainer(tmp_path / name, TINY, settings, teacher=spec)
        trainer.fit(train, [1] * 4, dataset)
        return trainer.model.head.classes.weight.detach()

    assert torch.equal(learnt("a", 0.0, labelled=True), learnt("b", 0.0, labelled=False))
    assert not torch.equal(learnt("c", 1.0, labelled=True), learnt("d", 1.0, labelled=False))


@pytest.mark.parametrize(
    ("labels", "maps", "says"),
    [
        (("a",), ("net/none",), "no tensors"),
        (("zebra",), (), "none of the labels"),
    ],
)
def test_a_teacher_that_cannot_teach_this_is_refused(
    tmp_path: Path, labels: tuple[str, ...], maps: tuple[str, ...], says: str
) -> None:
    """A misspelt tensor and labels that the teacher does not know are said before anything is trained."""
    with pytest.raises(LabError, match=says):
        Teacher(_teacher(tmp_path, labels, maps))


def test_maps_in_another_order_are_named(tmp_path: Path) -> None:
    """Coarse before fine would compare places that are not the same."""
    spec = _teacher(tmp_path)

    with pytest.raises(LabError, match="is no map of stride 8"):
        Teacher(TeacherSpec(path=spec.path, labels=spec.labels, maps=spec.maps[::-1]))


def test_a_file_that_is_no_onnx_cannot_teach(tmp_path: Path) -> None:
    """One line with the file's name, not the parser's traceback."""
    (tmp_path / "t.onnx").write_bytes(b"no model")

    with pytest.raises(LabError, match=r"t\.onnx: cannot be read as ONNX"):
        Teacher(TeacherSpec(path=tmp_path / "t.onnx", labels=("a",)))


def test_a_model_of_another_layout_cannot_teach_place_by_place(tmp_path: Path) -> None:
    """Only YOLOX has the pupil's places; the message says what to adopt instead."""
    adopt(foreign.yolov8(tmp_path / "raw.onnx"), tmp_path / "v8.onnx", Request(labels=Labels(("a", "b", "c"))))

    with pytest.raises(LabError, match="adopt a YOLOX"):
        Teacher(TeacherSpec(path=tmp_path / "v8.onnx", labels=("a",)))
