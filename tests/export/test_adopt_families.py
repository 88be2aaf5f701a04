"""Every family: recognised by its graph alone, and its boxes are those of its published post-processing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from export.adopt.families import NAMES
from export.adopt.family import PixelOverrides
from export.adopt.pipeline import Request, adopt
from export.errors import AdoptError
from export.labels import Labels, read_labels
from export.runtime import Detector

from . import foreign, parity

if TYPE_CHECKING:
    from pathlib import Path

BUILDERS = {
    "yolox": foreign.yolox,
    "yolox-decoded": foreign.yolox_decoded,
    "yolov5": foreign.yolov5,
    "yolov6": foreign.yolov6,
    "yolov8": foreign.yolov8,
    "end-to-end": foreign.end_to_end,
    "detr": foreign.detr,
    "detr-logits": foreign.detr_logits,
    "rf-detr": lambda path: foreign.detr_logits(path, ("labels", "dets")),
    "nanodet": foreign.nanodet,
    "nanodet-plus": foreign.nanodet_plus,
    "fastestdet": foreign.fastestdet,
    "ssd": foreign.ssd,
}
SIZES = {"ssd": (64, 64)}  # the others tell their size
THREE = Labels(("a", "b", "c"))


def test_the_tables_of_families_and_of_these_tests_agree() -> None:
    """No family goes untested."""
    assert set(BUILDERS) == set(NAMES)


@pytest.mark.parametrize("family", BUILDERS)
def test_a_family_is_recognised_and_keeps_its_boxes_alone_and_in_a_batch(tmp_path: Path, family: str) -> None:
    """Adopted rows equal the published post-processing within 1e-2 pixel and 1e-4 score at batch 1 and 4."""
    source = BUILDERS[family](tmp_path / "raw.onnx")
    target = tmp_path / "adopted.onnx"
    size = SIZES.get(family)

    done = adopt(source, target, Request(labels=THREE, size=size))

    assert (done.family, done.warnings, done.metadata.batch) == (family, (), 0)
    for batch in (1, 4):
        pixels, scores, count = parity.worst_difference(source, target, parity.noise(batch), 0.01, size=size)
        assert count >= 4 * batch
        assert pixels <= 1e-2
        assert scores <= 1e-4


@pytest.mark.material
@pytest.mark.parametrize(
    ("file", "family"),
    [
        ("nanodet_m_320.onnx", "nanodet"),
        ("fastestdet_352.onnx", "fastestdet"),
        ("deimv2_atto_320.onnx", "detr"),
    ],
)
def test_published_files_keep_their_boxes_on_photographs(
    material: Path, tmp_path: Path, file: str, family: str
) -> None:
    """Within one pixel and 0.01 score at batch 1 and 4, as the files' own post-processing."""
    source, target = material / "models" / file, tmp_path / "adopted.onnx"

    done = adopt(source, target, Request(labels=read_labels("coco")))

    assert (done.family, done.metadata.batch) == (family, 0)
    for batch in (1, 4):
        pixels, scores, count = parity.worst_difference(source, target, parity.photos(material, batch), 0.1)
        assert count >= 5 * batch
        assert pixels <= 1.0
        assert scores <= 1e-2


def test_label_names_noted_by_the_exporter_are_used_and_can_be_replaced(tmp_path: Path) -> None:
    """A YOLOv8 file's `names` need no --labels; names with quotes survive."""
    source = foreign.yolov8(tmp_path / "raw.onnx")

    noted = adopt(source, tmp_path / "a.onnx", Request())
    given = adopt(source, tmp_path / "b.onnx", Request(labels=THREE))

    assert noted.metadata.labels == ("cat", "dog's", "cow")
    assert given.metadata.labels == ("a", "b", "c")


def test_class_numbers_of_coco_with_holes_become_the_80_names(tmp_path: Path) -> None:
    """With coco91, TensorFlow's class 1 is person and rows of numbers without a name vanish."""
    target = tmp_path / "a.onnx"
    adopt(foreign.ssd(tmp_path / "raw.onnx"), target, Request(labels=read_labels("coco91"), size=(64, 64)))
    detector = Detector(target)

    rows = detector.detect(parity.noise(1), 0.01)[0]

    assert {detector.metadata.labels[int(c)] for c in rows[:, 5]} <= {"person", "bicycle", "car"}
    assert (np.diff(rows[:, 4]) <= 0).all()


@pytest.mark.parametrize("family", ["end-to-end", "detr", "ssd"])
def test_class_numbers_without_a_label_never_come_out(tmp_path: Path, family: str) -> None:
    """Where the outputs do not tell how many classes there are, too short a list of labels drops the others' rows."""
    target = tmp_path / "a.onnx"
    adopt(BUILDERS[family](tmp_path / "raw.onnx"), target, Request(labels=Labels(("a", "b")), size=SIZES.get(family)))
    detector = Detector(target)

    rows = detector.run(np.stack([detector.fit(picture)[0] for picture in parity.noise(2)]))

    assert (rows[:, :, 4] > 0).any()
    assert set(rows[:, :, 5].ravel()) <= {0.0, 1.0}
    assert (np.diff(rows[:, :, 4], axis=1) <= 0).all()


def test_a_graph_that_mixes_pictures_stays_at_batch_one_and_says_so(tmp_path: Path) -> None:
    """Where a batch would change results, the file says batch 1 and the user is warned."""
    target = tmp_path / "a.onnx"

    done = adopt(foreign.pinned(tmp_path / "raw.onnx"), target, Request(labels=THREE))

    assert done.metadata.batch == 1
    assert "one picture at a time" in done.warnings[0]
    assert [d.dim_value for d in onnx.load(str(target)).graph.input[0].type.tensor_type.shape.dim] == [1, 3, 64, 64]


@pytest.mark.parametrize("family", ["yolox", "nanodet", "yolov8"])
def test_halved_files_keep_uint8_in_and_float32_out_and_nearly_the_same_boxes(tmp_path: Path, family: str) -> None:
    """--fp16 halves the network, not the pixels."""
    source, target = BUILDERS[family](tmp_path / "raw.onnx"), tmp_path / "a.onnx"

    done = adopt(source, target, Request(labels=THREE, fp16=True))

    assert done.metadata.precision == "fp16"
    model = onnx.load(str(target))
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    pixels, scores, _ = parity.worst_difference(source, target, parity.noise(2), 0.3)
    assert pixels <= 1.0
    assert scores <= 2e-2


def test_a_file_published_in_halves_is_taken_as_it_is(tmp_path: Path) -> None:
    """A float16 picture input is fed float16; the metadata says what the arithmetic is."""
    source = foreign.halved(foreign.nanodet(tmp_path / "raw.onnx"))
    target = tmp_path / "a.onnx"

    done = adopt(source, target, Request(labels=THREE))

    assert (done.family, done.metadata.precision) == ("nanodet", "fp16")
    pixels, scores, count = parity.worst_difference(source, target, parity.noise(2), 0.3)
    assert count > 20
    assert pixels <= 1.0
    assert scores <= 1e-2


def test_overrides_reach_the_front_end(tmp_path: Path) -> None:
    """Another colour order and scale give other boxes; they are not silently ignored."""
    source = foreign.yolox(tmp_path / "raw.onnx")
    adopt(source, tmp_path / "plain.onnx", Request(labels=THREE))
    pixels = PixelOverrides(channels="rgb", std=(2.0, 2.0, 2.0))
    adopt(source, tmp_path / "other.onnx", Request(labels=THREE, pixels=pixels, fit="stretch"))
    picture = parity.noise(1)

    plain, other = (Detector(tmp_path / name) for name in ("plain.onnx", "other.onnx"))

    assert other.metadata.fit == "stretch"
    assert abs(plain.detect(picture, 0.0)[0][0] - other.detect(picture, 0.0)[0][0]).max() > 0.01


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(), "carries no label names; say them with --labels"),
        (Request(labels=Labels(("a", "b"))), "the network has 3 classes, but --labels gives 2"),
        (Request(labels=THREE, family="yolov8"), r"yolov8: output \[84, 8\], expected \[4 \+ classes"),
        (Request(labels=THREE, family="resnet"), "no family 'resnet'; known are yolox"),
        (Request(labels=THREE, size=(32, 32)), "fixed to 64x64"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_its_reason(tmp_path: Path, request_: Request, message: str) -> None:
    """The message names the file and the reason in the graph; nothing is written."""
    source = foreign.yolox(tmp_path / "raw.onnx")

    with pytest.raises(AdoptError, match=message) as caught:
        adopt(source, tmp_path / "a.onnx", request_)

    assert "raw.onnx" in str(caught.value)
    assert list(tmp_path.iterdir()) == [source]


def test_files_that_are_no_detector_are_refused_with_every_familys_reason(tmp_path: Path) -> None:
    """A classifier's face is listed against each family; text and missing files are named."""
    net = foreign.Net()
    classifier = net.save(tmp_path / "c.onnx", {net.reshape(net.conv("images", 5, 64, 1.0), 1, 5): foreign.FLOAT})
    text = tmp_path / "notes.onnx"
    text.write_text("hello")

    with pytest.raises(AdoptError, match="fit no known family") as caught:
        adopt(classifier, tmp_path / "a.onnx", Request(labels=THREE))
    assert all(f"  {name}: " in str(caught.value) for name in NAMES)
    with pytest.raises(AdoptError, match=r"notes\.onnx: not a"):
        adopt(text, tmp_path / "a.onnx", Request(labels=THREE))
    with pytest.raises(AdoptError, match=r"gone\.onnx: not found"):
        adopt(tmp_path / "gone.onnx", tmp_path / "a.onnx", Request(labels=THREE))


def test_a_contract_model_is_not_adopted_twice(tmp_path: Path) -> None:
    """The second adoption says what the file is."""
    once = tmp_path / "once.onnx"
    adopt(foreign.yolox(tmp_path / "raw.onnx"), once, Request(labels=THREE))

    with pytest.raises(AdoptError, match="of the contract already"):
        adopt(once, tmp_path / "twice.onnx", Request(labels=THREE))
