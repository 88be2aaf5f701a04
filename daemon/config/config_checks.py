"""What a type cannot say about the configuration: names that must exist elsewhere, addresses, paths.

Looks at the tables as they are in the file, so that a mistake of type in one place hides no other mistake; whatever
has the wrong type is skipped here, for its type has been complained about already.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from .mistakes import nearest
from .settings import Alerts, Metrics, Service

Tables = dict[str, Any]
URL_SCHEMES: Final = ("rtsp", "rtsps", "http", "https")
MAX_SOCKET_PATH_BYTES: Final = 107  # sockaddr_un on Linux, less the closing zero
_LONGEST_SOCKET: Final = "detections.sock"
_SCHEME: Final = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]*)://")
_MAX_PORT: Final = 65535


def cross_check(tables: Tables) -> list[str]:
    """Return a line for every mistake."""
    return [*_check_sockets(tables), *_check_cameras(tables), *_check_rules(tables)]


def check_camera_url(url: str) -> str | None:
    """Return what is wrong with a camera's URL or path, without repeating it; None when nothing is."""
    url = url.removeprefix("file://")
    scheme = _SCHEME.match(url)
    if not scheme:
        return _check_camera_path(Path(url))
    if scheme[1].lower() not in URL_SCHEMES:
        return f"scheme {scheme[1]}:// is not supported; allowed are {', '.join(URL_SCHEMES)} or a path"
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError when it is no port
    except ValueError:
        return "this URL cannot be taken apart; is its port a number, its password percent-encoded?"
    return None if parts.hostname else "this URL names no host"


def _check_camera_path(path: Path) -> str | None:
    try:
        path.stat()
    except PermissionError:
        return "this user may not look there; leptond runs as a user of its own"
    except (OSError, ValueError):  # also: too long for a path, or with a zero in it
        return "no such file or folder, and no URL; URLs begin with rtsp:// or http://"
    return None


def check_host_port(text: str, *, wild: bool = False) -> str | None:
    """Return what is wrong with `host:port`; port 0 lets the system choose; `wild` allows `*` as host."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > _MAX_PORT:
        return f"allowed is host:port with a port up to {_MAX_PORT}, found {text!r}"
    if not host or (host == "*" and not wild) or re.search(r"[\s/@]", host):
        return f"no host in {text!r}; 127.0.0.1 is this machine alone, 0.0.0.0 every network"
    return None


def _check_sockets(tables: Tables) -> Iterator[str]:
    runtime_dir = _text(tables, "service", "runtime_dir", str(Service().runtime_dir))
    path = Path(runtime_dir).absolute() / _LONGEST_SOCKET
    if len(str(path).encode()) > MAX_SOCKET_PATH_BYTES:
        yield f"service.runtime_dir: {path} has over {MAX_SOCKET_PATH_BYTES} bytes; choose a shorter folder"
    publish = _text(tables, "alerts", "publish", Alerts().publish)
    replay = _text(tables, "alerts", "replay", Alerts().replay)
    for key, endpoint in (("alerts.publish", publish), ("alerts.replay", replay)):
        if problem := _check_endpoint(endpoint):
            yield f"{key}: {problem}"
    if publish == replay and not publish.endswith(":0"):
        yield f"alerts.replay: {replay} is alerts.publish already; give it an address of its own"
    listen = _text(tables, "metrics", "listen", Metrics().listen)
    if listen and (problem := check_host_port(listen)):
        yield f"metrics.listen: {problem}; empty switches it off"
    frames = _text(tables, "detector", "listen", "")
    if frames and (problem := _check_endpoint(frames, schemes=("tcp",))):
        yield f"detector.listen: {problem}"


def _check_endpoint(endpoint: str, schemes: tuple[str, ...] = ("tcp", "ipc")) -> str | None:
    scheme, _, rest = endpoint.partition("://")
    if scheme not in schemes or not rest:
        allowed = " or ".join({"tcp": "tcp://host:port", "ipc": "ipc:///path"}[name] for name in schemes)
        return f"allowed is {allowed}, found {endpoint!r}"
    if scheme == "tcp":
        return check_host_port(rest, wild=True)
    too_long = len(rest.encode()) > MAX_SOCKET_PATH_BYTES
    return f"{rest} has over {MAX_SOCKET_PATH_BYTES} bytes; choose a shorter path" if too_long else None


def _check_cameras(tables: Tables) -> Iterator[str]:
    for name, camera in _cameras(tables).items():
        if camera.get("enabled") is False:
            continue
        for key in ("url", "detect_url"):
            url = camera.get(key)
            if isinstance(url, str) and url and (problem := check_camera_url(url)):
                yield f"cameras.{name}.{key}: {problem}"
        if camera.get("url") == "":
            yield f"cameras.{name}.url: empty; give the camera's URL, or enabled = false"


def _check_rules(tables: Tables) -> Iterator[str]:
    rules = tables.get("rules")
    first_of: dict[str, int] = {}
    for index, rule in enumerate(rules if isinstance(rules, list) else ()):
        if not isinstance(rule, dict):
            continue
        name = rule.get("name")
        if isinstance(name, str):
            if name in first_of:
                yield f"rules[{index}].name: {name!r} is the name of rules[{first_of[name]}] too; names are unique"
            first_of.setdefault(name, index)
        yield from _check_rule(f"rules[{index}]", rule, _cameras(tables))


def _check_rule(path: str, rule: Tables, cameras: dict[str, Tables]) -> Iterator[str]:
    named = _texts(rule.get("cameras", ["*"]))
    for camera in named:
        if camera != "*" and camera not in cameras:
            yield f"{path}.cameras: unknown camera {camera!r}{nearest(camera, cameras)}"
    zones = _texts(rule.get("zones", []))
    of_camera = {
        name: set(table["zones"]) if isinstance(table.get("zones"), dict) else set()
        for name, table in cameras.items()
        if "*" in named or name in named
    }
    known = set().union(*of_camera.values())
    for zone in zones:
        if of_camera and zone not in known:
            yield f"{path}.zones: no camera of this rule has a zone {zone!r}{nearest(zone, known)}"
    for camera, has in of_camera.items():
        # Such a rule would look as if it guarded the camera, and never fire.
        if camera in named and known.intersection(zones) and not has.intersection(zones):
            yield f"{path}.zones: camera {camera!r} has none of them, so the rule could never fire there"


def _cameras(tables: Tables) -> dict[str, Tables]:
    cameras = tables.get("cameras")
    if not isinstance(cameras, dict):
        return {}
    return {name: camera for name, camera in cameras.items() if isinstance(camera, dict)}


def _text(tables: Tables, section: str, key: str, default: str) -> str:
    table = tables.get(section)
    value = table.get(key, default) if isinstance(table, dict) else default
    return value if isinstance(value, str) else default


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
