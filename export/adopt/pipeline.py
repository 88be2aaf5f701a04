"""The steps of adoption, from a foreign file to a model of the contract."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import onnx

from ..contract import INPUT, OUTPUT, Metadata, write_metadata
from ..errors import AdoptError
from ..files import sha256_of, whole_file
from ..labels import COCO91_NOTE, Labels, noted_labels
from . import signature, surgery
from .assemble import assemble
from .batch import with_open_batch
from .families import recognise
from .family import PixelOverrides

if TYPE_CHECKING:
    from pathlib import Path

    from .family import Family
    from .signature import Signature


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user says of a foreign file; None leaves it to the family or to the file.

    `size` (width, height).
    """

    labels: Labels | None = None
    family: str | None = None
    size: tuple[int, int] | None = None
    pixels: PixelOverrides = field(default_factory=PixelOverrides)
    fit: Literal["letterbox", "stretch"] | None = None
    nms_iou: float | None = None
    score_threshold: float = 0.5
    name: str | None = None
    licence: str = ""
    fp16: bool = False


@dataclass(frozen=True, slots=True)
class Adopted:
    """What adoption did: the metadata written, the family, and warnings that the user should read."""

    metadata: Metadata
    family: str
    size: tuple[int, int]
    rows: int
    warnings: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Foreign:
    """A foreign network made ready: constants, one size, a modern opset; `model` still takes one picture or N."""

    model: onnx.ModelProto
    seen: Signature
    family: Family
    noted: Labels | None
    licence: str


def open_foreign(source: Path, family: str | None = None, size: tuple[int, int] | None = None) -> Foreign:
    """Load and recognise a foreign file; raises AdoptError saying which file and why."""
    model = surgery.load(source)
    _refuse_contract(model, source)
    try:
        surgery.weights_to_constants(model)
        surgery.constant_nodes_to_weights(model)
        seen = signature.read_signature(model, size)
        surgery.fix_size(model, seen)
        chosen = recognise(seen, family)
    except AdoptError as exc:
        raise AdoptError(f"{source}: {exc}") from exc
    props = {prop.key: prop.value for prop in model.metadata_props}
    return Foreign(model, seen, chosen, noted_labels(props), props.get("license", ""))


def adopt(source: Path, target: Path, request: Request) -> Adopted:
    """Write `source`, turned into the contract, to `target`; raises AdoptError when it cannot be taken."""
    foreign = open_foreign(source, request.family, request.size)
    labels = _labels_for(foreign, request, source)
    network = surgery.raise_opset(foreign.model, foreign.seen)
    opened = with_open_batch(network, foreign.seen)
    network, seen = opened or network, foreign.seen
    if request.fp16:
        network, seen = _halved(network, seen)
    pixels = request.pixels.apply(foreign.family.pixels)
    class_map = class_map_of(foreign, labels)
    model = assemble(network, seen, foreign.family, pixels, class_map, open_batch=opened is not None)
    metadata = _metadata(source, foreign, labels, request, open_batch=opened is not None)
    write_metadata(model, metadata)
    rows = _prove(model, source, foreign.seen.size, batch=3 if opened else 1)
    with whole_file(target) as draft:
        onnx.save(model, str(draft))
    warnings = () if opened else (_BATCH_WARNING,)
    return Adopted(metadata, foreign.family.name, foreign.seen.size, rows, warnings)


_BATCH_WARNING = "the graph forbids batches: the daemon will run one picture at a time, which wastes a GPU"


def _refuse_contract(model: onnx.ModelProto, source: Path) -> None:
    if any(prop.key.startswith("lepton.") for prop in model.metadata_props):
        raise AdoptError(f"{source}: is a model of the contract already; look at it with `lepton-export inspect`")


def _labels_for(foreign: Foreign, request: Request, source: Path) -> Labels:
    labels = request.labels or foreign.noted
    if labels is None:
        raise AdoptError(f"{source}: carries no label names; say them with --labels (coco, coco91, a file, or a,b,c)")
    count = foreign.family.class_count(foreign.seen)
    given = len(labels.class_map or labels.names)
    if count is not None and count != given:
        raise AdoptError(f"{source}: the network has {count} classes, but --labels gives {given}")
    return labels


def class_map_of(foreign: Foreign, labels: Labels) -> tuple[int, ...] | None:
    """Label index of each class number; where the outputs do not tell their number of classes, others have none."""
    if foreign.family.class_count(foreign.seen) is not None:
        return labels.class_map
    named = labels.class_map or (*[-1] * foreign.family.first_class, *range(len(labels.names)))
    return (*named, -1)


def _metadata(source: Path, foreign: Foreign, labels: Labels, request: Request, *, open_batch: bool) -> Metadata:
    family = foreign.family
    return Metadata(
        name=request.name or source.stem,
        labels=labels.names,
        suppressed=family.suppressed,
        fit=request.fit or family.fit,
        nms_iou=family.nms_iou if request.nms_iou is None else request.nms_iou,
        score_threshold=request.score_threshold,
        batch=0 if open_batch else 1,
        precision=_precision(foreign, request),
        source=f"{source.name} ({family.name}{COCO91_NOTE if labels.class_map else ''})",
        source_sha256=sha256_of(source),
        licence=request.licence or foreign.licence,
    )


def _precision(foreign: Foreign, request: Request) -> str:
    """Name the arithmetic: files are published quantised or halved, too."""
    if foreign.seen.ops & {"QuantizeLinear", "QLinearConv", "ConvInteger"}:
        return "int8"
    weights = foreign.model.graph.initializer
    halves = sum(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in weights)
    floats = sum(tensor.data_type == onnx.TensorProto.FLOAT for tensor in weights)
    return "fp16" if request.fp16 or halves > floats else "fp32"


def _halved(network: onnx.ModelProto, seen: Signature) -> tuple[onnx.ModelProto, Signature]:
    from .halves import to_fp16  # the converter takes a second to import

    return to_fp16(network, seen)


def _prove(model: onnx.ModelProto, source: Path, size: tuple[int, int], batch: int) -> int:
    """Run the finished graph once; return its number of rows."""
    width, height = size
    pictures = np.random.default_rng(3).integers(0, 256, (batch, 3, height, width), dtype=np.uint8)
    try:
        onnx.checker.check_model(model, full_check=False)
        (rows,) = signature.run(model, {INPUT: pictures})
    except onnx.checker.ValidationError as exc:
        raise AdoptError(f"{source}: the adopted graph is not valid ONNX ({exc})") from exc
    if rows.ndim != 3 or rows.shape[0] != batch or rows.shape[2] != 6 or rows.dtype != np.float32:
        raise AdoptError(f"{source}: the adopted graph gives {rows.dtype} {rows.shape} as {OUTPUT}, not [N, K, 6]")
    return int(rows.shape[1])
