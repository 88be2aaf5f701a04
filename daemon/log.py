"""Logging: structlog, JSON unless on a terminal, and no secret ever.

Secrets are registered when the configuration resolves them; a processor removes them from every value, whoever logs it.
User and password of any URL go as well, for a library's error text may carry a URL that we did not build.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Any, Literal

import structlog

_secrets: set[str] = set()
_URL_USERINFO = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^/\s]+@", re.IGNORECASE)
MIN_SECRET_CHARS = 3  # shorter ones would blank out half of every line


def register_secret(secret: str) -> None:
    """Never let `secret` appear in a log line of this process from now on."""
    if len(secret) >= MIN_SECRET_CHARS:
        _secrets.add(secret)


def redact(text: str) -> str:
    """Return `text` without registered secrets and without user and password in URLs."""
    text = _URL_USERINFO.sub(r"\g<scheme>***@", text)
    for secret in sorted(_secrets, key=len, reverse=True):  # one may be a part of another
        text = text.replace(secret, "***")
    return text


def _redact_value(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: _redact_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_redact_value(item) for item in value)
    if isinstance(value, BaseException):
        return redact(str(value))
    return value


def _redact_event(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {key: _redact_value(value) for key, value in event.items()}


def configure_logging(level: str, format_: Literal["auto", "json", "text"], **bound: str) -> None:
    """Log to stderr from now on, with `bound` in every line."""
    text = format_ == "text" or (format_ == "auto" and sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()) if text else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact_event,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),  # a line in one write: children share it
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**bound)
