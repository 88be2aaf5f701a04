"""Training: from a synthetic set to a file that detects; kills, transfer, freezing, early stop."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from export.cli import main
from export.contract import Metadata
from export.dataset import Dataset, read_coco
from export.errors import LabError
from export.evaluation.evaluate import evaluate_coco
from export.nets.nano import NanoConfig
from export.runtime import Detector
from export.to_onnx import deployed, export_module
from export.training import checkpoint
from export.training.augment import AugmentConfig
from export.training.loader import Augmented
from export.training.train import TrainConfig, Trainer, autocast, freeze, make_optimizer

from .scenes import write_scenes

torch.set_num_threads(1)  # tests share the machine

TINY = NanoConfig(classes=2, stem=8, stages=(16, 16, 32, 32), depths=(0, 1, 0, 0), neck=16, head=16)
QUIET = AugmentConfig(mosaic=0.0, scale=(0.9, 1.1), shape=(0.95, 1.05), rotate_deg=0, blur=0, noise=0, grey=0)
SIZES = {"sizes": (96,), "early_sizes": (96,), "workers": 0, "threads": 1}


def _config(**changes: object) -> TrainConfig:
    return TrainConfig(**{"epochs": 2, "batch": 8, "augment": QUIET, "warmup": 0.05, **SIZES, **changes})


def _data(folder: Path, count: int = 16) -> tuple[Augmented, Dataset]:
    dataset = read_coco(write_scenes(folder, count), folder)
    return Augmented(dataset, QUIET, seed=1), dataset


def test_a_few_steps_on_a_synthetic_set_give_a_file_that_finds_its_boxes(tmp_path: Path) -> None:
    """Training, export and the runtime fit together: the exported file has AP50 above one half on what it learnt."""
    train, dataset = _data(tmp_path / "data", 24)
    config = _config(epochs=40, rate=1e-2, validate_every=40)
    trainer = Trainer(tmp_path / "run", TINY, config)

    trainer.fit(train, [1] * len(dataset), dataset)
    model = tmp_path / "model.onnx"
    metadata = Metadata(name="tiny", labels=dataset.labels, suppressed=False, nms_iou=0.6)
    export_module(deployed(checkpoint.load(tmp_path / "run/last.pt"), (96, 96), "run"), model, (96, 96), metadata)
    evaluation = evaluate_coco(Detector(model, threads=1), tmp_path / "data/labels.json", tmp_path / "data")

    rows = list(csv.DictReader((tmp_path / "run/log.csv").read_text().splitlines()))
    assert len(rows) == 40
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"]) / 2
    assert evaluation.scores.ap50 > 0.5


SCRIPT = """
import sys
from pathlib import Path
from tests.export.test_train import TINY, _config, _data
from export.training.train import Trainer
train, dataset = _data(Path(sys.argv[1]) / "data", 64)
Trainer(Path(sys.argv[1]) / "run", TINY, _config(epochs=500, save_every_s=0.0)).fit(train, [1] * 64, dataset)
"""


def test_a_run_that_was_killed_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    """SIGKILL while checkpoints are written after each step leaves a whole one; the same run ends as planned."""
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], cwd=root, env={**os.environ, "PYTHONPATH": str(root)}
    )
    log = tmp_path / "run/log.csv"
    deadline = time.monotonic() + 90
    while not (log.exists() and len(log.read_text().splitlines()) > 2):
        assert time.monotonic() < deadline, "the run never finished two epochs"
        assert process.poll() is None, "the run ended by itself"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    train, dataset = _data(tmp_path / "data", 64)

    resumed = Trainer(tmp_path / "run", TINY, _config(epochs=500))
    begun = resumed.epoch
    again = Trainer(tmp_path / "run", TINY, _config(epochs=begun + 1))
    again.fit(train, [1] * 64, dataset)

    assert begun >= 2
    assert resumed.steps >= 2 * 8
    assert checkpoint.load(tmp_path / "run/last.pt")["epoch"] == begun + 1
    assert checkpoint.load(tmp_path / "run/last.pt")["steps"] == again.steps > resumed.steps


def test_a_clock_budget_ends_the_run_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    """With `hours` the schedule follows the clock that was passed in, and the run ends when it is spent."""
    ticks = iter(range(10_000))
    train, dataset = _data(tmp_path / "data")
    trainer = Trainer(tmp_path / "run", TINY, _config(hours=12 / 3600), clock=lambda: float(next(ticks)))

    trainer.fit(train, [50] * len(dataset), dataset)

    assert trainer.steps < 100 * len(dataset) // 8
    assert checkpoint.load(tmp_path / "run/last.pt")["spent_s"] >= 12


def test_a_stop_ends_the_run_after_a_step_with_a_checkpoint(tmp_path: Path) -> None:
    """Ctrl-C calls `stop`: the step in hand is finished and kept."""
    train, dataset = _data(tmp_path / "data")
    trainer = Trainer(tmp_path / "run", TINY, _config())
    trainer.stop()

    with pytest.raises(KeyboardInterrupt):
        trainer.fit(train, [1] * len(dataset), dataset)

    assert checkpoint.load(tmp_path / "run/last.pt")["steps"] == 1


def test_early_stop_ends_a_run_that_no_longer_gains(tmp_path: Path) -> None:
    """A rate of zero gains nothing: after `patience` validations the run is over."""
    train, dataset = _data(tmp_path / "data", 8)
    trainer = Trainer(tmp_path / "run", TINY, _config(epochs=50, rate=0.0, patience=2))

    trainer.fit(train, [1] * len(dataset), dataset)

    assert trainer.epoch == 3


def test_frozen_parts_keep_weights_and_statistics_and_the_start_is_taken_over(tmp_path: Path) -> None:
    """Transfer with a frozen backbone: its weights and running means stay those of the start, the head learns."""
    train, dataset = _data(tmp_path / "data", 8)
    start = Trainer(tmp_path / "base", TINY, _config(seed=7)).model.state_dict()
    trainer = Trainer(tmp_path / "run", TINY, _config(epochs=1, freeze=("backbone",)), start=start)

    trainer.fit(train, [1] * len(dataset), dataset)

    after = trainer.model.state_dict()
    frozen = [key for key in start if key.startswith("backbone.")]
    assert frozen
    assert all(torch.equal(after[key], start[key]) for key in frozen)
    assert not torch.equal(after["head.classes.weight"], start["head.classes.weight"])


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    """Pictures, order and weights come from the seed alone."""
    train, dataset = _data(tmp_path / "data", 8)
    runs = [Trainer(tmp_path / name, TINY, _config(epochs=1)) for name in ("a", "b")]
    for run in runs:
        torch.manual_seed(1)
        run.fit(train, [1] * len(dataset), dataset)

    first, second = (run.model.state_dict() for run in runs)

    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: make_optimizer(torch.nn.Linear(1, 1), _config(optimizer="lion")), "choose adamw, adam or sgd"),
        (lambda: autocast(_config(amp="fp16")), "fp16 (GPU only)"),
        (lambda: freeze(torch.nn.Sequential(torch.nn.Linear(1, 1)), ("backbone",)), "no part `backbone`"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_the_choices(wrong: object, says: str) -> None:
    """Each message names what may be chosen instead."""
    with pytest.raises(LabError) as caught:
        wrong()  # type: ignore[operator]
    assert says in str(caught.value)


def test_a_folder_that_holds_another_network_is_refused(tmp_path: Path) -> None:
    """Going on with other shapes would be another model under the same name."""
    train, dataset = _data(tmp_path / "data", 8)
    Trainer(tmp_path / "run", TINY, _config(epochs=1)).fit(train, [1] * 8, dataset)

    with pytest.raises(LabError, match="another network"):
        Trainer(tmp_path / "run", NanoConfig(classes=2), _config())


def test_a_broken_checkpoint_is_named(tmp_path: Path) -> None:
    """Bytes that are no checkpoint are refused with the file's name, not with a traceback."""
    (tmp_path / "last.pt").write_bytes(b"not a checkpoint")

    with pytest.raises(LabError, match=r"last\.pt: not a checkpoint"):
        checkpoint.load(tmp_path / "last.pt")


def test_the_command_trains_and_leaves_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One command from COCO file to contract file: labels come from the data, unknown ones stay out."""
    data = tmp_path / "data"
    labels = write_scenes(data, 8, size=64)
    sizes = ["--sizes", "64", "--early-sizes", "64", "--size", "64x64", "--workers", "0", "--threads", "1"]
    run = ["--out", str(tmp_path / "run"), "--epochs", "1", "--batch", "4", "--hold-out", "0.25", "--device", "cpu"]

    code = main(["train", "--data", str(labels), str(data), "2", *run, *sizes])

    detector = Detector(tmp_path / "run/model.onnx", threads=1)
    assert code == 0
    assert detector.metadata.labels == ("person", "car")
    assert detector.size == (64, 64)
    assert "6 pictures to learn from, 2 held out" in capsys.readouterr().out


def test_the_command_names_a_missing_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1 and one line, no traceback, before anything is written."""
    code = main(["train", "--data", str(tmp_path / "none.json"), str(tmp_path), "--out", str(tmp_path / "run")])

    assert code == 1
    assert "none.json: cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_what_belongs_to_the_other_network_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """lepton-presence would ignore a start or a teacher in silence: it says so instead, and writes nothing."""
    data = tmp_path / "data"
    labels = write_scenes(data, 8, size=64)
    base = ["train", "--net", "presence", "--data", str(labels), str(data), "--out", str(tmp_path / "run")]

    code = main([*base, "--freeze", "backbone"])

    assert code == 1
    assert "--freeze belongs to --net nano" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_is_gone_on_with_only_as_it_was_begun(tmp_path: Path) -> None:
    """Other labels would give the weights other names; another optimizer or frozen part has another state."""
    train, dataset = _data(tmp_path / "data", 8)
    Trainer(tmp_path / "run", TINY, _config(epochs=1)).fit(train, [1] * 8, dataset)

    swapped = Dataset(dataset.labels[::-1], dataset.samples)
    with pytest.raises(LabError, match="holds a run for"):
        Trainer(tmp_path / "run", TINY, _config(epochs=2)).fit(train, [1] * 8, swapped)
    for change in ({"optimizer": "sgd"}, {"freeze": ("backbone",)}):
        with pytest.raises(LabError, match="choose another --out"):
            Trainer(tmp_path / "run", TINY, _config(epochs=2, **change))


def test_without_boxes_to_judge_by_the_newest_weights_are_kept_and_patience_waits(tmp_path: Path) -> None:
    """best.pt is then the last epoch's, and no run ends for want of gain."""
    train, dataset = _data(tmp_path / "data", 8)
    trainer = Trainer(tmp_path / "run", TINY, _config(epochs=4, patience=1))

    best = trainer.fit(train, [1] * 8, Dataset(dataset.labels, ()))

    assert best == -1
    assert checkpoint.load(tmp_path / "run/best.pt")["epoch"] == 4


def test_the_last_pictures_are_calm_and_keep_what_was_asked_for() -> None:
    """No mosaics, no mixing, no far zooms at the end; turning stays if it was asked for."""
    calm = AugmentConfig(mosaic=0.5, mix=0.5, scale=(0.5, 3), rotate_deg=5).gentle()

    assert (calm.mosaic, calm.mix, calm.scale, calm.rotate_deg) == (0, 0, (0.6, 1.3), 5)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--mimic", "a", "b", "c"], "go with a --teacher"),
        (["--device", "cuda:9"], "CUDA devices"),
        (["--device", "tpu"], "give auto, cpu, cuda"),
        (["--labels", "person,,car"], "an empty name"),
        (["--hold-out", "1"], "no picture is left"),
        (["--data", "only.json"], "write JSON FOLDER"),
        (["--net", "presence", "--rotate", "5"], "--rotate belongs to --net nano"),
    ],
)
def test_flags_that_cannot_work_are_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], says: str
) -> None:
    """Nothing is ignored in silence, and nothing ends in a traceback."""
    data = tmp_path / "data"
    labels = write_scenes(data, 4, size=64)

    code = main(["train", "--data", str(labels), str(data), "--out", str(tmp_path / "run"), *flags])

    assert code == 1
    assert says in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "flags",
    [["--zoom", "0.3"], ["--epochs", "0"], ["--hold-out", "1.5"], ["--hours", "-1"], ["--sizes", "30"], ["--mix", "x"]],
)
def test_numbers_out_of_range_are_refused_by_their_flag(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The message names the flag and what it wants."""
    with pytest.raises(SystemExit) as ended:
        main(["train", "--data", "a.json", "a", "--out", "run", *flags])

    assert ended.value.code == 2
    assert f"argument {flags[0]}" in capsys.readouterr().err


def test_a_run_from_another_start_and_one_with_everything_frozen_are_refused(tmp_path: Path) -> None:
    """Going on would train something else than asked, or nothing."""
    train, dataset = _data(tmp_path / "data", 8)
    Trainer(tmp_path / "run", TINY, _config(epochs=1), origin="a").fit(train, [1] * 8, dataset)

    with pytest.raises(LabError, match="choose another --out"):
        Trainer(tmp_path / "run", TINY, _config(epochs=2), origin="b")
    with pytest.raises(LabError, match="nothing is left to learn"):
        Trainer(tmp_path / "frozen", TINY, _config(freeze=("backbone", "neck", "head")))
