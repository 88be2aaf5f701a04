"""Which boxes of following frames are one object: a tracker of one camera, in the manner of ByteTrack.

Detections of high score are matched first, with every known object; what is still unmatched and was there a moment ago
may be carried on by a box of low score, which alone never begins a track (Zhang 2021, arXiv:2110.06864). Overlap (IoU)
is the only likeness: no appearance, no network. Time comes in with the frame, so frames may come at any rate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..clock import NS_PER_S
from .assignment import match
from .kalman import BoxFilter

Array = NDArray[np.float64]
Box = tuple[float, float, float, float]  # x1 y1 x2 y2, camera pixels

MIN_IOU: Final = 0.2  # ByteTrack's match_thresh 0.8, as likeness
MIN_IOU_LOW: Final = 0.5  # of a low score with its track: ByteTrack's second stage
MIN_IOU_GROWN: Final = 0.3  # of boxes grown on each side by GROWN of their size, for those whose speed is not known
GROWN: Final = 0.3  # or has misled: C-BIoU (Yang 2023, arXiv:2211.14317); at 5 frames/s a walker moves half its width
SAME_PLACE_IOU: Final = 0.7  # from here two boxes are one object, whatever their labels say
OTHER_LABEL_PENALTY: Final = 0.45  # keeps such a pair above MIN_IOU, yet behind any pair of one label
LOST_S: Final = 2.0  # ByteTrack: 30 frames; here seconds, and at least LOST_FRAMES for slow cameras
LOST_FRAMES: Final = 3
FORGET_S: Final = 30.0  # a track is never carried over a longer gap, however slow the camera
MAX_STEP_S: Final = 2.0  # beyond this a constant speed is a guess


@dataclass(slots=True, eq=False)
class Track:
    """One object over time."""

    id: int  # grows from 1 in each tracker
    box: Box  # as detected in the last frame that showed it
    score: float  # of that detection
    seen_ns: int  # captured_ns of that frame
    started_ns: int  # captured_ns of the first
    hits: int = 1
    missed: int = 0  # frames since it was seen; 0 = seen in this frame
    votes: dict[int, float] = field(default_factory=dict)  # class -> sum of scores

    @property
    def label(self) -> int:
        """The class that has most votes, weighed by score."""
        return max(self.votes, key=self.votes.__getitem__)

    @property
    def confirmed(self) -> bool:
        """Whether it was seen twice; one frame alone may be a flicker."""
        return self.hits > 1

    def take(self, row: Array, now_ns: int) -> None:
        """Carry on with a detection row x1 y1 x2 y2 score class."""
        x1, y1, x2, y2, score, label = row.tolist()
        self.box, self.score, self.seen_ns = (x1, y1, x2, y2), score, now_ns
        self.hits, self.missed = self.hits + 1, 0
        self.votes[int(label)] = self.votes.get(int(label), 0.0) + score


@dataclass(frozen=True, slots=True)
class TrackUpdate:
    """What one frame changed."""

    tracks: tuple[Track, ...]  # confirmed ones, also those that this frame does not show (missed > 0)
    ended: tuple[Track, ...]  # confirmed ones that are over


class Tracker:
    """All tracks of one camera."""

    def __init__(self, *, high_score: float = 0.5, low_score: float = 0.1) -> None:
        self.high_score = high_score
        self.low_score = low_score
        self._tracks: list[Track] = []
        self._filter = BoxFilter()
        self._last_ns: int | None = None
        self._next_id = 1

    def update(self, now_ns: int, rows: NDArray[np.float32]) -> TrackUpdate | None:
        """Take in the detections of one frame, float32 [n, 6]: x1 y1 x2 y2 score class.

        Returns None, and changes nothing, when the frame is not newer than the last one.
        """
        if self._last_ns is not None and now_ns <= self._last_ns:
            return None
        gap_ns = 0 if self._last_ns is None else now_ns - self._last_ns
        self._last_ns = now_ns
        self._filter.predict(min(gap_ns / NS_PER_S, MAX_STEP_S))
        for track in self._tracks:
            track.missed += 1
        detections = rows[(rows[:, 4] >= self.low_score) & np.isfinite(rows).all(axis=1)].astype(np.float64)
        self._associate(now_ns, detections)
        ended = self._forget(now_ns)
        return TrackUpdate(tuple(t for t in self._tracks if t.confirmed), ended)

    def _associate(self, now_ns: int, detections: Array) -> None:
        """Match in three stages, then begin new tracks with what is left of the high scores."""
        likeness = self._likeness(self._filter.boxes(), detections)
        high = detections[:, 4] >= self.high_score
        free = np.ones(len(detections), dtype=bool)
        known = np.array([track.confirmed for track in self._tracks], dtype=bool)
        recent = np.array([track.missed == 1 for track in self._tracks], dtype=bool)
        pairs: list[tuple[int, int]] = []
        for weights, tracks, rows in (
            (lambda: likeness - MIN_IOU, known, high),
            (lambda: likeness - MIN_IOU_LOW, known & recent, ~high),
            (lambda: self._grown_likeness(detections) - MIN_IOU_GROWN, ~known | recent, high),
        ):
            for index, row in self._match(weights, tracks, rows & free):
                self._tracks[index].take(detections[row], now_ns)
                free[row] = False
                pairs.append((index, row))
        tracks_at, rows_at = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
        self._filter.correct(tracks_at, detections[rows_at, :4])
        self._begin(now_ns, detections[high & free])

    def _match(
        self, weights: Callable[[], Array], tracks: NDArray[np.bool_], rows: NDArray[np.bool_]
    ) -> list[tuple[int, int]]:
        """Return matching (track, row) among those `tracks` [t] that are still unseen and those `rows` [n]."""
        unseen = np.array([track.missed > 0 for track in self._tracks], dtype=bool)
        tracks_at, rows_at = np.flatnonzero(tracks & unseen), np.flatnonzero(rows)
        if not len(tracks_at) or not len(rows_at):
            return []
        pairs = match(weights()[np.ix_(tracks_at, rows_at)])
        return [(int(tracks_at[track]), int(rows_at[row])) for track, row in pairs]

    def _grown_likeness(self, detections: Array) -> Array:
        grown = np.hstack([_grow(detections[:, :4]), detections[:, 4:]])
        return self._likeness(_grow(self._filter.boxes()), grown)

    def _likeness(self, boxes: Array, detections: Array) -> Array:
        """Return [tracks, n]: IoU, and of different labels only where the boxes nearly coincide."""
        overlap = iou(boxes, detections[:, :4])
        labels = np.array([track.label for track in self._tracks])[:, None]
        other = labels != detections[None, :, 5] if len(labels) else np.zeros(overlap.shape, dtype=bool)
        penalised = np.where(overlap >= SAME_PLACE_IOU, overlap - OTHER_LABEL_PENALTY, 0.0)
        return np.where(other, penalised, overlap)

    def _begin(self, now_ns: int, detections: Array) -> None:
        """Begin tracks, but not where an object of this frame already is: that is its second label."""
        here = np.array([track.box for track in self._tracks if not track.missed]).reshape(-1, 4)
        for row in detections:
            if iou(here, row[None, :4]).max(initial=0.0) >= SAME_PLACE_IOU:
                continue
            here = np.vstack([here, row[:4]])
            track = Track(self._next_id, (0.0, 0.0, 0.0, 0.0), 0.0, now_ns, now_ns, hits=0)
            track.take(row, now_ns)
            self._next_id += 1
            self._tracks.append(track)
            self._filter.add(row[None, :4])

    def _forget(self, now_ns: int) -> tuple[Track, ...]:
        """Drop tracks that were not seen for too long, and tentative ones at their first miss."""
        over = [self._is_over(track, now_ns) for track in self._tracks]
        if not any(over):
            return ()
        ended = tuple(t for t, gone in zip(self._tracks, over, strict=True) if gone and t.confirmed)
        self._filter.keep(~np.array(over, dtype=bool))
        self._tracks = [t for t, gone in zip(self._tracks, over, strict=True) if not gone]
        return ended

    @staticmethod
    def _is_over(track: Track, now_ns: int) -> bool:
        if not track.confirmed:
            return track.missed > 0
        unseen_s = (now_ns - track.seen_ns) / NS_PER_S
        return track.missed > 0 and ((unseen_s > LOST_S and track.missed >= LOST_FRAMES) or unseen_s > FORGET_S)


def _grow(boxes: Array) -> Array:
    margin = (boxes[:, 2:] - boxes[:, :2]) * GROWN
    return np.hstack([boxes[:, :2] - margin, boxes[:, 2:] + margin])


def iou(left: Array, right: Array) -> Array:
    """Return the overlap [n, m] of boxes xyxy [n, 4] and [m, 4], 0..1; 0 for boxes without area."""
    top_left = np.maximum(left[:, None, :2], right[None, :, :2])
    bottom_right = np.minimum(left[:, None, 2:], right[None, :, 2:])
    shared = (bottom_right - top_left).clip(min=0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(axis=1) for boxes in (left, right)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    result: Array = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return result
