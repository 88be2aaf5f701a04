"""The events process, started for real and fed through its sockets: nothing lost, nothing twice, nothing silent."""

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import zmq

from daemon.clock import NS_PER_S
from daemon.config.settings import Settings
from daemon.events.alert_schema import SCHEMA_FILE
from daemon.events.detection_log import read_frames
from daemon.events.journal import Journal, read_entries
from daemon.messages import (
    CameraHealth,
    Detections,
    HealthReport,
    MediaOrder,
    MediaReady,
    ProcessStats,
)
from daemon.wire import Receiver, Sender, ipc

from .children import StartedChild, start_child, wait_for

LABELS = ("person", "car")
FRAME_NS = 200_000_000


class Surroundings:
    """Worker, supervisor, recorder and a subscriber of one events process, on real sockets."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.settings = Settings.model_validate(
            {
                "service": {"state_dir": folder / "state", "runtime_dir": folder, "log_level": "info"},
                "alerts": {"publish": f"ipc://{folder}/publish", "replay": f"ipc://{folder}/replay"},
                "cameras": {"gate": {"url": "rtsp://gate"}, "yard": {"url": "rtsp://yard"}},
                "rules": [{"name": "people", "labels": ["person"], "min_dwell_s": 0.3, "cooldown_s": 0}],
            }
            | changes
        )
        self.state_dir = folder / "state"
        self.worker = Sender[Detections](ipc(folder, "detections"))
        self.supervisor = Sender[HealthReport](ipc(folder, "health"))
        self.recorder = Sender[MediaReady](ipc(folder, "media"))
        self.orders = Receiver[MediaOrder](ipc(folder, "orders"), MediaOrder)
        self.stats = Receiver[ProcessStats](ipc(folder, "stats"), ProcessStats)
        self.subscriber = zmq.Context.instance().socket(zmq.SUB)
        self.subscriber.connect(self.settings.alerts.publish)
        self.subscriber.subscribe(b"")
        self.heard: list[dict[str, Any]] = []
        self._captured_ns = time.monotonic_ns()

    def start(self) -> StartedChild:
        """Start the process and wait until this subscriber hears it."""
        child = start_child("events", "events", self.settings)
        child.wait_until_beating()
        before = len(self.heartbeats())
        wait_for(lambda: len(self.heartbeats()) > before, "a heartbeat on the alert socket")
        return child

    def see(self, *boxes: tuple[float, ...], camera: str = "gate", frames: int = 1) -> None:
        """Let the worker report frames; a box is x1 y1 x2 y2 score class in 640x480."""
        for _ in range(frames):
            self._captured_ns = max(self._captured_ns + FRAME_NS, time.monotonic_ns())
            self.send(np.array(boxes, np.float32).tobytes(), camera, self._captured_ns)

    def send(self, rows: bytes, camera: str, captured_ns: int) -> None:
        """Send the rows of one frame as they are."""
        self.worker.send(
            Detections(
                camera=camera,
                sequence=1,
                model_id="m1",
                width=640,
                height=480,
                rows=rows,
                labels=LABELS,
                captured_ns=captured_ns,
                decoded_ns=captured_ns + 1_000_000,
                queued_ns=captured_ns + 2_000_000,
                inferred_ns=captured_ns + 9_000_000,
            )
        )

    def report(self, *, gate_up: bool = True, detector_up: bool = True) -> None:
        """Let the supervisor send the whole health."""
        gate = CameraHealth(
            camera="gate",
            up=gate_up,
            state="seen" if gate_up else "no_signal",
            reason="" if gate_up else "timeout",
            since_utc_ns=time.time_ns(),
        )
        self.supervisor.send(
            HealthReport(
                cameras=(gate,), detector_up=detector_up, detector_reason="", detector_since_utc_ns=time.time_ns()
            )
        )

    def listen(self) -> list[dict[str, Any]]:
        """Return all that was published so far."""
        while self.subscriber.poll(0):
            topic, payload = self.subscriber.recv_multipart()
            self.heard.append(json.loads(payload) | {"topic": topic.decode()})
        return self.heard

    def heartbeats(self) -> list[dict[str, Any]]:
        return [m for m in self.listen() if m["type"] == "heartbeat"]

    def alerts(self, stage: str) -> list[dict[str, Any]]:
        return [m for m in self.listen() if m["type"] == "alert" and m["stage"] == stage]

    def health(self) -> list[str]:
        return [m["kind"] for m in self.listen() if m["type"] == "health"]

    def wait_alerts(self, stage: str, count: int) -> list[dict[str, Any]]:
        wait_for(lambda: len(self.alerts(stage)) >= count, f"{count} alerts that an event {stage}")
        return self.alerts(stage)

    def wait_order(self) -> MediaOrder:
        order = wait_for(self.orders.receive, "an order to the recorder")
        assert order is not None
        return order

    def journal(self) -> list[dict[str, Any]]:
        """Return the payloads in the journal; fails when the numbers have a hole."""
        entries = read_entries(self.state_dir / "journal.db")
        assert [e.seq for e in entries] == list(range(1, len(entries) + 1))
        payloads = [json.loads(e.payload) for e in entries]
        assert [p["seq"] for p in payloads] == [e.seq for e in entries]
        return payloads

    def close(self) -> None:
        for end in (self.worker, self.supervisor, self.recorder, self.orders, self.stats):
            end.close()
        self.subscriber.close(linger=0)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a short path: a socket's has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="lep") as path:
        yield Path(path)


@pytest.fixture
def around(folder: Path) -> Iterator[Surroundings]:
    around = Surroundings(folder)
    yield around
    around.close()


PERSON = (100.0, 100.0, 160.0, 300.0, 0.9, 0.0)


def test_a_person_becomes_an_alert_that_meets_the_schema(around: Surroundings) -> None:
    """Opened and closed, with box, paths and passport; the same is in the journal, and files are ordered."""
    with around.start() as events:
        around.see(PERSON, frames=5)
        (opened,) = around.wait_alerts("opened", 1)
        order = around.wait_order()
        around.see(frames=15)
        (closed,) = around.wait_alerts("closed", 1)
        assert events.stop() == 0

    schema = json.loads(SCHEMA_FILE.read_text())
    for message in around.heard:
        jsonschema.validate({k: v for k, v in message.items() if k != "topic"}, schema)
    assert opened["topic"] == "alert.gate.person"
    assert opened["box"] == [100, 100, 160, 300]
    assert opened["relative_box"] == [0.15625, 0.20833, 0.25, 0.625]
    assert (opened["rule"], opened["severity"], opened["model_id"], opened["score"]) == ("people", "warning", "m1", 0.9)
    assert opened["latency"]["inferred_ms"] == 9.0
    assert opened["latency"]["sent_ms"] >= opened["latency"]["decided_ms"]
    assert (closed["event_id"], closed["reason"], closed["ended_utc"]) == (
        opened["event_id"],
        "lost",
        closed["updated_utc"],
    )
    assert (order.event_id, order.snapshot_path, order.clip_path, order.end_utc_ns) == (
        opened["event_id"],
        opened["snapshot"],
        opened["clip"],
        None,
    )
    assert [(p["type"], p.get("stage", p.get("kind"))) for p in around.journal()] == [
        ("health", "started"),
        ("alert", "opened"),
        ("alert", "closed"),
        ("health", "stopped"),
    ]


def test_after_a_kill_open_events_are_closed_and_no_number_is_missing_or_twice(around: Surroundings) -> None:
    """SIGKILL while events open and close: what was published is in the journal, and the new life says so."""
    for _ in range(2):
        with around.start() as events:
            opened = len(around.alerts("opened"))
            around.see(PERSON, (400.0, 100.0, 460.0, 300.0, 0.8, 0.0), frames=5)
            around.wait_alerts("opened", opened + 2)
            around.see(PERSON, frames=40)
            events.kill()
    with around.start() as events:
        assert events.stop() == 0

    journal = around.journal()
    numbered = {m["seq"]: m for m in around.heard if m["type"] != "heartbeat"}
    assert len(numbered) == len([m for m in around.heard if m["type"] != "heartbeat"])
    for seq, message in numbered.items():
        assert journal[seq - 1]["type"] == message["type"]
    stages: dict[str, list[str]] = {}
    for entry in journal:
        if entry["type"] == "alert":
            stages.setdefault(entry["event_id"], []).append(entry["stage"])
    assert len(stages) >= 4
    assert all(s.count("opened") == s.count("closed") == 1 and s[-1] == "closed" for s in stages.values())
    starts = [e for e in journal if e.get("kind") == "started"]
    assert [s["clean"] for s in starts] == [None, False, False]
    assert all(s["blind_s"] >= 0 for s in starts[1:])


def test_a_stop_in_order_closes_events_and_the_next_start_knows_it(around: Surroundings) -> None:
    """SIGTERM takes in what is on its way, then closes with reason restart."""
    with around.start() as events:
        around.see(PERSON, frames=5)
        around.wait_alerts("opened", 1)
        assert events.stop() == 0
    with around.start() as events:
        assert events.stop() == 0

    journal = around.journal()
    assert [(p.get("stage") or p["kind"], p.get("reason")) for p in journal] == [
        ("started", ""),
        ("opened", None),
        ("closed", "restart"),
        ("stopped", ""),
        ("started", ""),
        ("stopped", ""),
    ]
    assert journal[4]["clean"] is True


def test_health_is_told_once_for_each_change_also_over_a_kill(around: Surroundings) -> None:
    """Levels come in each second; edges go out, and the journal remembers which were told."""
    with around.start() as events:
        for _ in range(3):
            around.report()
        wait_for(lambda: "camera.up" in around.health(), "camera.up")
        around.see(PERSON, frames=5)
        around.wait_alerts("opened", 1)
        around.report(gate_up=False)
        wait_for(lambda: "camera.down" in around.health(), "camera.down")
        (closed,) = around.wait_alerts("closed", 1)
        events.kill()
    with around.start() as events:
        around.report(gate_up=False)
        around.report(gate_up=False, detector_up=False)
        wait_for(lambda: "detector.down" in around.health(), "detector.down")
        around.report()
        wait_for(lambda: "detector.up" in around.health()[-2:], "detector.up")
        assert events.stop() == 0

    assert closed["reason"] == "camera_down"
    kinds = [p["kind"] for p in around.journal() if p["type"] == "health"]
    assert kinds == [
        "started",
        "camera.up",
        "detector.up",
        "camera.down",
        "started",
        "detector.down",
        "camera.up",
        "detector.up",
        "stopped",
    ]


def test_an_order_is_repeated_until_it_is_answered_also_over_a_kill(around: Surroundings) -> None:
    """A recorder that was away, or an events process that was, costs no file; an answer that repeats is told once."""
    with around.start() as events:
        around.see(PERSON, frames=5)
        first = around.wait_order()
        assert around.wait_order().event_id == first.event_id
        events.kill()
    with around.start() as events:
        wait_for(lambda: (o := around.orders.receive()) and o.end_utc_ns, "the order with its end")
        for kind, path in (("snapshot", first.snapshot_path), ("clip", first.clip_path)):
            for _ in range(2):
                around.recorder.send(MediaReady(event_id=first.event_id, camera="gate", kind=kind, path=path))  # type: ignore[arg-type]
        wait_for(lambda: len([m for m in around.listen() if m["type"] == "media"]) == 2, "both files told")
        wait_for(lambda: _gauge(around, "orders_pending") == 0, "no order pending")
        assert events.stop() == 0

    assert [p["kind"] for p in around.journal() if p["type"] == "media"] == ["snapshot", "clip"]


def _gauge(around: Surroundings, name: str) -> float | None:
    value = None
    while (stats := around.stats.receive()) is not None:
        value = next((s.value for s in stats.gauges if s.name == name), value)
    return value


def test_a_reload_keeps_open_events_and_takes_new_rules(around: Surroundings) -> None:
    """The event goes on, under the new severity; one of a rule that is gone is closed with that reason."""
    with around.start() as events:
        around.see(PERSON, (300.0, 100.0, 400.0, 200.0, 0.9, 1.0), frames=5)
        (first,) = around.wait_alerts("opened", 1)
        changed = around.settings.model_dump(mode="json")
        changed["rules"] = [{"name": "cars", "labels": ["car", "unicorn"], "min_dwell_s": 0, "severity": "critical"}]
        events.reload(Settings.model_validate(changed))
        (closed,) = around.wait_alerts("closed", 1)
        around.see(PERSON, (300.0, 100.0, 400.0, 200.0, 0.9, 1.0), frames=5)
        second = around.wait_alerts("opened", 2)[1]
        assert events.stop() == 0

    assert (closed["event_id"], closed["reason"]) == (first["event_id"], "rule_removed")
    assert (second["label"], second["severity"], second["track_id"]) == ("car", "critical", 2)
    assert [m["reason"] for m in around.heard if m.get("kind") == "rule.unknown_label"] == ["rule cars: unicorn"]


def test_a_reload_moves_the_sockets_and_takes_cameras_in_and_out(around: Surroundings, folder: Path) -> None:
    """Subscribers at the new endpoint are served by the same process, with the same journal."""
    changed = around.settings.model_dump(mode="json")
    changed["alerts"]["publish"] = f"ipc://{folder}/moved"
    changed["cameras"] = {"attic": {"url": "rtsp://attic"}}
    with around.start() as events:
        around.see(PERSON, frames=5)
        around.wait_alerts("opened", 1)
        around.subscriber.connect(changed["alerts"]["publish"])
        events.reload(Settings.model_validate(changed))
        before = len(around.heartbeats())
        wait_for(lambda: len(around.heartbeats()) > before + 1, "heartbeats from the new endpoint")
        around.see(PERSON, camera="attic", frames=5)
        wait_for(lambda: any(a["camera"] == "attic" for a in around.alerts("opened")), "an alert of the new camera")
        assert events.stop() == 0

    steps = [(p["camera"], p["stage"], p["reason"]) for p in around.journal() if p["type"] == "alert"]
    assert steps == [
        ("gate", "opened", None),
        ("gate", "closed", "camera_removed"),
        ("attic", "opened", None),
        ("attic", "closed", "restart"),
    ]
    clips = [p["clip"] for p in around.journal() if p["type"] == "alert" and p["camera"] == "gate"]
    assert clips[0] is not None  # it was promised and ordered, and the last alert of the event says so as well
    assert clips[0] == clips[1]


def test_an_event_that_cannot_be_read_any_more_keeps_no_order_open(around: Surroundings) -> None:
    """What another version wrote; its order would have the recorder wait, and record, for ever."""
    with around.start() as events:
        around.see(PERSON, frames=5)
        (opened,) = around.wait_alerts("opened", 1)
        events.kill()
    journal = Journal(around.state_dir / "journal.db")
    journal.append([], {f"event:{opened['event_id']}": b"{}"})
    journal.close()
    with around.start() as events:
        order = wait_for(lambda: (o := around.orders.receive()) and o.end_utc_ns and o, "the order with an end")
        assert events.stop() == 0

    assert order.event_id == opened["event_id"]


def test_a_camera_that_is_not_recorded_has_alerts_without_paths(folder: Path) -> None:
    """And nothing is ordered."""
    around = Surroundings(folder, recording={"mode": "off"})
    with ExitStack() as stack:
        stack.callback(around.close)
        events = stack.enter_context(around.start())
        around.see(PERSON, frames=5)
        (opened,) = around.wait_alerts("opened", 1)
        assert events.stop() == 0

    assert [opened[name] for name in ("snapshot", "clean_snapshot", "clip")] == [None, None, None]


def test_garbage_and_strangers_are_counted_and_harm_nobody(around: Surroundings) -> None:
    """Bytes that are no message, rows that are no rows, cameras that nobody knows, frames from the past."""
    with around.start() as events:
        around.worker.socket.send(b"garbage")
        around.see(PERSON, camera="stranger", frames=2)
        around.see(PERSON, frames=5)
        around.wait_alerts("opened", 1)
        around.send(np.zeros(7, np.float32).tobytes(), "gate", time.monotonic_ns())
        around.send(b"", "gate", captured_ns=1)
        assert events.stop() == 0

    counters = {}
    while (stats := around.stats.receive()) is not None:
        counters |= {(s.name, s.reason): s.value for s in (*stats.counters, *stats.gauges)}
    assert counters["detections_dropped", "unknown_camera"] == 2
    assert counters["detections_dropped", "malformed"] == 1
    assert counters["detections_dropped", "not_newer"] == 1
    assert counters["malformed", "detections"] == 1


def test_all_detections_are_kept(around: Surroundings) -> None:
    """What rules did not care for can still be asked for afterwards."""
    with around.start() as events:
        around.see((300.0, 100.0, 400.0, 200.0, 0.25, 1.0), frames=3)
        around.see(frames=2)
        wait_for(lambda: _gauge(around, "journal_last_seq"), "a turn of the loop")
        assert events.stop() == 0

    frames = list(read_frames(around.state_dir / "detections.db", "gate", 0, time.time_ns() + 60 * NS_PER_S))
    assert [len(f.rows) for f in frames] == [1, 1, 1, 0, 0]
    assert frames[0].labels == LABELS
    assert frames[0].rows[0] == pytest.approx([300, 100, 400, 200, 0.25, 1], abs=0.02)
