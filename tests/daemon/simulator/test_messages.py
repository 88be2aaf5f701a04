"""RTSP requests are read, and answers written, as text."""

import pytest

from daemon.simulator.messages import BadRequestError, choose_channel, format_response, parse_request


@pytest.mark.parametrize(
    ("uri", "mount", "track"),
    [
        ("rtsp://h:8554/cam", "cam", None),
        ("rtsp://h/cam/", "cam", None),
        ("rtsp://h/cam/track1", "cam", 1),
        ("rtsp://h/site/cam%201/track0?x=1", "site/cam 1", 0),
        ("rtsp://u@h/", "", None),
        ("*", "*", None),
    ],
)
def test_an_address_means_a_mount_and_perhaps_a_track(uri: str, mount: str, track: int | None) -> None:
    """Slashes and queries around the name do not matter."""
    request = parse_request(f"SETUP {uri} RTSP/1.0\r\ncseq: 3\r\nTransport : a;b\r\n\r\n".encode())

    assert (request.mount, request.track, request.cseq) == (mount, track, "3")
    assert request.headers["transport"] == "a;b"


@pytest.mark.parametrize(
    "head",
    [
        b"GET\r\n\r\n",
        b"A B C D\r\n\r\n",
        b"\xff\xfe x y\r\n\r\n",
        b"OPTIONS * RTSP/1.0\r\nno colon\r\n\r\n",
        b"P rtsp://[x y\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused(head: bytes) -> None:
    """The server answers 400 instead of guessing."""
    with pytest.raises(BadRequestError):
        parse_request(head)


def test_a_length_that_is_no_number_is_refused() -> None:
    """A negative one would read backwards."""
    with pytest.raises(BadRequestError):
        _ = parse_request(b"PLAY * RTSP/1.0\r\nContent-Length: -1\r\n\r\n").body_bytes


def test_an_answer_repeats_cseq_and_counts_its_body() -> None:
    """Lines end with CRLF, the head with an empty line."""
    answer = format_response(200, "7", [("Session", "s")], b"body")

    assert answer == (
        b"RTSP/1.0 200 OK\r\nCSeq: 7\r\nServer: leptond simulator\r\nSession: s\r\nContent-Length: 4\r\n\r\nbody"
    )


@pytest.mark.parametrize(
    ("transport", "channel"),
    [
        ("RTP/AVP/TCP;unicast;interleaved=4-5", 4),
        ("RTP/AVP;unicast;client_port=5000-5001,RTP/AVP/TCP;unicast", 2),
        ("RTP/AVP/UDP;unicast;client_port=5000-5001", None),
        ("RTP/AVP/TCP;interleaved=255-256", None),
        ("", None),
    ],
)
def test_tcp_is_chosen_among_the_transports_on_offer(transport: str, channel: int | None) -> None:
    """UDP alone is refused, and so is a channel without room for its RTCP."""
    assert choose_channel(transport, free=2) == channel
