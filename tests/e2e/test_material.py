"""Real videos, a real detector, and an RTSP server that is not ours: the daemon against the world."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from ..daemon.children import wait_for
from .running import Daemon, config_text, journaled
from .test_spine import folder, frames_of, seconds

__all__ = ["folder"]  # a fixture
pytestmark = [pytest.mark.material, pytest.mark.timeout(400)]
SYSTEM_PYTHON = "/usr/bin/python3"  # GStreamer's bindings are the system's
USER, PASSWORD = "viewer", "s3cret-of-the-gate"


@pytest.fixture(scope="session")
def yolox(material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Adopt a published detector by the command that users run."""
    path = tmp_path_factory.mktemp("models") / "yolox_nano.onnx"
    source = material / "models" / "yolox_nano_416x416.onnx"
    adopt = [sys.executable, "-m", "export.cli", "adopt", str(source), "--labels", "coco", "--out", str(path)]
    subprocess.run(adopt, check=True, timeout=300)
    return path


@contextmanager
def gstreamer(material: Path, clips: dict[str, Path], *options: str) -> Iterator[dict[str, str]]:
    """Serve clips with GStreamer's RTSP server; give their URLs."""
    wanted = 'import gi; gi.require_version("GstRtspServer", "1.0"); from gi.repository import GstRtspServer'
    if subprocess.run([SYSTEM_PYTHON, "-c", wanted], check=False, capture_output=True).returncode:
        pytest.skip("GStreamer's RTSP server is not installed (gir1.2-gst-rtsp-server-1.0)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [SYSTEM_PYTHON, str(material / "rtsp" / "gst_rtsp_sim.py"), "--port", str(port), *options]
    command += [f"{name}={clip}" for name, clip in clips.items()]

    def listening() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as server:
        try:
            wait_for(listening, "the GStreamer server")
            yield {name: f"rtsp://127.0.0.1:{port}/{name}" for name in clips}
        finally:
            server.kill()


def film_of_picture(picture: np.ndarray, path: Path, seconds_: int = 8, fps: int = 10) -> Path:
    """Encode a picture as a film that stands still, so that whatever is in it is there from the first frame."""
    height, width = (side // 2 * 2 for side in picture.shape[:2])
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "veryfast", "g": str(fps)})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        # One slice a picture: GStreamer puts parameter sets before each slice, which FFmpeg takes for two pictures.
        stream.codec_context.thread_count = 1
        for _ in range(seconds_ * fps):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture[:height, :width], "bgr24")))
        container.mux(stream.encode(None))
    return path


def street_with_cars(material: Path) -> tuple[np.ndarray, list[list[float]]]:
    """Return a labelled COCO picture of a motorway, and its cars' boxes in fractions."""
    truth = json.loads((material / "datasets" / "coco128" / "val2017.json").read_text())
    car = next(c["id"] for c in truth["categories"] if c["name"] == "car")
    image = next(i for i in truth["images"] if i["file_name"] == "000000001532.jpg")
    boxes = [a["bbox"] for a in truth["annotations"] if (a["image_id"], a["category_id"]) == (image["id"], car)]
    width, height = image["width"], image["height"]
    path = next((material / "datasets" / "coco128" / "images").rglob(image["file_name"]))
    return cv2.imread(str(path)), [[x / width, y / height, (x + w) / width, (y + h) / height] for x, y, w, h in boxes]


def iou(one: list[float], other: list[float]) -> float:
    sides = [max(0.0, min(one[i + 2], other[i + 2]) - max(one[i], other[i])) for i in (0, 1)]
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return sides[0] * sides[1] / (area - sides[0] * sides[1])


def test_a_person_and_a_car_come_out_as_alerts_with_boxes_that_lie_on_them(
    material: Path, yolox: Path, folder: Path, tmp_path: Path
) -> None:
    """GStreamer's server with digest authentication, a published detector, real pictures; the secret stays secret."""
    picture, cars = street_with_cars(material)
    clips = {
        "room": material / "videos" / "intel_one-by-one-person-detection.mp4",
        "street": film_of_picture(picture, tmp_path / "street.mp4"),
    }
    with gstreamer(material, clips, "--user", USER, "--password", PASSWORD, "--digest") as urls:
        secret = f'\nusername = "{USER}"\npassword = "${{env:GATE_PASSWORD}}"'
        text = config_text(folder, yolox, urls).replace("timeout_s = 2", f"timeout_s = 5{secret}")
        (folder / "config.toml").write_text(text)
        os.environ["GATE_PASSWORD"] = PASSWORD
        with Daemon(folder) as daemon_:
            car = daemon_.wait_message(type="alert", stage="opened", camera="street", label="car")
            person = daemon_.wait_message(type="alert", stage="opened", camera="room", label="person")
            clip = daemon_.wait_message(type="media", kind="clip", event_id=person["event_id"])
            daemon_.wait_message(type="media", kind="snapshot", event_id=person["event_id"])
            shown = json.dumps(daemon_.status()) + str(daemon_.messages) + daemon_.log()
            titles = [Path(f"/proc/{pid}/cmdline").read_text() for pid in daemon_.pids().values()]
            assert daemon_.stop() == 0

    assert max(iou(car["relative_box"], truth) for truth in cars) > 0.5
    assert clip["error"] is None
    assert seconds(clip["start_utc"]) <= seconds(person["started_utc"]) - 2
    assert len(frames_of(folder / "state" / clip["path"])) > 20
    assert PASSWORD not in shown + " ".join(titles) + json.dumps(journaled(folder))


def test_a_wrong_password_is_said_and_not_hammered(material: Path, yolox: Path, folder: Path) -> None:
    """Cameras lock accounts out; the daemon says why it is blind, after one attempt."""
    clips = {"room": material / "videos" / "intel_one-by-one-person-detection.mp4"}
    with gstreamer(material, clips, "--user", USER, "--password", PASSWORD, "--digest") as urls:
        wrong = f'timeout_s = 5\nusername = "{USER}"\npassword = "wrong-one"'
        (folder / "config.toml").write_text(config_text(folder, yolox, urls).replace("timeout_s = 2", wrong))
        with Daemon(folder) as daemon_:
            down = daemon_.wait_message(type="health", kind="camera.down", camera="room")
            assert daemon_.stop() == 0

    assert down["reason"] == "auth"
    assert daemon_.log().count("camera_unreachable") == 1
    assert "wrong-one" not in daemon_.log()
