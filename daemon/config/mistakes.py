"""Words for mistakes in the configuration: the key's path, what was found, what is allowed, the nearest known key.

Values of keys that may hold a secret are never repeated; neither is the value of an unknown key, which may be a
misspelt password.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

from ..log import redact
from .secrets import SECRET_KEYS

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Loc = Sequence[int | str]
_PATTERNS: Final = {  # a pattern is for machines
    r"^[a-z0-9][a-z0-9_-]{0,31}$": "lower-case letters, digits, - and _, at most 32, not beginning with - or _",
    r"^(auto|cpu|cuda:\d+|tensorrt:\d+)$": "auto, cpu, cuda:N or tensorrt:N",
}
_MAX_SHOWN_CHARS: Final = 60


def path_of(loc: Loc) -> str:
    """Return `cameras.gate.zones.drive[0]` for its parts."""
    text = ""
    for part in loc:
        if part == "[key]":
            continue
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def nearest(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean X?", or what is known when nothing is near."""
    names = sorted(known)
    found = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if found:
        return f"; did you mean {found[0]}?"
    return f"; known are {', '.join(names)}" if names else "; there are none"


def explain(error: ErrorDetails, root: type[BaseModel]) -> str:
    """Return the line for one of pydantic's errors on `root`."""
    loc, path = error["loc"], path_of(error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{path}: unknown key{nearest(str(loc[-1]), _keys_at(root, loc[:-1]))}"
    if error["type"] == "missing":
        return f"{path}: missing; this key is required"
    return f"{path}: {_allowed(error)}{_found(error)}"


def _allowed(error: ErrorDetails) -> str:
    if error["type"] == "string_pattern_mismatch":
        pattern = str(error.get("ctx", {}).get("pattern"))
        return f"allowed are {_PATTERNS.get(pattern, pattern)}"
    words = error["msg"].removeprefix("Input ")
    words = words.replace("a valid tuple", "a list").replace("Tuple", "a list").replace("tuple", "list")
    words = words.replace("an object", "a table").replace("a valid dictionary", "a table")
    return words.replace(" after validation", "")


def _found(error: ErrorDetails) -> str:
    value = error["input"]
    if any(part in SECRET_KEYS for part in error["loc"]):
        return f" (found {_kind(value)}; not shown, for it may be secret)"
    if error["type"] in {"too_short", "too_long"}:
        return ""
    if isinstance(value, dict | list):
        return f", found {_kind(value)}"
    shown = redact(repr(value))
    return f", found {shown if len(shown) <= _MAX_SHOWN_CHARS else shown[:_MAX_SHOWN_CHARS] + '…'}"


def _kind(value: Any) -> str:
    kinds = {dict: "a table", list: "a list", str: "text", bool: "true/false", int: "a number", float: "a number"}
    return kinds.get(type(value), "something else")


def _keys_at(root: type[BaseModel], loc: Loc) -> list[str]:
    kind: Any = root
    for part in loc:
        kind = _inner(kind, part)
    return list(kind.model_fields) if _is_table(kind) else []


def _inner(kind: Any, part: int | str) -> Any:
    """Return the type of what lies under `part` of a value of type `kind`."""
    if _is_table(kind):
        kind = kind.model_fields[str(part)].annotation
    else:
        kind = typing.get_args(kind)[1 if typing.get_origin(kind) is dict else 0]
    if isinstance(kind, types.UnionType):
        kind = next(arg for arg in typing.get_args(kind) if arg is not type(None))
    return kind


def _is_table(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
