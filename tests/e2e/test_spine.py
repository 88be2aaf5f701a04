"""From an RTSP camera to a true alert and a playable clip, through the real processes, and through their deaths."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import av
import cv2
import jsonschema
import numpy as np
import pytest

import daemon.events.alert_schema
from daemon.simulator.simulator import Simulator

from ..daemon.children import wait_for
from ..daemon.models import SCORE, bright_box_model
from .running import LEPTOND, Daemon, config_text, journaled
from .scenes import lamp_film

BOX = (0.25, 0.25, 0.5, 0.75)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder with a short path, for sockets live below it."""
    with tempfile.TemporaryDirectory(prefix="lp") as name:
        yield Path(name)


@pytest.fixture(scope="session")
def lamp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lamp_film(tmp_path_factory.mktemp("film") / "lamp.mp4", audio=True)


def write_config(folder: Path, cameras: dict[str, str], more: str = "") -> None:
    model = bright_box_model(folder / "model.onnx", width=160, height=96)
    (folder / "config.toml").write_text(config_text(folder, model, cameras, more))


def seconds(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp()


def frames_of(clip: Path) -> list[np.ndarray]:
    with av.open(str(clip)) as container:
        return [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]


def test_a_lamp_that_is_lit_becomes_an_alert_a_snapshot_and_a_clip(folder: Path, lamp: Path) -> None:
    """The main job, with the box where the lamp is and the clip beginning before it was lit."""
    with Simulator({"gate": lamp}) as simulator:
        write_config(folder, simulator.urls)
        with Daemon(folder) as daemon_:
            opened = daemon_.wait_message(type="alert", stage="opened")
            closed = daemon_.wait_message(type="alert", stage="closed", event_id=opened["event_id"])
            clip = daemon_.wait_message(type="media", kind="clip", event_id=opened["event_id"])
            daemon_.wait_message(type="media", kind="snapshot", event_id=opened["event_id"])
            assert daemon_.stop() == 0

    assert (opened["camera"], opened["label"], opened["rule"]) == ("gate", "lamp", "anything")
    assert opened["score"] == pytest.approx(SCORE, abs=0.01)
    np.testing.assert_allclose(opened["relative_box"], BOX, atol=0.03)
    assert closed["reason"] in ("left", "lost")
    assert clip["error"] is None
    assert seconds(clip["start_utc"]) <= seconds(opened["started_utc"]) - 2, "pre-roll"
    pictures = frames_of(folder / "state" / clip["path"])
    assert pictures[0].max() < 127, "the clip begins in the dark, before the lamp"
    assert max(picture.max() for picture in pictures) > 200
    snapshot = cv2.imread(str(folder / "state" / opened["clean_snapshot"]), cv2.IMREAD_GRAYSCALE)
    height, width = snapshot.shape
    assert snapshot[height // 2, int(width * 0.37)] > 200, "the snapshot is of the moment in which the lamp is lit"
    for message in journaled(folder):
        jsonschema.validate(message, daemon.events.alert_schema.json_schema())
    if shutil.which("ffprobe"):
        probed = subprocess.run(
            ["ffprobe", "-v", "error", "-show_streams", "-of", "json", folder / "state" / clip["path"]],
            check=True,
            capture_output=True,
        )
        assert probed.stderr == b""
        assert {s["codec_type"] for s in json.loads(probed.stdout)["streams"]} == {"video", "audio"}


def test_four_cameras_of_all_sorts_do_not_notice_each_others_trouble(folder: Path, tmp_path: Path) -> None:
    """One is dead from the start, one dies and comes back; the others' readers are never restarted."""
    films = {
        "gate": lamp_film(tmp_path / "a.mp4", audio=True),
        "yard": lamp_film(tmp_path / "b.mp4", codec="libx265", size=(640, 360), fps=15),
        "door": lamp_film(tmp_path / "c.mp4", size=(352, 288), fps=5),
    }
    with Simulator(films) as simulator:
        write_config(folder, {**simulator.urls, "dead": "rtsp://127.0.0.1:9/none"})
        with Daemon(folder) as daemon_:
            for camera in films:
                daemon_.wait_message(type="alert", stage="opened", camera=camera)
            down = daemon_.wait_message(type="health", kind="camera.down", camera="dead")
            before = daemon_.pids()

            simulator.unplug("door")
            daemon_.wait_message(type="health", kind="camera.down", camera="door")
            number = daemon_.messages[-1]["seq"]
            simulator.plug("door")
            daemon_.wait_for(
                lambda: any(
                    m["seq"] > number and m.get("kind") == "camera.up" and m["camera"] == "door"
                    for m in daemon_.messages
                ),
                "the door's camera.up",
            )
            daemon_.wait_for(
                lambda: any(
                    m["seq"] > number and m.get("stage") == "opened" and m["camera"] == "door" for m in daemon_.messages
                ),
                "an alert of the door after it came back",
            )
            after = daemon_.pids()
            assert daemon_.stop() == 0

    assert down["reason"] == "refused"
    assert before == after
    downs = {m["camera"] for m in journaled(folder) if m.get("kind") == "camera.down"}
    assert downs == {"dead", "door"}


def test_every_process_may_be_killed_and_nothing_is_lost_or_repeated(folder: Path, lamp: Path) -> None:
    """SIGKILL to each child in turn; a new one works, the subscriber misses no number and sees none twice."""
    with Simulator({"gate": lamp}) as simulator:
        write_config(folder, simulator.urls)
        with Daemon(folder) as daemon_:
            daemon_.wait_message(type="alert", stage="opened")
            for name in ("camera gate", "worker", "events", "recorder"):
                old = daemon_.pids()[name]
                number = daemon_.messages[-1]["seq"]
                os.kill(old, signal.SIGKILL)
                daemon_.wait_for(lambda n=name, o=old: daemon_.pids().get(n, o) != o, f"a new {name}")
                daemon_.wait_for(
                    lambda n=number: any(m["seq"] > n and m.get("stage") == "opened" for m in daemon_.messages),
                    f"an alert after the death of {name}",
                )
            assert daemon_.stop() == 0

    numbers = [m["seq"] for m in journaled(folder)]
    assert numbers == list(range(1, len(numbers) + 1))
    received = [m["seq"] for m in daemon_.messages]
    assert received == list(range(1, len(received) + 1))
    segments = sorted((folder / "state" / "recordings").rglob("*.mp4"))
    assert len(segments) >= 3
    assert all(frames_of(segment) for segment in segments), "every segment plays, those of the killed recorder too"
    checked = subprocess.run([*LEPTOND, "doctor", "--config", folder / "config.toml"], check=False, capture_output=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_power_cut_leaves_no_process_no_shared_memory_and_a_journal_that_goes_on(folder: Path, lamp: Path) -> None:
    """SIGKILL to the supervisor and everything else at once, then a new start on the same state."""
    shm_before = set(Path("/dev/shm").iterdir())
    with Simulator({"gate": lamp}) as simulator:
        write_config(folder, simulator.urls)
        with Daemon(folder) as daemon_:
            daemon_.wait_message(type="alert", stage="opened")
            daemon_.kill_everything()
            last = journaled(folder)[-1]["seq"]
            assert set(Path("/dev/shm").iterdir()) <= shm_before

            daemon_.restart()
            started = daemon_.wait_for(
                lambda: next((m for m in daemon_.messages if m["seq"] > last and m.get("kind") == "started"), None),
                "the new start's entry",
            )
            daemon_.wait_for(
                lambda: any(m["seq"] > last and m.get("stage") == "opened" for m in daemon_.messages), "a new alert"
            )
            assert daemon_.stop() == 0

    assert started["clean"] is False
    assert started["blind_s"] >= 0
    received = [m["seq"] for m in daemon_.messages]
    assert received == list(range(1, len(received) + 1))


def test_children_do_not_outlive_a_killed_supervisor(folder: Path, lamp: Path) -> None:
    """An orphan would hold sockets and cameras against the next start."""
    with Simulator({"gate": lamp}) as simulator:
        write_config(folder, simulator.urls)
        with Daemon(folder) as daemon_:
            daemon_.wait_message(type="alert", stage="opened")
            pids = daemon_.pids()
            daemon_.process.kill()
            daemon_.process.wait(30)

            wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids.values()), "the end of all")


def test_only_what_changed_restarts_on_reload(folder: Path, lamp: Path) -> None:
    """A second camera is added while the first goes on; a wrong file changes nothing and says why."""
    with Simulator({"gate": lamp, "yard": lamp}) as simulator:
        write_config(folder, {"gate": simulator.urls["gate"]})
        with Daemon(folder) as daemon_:
            daemon_.wait_message(type="alert", stage="opened", camera="gate")
            before = daemon_.pids()

            write_config(folder, simulator.urls)
            daemon_.reload()
            daemon_.wait_message(type="alert", stage="opened", camera="yard")
            after = daemon_.pids()
            (folder / "config.toml").write_text((folder / "config.toml").read_text() + "\n[detectr]\n")
            daemon_.reload()
            daemon_.wait_for(lambda: "detectr" in daemon_.log(), "the mistake in the log")
            (folder / "config.toml").write_text((folder / "config.toml").read_text().replace("[detectr]", ""))
            assert daemon_.pids() == after
            assert daemon_.stop() == 0

    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"camera yard"}


def test_a_file_that_is_no_model_ends_the_daemon_with_code_3(folder: Path) -> None:
    """A restart would not help, and systemd sees it by the code; the text says what to do."""
    write_config(folder, {"gate": "rtsp://127.0.0.1:9/none"})
    (folder / "model.onnx").write_bytes(b"no model")

    ended = subprocess.run(
        [*LEPTOND, "run", "--config", folder / "config.toml"], check=False, capture_output=True, timeout=120, text=True
    )

    assert ended.returncode == 3, ended.stderr
    assert "lepton-export" in ended.stderr
