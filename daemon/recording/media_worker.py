"""A thread for work that must not hold the recorder's loop up: cutting clips, decoding snapshots.

One thread, a bounded queue; the loop asks for results. What a job raises beside MediaError ends the process, from the
loop, as it should.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from ..clock import Clock
from ..errors import MediaError

T = TypeVar("T")
MAX_JOBS: Final = 16


@dataclass(frozen=True)
class Done(Generic[T]):
    """A job's end: its value or its error, and how long it took, waiting included."""

    key: str
    value: T | None
    error: str
    took_ms: float


class MediaWorker(Generic[T]):
    """Runs jobs one after another."""

    def __init__(self, name: str, clock: Clock) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._clock = clock
        self._jobs: dict[str, tuple[Future[T], int]] = {}

    @property
    def has_room(self) -> bool:
        """Tell whether another job is taken."""
        return len(self._jobs) < MAX_JOBS

    @property
    def is_idle(self) -> bool:
        """Tell whether nothing is under way."""
        return not self._jobs

    def submit(self, key: str, job: Callable[[], T]) -> None:
        """Queue a job; ask `has_room` first."""
        self._jobs[key] = (self._pool.submit(job), self._clock.monotonic_ns())

    def done(self) -> Iterator[Done[T]]:
        """Yield what has ended since the last call.

        Raises what a job raised, unless that is a MediaError.
        """
        for key, (future, begun_ns) in list(self._jobs.items()):
            if not future.done():
                continue
            del self._jobs[key]
            took_ms = (self._clock.monotonic_ns() - begun_ns) / 1e6
            try:
                yield Done(key, future.result(timeout=0), "", took_ms)
            except MediaError as exc:
                yield Done(key, None, str(exc), took_ms)

    def close(self) -> None:
        """Forget what has not begun; what is under way ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)
