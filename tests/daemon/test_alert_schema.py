"""The schema in the repository is the one that the program speaks."""

import json

import jsonschema
import pytest

from daemon.clock import iso_utc
from daemon.events.alert_schema import (
    SCHEMA_FILE,
    AnyMessage,
    End,
    Error,
    Gap,
    Health,
    decode,
    encode,
    schema_text,
    utc_ns_of,
)

UTC = "2026-01-01T00:00:00.125Z"


def test_the_schema_file_is_what_the_types_say() -> None:
    """`SCHEMA_FILE.write_text(schema_text())` writes it anew after a change of the types."""
    assert SCHEMA_FILE.read_text() == schema_text()


def test_the_schema_is_a_valid_schema() -> None:
    """By the metaschema of JSON Schema 2020-12."""
    jsonschema.Draft202012Validator.check_schema(json.loads(SCHEMA_FILE.read_text()))


@pytest.mark.parametrize(
    "message",
    [
        Health(seq=1, utc=UTC, kind="camera.down", severity="critical", camera="gate", reason="timeout"),
        Gap(seq=3, first=1, last=3),
        End(seq=3, more=False, last_seq=3, journal="j"),
        Error(seq=0, text="no"),
    ],
)
def test_messages_meet_the_schema_and_come_back_the_same(message: AnyMessage) -> None:
    """What is written can be read again."""
    jsonschema.validate(json.loads(encode(message)), json.loads(SCHEMA_FILE.read_text()))

    assert decode(encode(message)) == message


@pytest.mark.parametrize("changes", [{"seq": -1}, {"kind": "camera.gone"}, {"utc": "yesterday"}, {"schema": "other"}])
def test_the_schema_refuses_what_is_wrong(changes: dict[str, object]) -> None:
    """A check that cannot fail is none."""
    message = json.loads(encode(Health(seq=1, utc=UTC, kind="started", severity="info"))) | changes

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(message, json.loads(SCHEMA_FILE.read_text()))


def test_times_in_messages_go_back_to_nanoseconds() -> None:
    """To the millisecond."""
    assert iso_utc(utc_ns_of(UTC)) == UTC
