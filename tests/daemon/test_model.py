"""Models: the contract is checked, the device is the one that was asked for, answers are those of the graph."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from daemon.config.settings import Detector
from daemon.errors import DeviceError, ModelError
from daemon.inference.known_answer import KnownAnswer
from daemon.inference.model import Model, _BoundRunner, model_path

from .models import LABELS, SCORE, bright_box_model, known_answer, picture_with_box


def load(path: Path, device: str = "cpu") -> Model:
    return Model(Detector(model=str(path), device=device), path.parent)


def test_a_model_of_the_contract_says_what_it_is_and_finds_its_box(tmp_path: Path) -> None:
    """One real graph through ONNX Runtime, two pictures in one batch."""
    model = load(bright_box_model(tmp_path / "m.onnx"))
    model.warm_up((1, 2))

    output = model.run(np.stack([picture_with_box(10, 20, 30, 40), picture_with_box(1, 2, 3, 4)]))

    np.testing.assert_allclose(output[:, 0, :4], [[10, 20, 30, 40], [1, 2, 3, 4]])
    np.testing.assert_allclose(output[:, 0, 4], SCORE)
    assert model.contract.labels == LABELS
    assert (model.contract.width, model.contract.height) == (96, 64)
    assert model.contract.model_id.startswith("bright-box@")
    assert model.max_batch == 1, "on a CPU batches lose"


def test_binding_gives_the_same_rows_as_a_plain_run_for_every_batch_size(tmp_path: Path) -> None:
    """The path that a GPU takes, on the one device that is everywhere."""
    model = load(bright_box_model(tmp_path / "m.onnx"))
    bound = _BoundRunner(model._session, "cpu", 0)
    one = np.stack([picture_with_box(10, 20, 30, 40)])
    two = np.stack([picture_with_box(5, 6, 7, 8), picture_with_box(50, 20, 60, 30)])

    for images in (one, two, one[:, :, :, ::-1]):
        np.testing.assert_array_equal(bound(images), model.run(np.ascontiguousarray(images)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"contract": 2}, "contract version 2"),
        ({"labels": []}, "no labels"),
        ({"fit": "crop"}, "fit 'crop'"),
        ({"nms_iou": "many"}, "broken metadata"),
    ],
)
def test_metadata_out_of_contract_is_refused_with_the_command_that_mends_it(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    """Each is found before the first frame."""
    path = bright_box_model(tmp_path / "m.onnx", **change)

    with pytest.raises(ModelError, match=said) as caught:
        load(path)

    assert "lepton-export adopt" in str(caught.value)


def test_a_foreign_model_is_refused_for_its_input(tmp_path: Path) -> None:
    """A float input is somebody else's model."""
    path = bright_box_model(tmp_path / "m.onnx")
    foreign = onnx.load(path)
    foreign.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    onnx.save(foreign, path)

    with pytest.raises(ModelError, match="wanted images uint8"):
        load(path)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x07" * 50])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    """The runtime's own words are in the text."""
    path = tmp_path / "m.onnx"
    path.write_bytes(content)

    with pytest.raises(ModelError, match=r"m\.onnx"):
        load(path)


def test_a_missing_model_names_the_shipped_ones() -> None:
    """A mistyped name is the common case."""
    with pytest.raises(ModelError, match="no such file"):
        model_path("lepton-nan")


def test_a_named_gpu_that_is_not_there_is_fatal_and_auto_says_that_it_fell_back(tmp_path: Path) -> None:
    """Falling back in silence is the one thing that must not happen; on a machine with a GPU neither does."""
    path = bright_box_model(tmp_path / "m.onnx")
    automatic = load(path, "auto")

    assert automatic.fell_back == (automatic.provider == "CPUExecutionProvider")
    if automatic.fell_back:
        with pytest.raises(DeviceError, match="cuda:0"):
            load(path, "cuda:0")


def test_the_known_answer_is_right_for_the_right_model_and_wrong_for_another(tmp_path: Path) -> None:
    """The check that fences a worker can fail, and says at which row."""
    picture = picture_with_box(10, 20, 30, 40)
    path = bright_box_model(tmp_path / "m.onnx")
    stored = known_answer(picture, [[10, 20, 30, 40, SCORE, 0]])
    output = load(path).run(picture[None])[0]

    known = KnownAnswer.from_metadata(stored, 96, 64, path)

    assert known is not None
    np.testing.assert_array_equal(known.picture, picture)
    assert known.fault(output) == ""
    assert "no row like" in known.fault(output + 5)


@pytest.mark.parametrize("broken", [{"image": "%%%"}, {"image": "", "detections": [[1, 2]]}])
def test_a_broken_known_answer_is_a_model_error(tmp_path: Path, broken: dict[str, object]) -> None:
    """It must not pass as "nothing known"."""
    with pytest.raises(ModelError, match="known"):
        KnownAnswer.from_metadata(broken, 96, 64, tmp_path)
