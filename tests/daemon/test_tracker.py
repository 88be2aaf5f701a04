"""The tracker: one object keeps one number, whatever the frame rate, and flicker never becomes an object."""

import csv
from collections import defaultdict
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from daemon.events.assignment import match
from daemon.events.kalman import BoxFilter
from daemon.events.tracker import Tracker, TrackUpdate, iou

S = 1_000_000_000
PERSON, CAR, TRUCK = 0.0, 2.0, 7.0


def rows(*values: tuple[float, ...]) -> np.ndarray:
    return np.array(values, dtype=np.float32).reshape(-1, 6)


def at(x: float, y: float = 100, score: float = 0.9, label: float = PERSON) -> tuple[float, ...]:
    return (x, y, x + 40, y + 100, score, label)


def feed(tracker: Tracker, *frames: tuple[float, np.ndarray]) -> TrackUpdate:
    for time_s, detections in frames:
        update = tracker.update(round(time_s * S) + 1, detections)
        assert update is not None
    return update


@pytest.mark.parametrize("fps", [1, 5, 25])
def test_a_walking_person_keeps_its_number_at_any_frame_rate(fps: int) -> None:
    """Speed is in pixels a second, so the rate of the frames does not matter."""
    tracker = Tracker()

    update = feed(tracker, *[(i / fps, rows(at(25 * i / fps))) for i in range(1, 30)])

    assert [(t.id, t.hits) for t in update.tracks] == [(1, 29)]


def test_frames_at_uneven_intervals_do_not_break_a_track() -> None:
    """Prediction goes by the time that has passed, not by the count of frames."""
    times = [0.0, 0.1, 0.2, 0.9, 1.0, 1.8, 1.9, 3.0]

    update = feed(Tracker(), *[(t, rows(at(60 * t))) for t in times])

    assert [t.id for t in update.tracks] == [1]


def test_one_frame_alone_is_no_object() -> None:
    """A detection that does not come again is never reported, and never reported as ended."""
    tracker = Tracker()

    updates = [tracker.update(i * S // 10 + 1, rows(at(10)) if i == 0 else rows()) for i in range(50)]

    assert all(u is not None and u.tracks == u.ended == () for u in updates)


def test_a_low_score_carries_a_track_on_but_begins_none() -> None:
    """The second stage of ByteTrack."""
    tracker = Tracker()
    feed(tracker, (0, rows(at(10), at(400, score=0.3))), (0.1, rows(at(10), at(400, score=0.3))))

    update = feed(tracker, (0.2, rows(at(10, score=0.3), at(400, score=0.3))))

    assert [(t.id, t.missed, round(t.score, 1)) for t in update.tracks] == [(1, 0, 0.3)]


def test_a_person_hidden_for_a_second_keeps_its_number_and_one_hidden_for_longer_ends() -> None:
    """A track outlives 2 s without a sight, and says by `missed` that it is not seen."""
    tracker = Tracker()
    feed(tracker, *[(i / 10, rows(at(10 + i))) for i in range(10)])

    hidden = feed(tracker, *[(1 + i / 10, rows()) for i in range(10)])
    assert [(t.id, t.missed) for t in hidden.tracks] == [(1, 10)]
    back = feed(tracker, (2.0, rows(at(30))))
    gone = feed(tracker, *[(2.1 + i / 10, rows()) for i in range(21)])

    assert [t.id for t in back.tracks] == [1]
    assert gone.tracks == ()
    assert [t.id for t in gone.ended] == [1]


def test_a_slow_camera_does_not_end_tracks_after_two_seconds() -> None:
    """With a frame every five seconds, one frame without the object is no reason to give it up."""
    tracker = Tracker()

    update = feed(tracker, (0, rows(at(10))), (5, rows(at(10))), (10, rows()), (15, rows(at(10))))

    assert [t.id for t in update.tracks] == [1]


def test_nothing_is_carried_over_half_a_minute_without_frames() -> None:
    """After a camera was away, whoever stands there is somebody new."""
    tracker = Tracker()
    feed(tracker, (0, rows(at(10))), (0.1, rows(at(10))))

    update = feed(tracker, (60, rows()), (60.1, rows(at(10))), (60.2, rows(at(10))))

    assert [t.id for t in update.tracks] == [2]


def test_two_people_that_cross_keep_their_numbers() -> None:
    """The predicted places, not the last ones, are compared."""
    tracker = Tracker()
    first = feed(tracker, *[(i / 10, rows(at(8 * i), at(320 - 8 * i, y=130))) for i in range(10)])
    before = {t.id: t.box[1] for t in first.tracks}

    last = feed(tracker, *[(i / 10, rows(at(8 * i), at(320 - 8 * i, y=130))) for i in range(10, 40)])

    assert {t.id: t.box[1] for t in last.tracks} == before


def test_a_label_that_flickers_neither_splits_a_track_nor_renames_it() -> None:
    """Car, truck, car at one place is one car: the votes decide."""
    tracker = Tracker()
    labels = [CAR, CAR, TRUCK, CAR, TRUCK, CAR]

    update = feed(tracker, *[(i / 10, rows(at(100, label=label))) for i, label in enumerate(labels)])

    assert [(t.id, t.label) for t in update.tracks] == [(1, int(CAR))]


def test_two_labels_on_one_place_are_one_object() -> None:
    """A detector that calls a thing car and truck at once has seen one thing."""
    both = rows(at(100, label=CAR), at(101, score=0.6, label=TRUCK))

    update = feed(Tracker(), *[(i / 10, both) for i in range(5)])

    assert [t.label for t in update.tracks] == [int(CAR)]


def test_a_person_on_a_bicycle_is_two_objects() -> None:
    """Different labels that overlap by half stay apart, also when one is missed for a while."""
    person, bicycle = at(100), (95.0, 150.0, 150.0, 210.0, 0.8, 1.0)
    tracker = Tracker()
    feed(tracker, *[(i / 10, rows(person, bicycle)) for i in range(5)])

    update = feed(tracker, (0.5, rows(bicycle)), (0.6, rows(person, bicycle)))

    assert sorted((t.id, t.label) for t in update.tracks) == [(1, 0), (2, 1)]


def test_a_frame_that_is_not_newer_changes_nothing() -> None:
    """Duplicates and late frames are refused, so time never runs backwards in a track."""
    tracker = Tracker()
    feed(tracker, (1, rows(at(10))), (2, rows(at(10))))

    assert tracker.update(2 * S + 1, rows(at(10))) is None
    assert tracker.update(S, rows(at(10))) is None


def test_rows_that_are_no_numbers_are_ignored() -> None:
    """A detector that returns NaN must not poison the filters."""
    bad = rows(at(10), (float("nan"), 0, 10, 10, 0.9, 0), (0, 0, float("inf"), 10, 0.9, 0))

    update = feed(Tracker(), *[(i / 10, bad) for i in range(5)])

    assert [t.id for t in update.tracks] == [1]


@pytest.mark.parametrize("seed", range(20))
def test_matching_finds_the_greatest_total(seed: int) -> None:
    """Compared with trying every permutation."""
    random = np.random.default_rng(seed)
    shape = random.integers(1, 6, 2)
    weights = random.uniform(-0.5, 1, shape)

    found = match(weights)

    small = weights if shape[0] <= shape[1] else weights.T
    best = max(
        sum(max(0.0, small[r, c]) for r, c in enumerate(columns))
        for columns in permutations(range(small.shape[1]), small.shape[0])
    )
    assert sum(weights[pair] for pair in found) == pytest.approx(best)
    assert len({r for r, _ in found}) == len({c for _, c in found}) == len(found)


def test_the_filter_learns_a_speed_and_predicts_by_it() -> None:
    """100 pixels a second, seen at 10 frames a second: half a second later it is 50 pixels on."""
    boxes = BoxFilter()
    boxes.add(np.array([[0.0, 0.0, 40.0, 100.0]]))
    for i in range(1, 30):
        boxes.predict(0.1)
        boxes.correct(np.array([0]), np.array([[10.0 * i, 0.0, 10.0 * i + 40, 100.0]]))

    boxes.predict(0.5)

    assert boxes.boxes()[0] == pytest.approx([340, 0, 380, 100], abs=3)


def test_iou_of_known_boxes() -> None:
    """Half shifted squares share a third; a box without area shares nothing."""
    left = np.array([[0.0, 0, 10, 10], [5, 5, 5, 5]])

    assert iou(left, np.array([[0.0, 5, 10, 15]])).round(3).tolist() == [[0.333], [0.0]]


@pytest.mark.material
@pytest.mark.parametrize(
    ("video", "fps", "most_switches", "most_tracks"),
    [("PETS09-S2L1_first300", 10, 6, 15), ("TUD-Stadtmitte", 25, 3, 12)],
)
def test_people_in_real_scenes_keep_their_numbers(
    material: Path, video: str, fps: int, most_switches: int, most_tracks: int
) -> None:
    """Ground truth with a tenth of the boxes missing and 2 pixels of noise: hardly anybody is renamed."""
    frames = defaultdict(list)
    with (material / "videos" / f"{video}.gt.txt").open() as file:
        for line in csv.reader(file):
            frame, person, x, y, w, h, confidence = map(float, line[:7])
            if confidence:
                frames[int(frame)].append((int(person), [x, y, x + w, y + h]))
    random = np.random.default_rng(1)
    tracker, last, switches, numbers = Tracker(), {}, 0, set()

    for frame, people in sorted(frames.items()):
        truth = np.array([box for _, box in people])
        seen = random.random(len(truth)) > 0.1
        noisy = truth + random.normal(0, 2, truth.shape)
        detections = np.hstack([noisy, np.tile([0.9, 0.0], (len(truth), 1))])[seen]
        update = tracker.update(frame * S // fps, detections.astype(np.float32))
        assert update is not None
        visible = [t for t in update.tracks if not t.missed]
        numbers |= {t.id for t in visible}
        for person, track in match(iou(truth, np.array([t.box for t in visible]).reshape(-1, 4)) - 0.5):
            name, number = people[person][0], visible[track].id
            switches += last.get(name, number) != number
            last[name] = number

    assert switches <= most_switches
    assert len(numbers) <= most_tracks
