"""What compression costs and brings: size, quality, latency, before and after, in one run on one machine.

Quality is mAP on a labelled set when the user has one, else the share of detections on which the compressed model
agrees with the original on pictures that it was not calibrated with.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..agreement import agreement
from ..errors import QualityError
from ..latency import latency_ms

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from ..runtime import Detector

TURNS, TURN_S = 3, 0.3  # alternating measurements, seconds each
MAX_DROP = {"map": 0.02, "agreement": 0.2}  # agreement flips with every score near the threshold, mAP does not


@dataclass(frozen=True, slots=True)
class Truth:
    """A labelled set: COCO JSON and the folder of its pictures; `limit` takes the first pictures only."""

    json: Path
    folder: Path
    limit: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """One model's side of the comparison."""

    size_bytes: int
    quality: float
    latency1_ms: float
    latency8_ms: float


@dataclass(frozen=True, slots=True)
class Toll:
    """Both sides; `measure` is `map` or `agreement`."""

    measure: str
    before: Facts
    after: Facts

    @property
    def drop(self) -> float:
        """Quality lost, absolute."""
        return self.before.quality - self.after.quality

    def to_text(self) -> str:
        """Render a table."""
        what = "mAP" if self.measure == "map" else "agreement"
        rows = [
            ("file size, MB", self.before.size_bytes / 1e6, self.after.size_bytes / 1e6),
            (what, self.before.quality, self.after.quality),
            ("latency, batch 1, ms", self.before.latency1_ms, self.after.latency1_ms),
            ("latency, batch 8, ms", self.before.latency8_ms, self.after.latency8_ms),
        ]
        lines = [f"{'':24}{'before':>10}{'after':>10}", *(f"{name:24}{a:10.3f}{b:10.3f}" for name, a, b in rows)]
        return "\n".join(lines) + "\n"

    def to_record(self) -> dict[str, Any]:
        """Return it as metadata keeps it."""
        return {"measure": self.measure, "before": _rounded(self.before), "after": _rounded(self.after)}


def weigh(
    before: Detector,
    after: Detector,
    pictures: Sequence[NDArray[np.uint8]],
    truth: Truth | None,
    turn_s: float = TURN_S,
) -> Toll:
    """Measure both models; `pictures` serve when there is no truth; each latency takes a few turns of `turn_s`.

    Raises QualityError when there is nothing to judge by.
    """
    if truth is None:
        threshold = before.metadata.score_threshold
        ours, theirs = (detector.detect(pictures, threshold) for detector in (before, after))
        if not any(map(len, ours)):
            raise QualityError(
                f"{before.path}: sees nothing above {threshold:.2f} in the pictures to judge by, so a loss would not "
                "be seen; give pictures that show something"
            )
        qualities = 1.0, agreement(zip(ours, theirs, strict=True))
    else:
        qualities = _map(before, truth), _map(after, truth)
    one, eight = (_latencies(before, after, size, turn_s) for size in (1, min(8, before.metadata.batch or 8)))
    facts = [
        Facts(detector.path.stat().st_size, qualities[side], one[side], eight[side])
        for side, detector in enumerate((before, after))
    ]
    return Toll("map" if truth else "agreement", *facts)


def refuse_loss(toll: Toll, allowed: float | None, path: Path, remedy: str) -> None:
    """Raise QualityError when more was lost than `allowed`, or than the measure's usual limit."""
    limit = MAX_DROP[toll.measure] if allowed is None else allowed
    if toll.drop > limit:
        raise QualityError(
            f"{path}: lost {toll.drop:.3f} {toll.measure}, more than --max-drop {limit:g}; nothing was written. "
            f"{remedy}, or raise --max-drop"
        )


def _map(detector: Detector, truth: Truth) -> float:
    from ..evaluation.evaluate import evaluate_coco

    return float(evaluate_coco(detector, truth.json, truth.folder, truth.limit).scores.ap)


def _latencies(before: Detector, after: Detector, batch: int, turn_s: float) -> tuple[float, float]:
    """Measure both in turns, so that other work on the machine hits both; the quieter turn counts."""
    turns = [(latency_ms(before, batch, turn_s), latency_ms(after, batch, turn_s)) for _ in range(TURNS)]
    return min(turn[0] for turn in turns), min(turn[1] for turn in turns)


def _rounded(facts: Facts) -> dict[str, float]:
    return {key: round(value, 4) for key, value in asdict(facts).items()}
