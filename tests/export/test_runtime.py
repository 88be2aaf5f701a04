"""Running a contract model: fitting pictures, suppressing duplicates, boxes back in the picture's pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.contract import INPUT, OUTPUT, Metadata, write_metadata
from export.errors import ContractError
from export.runtime import Detector, Fit, iou_matrix, letterbox, stretch, suppress


def _write_model(path: Path, batch: int = 0, dtype: int = TensorProto.UINT8) -> Path:
    """Write a model 64x48 whose one row is: the box 8 16 24 40, score = first red pixel / 255, class 0."""
    nodes = [
        helper.make_node("Slice", [INPUT, "zero", "one", "channels"], ["corner"]),
        helper.make_node("Cast", ["corner"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["float", "flat"], ["red"]),
        helper.make_node("Mul", ["red", "score_only"], ["scores"]),
        helper.make_node("Add", ["scores", "row"], [OUTPUT]),
    ]
    constants = {
        "zero": np.zeros(3, np.int64),
        "one": np.ones(3, np.int64),
        "channels": np.array([1, 2, 3]),
        "flat": np.array([-1, 1, 1]),
        "score_only": np.array([0, 0, 0, 0, 1 / 255, 0], np.float32),
        "row": np.array([8, 16, 24, 40, 0, 0], np.float32),
    }
    n = batch or "N"
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(INPUT, dtype, [n, 3, 48, 64])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [n, 1, 6])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    write_metadata(model, Metadata(name="corner", labels=("person",), suppressed=True, batch=batch))
    onnx.save(model, str(path))
    return path


def test_boxes_come_back_in_the_pixels_of_each_picture(tmp_path: Path) -> None:
    """Pictures of different sizes in one call: each has its boxes in its own pixels, scaled as it was fitted."""
    detector = Detector(_write_model(tmp_path / "m.onnx"), threads=1)
    wide = np.full((240, 640, 3), 255, np.uint8)
    same = np.full((48, 64, 3), 255, np.uint8)

    found = detector.detect([wide, same], 0.5)

    np.testing.assert_allclose(found[0][0], [80, 160, 240, 240, 1, 0], atol=1e-3)  # x10, clipped at the lower edge
    np.testing.assert_allclose(found[1][0], [8, 16, 24, 40, 1, 0], atol=1e-3)


def test_the_first_plane_is_red(tmp_path: Path) -> None:
    """OpenCV gives BGR, the contract wants RGB: a red picture scores 1, a blue one 0."""
    detector = Detector(_write_model(tmp_path / "m.onnx"), threads=1)
    red, blue = (np.zeros((48, 64, 3), np.uint8) for _ in range(2))
    red[..., 2] = 255
    blue[..., 0] = 255

    found = detector.detect([red, blue], 0.5)

    assert [len(rows) for rows in found] == [1, 0]


def test_a_model_of_batch_one_takes_any_number_of_pictures(tmp_path: Path) -> None:
    """The runtime feeds a fixed-batch graph one by one."""
    detector = Detector(_write_model(tmp_path / "m.onnx", batch=1), threads=1)

    assert detector.run(np.zeros((5, 3, 48, 64), np.uint8)).shape == (5, 1, 6)


@pytest.mark.parametrize(
    ("size", "scale", "inside"),
    [((100, 50), 0.64, (32, 64)), ((64, 48), 1.0, (48, 64)), ((10, 96), 0.5, (48, 5)), ((1, 480), 0.1, (48, 1))],
)
def test_letterbox_scales_to_fit_and_pads_right_and_below(
    size: tuple[int, int], scale: float, inside: tuple[int, int]
) -> None:
    """The picture lies top-left, everything else is grey 114, and the scale is the same both ways."""
    canvas, fit = letterbox(np.zeros((size[1], size[0], 3), np.uint8), 64, 48)

    assert (fit.scale_x, fit.scale_y) == (scale, scale)
    assert not canvas[: inside[0], : inside[1]].any()
    assert (canvas[inside[0] :] == 114).all()
    assert (canvas[:, inside[1] :] == 114).all()


def test_stretch_fills_the_input_and_maps_boxes_back() -> None:
    """Both sides have a scale of their own."""
    canvas, fit = stretch(np.zeros((100, 200, 3), np.uint8), 50, 50)
    rows = fit.to_picture(np.array([[10, 10, 25, 25, 0.9, 0]], np.float32))

    assert canvas.shape == (50, 50, 3)
    np.testing.assert_allclose(rows[0, :4], [40, 20, 100, 50])


def test_suppression_drops_only_weaker_boxes_of_the_same_class() -> None:
    """Two boxes of one class that overlap leave the better; another class and another place stay."""
    rows = np.array(
        [[0, 0, 10, 10, 0.5, 0], [1, 0, 11, 10, 0.9, 0], [0, 0, 10, 10, 0.4, 1], [50, 50, 60, 60, 0.3, 0]], np.float32
    )

    kept = suppress(rows, 0.5)

    np.testing.assert_allclose(kept[:, 4], [0.9, 0.4, 0.3])


@pytest.mark.parametrize(("b", "iou"), [([0, 0, 2, 2], 1.0), ([1, 0, 3, 2], 1 / 3), ([2, 2, 4, 4], 0.0)])
def test_iou_is_shared_area_by_joined_area(b: list[float], iou: float) -> None:
    """Equal, half shifted, touching."""
    a = np.array([[0, 0, 2, 2]], np.float32)

    assert iou_matrix(a, np.array([b], np.float32))[0, 0] == pytest.approx(iou)


def test_an_empty_picture_set_and_no_rows_are_fine(tmp_path: Path) -> None:
    """Nothing in, nothing out; suppression of nothing is nothing."""
    detector = Detector(_write_model(tmp_path / "m.onnx"), threads=1)
    none = np.zeros((0, 6), np.float32)

    assert detector.detect([], 0.5) == []
    assert suppress(none, 0.5).shape == (0, 6)
    assert Fit(1, 1, 5, 5).to_picture(none).shape == (0, 6)


def test_files_that_are_no_models_are_named(tmp_path: Path) -> None:
    """Missing, garbage and of another input type: each error says which file and what it is not."""
    garbage = tmp_path / "garbage.onnx"
    garbage.write_bytes(b"not an onnx file")

    with pytest.raises(ContractError, match="no such file"):
        Detector(tmp_path / "missing.onnx")
    with pytest.raises(ContractError, match=r"garbage\.onnx: ONNX Runtime cannot load it"):
        Detector(garbage)
    with pytest.raises(ContractError, match=r"not uint8 \[N, 3, H, W\]"):
        Detector(_write_model(tmp_path / "float.onnx", dtype=TensorProto.FLOAT))
