"""One client's film: takes a clip's access units in turn, waits until each is due, and writes it.

A player that falls behind by a stopped process goes on where it was, with its timestamps moved on, as a camera that
hung. A client that does not read is dropped once `MAX_UNSENT_BYTES` wait for it; nobody else notices.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING

import structlog

from .rtp import RtpStream
from .sdp import payload_type

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .media import AccessUnit, Clip

log = structlog.get_logger()

MAX_UNSENT_BYTES = 4 << 20
MAX_LAG_S = 2.0
REPORT_EVERY_S = 5.0


class Player:
    """Plays `clip` in an endless loop into one connection. `channels` maps the tracks that were set up to RTP channels.

    Timestamps go on over the loop's seam. Counts what it sends: `units_sent`.
    """

    def __init__(self, clip: Clip, channels: Mapping[int, int], transport: asyncio.WriteTransport, name: str) -> None:
        self._clip = clip
        self._transport = transport
        self._name = name
        self._streams = {
            track: RtpStream(
                payload_type(track),
                ssrc=secrets.randbits(32),
                sequence=secrets.randbits(16),
                timestamp_base=secrets.randbits(32),
                channel=channel,
            )
            for track, channel in channels.items()
        }
        self._index = 0
        self._loops = 0
        self._lag_s = 0.0
        self._reported_s = float("-inf")
        self.units_sent = 0

    def seek(self, at_s: float) -> None:
        """Begins at the last key frame due before `at_s` of the endless film."""
        loops, rest_s = divmod(at_s, float(self._clip.duration_s))
        self._loops, self._index = int(loops), self._clip.keyframe_before(rest_s)

    def rtp_info(self, base: str) -> str:
        """RTP-Info of PLAY's answer: where each track's numbers begin."""
        start_s = self._due_s(self._clip.units[self._index])
        starts = {track: stream.timestamp(self._clock_ticks(track, start_s)) for track, stream in self._streams.items()}
        return ",".join(
            f"url={base}/track{track};seq={stream.sequence};rtptime={starts[track]}"
            for track, stream in self._streams.items()
        )

    async def run(self) -> None:
        """Plays until the connection closes or is dropped for not reading."""
        loop = asyncio.get_running_loop()
        started_s = loop.time() - self._due_s(self._clip.units[self._index])
        while not self._transport.is_closing():
            unit = self._clip.units[self._index]
            ahead_s = started_s + self._due_s(unit) - loop.time()
            if ahead_s > 0:
                await asyncio.sleep(ahead_s)
            elif ahead_s < -MAX_LAG_S:
                log.warning("simulated_camera_hung", mount=self._name, lag_s=round(-ahead_s, 1))
                self._lag_s -= ahead_s
            if unit.track in self._streams:
                self._send(unit)
            self._advance()

    def _advance(self) -> None:
        self._index += 1
        if self._index == len(self._clip.units):
            self._index = 0
            self._loops += 1

    def _due_s(self, unit: AccessUnit) -> float:
        return float(self._loops * self._clip.duration_s) + self._lag_s + unit.send_s

    def _clock_ticks(self, track: int, at_s: float) -> int:
        return round(at_s * self._clip.tracks[track].clock_hz)

    def _send(self, unit: AccessUnit) -> None:
        """Write one unit; the one place through which each of them goes."""
        unsent_bytes = self._transport.get_write_buffer_size()
        if unsent_bytes > MAX_UNSENT_BYTES:
            log.warning("slow_client_dropped", mount=self._name, unsent_bytes=unsent_bytes)
            self._transport.abort()
            return
        stream = self._streams[unit.track]
        loop_ticks = round(self._loops * self._clip.duration_s * self._clip.tracks[unit.track].clock_hz)
        ticks = loop_ticks + self._clock_ticks(unit.track, self._lag_s) + unit.ticks
        reports = self._reports(unit)
        self._transport.write(reports + stream.frame(unit.payloads, ticks))
        self.units_sent += 1

    def _reports(self, unit: AccessUnit) -> bytes:
        """Sender reports of all tracks, before the first packet and then every few seconds, else nothing."""
        due_s = self._due_s(unit)
        if due_s - self._reported_s < REPORT_EVERY_S:
            return b""
        self._reported_s = due_s
        now_ns = time.time_ns()
        return b"".join(
            stream.sender_report(now_ns, self._clock_ticks(track, due_s)) for track, stream in self._streams.items()
        )
