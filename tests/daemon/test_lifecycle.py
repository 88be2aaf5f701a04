"""Events: leases that are opened, renewed and closed with a reason."""

from itertools import count

from daemon.config.settings import Rule
from daemon.events.lifecycle import EventBook, Moment, Transition
from daemon.events.rules import Hit, Matches
from daemon.events.tracker import Track

S = 1_000_000_000
UTC = 1_700_000_000 * S
RULE = Rule(name="r", labels=("person",), cooldown_s=10.0)


def book() -> EventBook:
    numbers = count(1)
    return EventBook("gate", lambda _utc_ns: f"e{next(numbers)}", update_s=5.0, max_event_s=60.0)


def moment(time_s: float) -> Moment:
    return Moment(round(time_s * S), UTC + round(time_s * S), "m", 100, 100)


def hit(time_s: float, *, number: int = 1, score: float = 0.9, fresh: bool = True, since_s: float = 0.0) -> Hit:
    seen = Track(number, (10, 20, 30, 60), score, round(time_s * S), 0, hits=5, votes={0: 1.0})
    return Hit(RULE, seen, "person", (0.1, 0.2, 0.3, 0.6), "door", round(since_s * S), fresh)


def step(events: EventBook, time_s: float, *hits: Hit, over: dict | None = None) -> list[tuple[str, str, str | None]]:
    return told(events.advance(moment(time_s), Matches(hits, over or {})))


def told(transitions: list[Transition]) -> list[tuple[str, str, str | None]]:
    return [(t.stage, t.event.id, t.reason) for t in transitions]


def test_an_event_opens_once_and_is_renewed_in_silence() -> None:
    """Its beginning is the first frame that satisfied the rule, not the one that ended the dwell."""
    events = book()

    (opened,) = events.advance(moment(2), Matches((hit(2, since_s=1.5),), {}))

    assert (opened.stage, opened.event.started_utc_ns) == ("opened", UTC + round(1.5 * S))
    assert step(events, 2.2, hit(2.2)) == []
    assert [event.score for event in events.open_events] == [0.9]


def test_an_event_that_goes_on_says_so_every_update_s() -> None:
    """With the best score so far beside the present one."""
    events = book()
    step(events, 0, hit(0))
    step(events, 3, hit(3, score=0.97))

    (updated,) = events.advance(moment(5), Matches((hit(5, score=0.6),), {}))

    assert (updated.stage, updated.event.score, updated.event.best_score) == ("updated", 0.6, 0.97)
    assert step(events, 9, hit(9)) == []
    assert step(events, 10, hit(10)) == [("updated", "e1", None)]


def test_an_event_closes_with_the_reason_of_its_presence() -> None:
    """And is not closed twice."""
    events = book()
    step(events, 0, hit(0))

    assert step(events, 3, over={("r", 1): "left"}) == [("closed", "e1", "left")]
    assert step(events, 4, over={("r", 1): "left"}) == []


def test_a_cooldown_keeps_the_next_event_away_until_it_is_over() -> None:
    """It counts from the last sight. Who still stands there then gets an event; what was kept away is counted."""
    events = book()
    step(events, 0, hit(0))
    step(events, 3, over={("r", 1): "lost"})

    assert step(events, 9.9, hit(9.9, number=2)) == []
    assert events.suppressed == 1
    assert step(events, 10, hit(10, number=2)) == [("opened", "e2", None)]


def test_two_objects_have_two_events() -> None:
    """Also of one rule and label, at once."""
    events = book()

    assert step(events, 0, hit(0), hit(0, number=2)) == [("opened", "e1", None), ("opened", "e2", None)]


def test_an_event_that_lasts_too_long_is_closed_and_goes_on_as_another() -> None:
    """No cooldown between them, for nothing has ended."""
    events = book()
    step(events, 0, hit(0))

    assert step(events, 61, hit(61)) == [("closed", "e1", "max_length"), ("opened", "e2", None)]
    assert events.open_events[0].started_ns == 61 * S


def test_a_hit_that_is_not_fresh_neither_opens_nor_renews() -> None:
    """The lease is renewed only by what was seen."""
    events = book()

    assert step(events, 0, hit(0, fresh=False)) == []
    step(events, 1, hit(1))
    step(events, 2, hit(2, fresh=False, score=0.2))
    assert events.open_events[0].moment == moment(1)


def test_when_the_camera_goes_down_its_events_close_and_may_open_again_at_once() -> None:
    """The object may still be there when the camera comes back."""
    events = book()
    step(events, 0, hit(0))

    assert told(events.close_all("camera_down")) == [("closed", "e1", "camera_down")]
    assert step(events, 6, hit(6, number=2)) == [("opened", "e2", None)]


def test_an_event_without_frames_expires() -> None:
    """Frames may stop without anybody saying so."""
    events = book()
    step(events, 0, hit(0))

    assert events.expire(10 * S, silence_s=10) == []
    assert told(events.expire(11 * S, silence_s=10)) == [("closed", "e1", "lost")]


def test_the_events_of_a_rule_that_is_gone_are_closed() -> None:
    """Others go on under the rule as it is now."""
    events = book()
    step(events, 0, hit(0))
    stricter = RULE.model_copy(update={"severity": "critical"})

    assert events.drop_rules([stricter]) == []
    assert events.open_events[0].rule.severity == "critical"
    assert told(events.drop_rules([])) == [("closed", "e1", "rule_removed")]
