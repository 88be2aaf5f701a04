"""RTSP/1.0 requests and answers as text (RFC 2326). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    454: "Session Not Found",
    455: "Method Not Valid in This State",
    459: "Aggregate Operation Not Allowed",
    461: "Unsupported Transport",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "RTSP Version Not Supported",
}
_TRACK = re.compile(r"^(.*)/track(\d{1,2})$")
_INTERLEAVED = re.compile(r"interleaved=(\d{1,3})(?:-\d{1,3})?")


class BadRequestError(Exception):
    """Raised when what a client sent is no RTSP request; the connection ends with 400."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request; header names are in lower case. `track` is None for the whole presentation."""

    method: str
    uri: str
    version: str
    headers: dict[str, str]

    @property
    def cseq(self) -> str:
        """Number that the answer repeats."""
        return self.headers.get("cseq", "0")

    @property
    def body_bytes(self) -> int:
        """Length of the body that follows. Raises BadRequestError when it is no number."""
        text = self.headers.get("content-length", "0")
        if not text.isdecimal():
            raise BadRequestError(f"Content-Length {text!r} is no number")
        return int(text)

    @property
    def mount(self) -> str:
        """Name of the mount that the address means: its path without slashes around it, and without the track."""
        path = unquote(urlsplit(self.uri).path).strip("/")
        match = _TRACK.match(path)
        return match[1] if match else path

    @property
    def track(self) -> int | None:
        """Index of the track that the address means, or None."""
        match = _TRACK.match(urlsplit(self.uri).path.rstrip("/"))
        return int(match[2]) if match else None


def parse_request(head: bytes) -> Request:
    """Read a request's first line and headers. Raises BadRequestError."""
    try:
        first, *rest = head.decode("utf-8").strip("\r\n").split("\r\n")
        method, uri, version = first.split(" ")
        urlsplit(uri)
    except ValueError as exc:
        raise BadRequestError("the first line is not `METHOD address RTSP/1.0`") from exc
    headers = {}
    for line in rest:
        name, colon, value = line.partition(":")
        if not colon:
            raise BadRequestError("a header line has no colon")
        headers[name.strip().lower()] = value.strip()
    return Request(method, uri, version, headers)


def format_response(status: int, cseq: str, headers: list[tuple[str, str]], body: bytes = b"") -> bytes:
    """Write an answer as bytes; add CSeq, Server and, with a body, Content-Length."""
    lines = [f"RTSP/1.0 {status} {REASONS[status]}", f"CSeq: {cseq}", "Server: leptond simulator"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def choose_channel(transport: str, free: int) -> int | None:
    """Channel for RTP out of a Transport header's offers, `free` if the client names none; None without a TCP offer."""
    for offer in transport.split(","):
        if not offer.strip().upper().startswith("RTP/AVP/TCP"):
            continue
        match = _INTERLEAVED.search(offer)
        channel = int(match[1]) if match else free
        if channel <= 254:  # RTCP takes the next one, and a channel is one byte
            return channel
    return None
