"""Interest: unsure scores and self-contradiction are found, sure and steady frames are not."""

import numpy as np
import pytest

from daemon.commands.interest import Candidate, Seen, candidates, has_alike, spread, uncertainty

HERE = [10, 10, 50, 90]
THERE = [200, 10, 240, 90]


def rows(*found: tuple[list[int], float]) -> np.ndarray:
    return np.array([[*box, score, 0] for box, score in found], np.float32).reshape(-1, 6)


def film(*frames: np.ndarray, step_ns: int = 200_000_000) -> list[Seen]:
    return [Seen(number * step_ns, frame) for number, frame in enumerate(frames)]


SURE = rows((HERE, 0.9))
NOTHING = rows()


@pytest.mark.parametrize(
    ("frames", "found"),
    [
        ([NOTHING, NOTHING, NOTHING], []),
        ([SURE, SURE, SURE], []),
        ([NOTHING, SURE, NOTHING], [(1, "flicker")]),
        ([SURE, NOTHING, SURE], [(1, "missed")]),
        ([SURE, rows((THERE, 0.9)), SURE], [(1, "flicker")]),  # both, and the first named of equals
        ([SURE, rows((HERE, 0.42)), SURE], [(1, "uncertain")]),
        ([rows((HERE, 0.42))], [(0, "uncertain")]),
        ([NOTHING, SURE], []),  # the end of a film contradicts nobody
    ],
)
def test_a_frame_is_interesting_when_its_neighbours_contradict_it(
    frames: list[np.ndarray], found: list[tuple[int, str]]
) -> None:
    """Films of one camera, written out by hand."""
    result = [(c.utc_ns // 200_000_000, c.reason) for c in candidates(film(*frames))]

    assert result == found


def test_frames_far_apart_in_time_do_not_contradict_each_other() -> None:
    """A person may well have come and gone within ten seconds."""
    assert list(candidates(film(NOTHING, SURE, NOTHING, step_ns=10_000_000_000))) == []


@pytest.mark.parametrize(
    ("score", "weight"), [(0.1, 0.0), (0.25, 0.0), (0.425, 1.0), (0.3375, 0.5), (0.6, 0.0), (0.9, 0.0)]
)
def test_uncertainty_peaks_between_nothing_and_something(score: float, weight: float) -> None:
    """A triangle over UNSURE."""
    assert uncertainty(rows((HERE, score))) == pytest.approx(weight, abs=1e-5)


def test_another_class_in_the_same_place_is_not_the_same_object() -> None:
    """A dog does not confirm a person."""
    assert has_alike(SURE, SURE[0])
    assert not has_alike(SURE, np.array([*HERE, 0.9, 1], np.float32))
    assert not has_alike(NOTHING, SURE[0])


def test_the_weightiest_are_taken_and_kept_apart() -> None:
    """Two frames of one moment teach the same."""
    found = [Candidate(0, "uncertain", 0.5), Candidate(1, "uncertain", 0.9), Candidate(9, "uncertain", 0.1)]

    assert [c.utc_ns for c in spread(found, limit=9, apart_ns=5)] == [1, 9]
    assert [c.utc_ns for c in spread(found, limit=1, apart_ns=5)] == [1]
