"""Training of lepton-presence: the labels from boxes, ten epochs by default, going on after a stop, the contract."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from export.cli import main
from export.dataset import read_coco
from export.errors import DatasetError
from export.runtime import Detector
from export.training import checkpoint
from export.training.train_presence import PresenceConfig, read_pictures, train_presence

torch.set_num_threads(1)  # tests share the machine

SMALL = {"dense": (8, 8, 8), "batch": 4, "threads": 1, "amp": True}


def _write(folder: Path, shown: list[bool]) -> Path:
    """Write pictures that show somebody (a white block) or nobody."""
    folder.mkdir(exist_ok=True)
    images, annotations = [], []
    for number, somebody in enumerate(shown, 1):
        picture = np.full((64, 64, 3), 30, np.uint8)
        if somebody:
            picture[10:50, 20:40] = 250
            annotations.append({"id": number, "image_id": number, "category_id": 1, "bbox": [20, 10, 20, 40]})
        picture[-1, -1] = 255  # so that both kinds normalise alike
        cv2.imwrite(str(folder / f"{number}.png"), picture)
        images.append({"id": number, "file_name": f"{number}.png", "width": 64, "height": 64})
    categories = [{"id": 1, "name": "person"}]
    path = folder / "labels.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with four pictures and the run `run`, which stopped after one epoch and went on to six."""
    folder = tmp_path_factory.mktemp("presence")
    pictures = read_pictures(read_coco(_write(folder, [True, False] * 2), folder), "person")
    for epochs in (1, 6):
        train_presence(folder / "run", PresenceConfig(epochs=epochs, **SMALL), pictures, pictures)
    return folder


def test_a_run_that_stopped_goes_on_from_its_last_epoch(trained: Path) -> None:
    """One epoch and then five more make six lines of the log and a checkpoint of the sixth."""
    log = (trained / "run/log.csv").read_text().splitlines()

    assert checkpoint.load(trained / "run/last.pt")["epoch"] == 6
    assert [line.split(",")[0] for line in log[1:]] == ["1", "2", "3", "4", "5", "6"]
    assert float(log[-1].split(",")[1]) < float(log[1].split(",")[1])


def test_a_checkpoint_becomes_a_model_of_the_contract(trained: Path, tmp_path: Path) -> None:
    """The file scores a picture that shows somebody above one that shows nobody, as one row without suppression."""
    model = tmp_path / "presence.onnx"

    code = main(["torch", str(trained / "run/last.pt"), "--out", str(model), "--size", "224x224"])

    detector = Detector(model, threads=1)
    rows = detector.detect([np.asarray(cv2.imread(str(trained / f"{n}.png")), np.uint8) for n in (1, 2)], 0.0)
    assert code == 0
    assert detector.metadata.fit == "stretch"
    assert detector.metadata.suppressed
    assert rows[0][0, 4] > rows[1][0, 4]


@pytest.mark.parametrize("shown", [[True, True], [False, False]])
def test_pictures_of_one_kind_only_are_refused(tmp_path: Path, shown: list[bool]) -> None:
    """There is nothing to tell apart."""
    dataset = read_coco(_write(tmp_path, shown), tmp_path)

    with pytest.raises(DatasetError, match="both kinds are needed"):
        read_pictures(dataset, "person")


def test_the_specification_is_the_default() -> None:
    """Ten epochs of Adam with the dense layers 1024, 256, 128."""
    config = PresenceConfig()

    assert (config.epochs, config.dense) == (10, (1024, 256, 128))
