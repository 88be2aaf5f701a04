"""The sockets to the world: what is missed can be had again, in bounded answers, and nobody delays another."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from daemon.errors import ConfigError
from daemon.events.alert_schema import Heartbeat, Media, topic_of
from daemon.events.journal import Entry, Journal
from daemon.events.publisher import PAGE_ENTRIES, Publisher, replay_page

from .children import wait_for

UTC = "2026-01-01T00:00:00.000Z"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal.db")
    yield journal
    journal.close()


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with tempfile.TemporaryDirectory(prefix="lep") as folder:
        publisher = Publisher("tcp://127.0.0.1:*", f"ipc://{folder}/replay")
        yield publisher
        publisher.close()


def fill(journal: Journal, count: int, *, size: int = 10) -> None:
    first = journal.last_seq + 1
    payload = '{"type":"media","seq":%d,"fill":"' + "x" * size + '"}'
    journal.append([Entry(seq, seq, "media.gate", (payload % seq).encode()) for seq in range(first, first + count)])


def ask(journal: Journal, request: bytes) -> list[dict[str, Any]]:
    answer: list[dict[str, Any]] = json.loads(replay_page(journal, request))
    return answer


def test_a_replay_gives_what_came_after_and_an_end(journal: Journal) -> None:
    """The end names the last number of the answer and of the journal."""
    fill(journal, 5)

    parts = ask(journal, b'{"after": 3}')

    assert [(p["type"], p["seq"]) for p in parts] == [("media", 4), ("media", 5), ("end", 5)]
    assert (parts[-1]["more"], parts[-1]["last_seq"], parts[-1]["journal"]) == (False, 5, journal.id)


def test_what_retention_removed_is_announced_as_a_gap(journal: Journal) -> None:
    """Also when nothing is left at all; whoever has it already is not bothered with it."""
    fill(journal, 5)
    journal.delete_before(4)

    assert [(p["type"], p["seq"]) for p in ask(journal, b'{"after": 1}')] == [
        ("gap", 3),
        ("media", 4),
        ("media", 5),
        ("end", 5),
    ]
    assert ask(journal, b'{"after": 1}')[0] | {"schema": ""} == {
        "type": "gap",
        "seq": 3,
        "schema": "",
        "first": 2,
        "last": 3,
    }
    assert [p["type"] for p in ask(journal, b'{"after": 3}')] == ["media", "media", "end"]
    journal.delete_before(100)
    assert [(p["type"], p["seq"]) for p in ask(journal, b'{"after": 4}')] == [("gap", 5), ("end", 5)]
    assert [(p["type"], p["seq"]) for p in ask(journal, b'{"after": 5}')] == [("end", 5)]


def test_answers_are_bounded_in_number_and_bytes(journal: Journal) -> None:
    """Whoever wants all asks again while `more` is true."""
    fill(journal, PAGE_ENTRIES + 1)

    first = ask(journal, b'{"after": 0}')
    assert (len(first), first[-1]["more"]) == (PAGE_ENTRIES + 1, True)
    assert [p["seq"] for p in ask(journal, b'{"after": %d}' % first[-1]["seq"])] == [PAGE_ENTRIES + 1] * 2
    fill(journal, 10, size=400_000)
    assert len(ask(journal, b'{"after": %d}' % (PAGE_ENTRIES + 1))) == 4


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff\x00",
        b'{"after": "1"}',
        b'{"after": -1}',
        b'{"after": 1, "x": 2}',
        b'{"after": 9223372036854775808}',  # more than SQLite's integers hold
        b'{"after": ' + b"[" * 4000,
    ],
)
def test_a_request_that_is_none_gets_an_error_that_says_what_to_send(journal: Journal, request_: bytes) -> None:
    """And the socket goes on."""
    (error,) = ask(journal, request_)

    assert error["type"] == "error"
    assert "after" in error["text"]


@pytest.mark.parametrize("kind", [zmq.REQ, zmq.DEALER])
def test_req_and_dealer_clients_are_answered(journal: Journal, publisher: Publisher, kind: int) -> None:
    """With or without an envelope."""
    fill(journal, 2)
    with zmq.Context.instance().socket(kind) as client:
        client.connect(publisher.replay_endpoint)
        client.send(b'{"after": 0}')
        wait_for(lambda: publisher.answer(journal), "a request")
        assert client.poll(20_000)
        assert [part["seq"] for part in json.loads(client.recv_multipart()[-1])] == [1, 2, 2]


def test_a_client_that_asks_and_never_reads_is_bounded_and_delays_nobody(
    journal: Journal, publisher: Publisher
) -> None:
    """Its answers are thrown away beyond a few; the next client is served."""
    fill(journal, 20, size=100_000)
    context = zmq.Context.instance()
    with context.socket(zmq.DEALER) as rude, context.socket(zmq.REQ) as polite:
        rude.setsockopt(zmq.LINGER, 0)
        rude.setsockopt(zmq.RCVHWM, 1)
        rude.connect(publisher.replay_endpoint)
        for _ in range(200):
            rude.send(b'{"after": 0}')
        polite.connect(publisher.replay_endpoint)
        polite.send(b'{"after": 19}')

        wait_for(lambda: publisher.answer(journal) >= 0 and polite.poll(0), "the answer to the polite one")
        assert len(json.loads(polite.recv())) == 2


def test_a_subscriber_that_does_not_read_delays_no_other(publisher: Publisher) -> None:
    """It misses messages; the other one gets all of them."""
    context = zmq.Context.instance()
    with context.socket(zmq.SUB) as slow, context.socket(zmq.SUB) as quick:
        slow.setsockopt(zmq.RCVHWM, 1)
        slow.setsockopt(zmq.RCVBUF, 4096)
        for subscriber in (slow, quick):
            subscriber.connect(publisher.publish_endpoint)
            subscriber.subscribe(b"")

        def both_hear() -> bool:
            publisher.publish(Heartbeat(seq=0, utc=UTC, journal="j"))
            return bool(quick.poll(10) and slow.poll(10))

        wait_for(both_hear, "both subscribers")
        seen = []
        for seq in range(1, 15_001):
            publisher.publish(Media(seq=seq, utc=UTC, event_id="e" * 200, camera="gate", kind="clip", path="p" * 300))
            if seq % 100 == 0:  # a live subscriber reads as it goes
                while len(seen) < seq:
                    assert quick.poll(20_000)
                    topic, payload = quick.recv_multipart()
                    seen += [json.loads(payload)["seq"]] if topic == b"media.gate" else []

        assert seen == list(range(1, 15_001))


def test_subscribers_choose_by_topic(publisher: Publisher) -> None:
    """A topic is the kind, then the camera."""
    assert topic_of(Heartbeat(seq=0, utc=UTC, journal="j")) == "heartbeat"
    with zmq.Context.instance().socket(zmq.SUB) as subscriber:
        subscriber.connect(publisher.publish_endpoint)
        subscriber.subscribe(b"media.yard")

        def hears() -> bool:
            for camera in ("gate", "yard"):
                publisher.publish(Media(seq=1, utc=UTC, event_id="e", camera=camera, kind="clip", path="p"))
            return bool(subscriber.poll(10))

        wait_for(hears, "a message on the topic")
        assert subscriber.recv_multipart()[0] == b"media.yard"


def test_an_endpoint_that_cannot_be_bound_names_its_key() -> None:
    """The operator learns which line of the configuration to change."""
    with pytest.raises(ConfigError, match=r"alerts\.replay: cannot listen on tcp://256"):
        Publisher("tcp://127.0.0.1:*", "tcp://256.0.0.1:1")
