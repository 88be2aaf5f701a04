"""The events process: detections and health in, alerts out, each in the journal before anybody hears of it.

One turn of the loop: wait for the sockets, take in what came, decide, commit everything as one, publish, then order
files from the recorder and answer replay requests. What is open or pending lies in the journal's state, so that a
killed process goes on where it was: it closes what was open, orders again what never came, and says how long it was
blind. What a track, a rule or an event is, is not decided here.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec
import numpy as np
import structlog
import zmq

from ..clock import NS_PER_MS, NS_PER_S, iso_utc, utc_of
from ..messages import Detections, HealthReport, MediaReady
from ..process import LOOP_S, Child
from ..wire import Receiver
from .alert_desk import AlertDesk
from .alert_schema import Alert, Health, Heartbeat, Passport
from .detection_log import DetectionLog
from .health_edges import edges, forgotten
from .journal import DELETE_LIMIT, Journal
from .ledger import Ledger
from .orders import Orders
from .orders import decode as decode_order
from .publisher import Publisher
from .rules import unknown_labels
from .scene import Scene

DETECTIONS_A_TURN: Final = 200  # bounds a turn; ZeroMQ holds what waits
RETENTION_EVERY_S: Final = 60.0
DRAIN_S: Final = 2.0
DRAIN_QUIET_MS: Final = 100  # nothing came for so long: nothing more is on its way
PRIVATE: Final = ("ipc://", "inproc://", "tcp://127.", "tcp://localhost", "tcp://[::1]")
_SERVICE: Final = "service"  # key of the journal's state: how the last run ended
_RUNNING: Final = b"running"
_STOPPED: Final = b"stopped"

T = TypeVar("T")
log = structlog.get_logger()


def run(child: Child) -> None:
    """Decide and tell until the supervisor says stop, then close what is open."""
    sink = Sink(child)
    try:
        sink.start()
        while child.beat():
            sink.turn(LOOP_S)
        sink.finish()
    finally:
        sink.close()


class Sink:
    """All scenes, and everything between them and the world."""

    def __init__(self, child: Child) -> None:
        settings = child.settings
        self._child, self._clock, self._stats = child, child.clock, child.stats
        state_dir = settings.service.state_dir
        self._journal = Journal(state_dir / "journal.db")
        self._publisher = self._bind()
        self._ledger = Ledger(self._journal, self._publisher, child.clock, child.stats)
        self._detection_log = DetectionLog(
            state_dir / "detections.db", child.clock, settings.alerts.keep_detections_days
        )
        self._detections = Receiver[Detections](child.endpoint("detections"), Detections)
        self._health = Receiver[HealthReport](child.endpoint("health"), HealthReport)
        self._media = Receiver[MediaReady](child.endpoint("media"), MediaReady)
        orders = Orders(self._stored("order:", decode_order).values())
        self._desk = AlertDesk(child, self._ledger, orders)
        self._told = {key.removeprefix("health:"): level for key, level in self._journal.state("health:").items()}
        self._scenes = {camera: self._new_scene(camera) for camera in settings.cameras}
        self._due_ns = {"second": 0, "retention": 0}
        self._labels: tuple[str, ...] | None = None
        self._poller = zmq.Poller()
        for socket in (self._detections.socket, self._health.socket, self._media.socket, self._publisher.replay):
            self._poller.register(socket, zmq.POLLIN)

    # --- life ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Say since when nobody watched, and close what was left open."""
        now_utc_ns = self._clock.utc_ns()
        alive_utc_ns, ended = self._journal.alive_utc_ns(), self._journal.state(_SERVICE).get(_SERVICE)
        clean = None if alive_utc_ns is None else ended == _STOPPED
        blind_s = None if alive_utc_ns is None else round(max(0, now_utc_ns - alive_utc_ns) / NS_PER_S, 3)
        self._ledger.tell(
            Health(
                seq=0,
                utc=iso_utc(now_utc_ns),
                kind="started",
                severity="warning" if clean is False else "info",
                since_utc=None if alive_utc_ns is None else iso_utc(alive_utc_ns),
                blind_s=blind_s,
                clean=clean,
            )
        )
        for alert in self._stored("event:", msgspec.json.Decoder(Alert).decode).values():
            self._desk.close_left_open(alert)
        self._desk.finish_orphans()
        self._ledger.keep(_SERVICE, _RUNNING)
        self._ledger.commit()
        log.info(
            "events_started", blind_s=blind_s, last_seq=self._journal.last_seq, pending_orders=self._desk.orders_pending
        )

    def turn(self, wait_s: float) -> None:
        """Wait for something to do, at most so long, and do it."""
        self._poller.poll(round(wait_s * 1000))
        if self._child.settings_changed():
            self._reload()
        self._take_all()
        now_ns = self._clock.monotonic_ns()
        if self._is_due("second", 1.0, now_ns):
            self._each_second(now_ns)
        self._commit()
        self._publisher.answer(self._journal)

    def finish(self) -> None:
        """Take in what is still on its way, close what is open, and note that this was an end in order."""
        end_ns = self._clock.monotonic_ns() + round(DRAIN_S * NS_PER_S)
        while self._clock.monotonic_ns() < end_ns and self._poller.poll(DRAIN_QUIET_MS):
            self._take_all()
            self._commit()
            self._publisher.answer(self._journal)
        for scene in self._scenes.values():
            self._desk.tell(scene.close("restart"))
        utc = iso_utc(self._clock.utc_ns())
        self._ledger.tell(Health(seq=0, utc=utc, kind="stopped", severity="info"))
        self._ledger.keep(_SERVICE, _STOPPED)
        self._commit()
        self._set_gauges()
        log.info("events_stopped", last_seq=self._journal.last_seq)

    def close(self) -> None:
        """Close sockets and files; nothing that was committed is lost by it."""
        self._detection_log.close()
        for end in (self._detections, self._health, self._media, self._desk, self._publisher, self._journal):
            end.close()

    def _stored(self, prefix: str, decode: Callable[[bytes], T]) -> dict[str, T]:
        """Return what the journal's state holds; what another version of the program wrote may be unreadable."""
        found = {}
        for key, value in self._journal.state(prefix).items():
            try:
                found[key] = decode(value)
            except msgspec.MsgspecError as exc:
                log.warning("state_not_understood", key=key, error=str(exc))
                self._ledger.keep(key, None)
        return found

    # --- what comes in -------------------------------------------------------------------------------

    def _take_all(self) -> int:
        """Take in what is waiting; return how many messages that were."""
        taken = 0
        while taken < DETECTIONS_A_TURN and (frame := self._detections.receive()) is not None:
            self._see(frame)
            taken += 1
        while (report := self._health.receive()) is not None:
            self._compare(report)
            taken += 1
        while (ready := self._media.receive()) is not None:
            self._desk.report(ready)
            taken += 1
        return taken

    def _see(self, frame: Detections) -> None:
        received_ns = self._clock.monotonic_ns()
        self._stats.count("detections_received", camera=frame.camera)
        self._stats.latency("detection", (received_ns - frame.captured_ns) / NS_PER_MS, camera=frame.camera)
        scene = self._scenes.get(frame.camera)
        if scene is None or not _is_sound(frame):
            reason = "unknown_camera" if scene is None else "malformed"
            self._stats.count("detections_dropped", camera=frame.camera, reason=reason)
            return
        captured_utc_ns = utc_of(self._clock, frame.captured_ns)
        if frame.labels != self._labels:
            self._labels = frame.labels
            self._check_labels()
        transitions = scene.see(frame, captured_utc_ns)
        if transitions is None:
            self._stats.count("detections_dropped", camera=frame.camera, reason="not_newer")
            return
        self._detection_log.add(frame, captured_utc_ns)
        if transitions:
            decided_ns = self._clock.monotonic_ns()
            self._desk.tell(transitions, Passport(frame, captured_utc_ns, received_ns, decided_ns))

    def _compare(self, report: HealthReport) -> None:
        for subject in forgotten(report, self._told):
            del self._told[subject]
            self._ledger.keep(f"health:{subject}", None)
        for edge in edges(report, self._told, self._clock.utc_ns()):
            self._told[edge.subject] = edge.level
            self._ledger.keep(f"health:{edge.subject}", edge.level)
            self._ledger.tell(edge.message)
            log.info("health_changed", kind=edge.message.kind, camera=edge.camera, reason=edge.message.reason)
            if edge.message.kind == "camera.down" and edge.camera in self._scenes:
                self._desk.tell(self._scenes[edge.camera].close("camera_down"))

    def _check_labels(self) -> None:
        """Tell of rules that wait for what the model does not know, once for each such set."""
        unknown = unknown_labels(self._child.settings.rules, self._labels or ())
        reason = ", ".join(f"rule {rule}: {label}" for rule, label in unknown)
        subject, level = "rule.unknown_label", reason.encode()
        if self._told.get(subject, b"") == level:
            return
        self._told[subject] = level
        self._ledger.keep(f"health:{subject}", level)
        if unknown:
            log.warning("rule_label_unknown", rules=reason, model_labels=self._labels)
            utc = iso_utc(self._clock.utc_ns())
            self._ledger.tell(Health(seq=0, utc=utc, kind="rule.unknown_label", severity="warning", reason=reason))

    def _reload(self) -> None:
        settings = self._child.settings
        self._detection_log.keep_days = settings.alerts.keep_detections_days
        for camera in set(self._scenes) - set(settings.cameras):
            self._desk.tell(self._scenes.pop(camera).close("camera_removed"))
            self._stats.set("events_open", 0, camera=camera)
        for camera in settings.cameras:
            if camera in self._scenes:
                self._desk.tell(self._scenes[camera].reload(settings))
            else:
                self._scenes[camera] = self._new_scene(camera)
        if self._labels is not None:
            self._check_labels()
        bound = (self._publisher.publish_setting, self._publisher.replay_setting)
        if bound != (settings.alerts.publish, settings.alerts.replay):
            self._rebind()

    # --- what goes out -------------------------------------------------------------------------------

    def _commit(self) -> None:
        self._ledger.commit()
        self._desk.send_new_orders()

    def _each_second(self, now_ns: int) -> None:
        for scene in self._scenes.values():
            self._desk.tell(scene.expire(now_ns))
        self._desk.give_up_overdue()
        self._commit()
        utc_ns = self._clock.utc_ns()
        self._journal.note_alive(utc_ns)
        self._publisher.publish(Heartbeat(seq=self._journal.last_seq, utc=iso_utc(utc_ns), journal=self._journal.id))
        self._desk.repeat_orders()
        self._detection_log.flush()
        if self._is_due("retention", RETENTION_EVERY_S, now_ns):
            limit_utc_ns = utc_ns - round(self._child.settings.alerts.keep_days * 86400 * NS_PER_S)
            if self._journal.delete_before(limit_utc_ns) == DELETE_LIMIT:
                self._due_ns["retention"] = now_ns  # there is more: go on in a second
        self._set_gauges()

    def _set_gauges(self) -> None:
        for camera, scene in self._scenes.items():
            self._stats.set("events_open", len(scene.events.open_events), camera=camera)
            self._stats.set("hits_suppressed", scene.events.suppressed, camera=camera)
        self._stats.set("orders_pending", self._desk.orders_pending)
        self._stats.set("journal_last_seq", self._journal.last_seq)
        self._stats.set("detection_log_dropped", self._detection_log.dropped)
        for plane, receiver in (("detections", self._detections), ("health", self._health), ("media", self._media)):
            self._stats.set("malformed", receiver.malformed, reason=plane)

    def _is_due(self, what: str, every_s: float, now_ns: int) -> bool:
        if now_ns < self._due_ns[what]:
            return False
        self._due_ns[what] = now_ns + round(every_s * NS_PER_S)
        return True

    def _bind(self) -> Publisher:
        alerts = self._child.settings.alerts
        for endpoint in (alerts.publish, alerts.replay):
            if not endpoint.startswith(PRIVATE):
                log.warning("alerts_readable_by_network", endpoint=endpoint, remedy="a firewall or a tunnel")
        return Publisher(alerts.publish, alerts.replay)

    def _rebind(self) -> None:
        self._poller.unregister(self._publisher.replay)
        self._publisher.close()
        self._publisher = self._ledger.publisher = self._bind()
        self._poller.register(self._publisher.replay, zmq.POLLIN)

    def _new_scene(self, camera: str) -> Scene:
        return Scene(camera, self._child.settings, _new_event_id)


def _new_event_id(utc_ns: int) -> str:
    """Return an id that sorts by time, is no two times the same, and is a file name everywhere."""
    stamp = iso_utc(utc_ns).translate(str.maketrans("", "", "-:."))
    return f"{stamp}-{secrets.token_hex(3)}"


def _is_sound(frame: Detections) -> bool:
    return frame.width > 0 and frame.height > 0 and len(frame.rows) % (6 * np.dtype(np.float32).itemsize) == 0
