"""One frame between two real threads."""

import select
import threading

from daemon.camera.mailbox import Decoded, Mailbox
from daemon.clock import NS_PER_S


def frame(number: int) -> Decoded:
    return Decoded(frame=number, captured_ns=number, decoded_ns=number, pts_s=None)


def is_readable(mailbox: Mailbox) -> bool:
    return bool(select.select([mailbox.fd], [], [], 0)[0])


def test_the_newest_frame_wins_and_the_replaced_are_counted() -> None:
    """Counted once, and told once."""
    mailbox = Mailbox()
    for number in range(4):
        mailbox.put(frame(number))

    assert mailbox.take() == frame(3)
    assert mailbox.take() is None
    assert (mailbox.take_replaced(), mailbox.take_replaced()) == (3, 0)


def test_the_descriptor_wakes_a_poller_until_it_is_cleared() -> None:
    """However many frames came."""
    mailbox = Mailbox()
    assert not is_readable(mailbox)

    mailbox.put(frame(1))
    mailbox.put(frame(2))
    assert is_readable(mailbox)
    mailbox.clear_wake()
    assert not is_readable(mailbox)
    mailbox.clear_wake()
    mailbox.close()


def test_a_lossless_giver_waits_until_its_frame_was_fetched() -> None:
    """A thread that gives a hundred frames loses none."""
    mailbox, got = Mailbox(), []

    def give() -> None:
        for number in range(100):
            assert mailbox.wait_empty(60 * NS_PER_S)
            mailbox.put(frame(number))

    giver = threading.Thread(target=give)
    giver.start()
    while len(got) < 100:
        if (decoded := mailbox.take()) is not None:
            got.append(decoded.captured_ns)
    giver.join(60)

    assert got == list(range(100))
    assert mailbox.take_replaced() == 0


def test_waiting_for_an_empty_place_ends_in_time() -> None:
    """The giver looks whether it is to stop."""
    mailbox = Mailbox()
    mailbox.put(frame(1))

    assert not mailbox.wait_empty(1_000_000)
