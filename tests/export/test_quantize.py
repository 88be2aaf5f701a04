"""INT8 files keep their boxes, their edges stay float, and too great a loss is refused."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import av
import numpy as np
import onnx
import pytest

from export.adopt.pipeline import Request, adopt
from export.agreement import agreement, difference
from export.cli import main
from export.compression.int8 import Settings, quantize
from export.compression.layers import float_nodes
from export.compression.ranges import BINS, Histogram, best_range
from export.errors import DatasetError, LabError, QualityError
from export.files import model_file
from export.frames import SHORT_FRAMES, sample_pictures
from export.labels import Labels
from export.runtime import Detector

from . import contract_models, foreign, parity

if TYPE_CHECKING:
    from pathlib import Path

ALL_LAYERS = Settings(keep_first=0, max_drop=1.0, turn_s=0.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Adopt a small network whose three convolutions can be quantised."""
    folder = tmp_path_factory.mktemp("float")
    target = folder / "m.onnx"
    adopt(foreign.yolox(folder / "raw.onnx"), target, Request(labels=Labels(("a", "b", "c")), score_threshold=0.3))
    return target


def test_an_int8_file_keeps_its_detections_and_what_it_cost(tmp_path: Path) -> None:
    """Weights become 8-bit, agreement is measured on pictures that did not calibrate, and kept in the file."""
    model, target = contract_models.build(tmp_path / "m.onnx"), tmp_path / "q.onnx"
    pictures = [contract_models.bright_corner(size) for size in (64, 80, 96)] + parity.noise(5)

    toll = quantize(model, target, pictures, Settings(keep_first=0, turn_s=0.0))

    assert toll.measure == "agreement"
    assert toll.after.quality == 1.0
    said = Detector(target).metadata
    assert said.precision == "int8"
    assert said.source.startswith("m.onnx quantised")
    assert said.calibration["pictures"] == 4
    assert said.calibration["after"]["quality"] == pytest.approx(toll.after.quality, abs=1e-4)
    kernels = [t for t in onnx.load(str(target)).graph.initializer if t.data_type == onnx.TensorProto.INT8]
    assert kernels


def test_front_and_tail_stay_in_float(model: Path, tmp_path: Path) -> None:
    """No Q/DQ node feeds box decoding; keeping all convolutions would be no compression, and is refused."""
    quantize(model, tmp_path / "q.onnx", parity.noise(4), ALL_LAYERS)
    with pytest.raises(LabError, match="nothing would become 8-bit"):
        quantize(model, tmp_path / "kept.onnx", parity.noise(4), Settings(keep_first=3, max_drop=1.0, turn_s=0.0))

    graph = onnx.load(str(tmp_path / "q.onnx")).graph

    made_by = {name: node.op_type for node in graph.node for name in node.output}
    tail = [node for node in graph.node if node.name.startswith("tail/")]
    assert tail
    assert not [name for node in tail for name in node.input if made_by.get(name) == "DequantizeLinear"]
    assert "QuantizeLinear" in made_by.values()
    assert not (tmp_path / "kept.onnx").exists()


@pytest.mark.parametrize("kept", [4, 20, 45])
def test_what_only_float_layers_feed_stays_in_float(kept: int) -> None:
    """Additions and upsampling between layers that stay are not rounded: keeping more never costs more."""
    graph = onnx.load(str(model_file("lepton-nano"))).graph
    floats = set(float_nodes(graph, kept))
    heavy = [node.name for node in graph.node if node.op_type == "Conv"]
    made_by = {name: node for node in graph.node for name in node.output}

    assert set(heavy[:kept]) <= floats
    assert not set(heavy[kept:]) & floats
    for node in graph.node:
        before = {made_by[name].name for name in node.input if name in made_by}
        if before and before <= floats and node.name not in heavy[kept:]:
            assert node.name in floats, node.name


def test_pictures_that_show_nothing_cannot_judge(model: Path, tmp_path: Path) -> None:
    """Two models that both see nothing would agree perfectly: refused, nothing written."""
    black = [np.zeros((64, 64, 3), np.uint8)] * 4
    blind = contract_models.build(tmp_path / "m.onnx")

    with pytest.raises(QualityError, match="give pictures that show something"):
        quantize(blind, tmp_path / "q.onnx", black, Settings(keep_first=0, turn_s=0.0))
    assert not (tmp_path / "q.onnx").exists()


def test_a_loss_above_the_limit_writes_nothing_and_says_what_to_do(model: Path, tmp_path: Path) -> None:
    """The refusal names the loss, the limit and the remedies."""
    with pytest.raises(
        QualityError, match=r"lost .* more than --max-drop -1; nothing was written\. Give more pictures"
    ):
        quantize(model, tmp_path / "q.onnx", parity.noise(4), Settings(keep_first=0, max_drop=-1.0, turn_s=0.0))

    assert list(tmp_path.iterdir()) == []


def test_an_int8_file_is_not_quantised_again(tmp_path: Path) -> None:
    """The error points to the float file."""
    path = contract_models.build(tmp_path / "m.onnx", precision="int8")

    with pytest.raises(LabError, match="is int8 already"):
        quantize(path, tmp_path / "q.onnx", parity.noise(4), ALL_LAYERS)


def test_the_command_calibrates_on_a_recording(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A video in a folder is enough; the table is printed."""
    _record(tmp_path / "recordings" / "cam.mp4", parity.noise(12, (96, 128)))
    command = ["quantize", str(model), "--calibrate", str(tmp_path / "recordings"), "--out", str(tmp_path / "q.onnx")]

    assert main([*command, "--count", "6", "--keep-first", "0", "--max-drop", "1"]) == 0

    assert "agreement" in capsys.readouterr().out
    assert Detector(tmp_path / "q.onnx").metadata.calibration["pictures"] == 3


def test_calibration_needs_pictures(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty folder is named, with what would be read."""
    assert main(["quantize", str(model), "--calibrate", str(tmp_path)]) == 1
    assert "no pictures or videos found (.avi" in capsys.readouterr().err
    with pytest.raises(DatasetError, match="no such file or folder"):
        sample_pictures([tmp_path / "gone"], 4)


def test_samples_are_spread_over_pictures_and_videos(tmp_path: Path) -> None:
    """Half comes from each kind, and a video gives its beginning and its end."""
    frames = [np.full((48, 64, 3), shade, np.uint8) for shade in range(0, 240, 20)]
    _record(tmp_path / "a.mp4", frames)

    taken = sample_pictures([tmp_path], 4)

    shades = [int(picture.mean()) for picture in taken]
    assert len(taken) == 4
    assert shades[0] < 30
    assert shades[-1] > 180


@pytest.mark.parametrize("begin_s", [0, 3600])
def test_a_long_recording_is_sampled_all_over_whenever_its_clock_began(tmp_path: Path, begin_s: int) -> None:
    """Cameras' clocks run on: a transport stream that starts after an hour gives as many pictures as any."""
    shades = np.linspace(0, 240, SHORT_FRAMES + 100).astype(np.uint8)
    _record(tmp_path / "a.ts", [np.full((16, 16, 3), shade, np.uint8) for shade in shades], begin_s=begin_s)

    taken = [int(picture.mean()) for picture in sample_pictures([tmp_path], 4)]

    assert len(taken) == 4
    assert max(taken) - min(taken) > 100


def test_a_recording_that_tells_no_length_is_sampled_all_over(tmp_path: Path) -> None:
    """A file that was never closed, or came through a pipe, gives no more pictures than asked, up to its end."""
    frames = [np.full((48, 64, 3), shade, np.uint8) for shade in range(0, 240, 4)]
    _record(tmp_path / "a.mkv", frames, options={"live": "1"})
    with av.open(str(tmp_path / "a.mkv")) as container:
        assert not container.duration

    taken = [int(picture.mean()) for picture in sample_pictures([tmp_path], 4)]

    assert len(taken) == 4
    assert taken[0] < 30
    assert taken[-1] > 150


def test_ranges_ignore_what_silu_flattens_and_single_outliers() -> None:
    """-50 before SiLU costs no steps; without SiLU it keeps more of its range."""
    counts = np.zeros(BINS)
    counts[BINS // 10 :] = 10.0
    histogram = Histogram(-50.0, 10.0, counts)

    plain = best_range(histogram, lambda values: values)
    silu = best_range(histogram, lambda values: values / (1 + np.exp(-values)))

    assert plain[0] < -35
    assert -15 < silu[0] < 0
    assert silu[1] == pytest.approx(10.0, abs=0.6)


def test_agreement_counts_each_row_once() -> None:
    """Two rows on one target match one of the other side; nothing on both sides is full agreement."""
    row = np.float32([[0, 0, 10, 10, 0.9, 1]])
    none = row[:0]

    assert agreement([(row, row)]) == 1.0
    assert agreement([(np.vstack([row, row]), row)]) == pytest.approx(2 / 3)
    assert agreement([(row, none)]) == 0.0
    assert agreement([(none, none)]) == 1.0
    assert difference(row, none).missing == 1


def _record(path: Path, pictures: list[np.ndarray], *, begin_s: int = 0, options: dict[str, str] | None = None) -> None:
    path.parent.mkdir(exist_ok=True)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts, frame.time_base = begin_s * 5 + number, Fraction(1, 5)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
