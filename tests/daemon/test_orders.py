"""Orders: repeated until answered, finished when the event ends, given up when nobody answers."""

from daemon.config.settings import Rule
from daemon.events.lifecycle import Event, Moment
from daemon.events.orders import GIVE_UP_S, Orders, decode, paths_of
from daemon.messages import MediaReady

S = 1_000_000_000
BEGIN = 1_700_000_000 * S  # 2023-11-14 22:13:20 UTC
EVENT = Event(
    id="e1",
    camera="gate",
    rule=Rule(name="r", labels=("person",)),
    label="person",
    track_id=1,
    started_utc_ns=BEGIN,
    started_ns=0,
    moment=Moment(S, BEGIN + S, "m", 100, 100),
    box=(10, 10, 20, 20),
    relative_box=(0.1, 0.1, 0.2, 0.2),
    score=0.876,
    zone=None,
    best_score=0.9,
    published_ns=S,
)
PATHS = paths_of("gate", "e1", BEGIN)


def ready(kind: str, event_id: str = "e1") -> MediaReady:
    return MediaReady(event_id=event_id, camera="gate", kind=kind, path="p")  # type: ignore[arg-type]


def test_files_lie_by_camera_and_utc_day() -> None:
    """So that no folder grows without end, and a day is found by a person."""
    assert PATHS.clip == "media/gate/2023/11/14/e1.mp4"
    assert (PATHS.snapshot, PATHS.clean_snapshot) == (
        "media/gate/2023/11/14/e1.jpg",
        "media/gate/2023/11/14/e1.clean.jpg",
    )


def test_an_order_is_pending_until_both_files_were_reported() -> None:
    """A second report of one file is no news, nor is one of an event that nobody knows."""
    orders = Orders()
    order = orders.place(EVENT, PATHS)

    assert (order.caption, order.box, order.snapshot_utc_ns, order.end_utc_ns) == (
        "person 0.88",
        (0.1, 0.1, 0.2, 0.2),
        BEGIN + S,
        None,
    )
    assert [orders.take(ready(kind)) for kind in ("snapshot", "snapshot", "clip", "clip")] == [True, False, True, False]
    assert not orders.take(ready("clip", "stranger"))
    assert orders.all() == []


def test_the_end_of_an_event_goes_into_its_order() -> None:
    """And what was stored comes back as it was."""
    orders = Orders()
    orders.place(EVENT, PATHS)
    orders.take(ready("snapshot"))
    orders.finish("e1", BEGIN + 9 * S)

    stored = orders.stored("e1")
    assert stored is not None
    again = Orders([decode(stored)])

    assert [order.end_utc_ns for order in again.all()] == [BEGIN + 9 * S]
    assert [again.take(ready(kind)) for kind in ("snapshot", "clip")] == [False, True]
    assert orders.finish("stranger", 0) is None


def test_a_file_that_never_comes_is_reported_as_failed() -> None:
    """Only after the event's end, and only what is missing; a timeout is an error."""
    orders = Orders()
    orders.place(EVENT, PATHS)
    orders.take(ready("snapshot"))
    late = BEGIN + round((GIVE_UP_S + 1) * S)

    assert orders.overdue(late) == []
    orders.finish("e1", BEGIN)
    (failed,) = orders.overdue(late)

    assert (failed.kind, failed.path) == ("clip", PATHS.clip)
    assert failed.error is not None
    assert orders.take(failed)
    assert len(orders) == 0
