"""Orders as leases: what they keep recording, and for how long."""

from __future__ import annotations

import pytest

from daemon.clock import NS_PER_S
from daemon.messages import MediaReady
from daemon.recording.order_book import FORGET_NS, LEASE_NS, MAX_ORDERS, PATIENCE_NS, OrderBook, Progress

from .recording_material import order_of

START, END = 1000 * NS_PER_S, 1010 * NS_PER_S
PRE, POST = 5 * NS_PER_S, 3 * NS_PER_S
OLD = 60 * NS_PER_S  # the order is no longer new


def progress(*, written: int, utc: int, now: int = OLD, camera: str = "gate") -> Progress:
    return Progress(camera, PRE, POST, written, utc, now)


@pytest.mark.parametrize(
    ("end", "state", "wanted"),
    [
        (None, progress(written=START, utc=START, now=LEASE_NS - 1), True),
        (None, progress(written=START, utc=START, now=LEASE_NS), False),
        (END, progress(written=END + POST, utc=END + POST), True),
        (END, progress(written=END + POST + 1, utc=END + POST), False),
        (END, progress(written=0, utc=END + POST + PATIENCE_NS), True),
        (END, progress(written=0, utc=END + POST + PATIENCE_NS + 1), False),
        (END, progress(written=END * 2, utc=END * 2, now=1), True),
        (None, progress(written=START, utc=START, now=1, camera="yard"), False),
    ],
    ids=[
        "going on",
        "lease not renewed",
        "post-roll",
        "written to the end",
        "camera silent",
        "silent for long",
        "over before it came",
        "another camera",
    ],
)
def test_an_order_keeps_its_camera_recording(end: int | None, state: Progress, wanted: bool) -> None:
    """From the start less pre-roll until the end plus post-roll is written, and not for ever when events is dead."""
    book = OrderBook()
    book.take(order_of(START, end), 0)

    assert book.record_from(state) == (START - PRE if wanted else None)


def test_the_earliest_of_several_orders_counts_and_a_finished_one_does_not() -> None:
    """Two events overlap: the camera is recorded from the first one's pre-roll until the last one's end."""
    book = OrderBook()
    first = book.take(order_of(START, None), 0)
    book.take(order_of(START + 7, None), 0)
    assert first is not None
    state = progress(written=0, utc=START, now=1)

    assert book.record_from(state) == START - PRE
    first.answers["clip"] = MediaReady(event_id="", camera="gate", kind="clip", path="")
    assert book.record_from(state) == START + 7 - PRE


def test_a_repeated_order_renews_the_lease_and_keeps_what_was_answered() -> None:
    """Repetition is the normal case, once a second."""
    book = OrderBook()
    order = order_of(START, None)
    entry = book.take(order, 0)
    assert entry is not None
    entry.begun.add("snapshot")

    again = book.take(order_of(START, END, event_id=order.event_id), 5)

    assert again is entry
    assert (entry.first_ns, entry.renewed_ns, entry.order.end_utc_ns) == (0, 5, END)
    assert not entry.wants("snapshot")
    assert entry.wants("clip")


def test_the_book_is_bounded_and_forgets() -> None:
    """Orders that nobody repeats go; too many at once are refused and come again."""
    book = OrderBook()
    for _ in range(MAX_ORDERS):
        book.take(order_of(START, None), 0)

    assert book.take(order_of(START, None), 0) is None
    book.forget_old(FORGET_NS)
    assert len(book) == MAX_ORDERS
    book.forget_old(FORGET_NS + 1)
    assert len(book) == 0
