"""The picture whose boxes are known: stored in the model file, run at start and every few seconds on the live worker.

A GPU that computes nonsense, or a file that was damaged, gives wrong boxes without any error; this is how it is
noticed.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
import numpy.typing as npt

from ..errors import ModelError


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """A picture uint8 [3, H, W] RGB and rows float32 [n, 6] that the model must give for it, in input pixels."""

    picture: npt.NDArray[np.uint8]
    rows: npt.NDArray[np.float32]
    score_tolerance: float
    pixel_tolerance: float

    @classmethod
    def from_metadata(cls, stored: dict[str, Any], width: int, height: int, path: Path) -> Self | None:
        """Return the stored picture and rows, None when the model carries none.

        Raises ModelError when what is stored cannot be used.
        """
        if not stored:
            return None
        try:
            encoded = np.frombuffer(base64.b64decode(stored["image"], validate=True), np.uint8)
            bgr = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
            rows = np.asarray(stored["detections"], np.float32).reshape(-1, 6)
            tolerances = float(stored["score_tolerance"]), float(stored["pixel_tolerance"])
        except (KeyError, TypeError, ValueError, cv2.error) as exc:
            raise ModelError(
                f"{path}: broken known answer ({exc}); run `lepton-export verify {path} --picture PICTURE`"
            ) from exc
        if bgr is None or bgr.shape != (height, width, 3):
            raise ModelError(f"{path}: the known-answer picture is not {width}x{height}; export the model again")
        return cls(np.ascontiguousarray(bgr[:, :, ::-1].transpose(2, 0, 1)), rows, *tolerances)

    def fault(self, output: npt.NDArray[np.float32]) -> str:
        """Return what is wrong with the model's rows float32 [K, 6] for the picture; empty when nothing is."""
        for row in self.rows:
            near = np.abs(output[:, :4] - row[:4]).max(axis=1) <= self.pixel_tolerance
            alike = np.abs(output[:, 4] - row[4]) <= self.score_tolerance
            if not (near & alike & (output[:, 5] == row[5])).any():
                return f"no row like {np.round(row, 2).tolist()}"
        return ""
