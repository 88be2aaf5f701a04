"""Kalman filters of many boxes at once, on centre, width and height.

The centre moves with constant velocity under white acceleration noise, the size is a random walk; both noises grow with
the box, as in SORT (Bewley 2016, arXiv:1602.00763) and ByteTrack (Zhang 2021, arXiv:2110.06864). Width and height
instead of aspect and height: BoT-SORT (Aharon 2022, arXiv:2206.14651). Those papers count in frames; here time is in
seconds, so frames may come at any rate. No coordinate influences another in that model, so the 8x8 covariance is four
2x2 blocks, and all boxes are filtered in a dozen array operations.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Standard deviations as shares of the box's size (mean of width and height), for cx, cy, w, h.
MEASURED: Final = np.array([0.05, 0.05, 0.08, 0.08])  # 1/20 for position: DeepSORT's and ByteTrack's weight
START_SPEED: Final = np.array([1.5, 1.5, 0.0, 0.0])  # sizes a second; a walking person makes about 1
ACCELERATION: Final = np.array([2.0, 2.0, 0.0, 0.0])  # sizes a second squared
GROWTH: Final = np.array([0.0, 0.0, 0.3, 0.3])  # sizes in a second
MIN_SIZE: Final = 1.0  # keeps the noise above zero for degenerate boxes; unit of the boxes


class BoxFilter:
    """State of n boxes: position and speed [n, 4] of cx cy w h, and the three parts of each 2x2 covariance [n, 4]."""

    def __init__(self) -> None:
        empty = np.zeros((0, 4))
        self.position, self.speed = empty, empty
        self._pp, self._pv, self._vv = empty, empty, empty

    def __len__(self) -> int:
        return len(self.position)

    def add(self, boxes: Array) -> None:
        """Begin filters for boxes xyxy [k, 4], after those that are there."""
        position = to_centre(boxes)
        size = _size(position)
        self.position = np.vstack([self.position, position])
        self.speed = np.vstack([self.speed, np.zeros_like(position)])
        self._pp = np.vstack([self._pp, (MEASURED * size) ** 2])
        self._pv = np.vstack([self._pv, np.zeros_like(position)])
        self._vv = np.vstack([self._vv, (START_SPEED * size) ** 2])

    def keep(self, wanted: NDArray[np.bool_]) -> None:
        """Forget the boxes whose flag [n] is false."""
        self.position, self.speed = self.position[wanted], self.speed[wanted]
        self._pp, self._pv, self._vv = self._pp[wanted], self._pv[wanted], self._vv[wanted]

    def predict(self, step_s: float) -> None:
        """Move all boxes `step_s` seconds on."""
        size = _size(self.position)
        jerk = (ACCELERATION * size) ** 2
        self.position = self.position + self.speed * step_s
        self._pp = (
            self._pp
            + (2 * step_s) * self._pv
            + step_s**2 * self._vv
            + (step_s**4 / 4) * jerk
            + step_s * (GROWTH * size) ** 2
        )
        self._pv = self._pv + step_s * self._vv + (step_s**3 / 2) * jerk
        self._vv = self._vv + step_s**2 * jerk

    def correct(self, which: NDArray[np.intp], boxes: Array) -> None:
        """Take in the measured boxes xyxy [k, 4] of the filters `which` [k]."""
        measured = to_centre(boxes)
        spread, joint = self._pp[which], self._pv[which]
        total = spread + (MEASURED * _size(measured)) ** 2
        gain, speed_gain = spread / total, joint / total
        surprise = measured - self.position[which]
        self.position[which] += gain * surprise
        self.speed[which] += speed_gain * surprise
        self._pp[which] = spread * (1 - gain)
        self._vv[which] -= speed_gain * joint
        self._pv[which] = joint * (1 - gain)

    def boxes(self) -> Array:
        """Return the boxes xyxy [n, 4] as the filters believe them to be."""
        half = self.position[:, 2:] / 2
        return np.hstack([self.position[:, :2] - half, self.position[:, :2] + half])


def to_centre(boxes: Array) -> Array:
    """Return cx cy w h of boxes xyxy [n, 4]."""
    return np.hstack([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]])


def _size(position: Array) -> Array:
    return np.maximum((position[:, 2:3] + position[:, 3:4]) / 2, MIN_SIZE)
