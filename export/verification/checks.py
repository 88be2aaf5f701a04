"""The table of checks: each takes the trial and says whether it passed, and its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..agreement import Difference, difference
from ..contract import MAX_ROWS
from ..latency import latency_ms
from ..runtime import Detector
from . import known_answer
from .parity import compare_with_source
from .trial import BATCH_TOLERANCE, Trial, odd_pictures, strong, uniform_pictures

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

Verdict = tuple[bool | None, str]  # None: there was nothing to check


@dataclass(frozen=True, slots=True)
class Check:
    """A named check; `why` is what breaks in the daemon when it fails."""

    name: str
    why: str
    run: Callable[[Trial], Verdict]


def contract(trial: Trial) -> Verdict:
    """Check that rows are as the contract says: finite, sorted, classes with a label, unused rows zero."""
    rows = trial.detector.run(trial.images)
    if rows.ndim != 3 or rows.shape[2] != 6 or rows.dtype != np.float32 or rows.shape[1] > MAX_ROWS:
        return False, f"gives {rows.dtype} {list(rows.shape)}, not float32 [N, up to {MAX_ROWS}, 6]"
    labels = trial.detector.metadata.labels
    if fault := next((fault for table in rows if (fault := _fault(table, len(labels)))), None):
        return False, fault
    return True, f"{len(labels)} labels, {rows.shape[1]} rows, {trial.detector.metadata.precision}"


def parity(trial: Trial) -> Verdict:
    """Compare: the model gives what the file gives that it was made from."""
    if trial.source is None:
        return None, "not compared; give the original with --source"
    return compare_with_source(trial, trial.source)


def batches(trial: Trial) -> Verdict:
    """Check that a picture gives the same rows alone and in any company, at any place in the batch."""
    if trial.detector.metadata.batch == 1:
        return None, "takes one picture at a time"
    images = trial.images
    alone = [trial.detector.run(image[None])[0] for image in images]
    found = Difference()
    for size in (2, 3, len(images)):
        order = np.roll(np.arange(len(images)), size)[:size]
        together = trial.detector.run(images[order])
        for place, index in enumerate(order):
            found += difference(strong(alone[index]), together[place])
    allowed = trial.tolerance(BATCH_TOLERANCE)
    return found.missing == 0 and found.pixels <= allowed.pixels and found.score <= allowed.score, str(found)


def nothing_there(trial: Trial) -> Verdict:
    """Check that black, grey and white pictures hold nothing above the model's threshold."""
    threshold = trial.detector.metadata.score_threshold
    seen = {}
    for name, picture in uniform_pictures().items():
        rows = trial.detector.detect([picture], threshold)[0]
        if len(rows):
            seen[name] = f"{trial.detector.metadata.labels[int(rows[0, 5])]} {rows[0, 4]:.2f}"
    ghosts = ", ".join(f"{name}: {what}" for name, what in seen.items())
    return not seen, ghosts or f"nothing above {threshold:.2f} on black, grey, white"


def odd_sizes(trial: Trial) -> Verdict:
    """Check that noise and extreme sizes give finite boxes inside the picture."""
    pictures = odd_pictures()
    for name, picture in pictures.items():
        rows = trial.detector.detect([picture], 0.0)[0]
        limits = np.asarray([picture.shape[1], picture.shape[0]] * 2)
        if not np.isfinite(rows).all() or (rows[:, :4] < 0).any() or (rows[:, :4] > limits).any():
            return False, f"{name}: boxes that are not finite or not inside the picture"
    return True, ", ".join(pictures)


def determinism(trial: Trial) -> Verdict:
    """Check that the same pictures give the same bytes, again and in a new session."""
    images = trial.images[: trial.detector.metadata.batch or 4]
    providers = trial.detector.session.get_providers()
    runs = [trial.detector.run(images), trial.detector.run(images), Detector(trial.path, 0, providers).run(images)]
    if all(np.array_equal(runs[0], other) for other in runs[1:]):
        return True, "bit for bit"
    found = sum((difference(strong(a), b) for a, b in zip(runs[0], runs[2], strict=True)), Difference())
    return False, str(found)


def stored_answer(trial: Trial) -> Verdict:
    """Check that the known answer in the metadata still comes out."""
    record = trial.detector.metadata.known_answer
    if not record:
        return None, "none stored; give --picture so that the daemon can check itself"
    return known_answer.check(trial.detector, record)


def latency(trial: Trial) -> Verdict:
    """Milliseconds a batch; never fails, since only the user knows what is fast enough."""
    limit = trial.detector.metadata.batch or max(trial.buckets)
    measured = [(size, latency_ms(trial.detector, size, trial.timing_s)) for size in trial.buckets if size <= limit]
    return True, ", ".join(f"batch {size}: {taken:.1f} ms" for size, taken in measured)


CHECKS = (
    Check("contract", "the daemon refuses the file", contract),
    Check("parity", "the model is not the one that was measured", parity),
    Check("batches", "alerts would depend on what other cameras see", batches),
    Check("nothing there", "a dark or covered camera would raise alerts", nothing_there),
    Check("odd sizes", "a strange camera would crash the worker", odd_sizes),
    Check("determinism", "an alert could not be reproduced", determinism),
    Check("known answer", "the daemon's own heartbeat would fence the worker", stored_answer),
    Check("latency", "", latency),
)


def _fault(rows: NDArray[np.float32], labels: int) -> str | None:
    """Say what is wrong with the rows of one picture, if anything."""
    used = rows[rows[:, 4] > 0]
    if not np.isfinite(rows).all():
        return "numbers that are not finite"
    if (np.diff(rows[:, 4]) > 0).any():
        return "rows are not sorted by score"
    if (rows[len(used) :] != 0).any():
        return "unused rows are not zero"
    if (used[:, 4] > 1.0 + 1e-4).any():
        return "scores above 1"
    if (used[:, 5] % 1 != 0).any() or (used[:, 5] >= labels).any() or (used[:, 5] < 0).any():
        return f"class numbers outside 0..{labels - 1}"
    return "boxes with corners in the wrong order" if (used[:, 2:4] < used[:, :2]).any() else None
