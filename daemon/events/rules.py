"""Which objects of a camera are, by the operator's rules, worth an alert, and since when.

A frame satisfies a rule for an object when label, zone and score fit. The object is then *present* to the rule, and
stays so over short lapses; once present for the rule's dwell it is a hit. Events are made of hits in `lifecycle.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ..clock import NS_PER_S
from ..config.settings import Rule
from .tracker import LOST_FRAMES, LOST_S, Track, TrackUpdate
from .zones import Box, Point, foot, relative, zone_of

ANY: Final = "*"
BORDER: Final = 0.02  # an object that was last seen this near to the picture's edge has left, it was not lost

OverReason = Literal["left", "lost"]
Key = tuple[str, int]  # rule's name, track's id


@dataclass(frozen=True, slots=True)
class Hit:
    """An object that satisfies a rule."""

    rule: Rule
    track: Track
    label: str
    box: Box  # fractions of the picture
    zone: str | None
    since_ns: int  # captured_ns of the first frame that satisfied
    fresh: bool  # this very frame satisfies

    @property
    def key(self) -> Key:
        """What an event of this hit is known by."""
        return self.rule.name, self.track.id


@dataclass(frozen=True, slots=True)
class Matches:
    """What the rules say about one frame."""

    hits: tuple[Hit, ...]
    over: Mapping[Key, OverReason]  # presences that ended with this frame


@dataclass(slots=True)
class _Presence:
    since_ns: int
    last_ns: int
    zone: str | None
    missed: int = 0


class RuleSet:
    """The rules of one camera, and who is present to them."""

    def __init__(self, camera: str, rules: Sequence[Rule], zones: Mapping[str, Sequence[Point]]) -> None:
        self._present: dict[Key, _Presence] = {}
        self.replace(camera, rules, zones)

    def replace(self, camera: str, rules: Sequence[Rule], zones: Mapping[str, Sequence[Point]]) -> None:
        """Go on with other rules; who was present to a rule that keeps its name stays so."""
        self.rules = [rule for rule in rules if rule.looks_at(camera)]
        self.zones = zones
        names = {rule.name for rule in self.rules}
        self._present = {key: presence for key, presence in self._present.items() if key[0] in names}

    @property
    def min_score(self) -> float | None:
        """The lowest score that any rule asks for; None without rules."""
        return min((rule.min_score for rule in self.rules), default=None)

    def match(self, now_ns: int, update: TrackUpdate, labels: Sequence[str], size: tuple[int, int]) -> Matches:
        """Return the hits of a frame; `labels` are the model's, `size` is the picture's (width, height)."""
        hits: list[Hit] = []
        over: dict[Key, OverReason] = {}
        for track in update.tracks:
            label, box = _name(labels, track.label), relative(track.box, *size)
            for rule in self.rules:
                if not self._renew(rule, track, label, box, now_ns):
                    over |= self._lapse((rule.name, track.id), rule, box)
                    continue
                presence = self._present.get((rule.name, track.id))
                if presence and presence.last_ns - presence.since_ns >= rule.min_dwell_s * NS_PER_S:
                    fresh = not presence.missed
                    hits.append(Hit(rule, track, label, box, presence.zone, presence.since_ns, fresh))
        for track in update.ended:
            for rule in self.rules:
                over |= self._lapse((rule.name, track.id), rule, relative(track.box, *size))
        return Matches(tuple(hits), over)

    def forget(self) -> None:
        """Nobody is present any more: the tracks begin anew."""
        self._present.clear()

    def _renew(self, rule: Rule, track: Track, label: str, box: Box, now_ns: int) -> bool:
        """Note whether this frame satisfies; return False when the object has been absent for too long."""
        key = (rule.name, track.id)
        zone = zone_of(self.zones, rule.zones, foot(box))
        in_place = zone is not None or not rule.zones
        labelled = ANY in rule.labels or label in rule.labels
        if labelled and in_place and not track.missed and track.score >= rule.min_score:
            presence = self._present.setdefault(key, _Presence(now_ns, now_ns, zone))
            presence.last_ns, presence.zone, presence.missed = now_ns, zone, 0
            return True
        if (absent := self._present.get(key)) is None:
            return True
        absent.missed += 1
        return absent.missed < LOST_FRAMES or now_ns - absent.last_ns <= LOST_S * NS_PER_S

    def _lapse(self, key: Key, rule: Rule, box: Box) -> dict[Key, OverReason]:
        if self._present.pop(key, None) is None:
            return {}
        outside = bool(rule.zones) and zone_of(self.zones, rule.zones, foot(box)) is None
        return {key: "left" if outside or _at_border(box) else "lost"}


def unknown_labels(rules: Sequence[Rule], labels: Sequence[str]) -> list[tuple[str, str]]:
    """Return (rule, label) for each label that the model does not have: such a rule waits for what never comes."""
    known = {ANY, *labels}
    return [(rule.name, label) for rule in rules for label in rule.labels if label not in known]


def _name(labels: Sequence[str], index: int) -> str:
    return labels[index] if 0 <= index < len(labels) else f"class{index}"


def _at_border(box: Box) -> bool:
    return min(box) <= BORDER or max(box) >= 1 - BORDER
