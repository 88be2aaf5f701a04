"""The motion gate on small pictures made by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray

from daemon.camera.motion import MotionGate
from daemon.clock import NS_PER_MS, NS_PER_S
from daemon.config.settings import Motion

WIDTH, HEIGHT = 80, 45
EMPTY = np.full((HEIGHT, WIDTH), 100, np.uint8)
LEFT_HALF = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))


def with_object(x: int, level: int = 200) -> NDArray[np.uint8]:
    """Return the empty place with an object of 8 x 10 pixels, 2 % of the picture."""
    scene = EMPTY.copy()
    scene[20:30, x : x + 8] = level
    return scene


def gate(**settings: object) -> MotionGate:
    return MotionGate(Motion.model_validate({"enabled": True, **settings}), WIDTH, HEIGHT)


def test_a_still_camera_is_looked_at_once_a_second_all_the_same() -> None:
    """A gate is never blind."""
    motion = gate()

    passed = [motion.wants(EMPTY, index * 100 * NS_PER_MS) for index in range(50)]

    assert sum(passed) == 5
    assert passed[0]


@pytest.mark.parametrize(("idle_fps", "expected"), [(0.5, 5), (2, 20)])
def test_the_idle_rate_is_the_operators(idle_fps: float, expected: int) -> None:
    """Once in two seconds, or twice a second."""
    motion = gate(idle_fps=idle_fps)

    assert sum(motion.wants(EMPTY, index * 100 * NS_PER_MS) for index in range(100)) == expected


def test_something_that_moves_opens_the_gate_for_every_frame() -> None:
    """Two percent of the picture with a threshold of one."""
    motion = gate()
    motion.wants(EMPTY, 0)

    assert all(motion.wants(with_object(2 * index), (index + 1) * 100 * NS_PER_MS) for index in range(30))


@pytest.mark.parametrize(("threshold", "moves"), [(0.01, True), (0.05, False)])
def test_the_threshold_is_the_share_of_the_picture(threshold: float, moves: bool) -> None:
    """An object of two percent passes one percent and not five."""
    motion = gate(threshold=threshold)
    motion.wants(EMPTY, 0)

    assert motion.wants(with_object(40), 100 * NS_PER_MS) is moves


@pytest.mark.parametrize(("x", "moves"), [(10, False), (60, True)])
def test_what_moves_under_a_mask_does_not_count(x: int, moves: bool) -> None:
    """A tree on the left must not hide a person on the right."""
    motion = gate(masks=[LEFT_HALF])
    motion.wants(EMPTY, 0)

    assert motion.wants(with_object(x), 100 * NS_PER_MS) is moves


def test_a_mask_over_everything_leaves_the_idle_look() -> None:
    """No division by nothing."""
    motion = gate(masks=[((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))])

    assert [motion.wants(with_object(8 * i), i * NS_PER_S // 2) for i in range(4)] == [True, False, True, False]


def test_sensor_noise_is_no_motion() -> None:
    """Noise of 3 grey levels, as 4 x 4 means have it, opens nothing."""
    motion, random = gate(), np.random.default_rng(0)
    motion.wants(EMPTY, 0)
    noisy = [(EMPTY + random.normal(0, 3, EMPTY.shape)).astype(np.uint8) for _ in range(9)]

    assert not any(motion.wants(frame, (index + 1) * 100 * NS_PER_MS) for index, frame in enumerate(noisy))


def test_what_stays_becomes_background() -> None:
    """A car that parked keeps the gate open for seconds, not for ever."""
    motion = gate()
    motion.wants(EMPTY, 0)

    passed = [motion.wants(with_object(40), (index + 1) * 100 * NS_PER_MS) for index in range(300)]

    assert all(passed[:20])
    assert sum(passed[200:]) == 10
