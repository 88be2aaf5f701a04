"""YOLOX files become models of the contract that give what the published post-processing gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from export.adopt.pipeline import Request, adopt
from export.labels import Labels, read_labels
from export.runtime import Detector

from . import foreign, parity

if TYPE_CHECKING:
    from pathlib import Path

ABC = Request(labels=Labels(("a", "b", "c")))


@pytest.mark.parametrize("batch", [1, 4])
def test_a_yolox_like_graph_pinned_to_one_picture_gives_its_own_boxes_at_any_batch(tmp_path: Path, batch: int) -> None:
    """Fixed batch, float BGR input and raw head become the contract without changing a box or score by 1e-3."""
    source = foreign.yolox(tmp_path / "raw.onnx")
    target = tmp_path / "adopted.onnx"

    done = adopt(source, target, ABC)

    assert (done.family, done.size, done.warnings) == ("yolox", (64, 64), ())
    pixels, scores, count = parity.worst_difference(source, target, parity.noise(batch), min_score=0.01)
    assert count > 20 * batch
    assert pixels <= 1e-3
    assert scores <= 1e-3


@pytest.mark.material
@pytest.mark.parametrize("batch", [1, 4])
def test_published_yolox_nano_gives_its_own_boxes_on_photographs(material: Path, tmp_path: Path, batch: int) -> None:
    """The file that Megvii published, adopted, differs by no more than 1e-3 pixel and 1e-3 score."""
    source = material / "models" / "yolox_nano_416x416.onnx"
    target = tmp_path / "nano.onnx"

    adopt(source, target, Request(labels=read_labels("coco")))

    pixels, scores, count = parity.worst_difference(source, target, parity.photos(material, batch), min_score=0.05)
    assert count >= 10
    assert pixels <= 1e-3
    assert scores <= 1e-3


def test_weak_rows_are_zero_and_metadata_says_what_the_file_is(tmp_path: Path) -> None:
    """Unused rows are all zero; the metadata names source, its hash, labels and that NMS is the daemon's."""
    target = tmp_path / "adopted.onnx"
    adopt(foreign.yolox(tmp_path / "raw.onnx", scale=0.0), target, ABC)
    detector = Detector(target)

    rows = detector.run(np.zeros((2, 3, 64, 64), np.uint8))

    assert not rows[rows[:, :, 4] == 0].any()
    assert detector.metadata.labels == ("a", "b", "c")
    assert not detector.metadata.suppressed
    assert detector.metadata.source == "raw.onnx (yolox)"
    assert len(detector.metadata.source_sha256) == 64


def test_the_graph_holds_no_nms_no_transpose_of_the_picture_and_no_weight_inputs(tmp_path: Path) -> None:
    """NMS would break CUDA graphs and an interleaved front end would cost milliseconds on a CPU."""
    target = tmp_path / "adopted.onnx"
    adopt(foreign.yolox(tmp_path / "raw.onnx"), target, ABC)

    graph = onnx.load(str(target)).graph

    assert [value.name for value in graph.input] == ["images"]
    assert "NonMaxSuppression" not in {node.op_type for node in graph.node}
    assert [node.op_type for node in graph.node if node.name.startswith("front/")] == ["Gather", "Cast"]
