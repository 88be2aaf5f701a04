"""What subscribers get: versioned JSON messages, and the JSON Schema of them (`alert.schema.json` beside this file).

Everything with a number of its own (`alert`, `health`, `media`) is in the journal; the others are about the journal.
Within a version, fields may be added, never removed or changed; a subscriber ignores what it does not know.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from ..clock import NS_PER_MS, NS_PER_S, iso_utc
from ..messages import Detections, MediaReady
from .lifecycle import CloseReason, Stage, Transition

VERSION: Final = "lepton.alert/1"
SCHEMA_FILE: Final = Path(__file__).with_name("alert.schema.json")
Severity = Literal["info", "warning", "critical"]
Utc = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$", description="UTC, ISO 8601, ms")]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Seq = Annotated[int, Meta(ge=0, description="Number in the journal; grows by one, is never used twice")]
RelativePath = Annotated[str, Meta(description="Relative to the state directory; the file comes later, see `media`")]
Ms = Annotated[float, Meta(description="Milliseconds after the frame was captured")]


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base of all messages."""

    seq: Seq
    schema: Literal["lepton.alert/1"] = VERSION


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """The passport of the frame that decided: when it passed where."""

    captured_utc: Utc
    decoded_ms: Ms
    queued_ms: Ms
    inferred_ms: Ms
    received_ms: Ms
    decided_ms: Ms
    sent_ms: Annotated[float | None, Meta(description="Committed and sent; null when replayed")] = None


class Alert(Message, frozen=True, kw_only=True, tag="alert"):
    """A step in the life of an event: it opened, goes on, or closed."""

    utc: Utc
    event_id: Annotated[str, Meta(description="The same in all alerts of one event; sorts by time")]
    stage: Stage
    reason: CloseReason | None = None
    camera: str
    rule: str
    severity: Severity
    label: str
    score: Fraction
    best_score: Fraction
    box: Annotated[tuple[float, float, float, float], Meta(description="x1 y1 x2 y2 in pixels of the detect stream")]
    relative_box: Annotated[tuple[Fraction, Fraction, Fraction, Fraction], Meta(description="Fractions of the picture")]
    width: int
    height: int
    zone: str | None = None
    track_id: int
    model_id: str
    started_utc: Annotated[Utc, Meta(description="First frame that satisfied the rule")]
    updated_utc: Annotated[Utc, Meta(description="Last frame that satisfied the rule")]
    ended_utc: Utc | None = None
    snapshot: RelativePath | None = None
    clean_snapshot: RelativePath | None = None
    clip: RelativePath | None = None
    latency: Annotated[Latency | None, Meta(description="null when no frame decided, as after a restart")] = None


class Health(Message, frozen=True, kw_only=True, tag="health"):
    """Something about the daemon itself changed: what it sees with, and when it saw nothing."""

    utc: Utc
    kind: Literal[
        "camera.down",
        "camera.up",
        "recording.down",
        "recording.up",
        "detector.down",
        "detector.up",
        "started",
        "stopped",
        "rule.unknown_label",
    ]
    severity: Severity
    camera: str | None = None
    state: str | None = None
    reason: str = ""
    since_utc: Utc | None = None
    blind_s: Annotated[
        float | None, Meta(description="started: seconds since the journal was last alive; nothing was seen in them")
    ] = None
    clean: Annotated[bool | None, Meta(description="started: whether the run before had ended in order")] = None


class Media(Message, frozen=True, kw_only=True, tag="media"):
    """A file that alerts named is complete, or will never be."""

    utc: Utc
    event_id: str
    camera: str
    kind: Literal["snapshot", "clip"]
    path: RelativePath
    start_utc: Utc | None = None
    end_utc: Utc | None = None
    error: str | None = None


class Heartbeat(Message, frozen=True, kw_only=True, tag="heartbeat"):
    """Each second: the daemon lives, and `seq` is the last number that it gave."""

    utc: Utc
    journal: Annotated[str, Meta(description="Identity of the journal; another one means numbers begin anew")]


class Gap(Message, frozen=True, kw_only=True, tag="gap"):
    """Replay: the entries `first` to `last` (= `seq`) were asked for, but retention has removed them."""

    first: int
    last: int


class End(Message, frozen=True, kw_only=True, tag="end"):
    """Replay: last part of an answer; `seq` is the last number in it. With `more`, ask again after that."""

    more: bool
    last_seq: Annotated[int, Meta(description="The last number that the journal gave")]
    journal: str


class Error(Message, frozen=True, kw_only=True, tag="error"):
    """Replay: the request was not understood."""

    text: str


AnyMessage = Alert | Health | Media | Heartbeat | Gap | End | Error
encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(AnyMessage).decode


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of all messages."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{VERSION.replace('/', ':')}",
        "title": "Messages of leptond's alert and replay sockets",
        **msgspec.json.schema(AnyMessage),
    }


def schema_text() -> str:
    """Return what `alert.schema.json` must contain."""
    return json.dumps(json_schema(), indent=2) + "\n"


class Passport(msgspec.Struct, frozen=True):
    """What is known about the way of the frame that decided."""

    detections: Detections
    captured_utc_ns: int
    received_ns: int
    decided_ns: int

    def latency(self) -> Latency:
        """Return it as subscribers see it."""
        frame = self.detections
        return Latency(
            captured_utc=iso_utc(self.captured_utc_ns),
            decoded_ms=self._ms(frame.decoded_ns),
            queued_ms=self._ms(frame.queued_ns),
            inferred_ms=self._ms(frame.inferred_ns),
            received_ms=self._ms(self.received_ns),
            decided_ms=self._ms(self.decided_ns),
        )

    def _ms(self, instant_ns: int) -> float:
        return round((instant_ns - self.detections.captured_ns) / NS_PER_MS, 2)


class Paths(msgspec.Struct, frozen=True):
    """Where an event's files will lie."""

    snapshot: str
    clean_snapshot: str
    clip: str


def alert_of(transition: Transition, utc_ns: int, paths: Paths | None, passport: Passport | None) -> Alert:
    """Return the alert of a transition, not yet numbered."""
    event = transition.event
    return Alert(
        seq=0,
        utc=iso_utc(utc_ns),
        event_id=event.id,
        stage=transition.stage,
        reason=transition.reason,
        camera=event.camera,
        rule=event.rule.name,
        severity=event.rule.severity,
        label=event.label,
        score=_fraction(event.score),
        best_score=_fraction(event.best_score),
        box=_four(event.box, 1),
        relative_box=_four(event.relative_box, 5),
        width=event.moment.width,
        height=event.moment.height,
        zone=event.zone,
        track_id=event.track_id,
        model_id=event.moment.model_id,
        started_utc=iso_utc(event.started_utc_ns),
        updated_utc=iso_utc(event.moment.utc_ns),
        ended_utc=iso_utc(event.moment.utc_ns) if transition.stage == "closed" else None,
        snapshot=paths.snapshot if paths else None,
        clean_snapshot=paths.clean_snapshot if paths else None,
        clip=paths.clip if paths else None,
        latency=passport.latency() if passport else None,
    )


def media_of(ready: MediaReady, utc_ns: int) -> Media:
    """Return the message about a file, not yet numbered."""
    return Media(
        seq=0,
        utc=iso_utc(utc_ns),
        event_id=ready.event_id,
        camera=ready.camera,
        kind=ready.kind,
        path=ready.path,
        start_utc=None if ready.start_utc_ns is None else iso_utc(ready.start_utc_ns),
        end_utc=None if ready.end_utc_ns is None else iso_utc(ready.end_utc_ns),
        error=ready.error,
    )


def utc_ns_of(iso: str) -> int:
    """Return the UTC nanoseconds of a time in a message, to the millisecond."""
    instant = datetime.fromisoformat(iso)
    return int(instant.timestamp()) * NS_PER_S + instant.microsecond * 1000


def topic_of(message: AnyMessage) -> str:
    """Return the topic under which a message is published."""
    match message:
        case Alert():
            return f"alert.{message.camera}.{message.label.replace(' ', '_')}"
        case Health():
            return f"health.{message.kind}"
        case Media():
            return f"media.{message.camera}"
        case _:
            return str(type(message).__struct_config__.tag)


def _fraction(value: float) -> float:
    return round(min(1.0, max(0.0, value)), 4)


def _four(box: tuple[float, float, float, float], digits: int) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = box
    return round(x1, digits), round(y1, digits), round(x2, digits), round(y2, digits)
