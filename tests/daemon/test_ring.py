"""Shared-memory slots between real processes."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from daemon.errors import SlotError
from daemon.messages import SlotRef
from daemon.ring import RingReader, RingWriter

Owner = tuple[subprocess.Popen[bytes], SlotRef]
OWNER = """
import sys, msgspec
from daemon.ring import RingWriter
ring = RingWriter(2, 48)
ring.begin(1)[:] = range(48)
ring.commit(1)
sys.stdout.write(msgspec.json.encode(ring.ref(1)).decode() + "\\n")
sys.stdout.flush()
sys.stdin.read()
"""


@pytest.fixture
def owner() -> Iterator[Owner]:
    """Start a process that owns a ring with pixels 0..47 in slot 1, and its reference."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    ref = msgspec.json.decode(process.stdout.readline(), type=SlotRef)
    yield process, ref
    process.kill()
    process.communicate()


def filled(slots: int = 2, size: int = 12) -> tuple[RingWriter, SlotRef]:
    ring = RingWriter(slots, size)
    ring.begin(0)[:] = 7
    ring.commit(0)
    return ring, ring.ref(0)


def test_pixels_of_another_process_are_copied_into_any_shape(owner: Owner) -> None:
    """The message alone is enough to find them."""
    out = np.zeros((3, 4, 4), np.uint8)

    RingReader().copy_into(owner[1], out)

    np.testing.assert_array_equal(out.ravel(), np.arange(48))


def test_a_ring_leaves_nothing_behind_when_its_owner_is_killed(owner: Owner) -> None:
    """There is no name to leave: nothing new in /dev/shm or the temporary folder, and the memory is not found again."""
    process, ref = owner
    places = [Path("/dev/shm"), Path(tempfile.gettempdir())]

    names = [str(path) for place in places if place.is_dir() for path in place.glob("*lepton*ring*")]
    process.send_signal(signal.SIGKILL)
    process.communicate()

    assert names == []
    with pytest.raises(SlotError, match="gone"):
        RingReader().copy_into(ref, np.zeros(48, np.uint8))


def test_a_frame_that_was_mapped_survives_its_owner_until_forgotten(owner: Owner) -> None:
    """A complete frame of a killed reader is still a true picture; its memory goes with the next sweep."""
    process, ref = owner
    rings, out = RingReader(), np.zeros(48, np.uint8)
    rings.open(ref)

    process.kill()
    process.communicate()
    rings.copy_into(ref, out)
    rings.forget_dead()

    np.testing.assert_array_equal(out, np.arange(48))
    assert len(rings) == 0
    with pytest.raises(SlotError, match="gone"):
        rings.copy_into(ref, out)


def test_a_slot_that_is_written_again_is_refused() -> None:
    """While it is written and after it was: the announced frame is no more."""
    ring, ref = filled()
    rings, out = RingReader(), np.zeros(12, np.uint8)

    ring.begin(0)
    with pytest.raises(SlotError, match="overwritten"):
        rings.copy_into(ref, out)
    ring.commit(0)
    with pytest.raises(SlotError, match="overwritten"):
        rings.copy_into(ref, out)
    rings.copy_into(ring.ref(0), out)


def test_begin_twice_keeps_the_guard_odd() -> None:
    """A frame given up half-way leaves the slot unreadable, and the next one repairs it."""
    ring, ref = filled()

    ring.begin(0)
    ring.begin(0)
    assert ring.ref(0).guard % 2 == 1
    assert ring.commit(0) == ref.guard + 2


def test_slots_do_not_overlap() -> None:
    """Each slot keeps its own pixels."""
    ring = RingWriter(3, 5000)
    for index in range(3):
        ring.begin(index)[:] = index + 1
        ring.commit(index)
    rings, out = RingReader(), np.zeros(5000, np.uint8)

    for index in range(3):
        rings.copy_into(ring.ref(index), out)
        assert (out == index + 1).all()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"ring_id": 1}, "not the ring"),
        ({"fd": 999_999}, "gone"),
        ({"pid": 2**22 + 1}, "gone"),
        ({"index": 2}, "no slot"),
        ({"index": -1}, "no slot"),
    ],
)
def test_a_reference_to_something_else_is_refused(change: dict[str, int], text: str) -> None:
    """A recycled pid or a wrong number must not deliver strange memory."""
    _ring, ref = filled()

    with pytest.raises(SlotError, match=text):
        RingReader().copy_into(msgspec.structs.replace(ref, **change), np.zeros(12, np.uint8))


def test_a_file_that_is_no_ring_is_refused(tmp_path: Path) -> None:
    """A descriptor that now is an ordinary file, or a pipe, is not mapped."""
    _ring, ref = filled()
    path = tmp_path / "file"
    path.write_bytes(bytes(10_000))
    read, write = os.pipe()

    with path.open("rb") as file:
        for fd in (file.fileno(), read):
            with pytest.raises(SlotError, match="no ring"):
                RingReader().copy_into(msgspec.structs.replace(ref, fd=fd), np.zeros(12, np.uint8))
    os.close(read)
    os.close(write)


def test_a_wrong_size_is_refused() -> None:
    """A frame of another input size does not fit the batch."""
    _ring, ref = filled()

    with pytest.raises(SlotError, match="12 bytes, 13 wanted"):
        RingReader().copy_into(ref, np.zeros(13, np.uint8))


def test_a_ring_that_its_owner_closed_is_forgotten_and_the_others_stay() -> None:
    """A reader whose input size changed does not leave its old ring mapped in the worker."""
    kept, kept_ref = filled()
    closed, closed_ref = filled(size=24)
    rings = RingReader()
    rings.open(closed_ref)
    rings.open(kept_ref)

    closed.close()
    rings.forget_dead()

    assert len(rings) == 1
    rings.copy_into(kept_ref, np.zeros(12, np.uint8))
    kept.close()


def test_the_number_of_mapped_rings_is_bounded(owner: Owner) -> None:
    """The one used longest ago goes first."""
    _ring, ref = filled()
    rings = RingReader(max_rings=1)

    rings.open(ref)
    rings.open(owner[1])

    assert len(rings) == 1


def test_closing_does_not_leak_descriptors() -> None:
    """A reader that reconnects for days has as many open files as at first."""
    before = len(list(Path("/proc/self/fd").iterdir()))

    for _ in range(20):
        ring, ref = filled()
        rings = RingReader()
        rings.copy_into(ref, np.zeros(12, np.uint8))
        rings.close()
        ring.close()

    assert len(list(Path("/proc/self/fd").iterdir())) == before
