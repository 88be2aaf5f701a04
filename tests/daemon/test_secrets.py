"""Secrets: where they come from, what is said when they do not come, and that a log never has them."""

from pathlib import Path

import pytest

from daemon.config.secrets import resolve
from daemon.errors import ConfigError
from daemon.log import redact, register_secret


def test_a_secret_comes_from_environment_credential_or_file(tmp_path: Path) -> None:
    """All three kinds are replaced; a file's last line end is no part of the secret."""
    (tmp_path / "gate").write_text("from-credential\n")
    (tmp_path / "file").write_text("from-file\r\n")
    environ = {"PW": "from-env", "CREDENTIALS_DIRECTORY": str(tmp_path)}

    assert resolve("${env:PW}", environ) == "from-env"
    assert resolve("${credential:gate}", environ) == "from-credential"
    assert resolve(f"${{file:{tmp_path}/file}}", environ) == "from-file"
    assert resolve("no placeholder, $5", environ) == "no placeholder, $5"


def test_a_secret_in_a_urls_user_part_is_percent_encoded() -> None:
    """A password with @ and / does not change where the URL points to; in the path it stands as it is."""
    environ = {"PW": "p@ss/w:rd", "PATH_": "a/b"}

    assert resolve("rtsp://admin:${env:PW}@cam:554/${env:PATH_}", environ) == "rtsp://admin:p%40ss%2Fw%3Ard@cam:554/a/b"


def test_a_resolved_secret_never_reaches_a_log_line() -> None:
    """The secret, and its percent-encoded form, are removed from any text from then on."""
    resolve("rtsp://admin:${env:PW}@cam/", {"PW": "tr@lala"})

    assert redact("it was tr@lala or tr%40lala") == "it was *** or ***"


def test_an_at_sign_in_a_password_does_not_show_what_follows_it() -> None:
    """The host begins after the last one; nor does a secret that is part of another show the rest of it."""
    register_secret("hunter")
    register_secret("hunter2-long")

    assert redact("open rtsp://joe:p@ss@h/x failed") == "open rtsp://***@h/x failed"
    assert redact("is hunter2-long") == "is ***"


def test_a_password_that_stands_in_a_url_is_a_secret_too() -> None:
    """Also without a placeholder the password of a URL is registered, as it stands and decoded."""
    resolve("rtsp://admin:pl%40inly@cam/", {})

    assert redact("pl%40inly pl@inly") == "*** ***"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("${env:NOPE}", "environment variable NOPE is not set"),
        ("${env:EMPTY}", r"\$\{env:EMPTY\} is empty"),
        ("${credential:x}", r"LoadCredential=x:/path in the unit"),
        ("${credential:../x}", "without a path"),
        ("${file:relative}", "absolute path"),
        ("${file:/no/such/file}", "cannot read /no/such/file: No such file or directory; create it"),
        ("${file:/dev/zero}", "no secret: over 65536 bytes"),
        ("${vault:x}", "unknown kind of secret 'vault'; allowed are env, credential, file"),
        ("${PW}", "without a placeholder"),
    ],
)
def test_a_secret_that_cannot_be_had_is_named_with_its_remedy(tmp_path: Path, text: str, words: str) -> None:
    """The error says where the secret was looked for and what to do."""
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "EMPTY": ""}

    with pytest.raises(ConfigError, match=words):
        resolve(text, environ)


def test_without_systemd_a_credential_says_so() -> None:
    """Outside of a unit there is no CREDENTIALS_DIRECTORY."""
    with pytest.raises(ConfigError, match="no systemd credentials here"):
        resolve("${credential:gate}", {})
