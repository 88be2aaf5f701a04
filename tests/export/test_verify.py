"""Verification passes sound models and names the fault of each unsound one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from export.adopt.family import PixelOverrides
from export.adopt.pipeline import Request, adopt
from export.cli import main
from export.contract import Metadata
from export.errors import QualityError
from export.labels import Labels, read_labels
from export.runtime import Detector
from export.verification import known_answer
from export.verification.checks import CHECKS
from export.verification.trial import Trial, synthetic_scenes

from . import contract_models, foreign

if TYPE_CHECKING:
    from pathlib import Path

CHECK = {check.name: check for check in CHECKS}
SURE = contract_models.bright_corner()


def trial(path: Path, source: Path | None = None) -> Trial:
    return Trial(path, Detector(path), [SURE, *synthetic_scenes(4), SURE[::2]], source, buckets=(1,), timing_s=0.0)


def test_a_sound_model_passes_every_check(tmp_path: Path) -> None:
    """Nothing fails; what had nothing to check is skipped, not passed."""
    sound = trial(contract_models.build(tmp_path / "m.onnx"))

    verdicts = {check.name: check.run(sound)[0] for check in CHECKS}

    skipped = dict.fromkeys(("parity", "known answer"))
    assert verdicts == {**dict.fromkeys(CHECK, True), **skipped}


@pytest.mark.parametrize(
    ("fault", "check", "detail"),
    [
        ("unsorted", "contract", "rows are not sorted by score"),
        ("class", "contract", "class numbers outside 0..1"),
        ("nan", "contract", "numbers that are not finite"),
        ("ghost", "nothing there", "black: person 0.90"),
        ("mixing", "batches", "score"),
        ("random", "determinism", "score"),
    ],
)
def test_a_fault_is_found_by_the_check_that_is_for_it(tmp_path: Path, fault: str, check: str, detail: str) -> None:
    """Each check can fail, and says what it saw."""
    faulty = trial(contract_models.build(tmp_path / "m.onnx", fault))

    passed, said = CHECK[check].run(faulty)

    assert passed is False
    assert detail in said


def test_parity_tells_the_source_from_another_file(tmp_path: Path) -> None:
    """The adopted file matches its own source; another network of the same shape does not."""
    source, target = foreign.yolov8(tmp_path / "raw.onnx"), tmp_path / "a.onnx"
    other = foreign.yolox(tmp_path / "other.onnx")
    adopt(source, target, Request(labels=Labels(("a", "b", "c"))))

    assert CHECK["parity"].run(trial(target, source))[0] is True
    pixels = PixelOverrides(channels="rgb")
    adopt(other, target, Request(labels=Labels(("a", "b", "c")), pixels=pixels))
    passed, said = CHECK["parity"].run(trial(target, other))
    assert passed is False
    assert "adopted with --channels" in said
    assert CHECK["parity"].run(replace(trial(target, other), pixels=pixels))[0] is True


@pytest.mark.parametrize("layout", ["ssd", "rf-detr"])
def test_parity_holds_for_files_that_count_classes_as_coco_does(tmp_path: Path, layout: str) -> None:
    """COCO's own numbers have holes from 12 on: what was mapped when adopting is mapped when comparing."""
    source, target = tmp_path / "raw.onnx", tmp_path / "a.onnx"
    if layout == "ssd":
        foreign.ssd(source, classes=90)
    else:
        foreign.detr_logits(source, ("labels", "dets"), classes=91)
    adopt(source, target, Request(labels=read_labels("coco91"), size=(64, 64) if layout == "ssd" else None))

    passed, said = CHECK["parity"].run(trial(target, source))

    assert passed is True, said


def test_a_halved_file_is_judged_as_a_whole(tmp_path: Path) -> None:
    """Half precision moves single boxes by pixels; the step that `adopt --fp16` prints next must not fail for that."""
    source, target = foreign.yolox(tmp_path / "raw.onnx"), tmp_path / "a.onnx"
    adopt(source, target, Request(labels=Labels(("a", "b", "c")), fp16=True))

    passed, said = CHECK["parity"].run(trial(target, source))

    assert passed is True
    assert "agrees on" in said


def test_parity_with_a_source_that_sees_nothing_is_no_pass(tmp_path: Path) -> None:
    """Agreement about nothing proves nothing."""
    one, other = contract_models.build(tmp_path / "a.onnx"), contract_models.build(tmp_path / "b.onnx")
    blind = replace(trial(one, other), pictures=[np.zeros((64, 64, 3), np.uint8)])

    passed, said = CHECK["parity"].run(blind)

    assert passed is False
    assert "give --pictures" in said


def test_parity_with_a_contract_model_counts_agreement(tmp_path: Path) -> None:
    """A compressed model is compared with the one that it came from by overlap."""
    one, other = contract_models.build(tmp_path / "a.onnx"), contract_models.build(tmp_path / "b.onnx")

    passed, said = CHECK["parity"].run(trial(one, other))

    assert passed is True
    assert said == "agrees on 100.0% of detections above 0.50 (1 in the source)"


def test_the_known_answer_is_stored_checked_and_missed_when_the_model_changes(tmp_path: Path) -> None:
    """The record has the contract's form; the same file passes with it, a changed one fails."""
    path = contract_models.build(tmp_path / "m.onnx")

    known_answer.store(path, known_answer.make(Detector(path), [np.zeros_like(SURE), SURE]))

    record = Detector(path).metadata.known_answer
    assert set(record) == {"image", "detections", "score_tolerance", "pixel_tolerance"}
    assert [row[:4] + row[5:] for row in record["detections"]] == [[2, 3, 20, 21, 1]]
    assert CHECK["known answer"].run(trial(path))[0] is True
    changed = contract_models.build(tmp_path / "n.onnx", "class", known_answer=record)
    assert CHECK["known answer"].run(trial(changed))[0] is False


def test_a_picture_without_a_clear_target_is_no_known_answer(tmp_path: Path) -> None:
    """The error says how sure a detection must be."""
    detector = Detector(contract_models.build(tmp_path / "m.onnx"))

    with pytest.raises(QualityError, match=r"nothing above score 0\.60 on these pictures"):
        known_answer.make(detector, [np.zeros_like(SURE)])


def test_the_command_prints_a_table_stores_the_answer_and_exits_by_the_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 and a stored answer for a sound model, 1 and the reason for a faulty one."""
    path, picture = contract_models.build(tmp_path / "m.onnx"), tmp_path / "p.png"
    cv2.imwrite(str(picture), SURE)

    assert main(["verify", str(path), "--picture", str(picture), "--buckets", "1"]) == 0
    assert "m.onnx: passed" in capsys.readouterr().out
    assert Detector(path).metadata.known_answer
    assert main(["verify", str(contract_models.build(path, "ghost")), "--buckets", "1"]) == 1
    assert "a dark or covered camera would raise alerts" in capsys.readouterr().out


@pytest.mark.material
@pytest.mark.parametrize("file", ["yolox_nano_416x416", "nanodet_m_320", "fastestdet_352", "deimv2_atto_320"])
def test_adopted_published_models_pass_with_photographs(material: Path, tmp_path: Path, file: str) -> None:
    """All checks but latency, against the published files."""
    source, target = material / "models" / f"{file}.onnx", tmp_path / "a.onnx"
    adopt(source, target, Request(labels=read_labels("coco")))
    photographs = [cv2.imread(str(material / "models" / name)) for name in ("bus.jpg", "zidane.jpg")]
    real = Trial(target, Detector(target), photographs, source)

    verdicts = {check.name: check.run(real) for check in CHECKS if check.name not in {"latency", "odd sizes"}}

    assert not {name: said for name, (passed, said) in verdicts.items() if passed is False}
    assert isinstance(real.detector.metadata, Metadata)
