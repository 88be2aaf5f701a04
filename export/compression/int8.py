"""Static INT8: weights and activations of the network in 8 bits, as Q/DQ nodes that ONNX Runtime and TensorRT fuse."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import TensorsData, save_tensors_data
from onnxruntime.quantization.shape_inference import quant_pre_process

from ..contract import Metadata, write_metadata
from ..errors import LabError
from ..files import sha256_of, whole_file
from ..runtime import Detector
from ..verification import known_answer
from .layers import float_nodes, free_edges
from .ranges import activation_ranges
from .toll import TURN_S, Toll, Truth, refuse_loss, weigh

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

KEEP_FIRST = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to quantise.

    `keep_first`: convolutions at the start that stay in float. `symmetric`: signed activations around 0, which TensorRT
    wants and CPUs dislike. `max_drop` None takes the usual limit of the measure. `turn_s`: see `toll.weigh`.
    """

    keep_first: int = KEEP_FIRST
    symmetric: bool = False
    max_drop: float | None = None
    truth: Truth | None = None
    threads: int = 0
    turn_s: float = TURN_S


def quantize(path: Path, target: Path, pictures: Sequence[NDArray[np.uint8]], settings: Settings) -> Toll:
    """Write the INT8 form of `path` to `target` and return what it cost.

    Half of `pictures` (BGR) calibrates, the other half judges where there is no labelled set.
    Raises LabError when the model is not float32 or pictures are too few, QualityError when too much was lost.
    """
    before = Detector(path, settings.threads)
    if before.metadata.precision != "fp32":
        raise LabError(f"{path}: is {before.metadata.precision} already; quantise the float32 file that it came from")
    if len(pictures) < 2:
        raise LabError("one picture is too few to calibrate and judge; give more with --calibrate")
    calibration = [before.fit(picture)[0] for picture in pictures[::2]]
    with whole_file(target) as draft:
        _write_int8(path, draft, calibration, settings)
        said = _metadata(before, path, len(calibration), settings)
        _stamp(draft, said)
        after = Detector(draft, settings.threads)
        toll = weigh(before, after, pictures[1::2], settings.truth, settings.turn_s)
        more = max(KEEP_FIRST, settings.keep_first * 3)
        remedy = f"Give more pictures like those of your cameras, keep more layers in float (--keep-first {more})"
        refuse_loss(toll, settings.max_drop, path, remedy)
        _stamp(draft, _measured(said, toll, after, before.metadata))
    return toll


def _write_int8(path: Path, draft: Path, images: Sequence[NDArray[np.uint8]], settings: Settings) -> None:
    with TemporaryDirectory(prefix="lepton-") as folder:
        prepared, cache = Path(folder) / "prepared.onnx", Path(folder) / "ranges.json"
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        model = onnx.load(str(prepared))
        ranges = activation_ranges(model, images)
        arrays = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
        save_tensors_data(TensorsData(CalibrationMethod.MinMax, arrays), cache)
        floats = float_nodes(model.graph, settings.keep_first)
        logging.getLogger().setLevel(logging.ERROR)  # the quantiser warns on the root logger about its own defaults
        quantize_static(
            prepared,
            draft,
            None,
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8 if settings.symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=floats,
            extra_options={"ActivationSymmetric": settings.symmetric},
            calibration_cache_path=cache,
        )
    written = onnx.load(str(draft))
    free_edges(written.graph, set(floats))
    onnx.save(written, str(draft))


def _metadata(before: Detector, path: Path, count: int, settings: Settings) -> Metadata:
    calibration: dict[str, Any] = {
        "method": "least squared error of 8-bit rounding, SiLU-aware",
        "pictures": count,
        "keep_first": settings.keep_first,
        "symmetric": settings.symmetric,
    }
    return replace(
        before.metadata,
        precision="int8",
        source=f"{path.name} quantised; {before.metadata.source}",
        source_sha256=sha256_of(path),
        metrics={},
        calibration=calibration,
        known_answer={},
    )


def _measured(said: Metadata, toll: Toll, after: Detector, before: Metadata) -> Metadata:
    """Add what was measured, and the known answer as the new model gives it."""
    answer = known_answer.renew(after, before.known_answer) if before.known_answer else {}
    return replace(said, calibration=said.calibration | toll.to_record(), known_answer=answer)


def _stamp(path: Path, metadata: Metadata) -> None:
    model = onnx.load(str(path))
    write_metadata(model, metadata)
    onnx.save(model, str(path))
