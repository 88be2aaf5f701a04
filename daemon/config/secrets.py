"""Where secrets come from: `${env:NAME}`, `${credential:NAME}` and `${file:/path}` in a camera's text.

A secret is registered with the log the moment it is read. An error names the place and the remedy, never a value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from ..errors import ConfigError
from ..log import register_secret

SECRET_KEYS: Final = ("url", "detect_url", "username", "password")
MAX_SECRET_BYTES: Final = 65536
_PLACEHOLDER: Final = re.compile(r"\$\{(?P<kind>[^:{}]*):(?P<name>[^{}]*)\}")
_USERINFO: Final = re.compile(r"^[a-z][a-z0-9+.-]*://(?P<userinfo>.*)@", re.IGNORECASE)


def resolve(text: str, environ: Mapping[str, str]) -> str:
    """Return `text` with its placeholders replaced; in a URL's user and password the secret is percent-encoded.

    Raises ConfigError when a secret cannot be had; the text says where it was looked for.
    """
    userinfo = _USERINFO.match(text)
    encoded = userinfo.span("userinfo") if userinfo else (0, 0)

    def replaced(match: re.Match[str]) -> str:
        secret = _read(match["kind"], match["name"], environ)
        if not secret:
            raise ConfigError(f"{match[0]} is empty")
        register_secret(secret)
        if encoded[0] <= match.start() < encoded[1]:
            secret = quote(secret, safe="")
            register_secret(secret)
        return secret

    resolved = _PLACEHOLDER.sub(replaced, text)
    if "${" in _PLACEHOLDER.sub("", text):
        raise ConfigError("has `${` without a placeholder; write ${env:NAME}, ${credential:NAME} or ${file:/path}")
    register_password_of(resolved)
    return resolved


def register_password_of(text: str) -> None:
    """Let the password that stands in a URL never appear in a log line; whatever is no URL has none."""
    try:
        password = urlsplit(text).password or ""
    except ValueError:
        return  # no URL, or a broken one: whoever checks the URL says so
    register_secret(password)
    register_secret(unquote(password))


def _read(kind: str, name: str, environ: Mapping[str, str]) -> str:
    if kind == "env":
        if name not in environ:
            raise ConfigError(f"environment variable {name} is not set; set it, e.g. with EnvironmentFile= of the unit")
        return environ[name]
    if kind == "credential":
        folder = environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            raise ConfigError(f"no systemd credentials here; give LoadCredential={name}:/path in the unit")
        if not name or "/" in name or name.startswith("."):
            raise ConfigError("a credential is named by LoadCredential= of the unit, without a path")
        return _read_file(Path(folder) / name, f"give LoadCredential={name}:/path in the unit")
    if kind == "file":
        if not name.startswith("/"):
            raise ConfigError("${file:...} wants an absolute path")
        return _read_file(Path(name), "create it, readable for the user that leptond runs as")
    raise ConfigError(f"unknown kind of secret {kind!r}; allowed are env, credential, file")


def _read_file(path: Path, remedy: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SECRET_BYTES + 1)
    except OSError as exc:
        raise ConfigError(f"cannot read {path}: {exc.strerror}; {remedy}") from exc
    if len(data) > MAX_SECRET_BYTES:
        raise ConfigError(f"{path} is no secret: over {MAX_SECRET_BYTES} bytes")
    try:
        return data.decode().rstrip("\r\n")
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path} is no text in UTF-8") from exc
