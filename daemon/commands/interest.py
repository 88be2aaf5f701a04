"""Which stored frames are worth a person's label: where the model was unsure, or contradicted itself.

Pure: stored detections in, candidates out. The ideas are uncertainty sampling (Lewis and Gale, 1994) and temporal
disagreement of a detector with itself (Jin et al., "Unsupervised hard example mining from videos", 2018).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float32]  # [n, 6]: x1 y1 x2 y2 score class, pixels
Reason = Literal["uncertain", "flicker", "missed"]

UNSURE: Final = (0.25, 0.6)  # scores between "surely nothing" and "surely something"
SURE: Final = 0.6
SAME_IOU: Final = 0.4  # between neighbouring frames of one object
NEIGHBOUR_NS: Final = 1_000_000_000  # frames further apart say nothing of each other


@dataclass(frozen=True, slots=True)
class Seen:
    """One frame as it was stored."""

    utc_ns: int
    rows: Rows


@dataclass(frozen=True, slots=True)
class Candidate:
    """A frame worth labelling; `weight` 0..1 grows with what a label would teach."""

    utc_ns: int
    reason: Reason
    weight: float


def candidates(frames: Iterable[Seen]) -> Iterator[Candidate]:
    """Yield the interesting ones of a camera's frames, which come in order of time; at most one candidate a frame."""
    before: Seen | None = None
    now: Seen | None = None
    for after in frames:
        if now is not None and (best := _judge(before, now, after)):
            yield best
        before, now = now, after
    if now is not None and (best := _judge(before, now, None)):
        yield best


def spread(found: Iterable[Candidate], limit: int, apart_ns: int) -> list[Candidate]:
    """Return at most `limit` candidates, weightiest first, no two nearer in time than `apart_ns`, ordered by time."""
    taken: list[Candidate] = []  # by time, so that only the neighbours need be looked at
    for candidate in sorted(found, key=lambda c: (-c.weight, c.utc_ns)):
        if len(taken) >= limit:
            break
        at = bisect_left(taken, candidate.utc_ns, key=lambda c: c.utc_ns)
        if all(abs(candidate.utc_ns - other.utc_ns) >= apart_ns for other in taken[max(0, at - 1) : at + 1]):
            taken.insert(at, candidate)
    return taken


def _judge(before: Seen | None, now: Seen, after: Seen | None) -> Candidate | None:
    """Return the strongest reason to look at `now`."""
    found = [Candidate(now.utc_ns, "uncertain", uncertainty(now.rows))]
    if before and after and max(now.utc_ns - before.utc_ns, after.utc_ns - now.utc_ns) <= NEIGHBOUR_NS:
        found.append(Candidate(now.utc_ns, "flicker", _flicker(before.rows, now.rows, after.rows)))
        found.append(Candidate(now.utc_ns, "missed", _missed(before.rows, now.rows, after.rows)))
    best = max(found, key=lambda candidate: candidate.weight)
    return best if best.weight > 0 else None


def uncertainty(rows: Rows) -> float:
    """Return 0 when every score is sure of itself, up to 1 for one in the middle of UNSURE."""
    low, high = UNSURE
    middle, half = (low + high) / 2, (high - low) / 2
    return float(max((1 - abs(score - middle) / half for score in rows[:, 4] if low <= score <= high), default=0.0))


def _flicker(before: Rows, now: Rows, after: Rows) -> float:
    """Return the highest sure score that neither neighbour has any trace of: a ghost, or a moment of luck."""
    sure = now[now[:, 4] >= SURE]
    return float(max((row[4] for row in sure if not has_alike(before, row) and not has_alike(after, row)), default=0.0))


def _missed(before: Rows, now: Rows, after: Rows) -> float:
    """Return the highest sure score that both neighbours have and this frame has no trace of."""
    sure = before[before[:, 4] >= SURE]
    return float(max((row[4] for row in sure if has_alike(after, row) and not has_alike(now, row)), default=0.0))


def has_alike(rows: Rows, wanted: npt.NDArray[np.float32]) -> bool:
    """Tell whether a row of the same class covers the wanted box by at least SAME_IOU."""
    same = rows[rows[:, 5] == wanted[5]]
    sides = np.clip(np.minimum(same[:, 2:4], wanted[2:4]) - np.maximum(same[:, :2], wanted[:2]), 0, None)
    overlap = sides[:, 0] * sides[:, 1]
    union = np.prod(same[:, 2:4] - same[:, :2], axis=1) + np.prod(wanted[2:4] - wanted[:2]) - overlap
    return bool((overlap >= SAME_IOU * union).any())
