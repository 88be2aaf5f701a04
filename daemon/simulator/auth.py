"""Who may watch: basic (RFC 7617) and digest with MD5 (RFC 2617, 7616), as cameras ask for them. Pure but for nonces.

Without a password file or a lock-out: a simulated camera guards nothing.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
import secrets
from base64 import b64decode
from dataclasses import dataclass, field
from typing import Literal

REALM = "leptond simulator"
Scheme = Literal["basic", "digest", "both"]
_PARAMETER = re.compile(r'(\w+)\s*=\s*(?:"([^"]*)"|([^\s,"]+))')


@dataclass(frozen=True, slots=True)
class Credentials:
    """The one user of a simulator, and the schemes offered to clients."""

    user: str
    password: str = field(repr=False)
    scheme: Scheme = "both"


@dataclass(slots=True)
class Doorkeeper:
    """Asks and checks on one connection; its nonce lives as long as the connection, so a recorded answer is void."""

    credentials: Credentials
    nonce: str = field(default_factory=lambda: secrets.token_hex(16))

    def challenges(self, *, stale: bool = False) -> list[str]:
        """Values of WWW-Authenticate, the stronger first."""
        digest = f'Digest realm="{REALM}", nonce="{self.nonce}", algorithm=MD5, qop="auth"'
        offers = [digest + ", stale=true" if stale else digest, f'Basic realm="{REALM}"']
        return {"both": offers, "digest": offers[:1], "basic": offers[1:]}[self.credentials.scheme]

    def admits(self, method: str, uri: str, authorization: str) -> bool:
        """Whether this Authorization header opens the door for this request."""
        scheme, _, rest = authorization.partition(" ")
        if self.credentials.scheme != "digest" and scheme.lower() == "basic":
            return self._admits_basic(rest)
        if self.credentials.scheme != "basic" and scheme.lower() == "digest":
            return self._admits_digest(method, uri, parse_parameters(rest))
        return False

    def is_stale(self, authorization: str) -> bool:
        """Whether a digest answers an older question: the client may ask again with the same password."""
        nonce = parse_parameters(authorization).get("nonce")
        return nonce is not None and nonce != self.nonce

    def _admits_basic(self, token: str) -> bool:
        try:
            given = b64decode(token.strip(), validate=True)
        except binascii.Error:
            return False
        return hmac.compare_digest(given, f"{self.credentials.user}:{self.credentials.password}".encode())

    def _admits_digest(self, method: str, uri: str, given: dict[str, str]) -> bool:
        if given.get("nonce") != self.nonce or given.get("uri") != uri or given.get("algorithm", "MD5") != "MD5":
            return False
        expected = digest_response(self.credentials, method, given)
        same_user = hmac.compare_digest(given.get("username", "").encode(), self.credentials.user.encode())
        return hmac.compare_digest(given.get("response", "").encode(), expected.encode()) and same_user


def digest_response(credentials: Credentials, method: str, given: dict[str, str]) -> str:
    """Compute the `response` that the right password gives for a client's parameters (RFC 2617 3.2.2.1).

    GStreamer answers without `qop` though it was offered, as RFC 2069 had it; both forms are cameras' practice.
    """
    secret = _md5(f"{credentials.user}:{REALM}:{credentials.password}")
    request = _md5(f"{method}:{given.get('uri', '')}")
    nonce = given.get("nonce", "")
    if "qop" not in given:
        return _md5(f"{secret}:{nonce}:{request}")
    return _md5(f"{secret}:{nonce}:{given.get('nc', '')}:{given.get('cnonce', '')}:{given['qop']}:{request}")


def parse_parameters(text: str) -> dict[str, str]:
    """`name="value", name=value` of a digest header; names in lower case."""
    return {match[1].lower(): match[2] if match[2] is not None else match[3] for match in _PARAMETER.finditer(text)}


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
