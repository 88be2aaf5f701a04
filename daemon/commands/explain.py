"""`leptond explain ALERT`: why the model saw what it saw, as a heat map over the alert's clean snapshot.

Finds alert, snapshot and model here; the method itself lives in the laboratory, which is run as the command
`lepton-export explain`: the model file is the only thing that the two share.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import cv2

from ..config.config import load_unlocked
from ..errors import LeptonError, MediaError
from ..events.alert_schema import Alert, decode
from ..events.journal import iter_entries
from ..inference.model import model_path

LABORATORY: Final = "export.cli"
LABORATORY_WANTS: Final = ("onnx", "tqdm")  # beside what every installation has
LABORATORY_DEVICE: Final = {"cuda": "cuda", "tensorrt": "tensorrt"}  # what the worker was told to run on; else cpu


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to `leptond`."""
    parser = subparsers.add_parser(
        "explain",
        help="draw what in the picture made the model raise an alert",
        description="Draws a heat map over the alert's snapshot: where hiding the picture lowers the alert's score.",
    )
    parser.add_argument("alert", help="the alert's number (seq), or its event_id")
    parser.add_argument("--out", type=Path, metavar="PNG", help="file to write (EVENT_ID.explained.png)")
    parser.set_defaults(run=run)


def want_laboratory(modules: tuple[str, ...] = LABORATORY_WANTS) -> None:
    """Raise LeptonError when the service was installed without what the laboratory runs on."""
    if missing := [name for name in modules if find_spec(name) is None]:
        raise LeptonError(
            f"explain needs {', '.join(missing)}: pip install 'leptond[export]' where leptond is installed"
        )


def run(args: argparse.Namespace) -> int:
    """Explain one alert; return the laboratory's exit code."""
    want_laboratory()
    settings = load_unlocked(args.config)
    state_dir = settings.service.state_dir
    alert = find_alert(state_dir / "journal.db", args.alert)
    command = [sys.executable, "-m", LABORATORY, "explain", str(model_path(settings.detector.model))]
    command += [str(snapshot_of(alert, state_dir)), "--box", ",".join(map(str, box_in_snapshot(alert, state_dir)))]
    command += ["--label", alert.label, "--out", str(args.out or Path(f"{alert.event_id}.explained.png"))]
    command += ["--device", LABORATORY_DEVICE.get(settings.detector.device.partition(":")[0], "cpu")]
    return subprocess.run(command, check=False).returncode


def find_alert(journal: Path, wanted: str) -> Alert:
    """Return how the event of that number, or of that id, opened: the snapshot shows the frame of its opening.

    Raises LeptonError when there is no such alert, MediaError when its opening is no longer in the journal.
    """
    if not journal.is_file():
        raise MediaError(f"{journal} is not there; has the daemon run with this configuration?")
    opened: dict[str, Alert] = {}
    for entry in iter_entries(journal, "alert."):
        message = decode(entry.payload)
        if not isinstance(message, Alert):
            continue
        if message.stage == "opened":
            opened[message.event_id] = message
        if wanted in (str(entry.seq), message.event_id):
            if message.event_id not in opened:
                raise MediaError(f"{journal} no longer has the opening of {message.event_id}; explain a younger alert")
            return opened[message.event_id]
        if message.stage == "closed":
            opened.pop(message.event_id, None)
    raise LeptonError(f"{journal} has no alert {wanted}; `leptond tail --from 0` lists them")


def snapshot_of(alert: Alert, state_dir: Path) -> Path:
    """Return the clean snapshot's file.

    Raises MediaError when the camera does not record, or the file is gone.
    """
    if alert.clean_snapshot is None:
        raise MediaError(f"alert {alert.event_id} has no snapshot: recording of {alert.camera} is off")
    path = state_dir / alert.clean_snapshot
    if not path.is_file():
        raise MediaError(f"{path} is gone; retention has removed it, or it never came (see `leptond tail`)")
    return path


def box_in_snapshot(alert: Alert, state_dir: Path) -> tuple[float, ...]:
    """Return the alert's box in the snapshot's pixels, which may be those of another stream than it was found in."""
    picture = cv2.imread(str(snapshot_of(alert, state_dir)))
    if picture is None:
        raise MediaError(f"{alert.clean_snapshot} is no picture")
    height, width = picture.shape[:2]
    sides = (width, height, width, height)
    return tuple(round(part * side, 1) for part, side in zip(alert.relative_box, sides, strict=True))
