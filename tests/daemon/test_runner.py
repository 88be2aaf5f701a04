"""The runner thread: results in order, failures in the caller's loop, silence noticed."""

import select
import threading

import numpy as np
import pytest

from daemon.clock import SystemClock
from daemon.errors import DetectorUnsound
from daemon.inference.runner import Images, Output, Runner

NEVER_NS = 10**15
IMAGES = np.zeros((1, 3, 2, 2), np.uint8)


def fetch_one(runner: Runner[str]) -> str:
    while True:
        ready, _, _ = select.select([runner.fd], [], [], 20)
        assert ready, "the runner announced nothing"
        if results := runner.fetch():
            return "".join(result.tag for result in results)


def test_results_come_in_order_and_are_announced_on_the_descriptor() -> None:
    """What a poller waits for is real."""
    runner: Runner[str] = Runner(lambda images: images.astype(np.float32), SystemClock(), hung_ns=NEVER_NS)
    runner.submit("a", IMAGES)
    runner.submit("b", IMAGES)

    seen = fetch_one(runner)
    if seen == "a":
        seen += fetch_one(runner)

    assert seen == "ab"
    assert runner.in_flight == 0


def test_a_failing_model_raises_in_the_callers_loop() -> None:
    """A thread that swallows it would look like an empty scene."""

    def fail(_images: Images) -> Output:
        raise DetectorUnsound("boom")

    runner: Runner[str] = Runner(fail, SystemClock(), hung_ns=NEVER_NS)
    runner.submit("a", IMAGES)

    with pytest.raises(DetectorUnsound, match="boom"):
        fetch_one(runner)


def test_a_model_that_gives_nothing_is_unsound() -> None:
    """Simulated time: the run hangs until the test lets it go."""
    release = threading.Event()

    class Clock(SystemClock):
        now_ns = 0

        def monotonic_ns(self) -> int:
            return self.now_ns

    def hang(images: Images) -> Output:
        release.wait(60)
        return images.astype(np.float32)

    clock = Clock()
    runner: Runner[str] = Runner(hang, clock, hung_ns=100)
    runner.submit("a", IMAGES)

    assert runner.fetch() == []
    clock.now_ns = 101
    with pytest.raises(DetectorUnsound, match="gave nothing"):
        runner.fetch()
    release.set()
