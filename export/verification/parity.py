"""Parity with the source: a foreign file run by hand with its family's post-processing, or a contract file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx

from ..adopt import signature, surgery
from ..adopt.byhand import BY_HAND, prepare
from ..adopt.pipeline import class_map_of, open_foreign
from ..agreement import Difference, agreement, difference
from ..contract import PREFIX
from ..files import sha256_of
from ..labels import COCO91_NOTE, Labels, coco91
from ..runtime import Detector
from .trial import SOURCE_TOLERANCE, Trial, strong

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

Pair = tuple["NDArray[np.float32]", "NDArray[np.float32]"]
LEAST_AGREEMENT = 0.8  # a compressed model against its source, at the model's own threshold


def compare_with_source(trial: Trial, source: Path) -> tuple[bool, str]:
    """Return whether the model gives what its source gives, and the numbers.

    Raises AdoptError when the source is no model that can be read.
    """
    if _of_contract(surgery.load(source)):
        return _against_contract(trial, source)
    if sha256_of(source) != trial.detector.metadata.source_sha256:
        return False, f"{source.name} is not the file that this model was made from (sha256 differs)"
    pairs = rows_of_both(trial, source)
    if trial.detector.metadata.precision == "fp16":  # halves move a few boxes by pixels: judged as a whole
        return _judged(agreement((theirs, strong(ours)) for theirs, ours in pairs), pairs)
    found = sum((difference(theirs, ours) for theirs, ours in pairs), Difference())
    allowed = trial.tolerance(SOURCE_TOLERANCE)
    passed = found.missing == 0 and found.pixels <= allowed.pixels and found.score <= allowed.score
    hint = "" if passed else "; was it adopted with --channels, --mean or --std? give them here too"
    return passed, f"{found}{hint}"


def _judged(share: float, pairs: Sequence[Pair]) -> tuple[bool, str]:
    return share >= LEAST_AGREEMENT, f"agrees on {share:.1%} of {sum(len(theirs) for theirs, _ in pairs)} rows"


def rows_of_both(trial: Trial, source: Path) -> list[Pair]:
    """Return, for each picture, the foreign file's strong rows, run alone and by hand, and the model's in one batch."""
    foreign = open_foreign(source, _noted_family(trial), trial.detector.size if _is_open(source) else None)
    by_hand = BY_HAND[foreign.family.name]
    pixels = trial.pixels.apply(foreign.family.pixels)
    session = signature.session(foreign.model)
    class_map = class_map_of(foreign, _noted_labels(trial))
    pairs = []
    for image, rows in zip(trial.images, trial.detector.run(trial.images), strict=True):
        picture = prepare(image, pixels, foreign.seen)
        expected = by_hand(session.run(None, foreign.seen.feeds(picture)), foreign.seen)
        pairs.append((strong(_labelled(expected, foreign.family.first_class, class_map)), rows))
    return pairs


def _labelled(rows: NDArray[np.float32], first_class: int, class_map: Sequence[int] | None) -> NDArray[np.float32]:
    """Return the rows that have a label, their classes as label numbers."""
    if class_map is None:
        return rows
    numbers = np.clip(rows[:, 5].astype(int) + first_class, 0, len(class_map) - 1)
    labels = np.asarray(class_map)[numbers]
    return np.asarray(np.column_stack([rows[:, :5], labels])[labels >= 0], np.float32)


def _against_contract(trial: Trial, source: Path) -> tuple[bool, str]:
    other = Detector(source)
    threshold = min(trial.detector.metadata.score_threshold, other.metadata.score_threshold)
    ours, theirs = (d.detect(trial.pictures, threshold) for d in (trial.detector, other))
    share = agreement(zip(ours, theirs, strict=True))
    seen = sum(map(len, theirs))
    if not seen:
        return (
            False,
            f"the source sees nothing above {threshold:.2f} to compare with; give --pictures that show something",
        )
    return share >= LEAST_AGREEMENT, f"agrees on {share:.1%} of detections above {threshold:.2f} ({seen} in the source)"


def _of_contract(model: onnx.ModelProto) -> bool:
    return any(prop.key.startswith(PREFIX) for prop in model.metadata_props)


def _is_open(source: Path) -> bool:
    """Whether the file leaves the picture's size open."""
    model = onnx.load(str(source), load_external_data=False)
    weights = {tensor.name for tensor in model.graph.initializer}
    shapes = [value.type.tensor_type.shape.dim for value in model.graph.input if value.name not in weights]
    return any(dim.dim_value <= 0 for dims in shapes if len(dims) == 4 for dim in dims[1:])


def _noted_family(trial: Trial) -> str | None:
    """Read the family that adoption noted: `file.onnx (family)` or `file.onnx (family, coco91)`."""
    _, bracket, rest = trial.detector.metadata.source.rpartition("(")
    family = rest.rstrip(")").removesuffix(COCO91_NOTE)
    return family if bracket and family in BY_HAND else None


def _noted_labels(trial: Trial) -> Labels:
    said = trial.detector.metadata
    return coco91() if said.source.endswith(f"{COCO91_NOTE})") else Labels(said.labels)
