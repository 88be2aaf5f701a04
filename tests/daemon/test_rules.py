"""Rules: who is worth an alert, and since when."""

import pytest

from daemon.config.settings import Rule
from daemon.events.rules import Matches, RuleSet, unknown_labels
from daemon.events.tracker import Track, TrackUpdate

S = 1_000_000_000
LABELS = ("person", "car")
SIZE = (100, 100)
ZONES = {"door": ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))}


def track(x: float = 10, score: float = 0.9, label: int = 0, missed: int = 0, number: int = 1) -> Track:
    return Track(number, (x, 20, x + 10, 60), score, 0, 0, hits=5, missed=missed, votes={label: 1.0})


def rule(**changes: object) -> Rule:
    return Rule.model_validate({"name": "r", "labels": ["person"], "min_dwell_s": 0.0} | changes)


def run(rules: RuleSet, *frames: tuple[float, Track | None], ended: tuple[Track, ...] = ()) -> Matches:
    for time_s, seen in frames:
        matches = rules.match(round(time_s * S), TrackUpdate((seen,) if seen else (), ended), LABELS, SIZE)
    return matches


@pytest.mark.parametrize(
    ("changes", "seen", "hit"),
    [
        ({}, track(), True),
        ({"labels": ["car"]}, track(), False),
        ({"labels": ["*"]}, track(label=1), True),
        ({"labels": ["*"]}, track(label=77), True),
        ({"min_score": 0.95}, track(), False),
        ({"cameras": ["gate"]}, track(), True),
        ({"cameras": ["yard"]}, track(), False),
        ({"zones": ["door"]}, track(), True),
        ({"zones": ["door"]}, track(x=60), False),
        ({"zones": ["nowhere"]}, track(), False),
        ({}, track(missed=1), False),
    ],
)
def test_an_object_satisfies_a_rule_or_not(changes: dict, seen: Track, hit: bool) -> None:
    """Camera, label, zone, score; and only where this frame shows it."""
    rules = RuleSet("gate", [rule(**changes)], ZONES)

    assert bool(run(rules, (1, seen)).hits) is hit


def test_an_object_is_a_hit_only_after_the_dwell() -> None:
    """The time counts from the first frame that satisfied, and the hit says which that was."""
    rules = RuleSet("gate", [rule(min_dwell_s=1.0)], ZONES)

    assert not run(rules, (1.0, track()), (1.9, track())).hits
    (hit,) = run(rules, (2.0, track())).hits
    assert (hit.since_ns, hit.label, hit.fresh, hit.key) == (S, "person", True, ("r", 1))


def test_the_time_in_another_place_does_not_count_as_dwell() -> None:
    """Whoever walks into the zone begins at zero there."""
    rules = RuleSet("gate", [rule(zones=["door"], min_dwell_s=1.0)], ZONES)

    assert not run(rules, (0.0, track(x=60)), (1.0, track(x=60)), (1.5, track()), (2.0, track())).hits
    assert run(rules, (2.5, track())).hits[0].zone == "door"


def test_a_short_lapse_does_not_end_a_presence() -> None:
    """A low score or a missed frame leaves the object present, but not fresh."""
    rules = RuleSet("gate", [rule()], ZONES)

    matches = run(rules, (0.0, track()), (0.5, track(score=0.2)), (1.0, track(missed=1)))

    assert [hit.fresh for hit in matches.hits] == [False]
    assert matches.over == {}


@pytest.mark.parametrize(
    ("changes", "last", "reason"),
    [
        ({}, track(x=40), "lost"),
        ({}, track(x=89), "left"),
        ({"zones": ["door"]}, track(x=60), "left"),
        ({"zones": ["door"]}, track(x=30), "lost"),
    ],
)
def test_the_end_has_a_reason(changes: dict, last: Track, reason: str) -> None:
    """Last seen at the picture's border or outside the zone: left. In the middle of things: lost."""
    rules = RuleSet("gate", [rule(**changes)], ZONES)
    run(rules, (0.0, track(x=30)))

    matches = run(rules, (3.0, None), ended=(last,))

    assert (matches.hits, matches.over) == ((), {("r", 1): reason})


def test_an_object_that_goes_on_outside_the_zone_has_left_it() -> None:
    """The track lives, the presence ends."""
    rules = RuleSet("gate", [rule(zones=["door"])], ZONES)

    matches = run(rules, (0.0, track()), *[(t, track(x=60)) for t in (1.0, 2.0, 3.0)])

    assert matches.over == {("r", 1): "left"}


def test_new_rules_leave_presences_of_rules_that_stay() -> None:
    """A reload does not make everybody arrive anew."""
    rules = RuleSet("gate", [rule(min_dwell_s=1.0)], ZONES)
    run(rules, (0.0, track()))

    rules.replace("gate", [rule(min_dwell_s=1.0, severity="critical")], ZONES)

    assert run(rules, (1.0, track())).hits[0].rule.severity == "critical"


def test_labels_that_the_model_does_not_have_are_named() -> None:
    """Such a rule would wait for ever, without a word."""
    assert unknown_labels([rule(labels=["person", "cat"]), rule(labels=["*"])], LABELS) == [("r", "cat")]
