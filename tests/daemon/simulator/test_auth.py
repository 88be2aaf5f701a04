"""Basic and digest open the door for the right password alone."""

from base64 import b64encode

import pytest

from daemon.simulator.auth import REALM, Credentials, Doorkeeper, digest_response, parse_parameters

URI = "rtsp://h/cam"
RIGHT = Credentials("u", "pa:ss")


def digest(doorkeeper: Doorkeeper, credentials: Credentials, **changes: str) -> str:
    """Write an Authorization header as a client does for DESCRIBE."""
    given = {"username": credentials.user, "realm": REALM, "nonce": doorkeeper.nonce, "uri": URI} | changes
    given["response"] = digest_response(credentials, "DESCRIBE", given)
    return "Digest " + ", ".join(f'{name}="{value}"' for name, value in given.items())


def test_the_digest_is_that_of_the_standard() -> None:
    """MD5 over secret, nonce and request (RFC 2617 3.2.2.1), against values computed with md5sum."""
    given = {"uri": "/dir", "nonce": "n"}
    counted = given | {"qop": "auth", "nc": "00000001", "cnonce": "c"}

    assert digest_response(Credentials("u", "p"), "GET", given) == "5248f4a7b6677b2abf1be9b6ad872798"
    assert digest_response(Credentials("u", "p"), "GET", counted) == "3a71ef57a2657ec107184cb5a72abf21"


@pytest.mark.parametrize("changes", [{}, {"qop": "auth", "nc": "00000001", "cnonce": "abc"}])
def test_digest_with_and_without_qop_admits_the_right_password(changes: dict[str, str]) -> None:
    """FFmpeg answers with qop, GStreamer without."""
    doorkeeper = Doorkeeper(RIGHT)

    assert doorkeeper.admits("DESCRIBE", URI, digest(doorkeeper, RIGHT, **changes))
    assert not doorkeeper.admits("SETUP", URI, digest(doorkeeper, RIGHT, **changes))
    assert not doorkeeper.admits("DESCRIBE", URI, digest(doorkeeper, Credentials("u", "x"), **changes))
    assert not doorkeeper.admits("DESCRIBE", URI, digest(doorkeeper, Credentials("x", "pa:ss"), **changes))


def test_an_answer_to_another_address_or_question_is_refused() -> None:
    """A recorded answer opens no other door; an old nonce is told from a wrong password."""
    doorkeeper, other = Doorkeeper(RIGHT), Doorkeeper(RIGHT)
    recorded = digest(other, RIGHT)

    assert not doorkeeper.admits("DESCRIBE", URI, recorded)
    assert doorkeeper.is_stale(recorded)
    assert not doorkeeper.is_stale(digest(doorkeeper, Credentials("u", "x")))
    assert not doorkeeper.admits("DESCRIBE", URI, digest(doorkeeper, RIGHT, uri="rtsp://h/other"))


@pytest.mark.parametrize(
    ("header", "admitted"),
    [
        ("Basic " + b64encode(b"u:pa:ss").decode(), True),
        ("basic " + b64encode(b"u:pa:ss").decode(), True),
        ("Basic " + b64encode(b"u:pass").decode(), False),
        ("Basic !!!", False),
        ("Bearer x", False),
        ("", False),
    ],
)
def test_basic_admits_the_right_pair_alone(header: str, admitted: bool) -> None:
    """A colon may stand in the password; nonsense is refused, not an error."""
    assert Doorkeeper(RIGHT).admits("DESCRIBE", URI, header) is admitted


def test_a_scheme_that_was_not_offered_is_refused() -> None:
    """A digest-only camera takes no password in clear."""
    doorkeeper = Doorkeeper(Credentials("u", "p", "digest"))

    assert not doorkeeper.admits("DESCRIBE", URI, "Basic " + b64encode(b"u:p").decode())
    assert [offer.split()[0] for offer in doorkeeper.challenges()] == ["Digest"]
    assert [offer.split()[0] for offer in Doorkeeper(Credentials("u", "p", "basic")).challenges()] == ["Basic"]
    assert doorkeeper.challenges(stale=True)[0].endswith("stale=true")


def test_parameters_are_read_with_and_without_quotes() -> None:
    """Commas and equals signs inside quotes belong to the value."""
    assert parse_parameters('Username="a, b=c", nc=00000001,qop=auth') == {
        "username": "a, b=c",
        "nc": "00000001",
        "qop": "auth",
    }


def test_the_password_is_not_in_the_credentials_text() -> None:
    """Nothing that prints the record gives it away."""
    assert "pa:ss" not in repr(RIGHT)
