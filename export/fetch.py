"""Downloads one file: resumes what broke off, verifies its hash, and appears under its name only when it is whole.

What has arrived so far lies in `NAME.part`; a later call goes on from there if the server can (HTTP Range).
"""

from __future__ import annotations

import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING

from tqdm import tqdm

from .errors import LabError
from .files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.client import HTTPResponse
    from pathlib import Path

CHUNK_BYTES = 1 << 18
TIMEOUT_S = 30.0
RETRIES = 4
FIRST_PAUSE_S = 1.0
MOST_BYTES = 4 << 30  # no detector is larger; a server that never ends must not fill the disk


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to try: retries after a broken connection, first pause between them (doubled), a read's timeout."""

    retries: int = RETRIES
    pause_s: float = FIRST_PAUSE_S
    timeout_s: float = TIMEOUT_S


def fetch(url: str, target: Path, sha256: str, patience: Patience | None = None) -> None:
    """Download `url` to `target`; nothing is done when it is there already with the right hash.

    Raises LabError when the server refuses, the connection keeps breaking, or the hash differs (what came is removed).
    """
    patience = patience or Patience()
    if urllib.parse.urlsplit(url).scheme not in {"http", "https"}:
        raise LabError(f"{url}: only http and https are fetched")
    if target.is_file() and sha256_of(target) == sha256:
        return
    part = target.with_name(target.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    _download(url, part, patience)
    if (found := sha256_of(part)) != sha256:
        part.unlink()
        raise LabError(f"{url}: has sha256 {found}, expected {sha256}; it was removed, fetch it again")
    part.replace(target)


def _download(url: str, part: Path, patience: Patience) -> None:
    """Fetch into `part`, going on after broken connections as long as `patience` lasts."""
    pause_s = patience.pause_s
    for attempt in range(patience.retries + 1):
        try:
            _receive(url, part, patience.timeout_s)
        except urllib.error.HTTPError as exc:
            if exc.code == 416:  # nothing is left after what we have
                return
            raise LabError(f"{url}: the server says {exc.code} {exc.reason}") from exc
        except (OSError, HTTPException) as exc:  # refusals, timeouts and resets; replies that break off
            if attempt == patience.retries:
                raise LabError(f"{url}: {exc}; call again to go on from {_length(part)} bytes") from exc
            time.sleep(pause_s)
            pause_s *= 2
        else:
            return


def _receive(url: str, part: Path, timeout_s: float) -> None:
    """Receive once; raises OSError when the connection ends before the file does."""
    have = _length(part)
    headers = {"User-Agent": "lepton-export", **({"Range": f"bytes={have}-"} if have else {})}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout_s) as reply:  # noqa: S310  the scheme was checked
        resumed = reply.status == 206
        total = int(reply.headers.get("Content-Length") or 0) + (have if resumed else 0)
        with part.open("ab" if resumed else "wb") as file, tqdm(
            total=total or None, initial=have if resumed else 0, desc=part.stem, unit="B", unit_scale=True, leave=False
        ) as bar:  # fmt: skip
            for chunk in _chunks(reply):
                file.write(chunk)
                bar.update(len(chunk))
                if file.tell() > MOST_BYTES:
                    raise LabError(f"{url}: more than {MOST_BYTES >> 30} GiB; this is no model")
    if total and _length(part) < total:
        raise ConnectionError(f"ended after {_length(part)} of {total} bytes")


def _chunks(reply: HTTPResponse) -> Iterator[bytes]:
    while chunk := reply.read(CHUNK_BYTES):
        yield chunk


def _length(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
