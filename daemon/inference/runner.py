"""A thread that runs batches on the model, so that the worker's loop can fill the next batch meanwhile.

The model releases the interpreter's lock while it runs. Results are announced on a file descriptor that a poller can
watch.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from ..clock import Clock
from ..errors import DetectorUnsound

T = TypeVar("T")
Images = npt.NDArray[np.uint8]
Output = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Result(Generic[T]):
    """A batch that has run."""

    tag: T
    output: Output  # [n, K, 6]
    started_ns: int
    ended_ns: int


class Runner(Generic[T]):
    """Runs batches in the order in which they were submitted; holds those that are neither waiting nor fetched."""

    def __init__(self, run: Callable[[Images], Output], clock: Clock, *, hung_ns: int) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.in_flight = 0
        self._run, self._clock, self._hung_ns = run, clock, hung_ns
        self._jobs: queue.SimpleQueue[tuple[T, Images]] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Result[T] | DetectorUnsound] = queue.SimpleQueue()
        self._progress_ns = clock.monotonic_ns()
        # A daemon thread: a hung driver must not keep the process from ending.
        threading.Thread(target=self._work, name="runner", daemon=True).start()

    def submit(self, tag: T, images: Images) -> None:
        """Queue a batch uint8 [n, 3, H, W], which must not be changed until its result is fetched."""
        if self.in_flight == 0:
            self._progress_ns = self._clock.monotonic_ns()
        self.in_flight += 1
        self._jobs.put((tag, images))

    def fetch(self) -> list[Result[T]]:
        """Return the results that are ready.

        Raises DetectorUnsound when the model failed, or has given nothing for `hung_ns` while it had work.
        """
        with contextlib.suppress(BlockingIOError):  # nothing announced
            os.eventfd_read(self.fd)
        results: list[Result[T]] = []
        while not self._results.empty():
            result = self._results.get_nowait()
            if isinstance(result, DetectorUnsound):
                raise result
            results.append(result)
        now_ns = self._clock.monotonic_ns()
        if results:
            self.in_flight -= len(results)
            self._progress_ns = now_ns
        elif self.in_flight and now_ns - self._progress_ns > self._hung_ns:
            raise DetectorUnsound(f"inference gave nothing for {self._hung_ns / 1e9:.0f} s")
        return results

    def _work(self) -> None:
        while True:
            tag, images = self._jobs.get()
            started_ns = self._clock.monotonic_ns()
            try:
                result: Result[T] | DetectorUnsound = Result(
                    tag, self._run(images), started_ns, self._clock.monotonic_ns()
                )
            except DetectorUnsound as exc:
                result = exc  # `fetch` raises it in the worker's loop
            self._results.put(result)
            os.eventfd_write(self.fd, 1)
