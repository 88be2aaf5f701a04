"""What FFmpeg's errors mean: each is translated once, here, into the reason code that status and events show.

FFmpeg's own text is not passed on: it carries the address with the password in it.
"""

from __future__ import annotations

import errno
import socket
from typing import Final
from urllib.parse import urlsplit

import av.error

from ..errors import DisconnectReason, StreamError

_NEAR: Final = 0.9  # FFmpeg's own clock may stop a little before the timeout
_BY_CLASS: Final[tuple[tuple[type[Exception], DisconnectReason, str], ...]] = (
    (av.error.HTTPUnauthorizedError, "auth", "wrong or missing user name or password"),
    (av.error.HTTPForbiddenError, "auth", "the user may not see this stream"),
    (av.error.HTTPNotFoundError, "not_found", "the address names no stream on this camera"),
    (av.error.HTTPTooManyRequestsError, "refused", "the camera says it has too many clients"),
    (av.error.HTTPOtherClientError, "protocol", "the camera refuses this transport; try transport = 'udp' or 'tcp'"),
    (av.error.HTTPClientError, "protocol", "the camera calls the request wrong"),
    (av.error.HTTPServerError, "refused", "the camera reports an error of its own; it may have too many clients"),
    (av.error.FileNotFoundError, "not_found", "no such file"),
    (av.error.IsADirectoryError, "not_found", "a folder, not a file"),
    (av.error.PermissionError, "not_found", "the file may not be read by this user"),
    (av.error.ConnectionRefusedError, "refused", "nothing listens at this address and port"),
    (av.error.ConnectionResetError, "ended", "the camera closed the connection"),
    (av.error.BrokenPipeError, "ended", "the camera closed the connection"),
    (av.error.TimeoutError, "timeout", "no answer in time"),
    (av.error.ExitError, "timeout", "no answer in time"),
    (av.error.EOFError, "ended", "the stream ended"),
    (av.error.ProtocolNotFoundError, "protocol", "unknown kind of address; use rtsp://, http:// or a path"),
    (av.error.DecoderNotFoundError, "decode", "no decoder for this codec"),
)


def translate(exc: av.error.FFmpegError, url: str, elapsed_s: float, timeout_s: float) -> StreamError:
    """Return the StreamError for what FFmpeg raised after `elapsed_s`."""
    for kind, reason, text in _BY_CLASS:
        if isinstance(exc, kind):
            return StreamError(reason, text)
    if exc.errno in {errno.EHOSTUNREACH, errno.ENETUNREACH}:
        return StreamError("refused", "no way to this address")
    if exc.errno == errno.EIO and _unresolvable(url):
        return StreamError("dns", "the host name is not known")
    # A server that says nothing: FFmpeg waits out its timeout and then calls the missing answer invalid data.
    if elapsed_s >= _NEAR * timeout_s:
        return StreamError("timeout", "no answer in time")
    if isinstance(exc, av.error.InvalidDataError):
        return StreamError("protocol", "what came is no video that FFmpeg knows")
    return StreamError("protocol", exc.strerror or type(exc).__name__)


def _unresolvable(url: str) -> bool:
    """Return whether the host's name has no address; FFmpeg calls that an input/output error and no more."""
    host = urlsplit(url).hostname
    if not host:
        return False
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return True
    return False
