"""Reads the configuration file: text → tables → secrets → types → what the types cannot say; all mistakes at once."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from ..errors import ConfigError
from .config_checks import cross_check
from .mistakes import explain
from .secrets import SECRET_KEYS, resolve
from .settings import Alerts, Section, Service, Settings

Tables = dict[str, Any]
SectionT = TypeVar("SectionT", bound=Section)
_UNREAD: Final = {"url": "rtsp://unread"}


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings of the file, secrets resolved and registered with the log.

    Raises ConfigError that lists every mistake, a line each.
    """
    tables = read_tables(path)
    return _checked(tables, _resolve_secrets(tables, environ))


def load_unlocked(path: Path) -> Settings:
    """Return the settings with empty words for secrets, for commands that open no camera.

    Whoever runs them need not be able to read the service's secrets. Raises ConfigError as `load` does.
    """
    tables = read_tables(path)
    _leave_secrets_out(tables)
    return _checked(tables, [])


def load_service(path: Path) -> Service:
    """Return only where the daemon lives, for commands that talk to a running one.

    Needs no secret and no camera to be right. Raises ConfigError as `load` does.
    """
    return _load_section(path, "service", Service)


def load_alerts(path: Path) -> Alerts:
    """Return only where alerts are published, for those who follow them; as `load_service` does."""
    return _load_section(path, "alerts", Alerts)


def _load_section(path: Path, name: str, kind: type[SectionT]) -> SectionT:
    try:
        return kind.model_validate_json(json.dumps(read_tables(path).get(name, {}), default=str), strict=True)
    except ValidationError as exc:
        mistakes = [f"{name}.{explain(error, kind)}" for error in exc.errors(include_url=False)]
        raise ConfigError("\n".join(mistakes)) from exc


def _checked(tables: Tables, mistakes: list[str]) -> Settings:
    settings: Settings | None = None
    try:
        # As JSON, so that strictness means TOML's own types: no "5" for 5, but a list for a tuple.
        settings = Settings.model_validate_json(json.dumps(tables, default=str), strict=True)
    except ValidationError as exc:
        mistakes += [explain(error, Settings) for error in exc.errors(include_url=False)]
    mistakes += cross_check(tables)
    if settings is None or mistakes:
        raise ConfigError("\n".join(mistakes))
    return settings


def read_tables(path: Path) -> Tables:
    """Return the file's tables as written. Raises ConfigError when it cannot be read or is no TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}; give --config FILE") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path}: no text in UTF-8, at byte {exc.start}") from exc
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{path}: no TOML: {exc}") from exc


def json_schema() -> Tables:
    """Return the JSON Schema of the file."""
    return Settings.model_json_schema()


def _resolve_secrets(tables: Tables, environ: Mapping[str, str]) -> list[str]:
    """Replace placeholders in place; return what is wrong with them."""
    mistakes = []
    for name, camera, key in _secrets(tables):
        try:
            camera[key] = resolve(camera[key], environ)
        except ConfigError as exc:
            mistakes.append(f"cameras.{name}.{key}: {exc}")
            camera[key] = _UNREAD.get(key, "")  # the text as it is would only cause a second mistake
    return mistakes


def _leave_secrets_out(tables: Tables) -> None:
    for _, camera, key in _secrets(tables):
        if "${" in camera[key]:
            camera[key] = _UNREAD.get(key, "")


def _secrets(tables: Tables) -> Iterator[tuple[str, Tables, str]]:
    """Yield (name, table, key) of texts that may hold secrets; of a camera that is switched off nobody needs them."""
    cameras = tables.get("cameras")
    for name, camera in cameras.items() if isinstance(cameras, dict) else ():
        if isinstance(camera, dict) and camera.get("enabled") is not False:
            yield from ((name, camera, key) for key in SECRET_KEYS if isinstance(camera.get(key), str))
