"""Commit, then publish: messages get their numbers, are written with the state they change, and only then sent."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from ..clock import NS_PER_MS, Clock
from ..stats import Stats
from .alert_schema import Alert, Health, Media, encode, topic_of
from .journal import Entry, Journal
from .publisher import Publisher

Numbered = Alert | Health | Media


@dataclass(frozen=True, slots=True)
class _Draft:
    message: Numbered
    utc_ns: int
    captured_ns: int | None  # of the frame that decided


class Ledger:
    """What waits to be told; all of one turn of the loop is one commit."""

    def __init__(self, journal: Journal, publisher: Publisher, clock: Clock, stats: Stats) -> None:
        self.journal = journal
        self.publisher = publisher
        self._clock = clock
        self._stats = stats
        self._drafts: list[_Draft] = []
        self._state: dict[str, bytes | None] = {}

    def tell(self, message: Numbered, captured_ns: int | None = None) -> None:
        """Queue a message; its number comes with the commit."""
        self._drafts.append(_Draft(message, self._clock.utc_ns(), captured_ns))

    def keep(self, key: str, value: bytes | None) -> None:
        """Change what the journal's state says, with the next commit; None forgets."""
        self._state[key] = value

    def commit(self) -> None:
        """Write what is queued as one transaction, then publish it.

        Raises JournalError when the disk does not take it: nothing was then published.
        """
        if not self._drafts and not self._state:
            return
        drafts, state = self._drafts, self._state
        self._drafts, self._state = [], {}
        numbered = [
            (msgspec.structs.replace(draft.message, seq=seq), draft)
            for seq, draft in enumerate(drafts, start=self.journal.last_seq + 1)
        ]
        begun_ns = self._clock.monotonic_ns()
        self.journal.append(
            [Entry(message.seq, draft.utc_ns, topic_of(message), encode(message)) for message, draft in numbered], state
        )
        self._stats.latency("commit", (self._clock.monotonic_ns() - begun_ns) / NS_PER_MS)
        for message, draft in numbered:
            self._send(message, draft)

    def _send(self, message: Numbered, draft: _Draft) -> None:
        if draft.captured_ns is not None and isinstance(message, Alert) and message.latency:
            sent_ms = (self._clock.monotonic_ns() - draft.captured_ns) / NS_PER_MS
            latency = msgspec.structs.replace(message.latency, sent_ms=round(sent_ms, 2))
            message = msgspec.structs.replace(message, latency=latency)
            self._stats.latency("alert", sent_ms, camera=message.camera)
        self.publisher.publish(message)
        if isinstance(message, Alert):
            self._stats.count("alerts_published", camera=message.camera, reason=message.stage)
