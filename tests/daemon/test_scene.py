"""A scene: detections of one camera in, transitions of events out."""

from itertools import count

import numpy as np

from daemon.config.settings import Settings
from daemon.events.scene import Scene
from daemon.messages import Detections

FRAME_NS = 200_000_000
UTC = 1_700_000_000 * 10**9


def settings(**rule: object) -> Settings:
    return Settings.model_validate(
        {
            "cameras": {"gate": {"url": "rtsp://x", "zones": {"left": [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]}}},
            "rules": [{"name": "r", "labels": ["person"], "min_dwell_s": 0.2, "cooldown_s": 0} | rule],
        }
    )


class Camera:
    """Feeds a scene at 5 frames a second and notes what came of it."""

    def __init__(self, **rule: object) -> None:
        numbers = count(1)
        self.scene = Scene("gate", settings(**rule), lambda _: f"e{next(numbers)}")
        self.now_ns = 0

    def see(
        self, *rows: tuple[float, ...], frames: int = 5, model_id: str = "m", width: int = 640
    ) -> list[tuple[str, str, str | None]]:
        told = []
        for _ in range(frames):
            self.now_ns += FRAME_NS
            frame = Detections(
                camera="gate",
                sequence=1,
                model_id=model_id,
                width=width,
                height=480,
                rows=np.array(rows, np.float32).tobytes(),
                labels=("person",),
                captured_ns=self.now_ns,
                decoded_ns=0,
                queued_ns=0,
                inferred_ns=0,
            )
            told += self.scene.see(frame, UTC + self.now_ns) or []
        return [(t.stage, t.event.id, t.reason) for t in told]


PERSON = (100.0, 100.0, 160.0, 300.0, 0.9, 0.0)


def test_a_person_in_and_out_of_a_zone_opens_and_closes() -> None:
    """Walking from left to right through the middle of the picture."""
    camera = Camera(zones=["left"])
    walk = [camera.see((x, 100, x + 60, 300, 0.9, 0), frames=1) for x in range(100, 500, 15)]

    told = [step for steps in walk for step in steps] + camera.see((500, 100, 560, 300, 0.9, 0), frames=15)

    assert [t for t in told if t[0] != "updated"] == [("opened", "e1", None), ("closed", "e1", "left")]


def test_a_rule_with_a_low_score_sees_what_the_usual_threshold_would_hide() -> None:
    """The tracker begins tracks at the lowest score that a rule asks for."""
    weak = (100.0, 100.0, 160.0, 300.0, 0.3, 0.0)

    assert Camera(min_score=0.25).see(weak) == [("opened", "e1", None)]
    assert Camera(min_score=0.5).see(weak) == []
    assert Camera(min_score=0.05).see((*weak[:4], 0.06, 0.0)) == [("opened", "e1", None)]


def test_after_a_silence_the_next_event_does_not_claim_the_time_of_the_one_before() -> None:
    """The detector was away for eleven seconds; the same track goes on, but the event that it opens is a new one."""
    camera = Camera()
    camera.see(PERSON)
    (first,) = camera.scene.events.open_events
    camera.now_ns += 11_000_000_000
    assert [t.reason for t in camera.scene.expire(camera.now_ns)] == ["lost"]

    assert camera.see(PERSON) == [("opened", "e2", None)]

    (second,) = camera.scene.events.open_events
    assert second.started_ns > first.moment.captured_ns


def test_with_another_model_or_picture_size_events_begin_anew() -> None:
    """Boxes of 640 pixels say nothing about boxes of 1280, nor one model's classes about another's."""
    camera = Camera()
    camera.see(PERSON)

    assert camera.see(PERSON, width=1280) == [("closed", "e1", "lost"), ("opened", "e2", None)]
    assert camera.see(PERSON, width=1280, model_id="n") == [("closed", "e2", "lost"), ("opened", "e3", None)]


def test_a_frame_that_is_not_newer_is_told_apart_from_one_without_events() -> None:
    """So that it can be counted."""
    camera = Camera()
    camera.see(PERSON)
    camera.now_ns -= 2 * FRAME_NS

    frame = Detections(
        camera="gate", sequence=1, model_id="m", width=640, height=480, rows=b"", labels=("person",),
        captured_ns=camera.now_ns, decoded_ns=0, queued_ns=0, inferred_ns=0,
    )  # fmt: skip
    assert camera.scene.see(frame, UTC) is None


def test_a_camera_that_is_looked_at_thrice_a_minute_has_one_event_for_one_person() -> None:
    """Its usual gap is no silence: it was told of as a new event with every second frame."""
    camera = Camera()
    told = []
    for _ in range(8):
        camera.now_ns += 20_000_000_000 - FRAME_NS
        told += [t.stage for t in camera.scene.expire(camera.now_ns)]
        told += [stage for stage, _, _ in camera.see(PERSON, frames=1)]

    assert [stage for stage in told if stage != "updated"] == ["opened"]
    assert [t.reason for t in camera.scene.expire(camera.now_ns + 61_000_000_000)] == ["lost"]
