"""Explanations point to the pixels that a detection rests on, and beat chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from export.adopt.pipeline import Request, adopt
from export.cli import main
from export.explanation.drise import Settings, choose, saliency
from export.explanation.faith import measure
from export.explanation.masks import hidden, random_masks
from export.explanation.overlay import to_picture
from export.labels import read_labels
from export.runtime import Detector

from . import contract_models

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = Settings(masks=200, cells=4)
ROWS = np.float32([[0, 0, 10, 10, 0.9, 0], [50, 50, 60, 60, 0.8, 1], [52, 50, 60, 60, 0.7, 0]])


@pytest.fixture
def detector(tmp_path: Path) -> Detector:
    return Detector(contract_models.build(tmp_path / "m.onnx"))


def test_the_map_shows_the_pixels_that_the_model_looks_at_and_beats_chance(detector: Detector) -> None:
    """A model that only looks at the top-left corner gets a map that is hot there."""
    image, _ = detector.fit(contract_models.bright_corner())
    target = detector.run(image[None])[0][0]

    found = saliency(detector, image, target, SETTINGS)

    assert found.shape == (32, 32)
    assert found[:8, :8].mean() > found[8:, 8:].mean() + 0.3
    faith = measure(detector, image, target, found, cells=4)
    assert faith.better_than_chance, str(faith)


def test_the_same_seed_gives_the_same_map_whatever_the_batch(detector: Detector) -> None:
    """Maps are reproducible; the batch only changes speed."""
    image, _ = detector.fit(contract_models.bright_corner())
    target = detector.run(image[None])[0][0]

    maps = [saliency(detector, image, target, Settings(masks=20, cells=4, batch=batch)) for batch in (3, 20)]
    other = saliency(detector, image, target, Settings(masks=20, cells=4, seed=1))

    assert np.allclose(maps[0], maps[1], atol=1e-5)
    assert not np.allclose(maps[0], other, atol=1e-2)


def test_masks_show_the_asked_share_and_hide_with_the_letterboxs_grey() -> None:
    """Half of the picture shows on average; nothing but grey is left under a zero mask."""
    masks = np.stack(list(random_masks(200, (48, 32), 4, 0.5, seed=0)))

    assert masks.shape == (200, 32, 48)
    assert masks.mean() == pytest.approx(0.5, abs=0.03)
    image = np.full((3, 2, 2), 7, np.uint8)
    assert (hidden(image, np.zeros((2, 2), np.float32)) == 114).all()
    assert (hidden(image, np.ones((2, 2), np.float32)) == 7).all()


@pytest.mark.parametrize(
    ("box", "label", "row"),
    [(None, None, 0), (None, 1, 1), ((52, 50, 60, 60), None, 2), ((52, 50, 60, 60), 1, 1)],
)
def test_the_detection_meant_is_found_by_box_and_label(box: tuple | None, label: int | None, row: int) -> None:
    """The surest, the surest of a label, or the one that overlaps the box most."""
    assert (choose(ROWS, box, label) == ROWS[row]).all()


def test_a_box_without_a_detection_lists_what_there_is_as_it_can_be_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Labels by name, boxes in the picture's pixels: what the message says can be given to --box."""
    model = contract_models.build(tmp_path / "m.onnx")
    cv2.imwrite(str(tmp_path / "p.png"), contract_models.bright_corner(64))
    command = ["explain", str(model), str(tmp_path / "p.png"), "--masks", "8", "--cells", "2", "--box"]

    assert main([*command, "60,60,64,64"]) == 1
    said = capsys.readouterr().err
    assert "no such detection; found: person at 4,6,40,42" in said
    assert main([*command, said.split("person at ")[1].split(" ")[0]]) == 0
    assert choose(ROWS, (100, 100, 110, 110), None) is None


def test_a_map_leaves_the_letterboxs_edge_when_it_returns_to_the_picture(detector: Detector) -> None:
    """A wide picture fills the upper half of a square input only."""
    _, fit = detector.fit(np.zeros((100, 200, 3), np.uint8))
    found = np.zeros((32, 32), np.float32)
    found[16:] = 1.0

    brought = to_picture(found, fit)

    assert brought.shape == (100, 200)
    assert brought.max() == 0.0


def test_the_command_writes_an_overlay_of_the_pictures_size(
    tmp_path: Path, detector: Detector, capsys: pytest.CaptureFixture[str]
) -> None:
    """A PNG beside the picture, and the map's scores against chance."""
    picture = tmp_path / "p.png"
    cv2.imwrite(str(picture), contract_models.bright_corner(96))

    code = main(["explain", str(detector.path), str(picture), "--masks", "40", "--cells", "4", "--label", "person"])

    assert code == 0
    assert "deletion" in capsys.readouterr().out
    assert cv2.imread(str(tmp_path / "p-why.png")).shape == (96, 96, 3)
    assert main(["explain", str(detector.path), str(picture), "--label", "dog"]) == 1
    assert "--label dog" in capsys.readouterr().err


@pytest.mark.material
def test_a_person_in_a_photograph_is_explained_better_than_by_chance(material: Path, tmp_path: Path) -> None:
    """With a published detector and a real picture, the heat lies in the person's box."""
    adopt(material / "models" / "fastestdet_352.onnx", tmp_path / "m.onnx", Request(labels=read_labels("coco")))
    detector = Detector(tmp_path / "m.onnx")
    image, _ = detector.fit(cv2.imread(str(material / "models" / "bus.jpg")))
    target = detector.run(image[None])[0][0]

    found = saliency(detector, image, target, Settings(masks=200))

    x1, y1, x2, y2 = target[:4].round().astype(int)
    assert found[y1:y2, x1:x2].mean() > 1.5 * found.mean()
    faith = measure(detector, image, target, found)
    assert faith.better_than_chance, str(faith)
