"""`leptond explain` as a user calls it: journal, snapshot and model are real, and so is the laboratory that it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from daemon.cli import main
from daemon.commands.explain import find_alert, want_laboratory
from daemon.errors import LeptonError, MediaError
from daemon.events.alert_schema import Alert, Health, encode, topic_of
from daemon.events.journal import Entry, Journal

from .models import bright_box_model

UTC = "2026-01-01T00:00:00.000Z"
SNAPSHOT = "media/gate/2026/01/01/e1.clean.jpg"
LAMP = (0.25, 0.25, 0.5, 0.75)


def alert(**changes: Any) -> Alert:
    values: dict[str, Any] = {
        "seq": 0,
        "utc": UTC,
        "event_id": "e1",
        "stage": "opened",
        "camera": "gate",
        "rule": "r",
        "severity": "info",
        "label": "lamp",
        "score": 0.9,
        "best_score": 0.9,
        "box": (48, 32, 96, 96),
        "relative_box": LAMP,
        "width": 192,
        "height": 128,
        "track_id": 1,
        "model_id": "m",
        "started_utc": UTC,
        "updated_utc": UTC,
        "clean_snapshot": SNAPSHOT,
    }
    return Alert(**{**values, **changes})


def write_journal(state: Path, *messages: Alert | Health) -> Path:
    journal = Journal(state / "journal.db")
    journal.append([Entry(i, i, topic_of(message), encode(message)) for i, message in enumerate(messages, 1)])
    journal.close()
    return journal.path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return the configuration of a daemon that has raised an alert: number 2 opened, 4 closed elsewhere."""
    state = tmp_path / "state"
    away = (0.7, 0.1, 0.9, 0.3)
    started = Health(seq=0, utc=UTC, kind="started", severity="info")
    write_journal(
        state, started, alert(), alert(event_id="e2"), alert(stage="closed", reason="left", relative_box=away)
    )
    picture = np.full((256, 384, 3), 40, np.uint8)  # twice the pixels of the stream that the box was found in
    picture[64:192, 96:192] = 255
    (state / SNAPSHOT).parent.mkdir(parents=True)
    cv2.imwrite(str(state / SNAPSHOT), picture)
    model = bright_box_model(tmp_path / "model.onnx")
    config = tmp_path / "config.toml"
    config.write_text(
        f'[service]\nstate_dir = "{state}"\nruntime_dir = "{tmp_path}"\n[detector]\nmodel = "{model}"\n'
        '[cameras.gate]\nurl = "rtsp://192.0.2.1/s"\npassword = "${credential:gate}"\n'
    )
    return config


@pytest.mark.parametrize("wanted", ["2", "e1", "4"])
def test_an_alert_is_explained_on_its_opening_snapshot(
    config: Path, tmp_path: Path, wanted: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """By any number of the event or its id; the box is that of the snapshot's frame. No secret is wanted."""
    out = tmp_path / "why.png"

    assert main(["explain", wanted, "--config", str(config), "--out", str(out)]) == 0

    picture = cv2.imread(str(out))
    assert picture.shape[:2] == (256, 384)
    assert f"wrote {out}" in capfd.readouterr().out


def test_what_is_gone_is_named(config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The alert, or its snapshot."""
    assert main(["explain", "77", "--config", str(config)]) == 1
    assert "has no alert 77; `leptond tail --from 0` lists them" in capfd.readouterr().err

    (tmp_path / "state" / SNAPSHOT).unlink()
    assert main(["explain", "2", "--config", str(config)]) == 1
    assert "is gone; retention has removed it, or it never came" in capfd.readouterr().err


def test_an_alert_whose_opening_has_left_the_journal_is_not_explained_by_another_picture(tmp_path: Path) -> None:
    """The box of a later frame says nothing about the opening's snapshot."""
    path = write_journal(tmp_path, alert(stage="updated"), alert(stage="closed", reason="left"))

    with pytest.raises(MediaError, match="no longer has the opening of e1"):
        find_alert(path, "2")


def test_a_file_that_is_no_journal_is_named(tmp_path: Path) -> None:
    """No traceback of SQLite's."""
    (tmp_path / "journal.db").write_text("something else " * 100)

    with pytest.raises(LeptonError, match=r"journal\.db: file is not a database"):
        find_alert(tmp_path / "journal.db", "1")


def test_an_installation_without_the_laboratory_says_what_to_install() -> None:
    """The base installation has no onnx; its user gets no traceback of another program."""
    with pytest.raises(LeptonError, match=r"explain needs no_such_module: pip install 'leptond\[export\]'"):
        want_laboratory(("json", "no_such_module"))
