"""From the laboratory to production: trained, exported, verified, quantised by the commands, then run by the daemon."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from daemon.config.settings import Detector as DetectorSettings
from daemon.inference.known_answer import KnownAnswer
from daemon.inference.model import Model
from daemon.inference.nms import confident, suppress
from export.cli import main
from export.contract import Metadata
from export.dataset import read_coco
from export.nets.nano import NanoConfig
from export.runtime import iou_matrix
from export.to_onnx import deployed, export_module
from export.training import checkpoint
from export.training.augment import AugmentConfig
from export.training.loader import Augmented
from export.training.train import TrainConfig, Trainer

from ..export.scenes import draw_scene, write_scenes

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 96
TINY = NanoConfig(classes=2, stem=8, stages=(16, 16, 32, 32), depths=(0, 1, 0, 0), neck=16, head=16)
QUIET = AugmentConfig(mosaic=0.0, scale=(0.9, 1.1), shape=(0.95, 1.05), rotate_deg=0, blur=0, noise=0, grey=0)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """Train a small network for a few seconds on drawn scenes and export it."""
    labels = write_scenes(tmp_path / "data", 24)
    _add_empty(labels)
    dataset = read_coco(labels, tmp_path / "data")
    config = TrainConfig(
        epochs=40, batch=8, rate=1e-2, warmup=0.05, sizes=(SIZE,), early_sizes=(SIZE,), workers=0, threads=1,
        augment=QUIET, validate_every=40,
    )  # fmt: skip
    trainer = Trainer(tmp_path / "run", TINY, config)
    trainer.fit(Augmented(dataset, QUIET, seed=1), [1] * len(dataset), dataset)
    about = Metadata(name="tiny", labels=dataset.labels, suppressed=False, nms_iou=0.6, score_threshold=0.3)
    state = checkpoint.load(tmp_path / "run" / "last.pt")
    export_module(deployed(state, (SIZE, SIZE), "run"), tmp_path / "model.onnx", (SIZE, SIZE), about)
    return tmp_path / "model.onnx"


def _add_empty(labels: Path) -> None:
    """Add pictures of nothing, half of them letterboxed: verification asks that nothing is seen there."""
    document = json.loads(labels.read_text())
    for number in range(100, 112):
        picture = np.full((SIZE, SIZE, 3), (0, 114, 255)[number % 3], np.uint8)
        picture[SIZE * 3 // 4 if number % 2 else SIZE :] = 114
        cv2.imwrite(str(labels.parent / f"{number}.png"), picture)
        document["images"].append({"id": number, "file_name": f"{number}.png", "width": SIZE, "height": SIZE})
    labels.write_text(json.dumps(document))


def test_a_model_goes_from_training_to_the_daemon(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The int8 file passes verification, carries its own known answer, and the daemon finds the drawn boxes with it."""
    data, int8 = trained.parent / "data", trained.with_name("model-int8.onnx")
    quiet = ["--buckets", "1"]

    assert main(["verify", str(trained), "--pictures", str(data), "--picture", str(data / "1.png"), *quiet]) == 0
    assert main(["quantize", str(trained), "--calibrate", str(data), "--threads", "1", "--max-drop", "0.3"]) == 0
    assert main(["verify", str(int8), "--source", str(trained), "--pictures", str(data), *quiet]) == 0
    assert "pass  known answer" in capsys.readouterr().out

    model = Model(DetectorSettings(model=str(int8), device="cpu", threads=1), trained.parent)
    stored = KnownAnswer.from_metadata(model.contract.known_answer, SIZE, SIZE, int8)
    assert stored is not None
    assert stored.fault(model.run(stored.picture[None])[0]) == ""
    assert _found(model, data) > 0.6


def _found(model: Model, data: Path) -> float:
    """Share of the drawn boxes that the daemon's model finds with the right class."""
    hits, total = 0, 0
    for number in range(1, 13):
        _, boxes = draw_scene(number, SIZE)
        picture = cv2.imread(str(data / f"{number}.png"))
        output = model.run(np.ascontiguousarray(picture[:, :, ::-1].transpose(2, 0, 1))[None])[0]
        rows = suppress(confident(output, 0.3), model.contract.nms_iou)
        truth = np.asarray(boxes, np.float32)
        same = truth[:, None, 4] == rows[None, :, 5]
        overlap = iou_matrix(truth[:, :4], rows[:, :4]) * same
        hits += int((overlap.max(axis=1, initial=0.0) > 0.5).sum())
        total += len(boxes)
    return hits / total
