"""Reads the configuration file: text → tables → secrets → types → what the types cannot say; all mistakes at once."""

from __future__ import annotations

import copy
import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from ..errors import ConfigError
from .config_checks import cross_check
from .mistakes import explain
from .secrets import SECRET_KEYS, resolve
from .settings import Service, Settings

Tables = dict[str, Any]
_UNREAD: Final = {"url": "rtsp://unread"}


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings of the file, secrets resolved and registered with the log.

    Raises ConfigError that lists every mistake, a line each.
    """
    written = read_tables(path)
    tables = copy.deepcopy(written)
    mistakes = _resolve_secrets(tables, environ)
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


def load_service(path: Path) -> Service:
    """Return only where the daemon lives, for commands that talk to a running one.

    Needs no secret and no camera to be right. Raises ConfigError as `load` does.
    """
    tables = read_tables(path)
    try:
        return Service.model_validate_json(json.dumps(tables.get("service", {}), default=str), strict=True)
    except ValidationError as exc:
        mistakes = [f"service.{explain(error, Service)}" for error in exc.errors(include_url=False)]
        raise ConfigError("\n".join(mistakes)) from exc


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
    """Replace placeholders in place; a camera that is switched off keeps them, for nobody needs its secrets."""
    mistakes = []
    cameras = tables.get("cameras")
    for name, camera in cameras.items() if isinstance(cameras, dict) else ():
        if not isinstance(camera, dict) or camera.get("enabled") is False:
            continue
        for key in SECRET_KEYS:
            if isinstance(camera.get(key), str):
                try:
                    camera[key] = resolve(camera[key], environ)
                except ConfigError as exc:
                    mistakes.append(f"cameras.{name}.{key}: {exc}")
                    camera[key] = _UNREAD.get(key, "")  # the text as it is would only cause a second mistake
    return mistakes
