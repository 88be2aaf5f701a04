"""Batching: newest wins, longest waiting first, never wait for a camera."""

import pytest

from daemon.inference.batcher import Batcher, Waiting, bucket_for, buckets_up_to


def waiting(camera: str, at_ns: int, payload: str = "") -> Waiting[str]:
    return Waiting(camera, at_ns, at_ns, payload)


def batcher(max_batch: int = 4, max_wait_ns: int = 5, max_age_ns: int = 100) -> Batcher[str]:
    return Batcher(max_batch=max_batch, max_wait_ns=max_wait_ns, max_age_ns=max_age_ns)


@pytest.mark.parametrize(("most", "buckets"), [(1, (1,)), (2, (1, 2)), (6, (1, 2, 4, 6)), (16, (1, 2, 4, 8, 16))])
def test_buckets_are_the_powers_of_two_and_the_limit(most: int, buckets: tuple[int, ...]) -> None:
    """Every size up to the limit has a bucket."""
    assert buckets_up_to(most) == buckets
    assert [bucket_for(n, buckets) >= n for n in range(1, most + 1)] == [True] * most


def test_the_smallest_bucket_that_holds_the_batch_is_taken() -> None:
    """Padding costs time."""
    assert [bucket_for(n, (1, 2, 4, 8)) for n in (1, 2, 3, 5)] == [1, 2, 4, 8]


def test_a_newer_frame_pushes_the_older_of_its_camera_out() -> None:
    """The mailbox is one deep and gives the loser back, to be counted and credited."""
    boxes = batcher()

    assert boxes.put(waiting("gate", 0, "old")) is None
    pushed_out = boxes.put(waiting("gate", 1, "new"))

    assert pushed_out is not None
    assert pushed_out.payload == "old"
    assert [frame.payload for frame in boxes.take(50)] == ["new"]


def test_a_batch_waits_until_its_oldest_frame_has_waited_enough() -> None:
    """5 ns of patience here."""
    boxes = batcher()
    boxes.put(waiting("gate", 10))

    assert boxes.wait_ns(12) == 3
    assert boxes.take(12) == []
    assert len(boxes.take(15)) == 1
    assert boxes.wait_ns(15) is None


def test_a_full_batch_starts_at_once_with_the_longest_waiting() -> None:
    """Cameras that came first go first; the rest keeps its place."""
    boxes = batcher(max_batch=2)
    for at_ns, camera in enumerate("abc"):
        boxes.put(waiting(camera, at_ns))

    assert [frame.camera for frame in boxes.take(2)] == ["a", "b"]
    assert [frame.camera for frame in boxes.take(50)] == ["c"]


def test_a_camera_that_sends_again_stands_at_the_end_of_the_line() -> None:
    """Otherwise a fast camera would starve the slow ones."""
    boxes = batcher(max_batch=1)
    boxes.put(waiting("fast", 0))
    boxes.put(waiting("slow", 1))
    boxes.put(waiting("fast", 2))

    assert [frame.camera for frame in boxes.take(3)] == ["slow"]


def test_frames_that_are_too_old_are_given_back() -> None:
    """Old news is worse than none: it takes the place of new."""
    boxes = batcher(max_age_ns=100)
    boxes.put(waiting("gate", 0))
    boxes.put(waiting("yard", 50))

    assert [frame.camera for frame in boxes.take_stale(101)] == ["gate"]
    assert [frame.camera for frame in boxes.take(101)] == ["yard"]


def test_a_forgotten_camera_has_nothing_waiting() -> None:
    """Its reader began anew; the old ring is gone."""
    boxes = batcher()
    boxes.put(waiting("gate", 0, "x"))

    forgotten = boxes.forget("gate")

    assert forgotten is not None
    assert boxes.forget("gate") is None
    assert boxes.wait_ns(50) is None
