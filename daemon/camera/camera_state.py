"""In which one state a camera is: every second of every camera has exactly one. Pure: what happened when comes in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..clock import NS_PER_S
from ..messages import CameraState

STUCK_NS: Final = 2 * NS_PER_S  # longer without what should come means that it does not come


@dataclass(slots=True)
class Sight:
    """When things last happened, monotonic; 0 for never."""

    connected: bool = False
    reason: str = ""  # of the last disconnect
    connected_ns: int = 0
    packet_ns: int = 0
    frame_ns: int = 0  # a sound frame was decoded
    welcomed: bool = False
    oldest_in_flight_ns: int = 0  # when the frame waiting longest for its credit was sent; 0 with none in flight
    looked_at_ns: int = 0  # a frame was inferred, or gated for want of motion
    shed_ns: int = 0  # a frame was dropped by load


def state_of(sight: Sight, now_ns: int, detect_fps: float) -> tuple[CameraState, str]:
    """Return the state and, with no signal, the reason code."""
    patience_ns = max(STUCK_NS, int(3 * NS_PER_S / detect_fps))
    if not sight.connected:
        broken = sight.reason in {"decode", "no_keyframe"}
        return ("decode_error" if broken else "no_signal"), sight.reason
    if now_ns - max(sight.frame_ns, sight.connected_ns) > STUCK_NS:
        return ("decode_error", "decode") if now_ns - sight.packet_ns < STUCK_NS else ("no_signal", "timeout")
    if not sight.welcomed or (sight.oldest_in_flight_ns and now_ns - sight.oldest_in_flight_ns > STUCK_NS):
        return "detector_down", ""
    if sight.shed_ns > sight.looked_at_ns and now_ns - max(sight.looked_at_ns, sight.connected_ns) > patience_ns:
        return "dropped", ""
    return "seen", ""
