"""Events as leases: opened by a hit, renewed by the hits of following frames, closed with a reason.

One `EventBook` keeps the events of one camera. It returns transitions; storing, publishing and recording them is
somebody else's duty. Time and identity come in from outside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..clock import NS_PER_S
from ..config.settings import Rule
from .rules import Hit, Key, Matches
from .zones import Box

Stage = Literal["opened", "updated", "closed"]
CloseReason = Literal["left", "lost", "max_length", "camera_down", "camera_removed", "restart", "rule_removed"]


@dataclass(frozen=True, slots=True)
class Moment:
    """The frame by which events are decided."""

    captured_ns: int
    utc_ns: int  # the same instant
    model_id: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Event:
    """One object in one rule's eyes, from its first frame to its last."""

    id: str
    camera: str
    rule: Rule
    label: str
    track_id: int
    started_utc_ns: int
    started_ns: int
    moment: Moment  # the last frame that satisfied
    box: Box  # in that frame, camera pixels
    relative_box: Box
    score: float
    zone: str | None
    best_score: float
    published_ns: int  # captured_ns of the last transition


@dataclass(frozen=True, slots=True)
class Transition:
    """A step in an event's life."""

    stage: Stage
    event: Event
    reason: CloseReason | None = None


class EventBook:
    """Open events of one camera."""

    def __init__(self, camera: str, new_id: Callable[[int], str], *, update_s: float, max_event_s: float) -> None:
        """`new_id` makes an event's id from the UTC nanoseconds of its beginning."""
        self.camera = camera
        self.update_s = update_s
        self.max_event_s = max_event_s
        self.suppressed = 0  # hits that would have opened an event but for a cooldown; counts frames
        self._new_id = new_id
        self._open: dict[Key, Event] = {}
        self._quiet_until_ns: dict[tuple[str, str], int] = {}  # rule, label

    @property
    def open_events(self) -> tuple[Event, ...]:
        """The events that are going on."""
        return tuple(self._open.values())

    def advance(self, moment: Moment, matches: Matches) -> list[Transition]:
        """Open, renew and close by the hits of one frame."""
        transitions = [self._close(key, reason) for key, reason in matches.over.items() if key in self._open]
        for hit in matches.hits:
            if hit.key in self._open:
                transitions += self._renew(hit, moment)
            elif hit.fresh:
                transitions += self._try_open(hit, moment)
        return transitions

    def close_all(self, reason: CloseReason) -> list[Transition]:
        """Close every event for one reason."""
        return [self._close(key, reason) for key in list(self._open)]

    def expire(self, now_ns: int, silence_s: float) -> list[Transition]:
        """Close events that were not renewed for over `silence_s`; `now_ns` is the monotonic present."""
        late = [key for key, event in self._open.items() if now_ns - event.moment.captured_ns > silence_s * NS_PER_S]
        return [self._close(key, "lost") for key in late]

    def drop_rules(self, rules: Sequence[Rule]) -> list[Transition]:
        """Close the events of rules that are gone; the others go on under the rule as it is now."""
        current = {rule.name: rule for rule in rules}
        gone = [key for key in self._open if key[0] not in current]
        transitions = [self._close(key, "rule_removed") for key in gone]
        self._open = {key: replace(event, rule=current[key[0]]) for key, event in self._open.items()}
        return transitions

    def _try_open(self, hit: Hit, moment: Moment) -> list[Transition]:
        if moment.captured_ns < self._quiet_until_ns.get((hit.rule.name, hit.label), 0):
            self.suppressed += 1
            return []
        return [self._start(hit, moment, hit.since_ns)]

    def _start(self, hit: Hit, moment: Moment, started_ns: int) -> Transition:
        started_utc_ns = moment.utc_ns - (moment.captured_ns - started_ns)
        event = Event(
            id=self._new_id(started_utc_ns),
            camera=self.camera,
            rule=hit.rule,
            label=hit.label,
            track_id=hit.track.id,
            started_utc_ns=started_utc_ns,
            started_ns=started_ns,
            moment=moment,
            box=hit.track.box,
            relative_box=hit.box,
            score=hit.track.score,
            zone=hit.zone,
            best_score=hit.track.score,
            published_ns=moment.captured_ns,
        )
        self._open[hit.key] = event
        return Transition("opened", event)

    def _renew(self, hit: Hit, moment: Moment) -> list[Transition]:
        if not hit.fresh:
            return []  # the lease runs; whether it ran out is said by `Matches.over`
        event = replace(
            self._open[hit.key],
            moment=moment,
            box=hit.track.box,
            relative_box=hit.box,
            score=hit.track.score,
            zone=hit.zone,
            best_score=max(self._open[hit.key].best_score, hit.track.score),
        )
        self._open[hit.key] = event
        if moment.captured_ns - event.started_ns > self.max_event_s * NS_PER_S:
            closed = self._close(hit.key, "max_length")
            return [closed, self._start(hit, moment, moment.captured_ns)]
        if moment.captured_ns - event.published_ns < self.update_s * NS_PER_S:
            return []
        event = replace(event, published_ns=moment.captured_ns)
        self._open[hit.key] = event
        return [Transition("updated", event)]

    def _close(self, key: Key, reason: CloseReason) -> Transition:
        event = self._open.pop(key)
        if reason in ("left", "lost"):  # after the other reasons the object may still be there, and must be told of
            ended_ns = event.moment.captured_ns  # not when that was noticed
            self._quiet_until_ns[key[0], event.label] = ended_ns + round(event.rule.cooldown_s * NS_PER_S)
        return Transition("closed", event, reason)
