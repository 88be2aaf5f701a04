"""The reader's end of the frames plane against a real socket of the worker's kind."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest
from av.video.frame import VideoFrame

from daemon.camera.frame_sender import FrameSender
from daemon.camera.mailbox import Decoded
from daemon.clock import NS_PER_S, SystemClock
from daemon.messages import Credit, Frame, FromReader, Hello, Welcome
from daemon.ring import RingReader
from daemon.wire import FrameServer, ipc

from .camera_servers import free_port, picture
from .children import wait_for

WELCOME = Welcome(worker_id="one", model_id="m", width=32, height=48, fit="stretch", credits=2)


class ShiftedClock(SystemClock):
    """The host's clock, moved on by hand."""

    shift_ns = 0

    def monotonic_ns(self) -> int:
        """Return the host's time and the shift."""
        return super().monotonic_ns() + self.shift_ns


class Plane:
    """A sender, the server that it talks to, and what became of its frames."""

    def __init__(self, endpoint: str) -> None:
        self.server = FrameServer([endpoint], FromReader)
        self.clock = ShiftedClock()
        self.outcomes: Counter[str] = Counter()
        self.sender = FrameSender(
            endpoint, "gate", (), self.clock, lambda outcome, n: self.outcomes.update({outcome: n})
        )

    def next(self, kind: type) -> tuple[bytes, object, memoryview | None]:
        """Return the next message of a kind that reaches the server."""
        found: list[tuple[bytes, object, memoryview | None]] = []

        def arrived() -> bool:
            self.sender.poll()
            received = self.server.receive()
            if received is not None and isinstance(received[1], kind):
                found.append(received)
            return bool(found)

        wait_for(arrived, kind.__name__)
        return found[0]

    def until(self, condition: Callable[[], bool]) -> None:
        """Poll until a condition holds."""

        def polled() -> bool:
            self.sender.poll()
            return condition()

        wait_for(polled, "the sender's state")

    def connect(self, welcome: Welcome = WELCOME) -> bytes:
        peer, _, _ = self.next(Hello)
        self.server.send(peer, welcome)
        self.until(lambda: self.sender.can_send)
        return peer


@contextmanager
def plane(endpoint: str = "") -> Iterator[Plane]:
    with tempfile.TemporaryDirectory(prefix="lp") as folder:
        made = Plane(endpoint or ipc(Path(folder), "frames"))
        yield made
        made.sender.close()
        made.server.close()


def decoded(number: int = 20) -> Decoded:
    now_ns = SystemClock().monotonic_ns()
    return Decoded(VideoFrame.from_ndarray(picture(number), "rgb24"), now_ns, now_ns, 0.5)


@pytest.mark.parametrize("inline", [False, True])
def test_pixels_lie_in_a_slot_or_travel_in_the_message(inline: bool) -> None:
    """Over tcp the worker may be on another host, where no shared memory is."""
    with plane(f"tcp://127.0.0.1:{free_port()}" if inline else "") as p:
        p.connect()

        p.sender.send(decoded())

        _, frame, data = p.next(Frame)
        pixels = np.zeros((3, 48, 32), np.uint8)
        if inline:
            assert frame.slot is None
            pixels[:] = np.frombuffer(data, np.uint8).reshape(pixels.shape)
        else:
            assert data is None
            RingReader().copy_into(frame.slot, pixels)
        assert (pixels == picture(20)[0, 0, 0]).all()
        assert (frame.sequence, frame.source_width, frame.source_height, frame.pts_s) == (1, 160, 96, 0.5)


def test_credits_bound_what_is_in_flight() -> None:
    """Two credits, two frames; a credit back, one more."""
    with plane() as p:
        peer = p.connect()
        p.sender.send(decoded())
        p.sender.send(decoded())
        assert (p.sender.can_send, p.sender.in_flight) == (False, 2)

        p.server.send(peer, Credit(sequence=1, outcome="inferred"))
        p.until(lambda: p.sender.can_send)

        assert p.outcomes == {"inferred": 1}
        p.server.send(peer, Credit(sequence=1, outcome="inferred"))  # twice for one frame is worth nothing
        p.server.send(peer, Credit(sequence=2, outcome="stale"))
        p.until(lambda: p.outcomes["stale"] == 1)
        assert p.outcomes == {"inferred": 1, "stale": 1}


@pytest.mark.parametrize("worker_id", ["one", "two"])
def test_a_stuck_plane_says_hello_and_a_welcome_begins_it_anew(worker_id: str) -> None:
    """A new worker, or one that lost our frames: they are counted, and all credits are free again."""
    with plane() as p:
        peer = p.connect()
        p.sender.send(decoded())
        p.sender.send(decoded())

        p.clock.shift_ns = 3 * NS_PER_S
        p.next(Hello)
        p.server.send(peer, msgspec.structs.replace(WELCOME, worker_id=worker_id))
        p.until(lambda: p.sender.can_send)

        assert p.outcomes == {"detector_down": 2}
        p.sender.send(decoded())
        assert p.sender.in_flight == 1


def test_another_model_gets_its_own_size() -> None:
    """The ring is made anew when the worker wants another input."""
    with plane() as p:
        peer = p.connect()
        p.sender.send(decoded())
        p.server.send(peer, msgspec.structs.replace(WELCOME, worker_id="two", width=64, credits=1))
        p.until(lambda: p.outcomes["detector_down"] == 1)

        p.sender.send(decoded())

        p.next(Frame)
        _, frame, _ = p.next(Frame)
        RingReader().copy_into(frame.slot, np.zeros((3, 48, 64), np.uint8))
        assert not p.sender.can_send


def test_hellos_are_repeated_each_second_until_a_welcome() -> None:
    """And not more often: a worker takes a while to load its model."""
    with plane() as p:
        p.next(Hello)
        p.sender.poll()
        assert p.server.receive() is None

        p.clock.shift_ns += NS_PER_S
        p.next(Hello)
