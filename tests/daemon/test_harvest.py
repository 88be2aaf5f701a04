"""`leptond harvest` as a user calls it, on a camera that was really recorded and detections that were really stored."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from daemon.cli import main
from daemon.clock import NS_PER_S, SystemClock
from daemon.commands.harvest import Dataset
from daemon.events.detection_log import DetectionLog, StoredFrame
from daemon.messages import Detections
from daemon.recording.recording_index import MediaFile, RecordingIndex
from export.dataset import read_coco

from .children import wait_for
from .recording_material import FPS, HEIGHT, WIDTH, encoded, number_in, timed_packets, write_segment

SECONDS = 6
LABELS = ("person", "car", "dog")
DETECT = (640, 480)  # a sub stream: other pixels than those of the recording
START_UTC_NS = SystemClock().utc_ns() - 600 * NS_PER_S
UNSURE = (64.0, 48.0, 320.0, 240.0, 0.42, 0.0)
MASK = "privacy_masks = [[[0.5, 0.5], [1, 0.5], [1, 1], [0.5, 1]]]"


def detections(*rows: tuple[float, ...]) -> Detections:
    return Detections(
        camera="gate",
        sequence=1,
        model_id="m",
        width=DETECT[0],
        height=DETECT[1],
        rows=np.array(rows, np.float32).tobytes(),
        labels=LABELS,
        captured_ns=0,
        decoded_ns=0,
        queued_ns=0,
        inferred_ns=0,
    )


def record(folder: Path, seen: dict[int, list[tuple[float, ...]]], step_ns: int = NS_PER_S // FPS) -> Path:
    """Record SECONDS of camera gate in `folder`, store what was `seen` by frame number; return the configuration."""
    state = folder / "state"
    header, packets = timed_packets(encoded(seconds=SECONDS, audio=False), START_UTC_NS)
    writer = write_segment(state / "recordings/gate/a.mp4", header, packets)
    index = RecordingIndex(state)
    span = (START_UTC_NS, writer.end_utc_ns)
    index.put(MediaFile("recordings/gate/a.mp4", "segment", "gate", *span, writer.size_bytes, "h264", True))
    index.close()
    log = DetectionLog(state / "detections.db", SystemClock(), keep_days=14)
    for number, rows in sorted(seen.items()):
        log.add(detections(*rows), START_UTC_NS + number * step_ns)
    log.close()
    config = folder / "config.toml"
    config.write_text(
        f'[service]\nstate_dir = "{state}"\nruntime_dir = "{folder}"\n'
        f'[cameras.gate]\nurl = "rtsp://192.0.2.1/s"\npassword = "${{credential:gate}}"\n{MASK}\n'
    )
    return config


def harvest(config: Path, out: Path, *more: str) -> int:
    return main(["harvest", "--config", str(config), "--out", str(out), "--apart", "0.5", *more])


def content(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "annotations.json").read_text())
    return found


def test_the_frame_of_an_unsure_box_is_written_with_its_box_and_black_masks(tmp_path: Path) -> None:
    """The recorded frame of that very instant; the box in its pixels; all labels; no secret is wanted for it."""
    config = record(tmp_path, {23: [UNSURE, (0, 0, 9, 9, 0.1, 1)], 24: [], 50: []})

    assert harvest(config, tmp_path / "out") == 0

    found = content(tmp_path / "out")
    (image,) = found["images"]
    assert (image["width"], image["height"], image["camera"], image["reason"]) == (WIDTH, HEIGHT, "gate", "uncertain")
    picture = cv2.imread(str(tmp_path / "out" / "images" / image["file_name"]))
    assert number_in(picture) == 23
    assert picture[HEIGHT // 2 + 4 :, WIDTH // 2 + 4 :].max() < 12
    assert picture[HEIGHT // 2 + 4 :, : WIDTH // 2 - 4].min() > 80
    (box,) = found["annotations"]
    assert box["bbox"] == pytest.approx([19.2, 12.8, 76.8, 51.2], abs=0.2)
    assert (box["score"], box["category_id"]) == (pytest.approx(0.42, abs=0.001), 1)
    assert found["categories"] == [{"id": i + 1, "name": name} for i, name in enumerate(LABELS)]


def test_the_dataset_is_one_that_the_laboratory_reads(tmp_path: Path) -> None:
    """`lepton-export train --data OUT/annotations.json OUT/images`, also with a picture that has no box."""
    missed = {n: [(64.0, 48.0, 320.0, 240.0, 0.9, 0.0)] if n != 11 else [] for n in range(10, 13)}
    config = record(tmp_path, {**missed, 40: [UNSURE]})
    out = tmp_path / "out"
    assert harvest(config, out) == 0

    dataset = read_coco(out / "annotations.json", out / "images")

    assert dataset.labels == LABELS
    assert [len(sample.rows) for sample in dataset.samples] == [0, 1]
    assert [sample.read().shape for sample in dataset.samples] == [(HEIGHT, WIDTH, 3)] * 2


def test_alike_are_frames_whose_picture_and_boxes_are_alike(tmp_path: Path) -> None:
    """A fixed camera's pictures are all alike: a box somewhere else is news, the same box again is not."""
    dataset = Dataset(tmp_path)
    image = np.full((120, 160, 3), 90, np.uint8)
    image[:, 80:] = 130

    def add(*rows: tuple[float, ...]) -> None:
        stored = np.array(rows, np.float32).reshape(-1, 6)
        dataset.add(image, StoredFrame("gate", START_UTC_NS, "m", LABELS, 160, 120, stored), "uncertain")

    add((10, 10, 30, 50, 0.4, 0))
    add((12, 11, 31, 50, 0.5, 0))  # alike
    add((10, 10, 30, 50, 0.4, 1))  # of another class
    add((90, 10, 110, 50, 0.4, 0))
    add()
    add((5, 5, 9, 9, 0.1, 0))  # too weak to be a pre-label, so alike to none
    add((5, 5, 9, 9, 0.9, 77))  # a class that the labels do not have is no box

    assert len(dataset.images) == 4
    assert dataset.left_out == {"alike": 3}


def test_what_was_never_recorded_is_counted_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Detections beyond the recording's end; without any picture no folder is made, and the code says so."""
    config = record(tmp_path, {600: [UNSURE], 620: [UNSURE]})

    assert harvest(config, tmp_path / "out") == 1

    assert "Nothing worth labelling" in capsys.readouterr().out
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--camera", "yard"], "no camera yard in"),
        ([], "exists already; choose a new folder"),
    ],
)
def test_mistakes_are_named_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], text: str
) -> None:
    """An existing folder may hold a person's labels."""
    config = record(tmp_path, {23: [UNSURE]})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "labels").write_text("days of work")

    assert harvest(config, tmp_path / "out", *arguments) == 1

    assert text in capsys.readouterr().err
    assert (tmp_path / "out" / "labels").read_text() == "days of work"


@pytest.mark.parametrize("flags", [["--max", "0"], ["--max", "-1"], ["--apart", "-1"], ["--apart", "nan"]])
def test_limits_that_mean_nothing_are_refused_by_their_flag(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    """Not an empty dataset, and not every frame of a week."""
    with pytest.raises(SystemExit) as ended:
        main(["harvest", "--out", str(tmp_path / "out"), *flags])

    assert ended.value.code == 2
    assert f"argument {flags[0]}" in capsys.readouterr().err


def test_without_recordings_no_index_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty index that root has made would lock the daemon out of its own folder."""
    config = record(tmp_path, {23: [UNSURE]})
    for file in (tmp_path / "state").glob("recordings.db*"):
        file.unlink()

    assert harvest(config, tmp_path / "out") == 1

    assert "no recordings below" in capsys.readouterr().err
    assert not (tmp_path / "state" / "recordings.db").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_end_in_the_middle_leaves_nothing_under_the_final_name(tmp_path: Path, number: signal.Signals) -> None:
    """After Ctrl-C nothing at all; after a kill only a draft, which the next harvest removes."""
    seen = {n: [(n % 500 * 1.0, 9.0, n % 500 + 40.0, 90.0, 0.42, n % 3.0)] for n in range(SECONDS * 100)}
    config = record(tmp_path, seen, step_ns=NS_PER_S // 100)
    command = [sys.executable, "-m", "daemon.cli", "harvest", "--config", str(config), "--out", str(tmp_path / "out")]
    with subprocess.Popen([*command, "--apart", "0"], stdout=subprocess.DEVNULL) as process:
        wait_for(lambda: list(tmp_path.glob(".out.part/images/*.jpg")), "the first picture")
        process.send_signal(number)
        process.wait(30)

    assert not (tmp_path / "out").exists()
    assert bool(list(tmp_path.glob(".out.part"))) == (number == signal.SIGKILL)
    assert harvest(config, tmp_path / "out", "--max", "3") == 0
    assert not list(tmp_path.glob(".out.part"))
