"""One camera as the events process sees it: its tracks, who is present to which rule, its open events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from ..clock import NS_PER_S
from ..config.settings import Settings
from ..messages import Detections
from .lifecycle import CloseReason, EventBook, Moment, Transition
from .rules import RuleSet
from .tracker import FORGET_S, LOST_FRAMES, Tracker

SILENCE_S: Final = 10.0  # an event whose camera brings no frame for so long is lost
LOW_SCORE: Final = 0.1  # carries a track on; ByteTrack's
HIGH_SCORE: Final = 0.5  # a track begins at this score, or at the lowest that a rule of the camera asks for


class Scene:
    """Detections of one camera in, transitions of events out."""

    def __init__(self, camera: str, settings: Settings, new_id: Callable[[int], str]) -> None:
        self.camera = camera
        alerts = settings.alerts
        self.rules = RuleSet(camera, settings.rules, settings.cameras[camera].zones)
        self.events = EventBook(camera, new_id, update_s=alerts.update_s, max_event_s=alerts.max_event_s)
        self._tracker = self._new_tracker()
        self._last_ns: int | None = None  # captured_ns of the last frame
        self._gap_ns = 0  # between it and the one before
        self._seen_by: tuple[str, int, int] | None = None  # model and picture size that the tracks are from

    def reload(self, settings: Settings) -> list[Transition]:
        """Go on under new settings; tracks and events stay, but for those of rules that are gone."""
        self.rules.replace(self.camera, settings.rules, settings.cameras[self.camera].zones)
        self.events.update_s, self.events.max_event_s = settings.alerts.update_s, settings.alerts.max_event_s
        self._tracker.high_score = self._high_score()
        self._tracker.low_score = min(LOW_SCORE, self._high_score())
        return self.events.drop_rules(self.rules.rules)

    def see(self, frame: Detections, utc_ns: int) -> list[Transition] | None:
        """Take in one frame, captured at `utc_ns`; return None when it is not newer than the last one."""
        transitions = self._begin_anew(frame)
        rows = np.frombuffer(frame.rows, dtype=np.float32).reshape(-1, 6)
        update = self._tracker.update(frame.captured_ns, rows)
        if update is None:
            return None
        self._gap_ns = 0 if self._last_ns is None else frame.captured_ns - self._last_ns
        self._last_ns = frame.captured_ns
        moment = Moment(frame.captured_ns, utc_ns, frame.model_id, frame.width, frame.height)
        matches = self.rules.match(frame.captured_ns, update, frame.labels, (frame.width, frame.height))
        return transitions + self.events.advance(moment, matches)

    def close(self, reason: CloseReason) -> list[Transition]:
        """Close all events; who is still there must come into being anew."""
        self._tracker = self._new_tracker()
        self.rules.forget()
        return self.events.close_all(reason)

    def expire(self, now_ns: int) -> list[Transition]:
        """Close events when the camera has brought no frame for too long; who is then still there begins anew."""
        # A camera that is looked at twice a minute is not silent in between.
        usual_s = LOST_FRAMES * min(self._gap_ns / NS_PER_S, FORGET_S)
        transitions = self.events.expire(now_ns, max(SILENCE_S, usual_s))
        if transitions:
            self.rules.forget()  # else the next event would claim to have begun when this one did
        return transitions

    def _begin_anew(self, frame: Detections) -> list[Transition]:
        """With another model or another picture size, boxes and labels no longer compare."""
        source = (frame.model_id, frame.width, frame.height)
        changed = self._seen_by not in (None, source)
        self._seen_by = source
        return self.close("lost") if changed else []

    def _high_score(self) -> float:
        return min(HIGH_SCORE, self.rules.min_score or HIGH_SCORE)

    def _new_tracker(self) -> Tracker:
        # A rule may ask for less than what usually carries a track on.
        return Tracker(high_score=self._high_score(), low_score=min(LOW_SCORE, self._high_score()))
