"""The motion gate: does a small brightness picture differ from the background? Pure numbers; time comes in.

Background is a running average, so a parked car becomes background after some seconds and a cloud does not open the
gate for long. A gate is never blind: `idle_fps` says how often a still picture is looked at all the same.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..clock import NS_PER_S
from ..config.settings import Motion
from ..geometry import rasterise

DIFFERENCE: Final = 15.0  # grey levels by which a 4 x 4 mean must differ; sensor noise of such a mean is about 3
HALF_LIFE_S: Final = 3.0  # of the background


class MotionGate:
    """Decides for the frames of one camera whether they are worth the detector's time."""

    def __init__(self, settings: Motion, width: int, height: int) -> None:
        self._threshold = settings.threshold
        self._idle_ns = NS_PER_S / settings.idle_fps
        self._watched = ~rasterise(settings.masks, width, height)
        self._pixels = max(1, int(self._watched.sum()))
        self._background: NDArray[np.float32] | None = None
        self._background_ns = 0
        self._passed_ns = 0

    def wants(self, luma: NDArray[np.uint8], now_ns: int) -> bool:
        """Return whether the frame with this brightness, uint8 [height, width], is to be looked at."""
        moving = self._changed_share(luma, now_ns) >= self._threshold
        if not moving and now_ns - self._passed_ns < self._idle_ns:
            return False
        self._passed_ns = now_ns
        return True

    def _changed_share(self, luma: NDArray[np.uint8], now_ns: int) -> float:
        current = luma.astype(np.float32)
        if self._background is None:  # the first frame has nothing to differ from, and so counts as all new
            self._background, self._background_ns = current, now_ns
            return 1.0
        difference = current - self._background
        changed = np.count_nonzero((np.abs(difference) > DIFFERENCE) & self._watched)
        keep = 0.5 ** ((now_ns - self._background_ns) / NS_PER_S / HALF_LIFE_S)
        self._background += difference * np.float32(1 - keep)
        self._background_ns = now_ns
        return changed / self._pixels
