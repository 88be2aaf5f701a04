"""What a foreign file shows of itself: its picture input, its size, and the true shapes of its outputs.

Output shapes come from running the graph once, because declared shapes are often symbolic or wrong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper

from ..errors import AdoptError

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

PICTURE_TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8)


@dataclass(frozen=True, slots=True)
class Tensor:
    """A graph input or output: name, element type (numpy), concrete shape at batch 1."""

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """The face of a detector.

    `planar` is NCHW; `others` are the inputs beside the picture; `size` (width, height); `probe` is what the outputs
    were for one picture of noise: some layouts differ in nothing but the range of their numbers.
    """

    image: Tensor
    planar: bool
    size: tuple[int, int]
    others: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    ops: frozenset[str]
    fixed_batch: bool
    probe: tuple[NDArray[np.generic], ...] = ()

    def locations(self, strides: tuple[int, ...]) -> int:
        """Return the number of cells of all feature maps with these strides."""
        width, height = self.size
        return sum(-(-width // s) * -(-height // s) for s in strides)

    def feeds(self, pictures: NDArray[np.generic]) -> dict[str, NDArray[np.generic]]:
        """Return the feeds for pictures in the model's own layout and type; a size input gets (width, height)."""
        feeds = {self.image.name: pictures.astype(self.image.dtype)}
        for other in self.others:
            count = len(pictures) if other.shape[0] == 1 else other.shape[0]
            feeds[other.name] = np.tile(np.asarray([self.size], dtype=other.dtype), (count, 1))
        return feeds


def session(model: onnx.ModelProto | bytes | str, threads: int = 0) -> ort.InferenceSession:
    """CPU session without its log chatter; raises AdoptError when ONNX Runtime cannot load the model."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    source = model if isinstance(model, (bytes, str)) else model.SerializeToString()
    try:
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except (ort.capi.onnxruntime_pybind11_state.Fail, *_REJECTIONS) as exc:
        raise AdoptError(f"ONNX Runtime cannot load the graph: {str(exc).splitlines()[0]}") from exc


_STATE = ort.capi.onnxruntime_pybind11_state
_REJECTIONS = (_STATE.InvalidGraph, _STATE.InvalidArgument, _STATE.NotImplemented, _STATE.InvalidProtobuf,
               _STATE.RuntimeException, _STATE.Fail, _STATE.NoSuchFile)  # fmt: skip


def run(model: onnx.ModelProto, feeds: dict[str, NDArray[np.generic]]) -> list[NDArray[np.generic]]:
    """Run a model once on the CPU; raises AdoptError with ONNX Runtime's reason when it fails."""
    try:
        outputs: list[NDArray[np.generic]] = session(model).run(None, feeds)
    except _REJECTIONS as exc:
        raise AdoptError(f"the graph does not run: {str(exc).splitlines()[0]}") from exc
    return outputs


def read_signature(model: onnx.ModelProto, size: tuple[int, int] | None = None) -> Signature:
    """Find picture, size and outputs of a model whose weights are constants.

    `size` (width, height) decides where the graph leaves it open. Raises AdoptError when there is no picture
    input, when the size is open and unknown, or when the graph does not run.
    """
    image = _find_picture(model)
    dims = _dims(image)
    planar = _is_planar(image.name, dims)
    width, height = _picture_size(model, dims[2:] if planar else dims[1:3], size)
    shape = (1, 3, height, width) if planar else (1, height, width, 3)
    picture = Tensor(image.name, _numpy_type(image), shape)
    others = tuple(_other(value) for value in model.graph.input if value.name != image.name)
    ops = frozenset(node.op_type for node in model.graph.node)
    blank = Signature(picture, planar, (width, height), others, (), ops, isinstance(dims[0], int))
    noise = np.random.default_rng(0).integers(0, 256, shape)
    results = run(model, blank.feeds(noise))
    outputs = tuple(
        Tensor(value.name, result.dtype, result.shape)
        for value, result in zip(model.graph.output, results, strict=True)
    )
    return replace(blank, outputs=outputs, probe=tuple(results))


def _find_picture(model: onnx.ModelProto) -> onnx.ValueInfoProto:
    pictures = [v for v in model.graph.input if len(_dims(v)) == 4 and v.type.tensor_type.elem_type in PICTURE_TYPES]
    if len(pictures) == 1:
        return pictures[0]
    inputs = ", ".join(f"{v.name} {_dims(v)}" for v in model.graph.input) or "none"
    raise AdoptError(f"needs exactly one picture input (float or uint8, 4 axes, 3 channels); the inputs are: {inputs}")


def _dims(value: onnx.ValueInfoProto) -> list[int | None]:
    """Dimensions; None where symbolic."""
    return [d.dim_value if d.dim_value > 0 else None for d in value.type.tensor_type.shape.dim]


def _is_planar(name: str, dims: list[int | None]) -> bool:
    if dims[1] == 3:
        return True
    if dims[3] == 3:
        return False
    raise AdoptError(f"input {name} has shape {dims}: neither axis 1 nor axis 3 has 3 channels; only colour detectors")


def _picture_size(model: onnx.ModelProto, dims: list[int | None], asked: tuple[int, int] | None) -> tuple[int, int]:
    height, width = dims
    if width and height:
        if asked and asked != (width, height):
            raise AdoptError(f"the graph is fixed to {width}x{height}; leave --size away or export it anew")
        return width, height
    size = asked or _declared_size(model)
    if size is None:
        raise AdoptError("the graph leaves the picture size open; say it, for example --size 640x640")
    return size


def _declared_size(model: onnx.ModelProto) -> tuple[int, int] | None:
    """Size that Ultralytics exports note in their metadata as `imgsz = [height, width]`."""
    for prop in model.metadata_props:
        if prop.key == "imgsz" and len(numbers := re.findall(r"\d+", prop.value)) == 2:
            return int(numbers[1]), int(numbers[0])
    return None


def _numpy_type(value: onnx.ValueInfoProto) -> np.dtype[np.generic]:
    found: np.dtype[np.generic] = np.dtype(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
    return found


def _other(value: onnx.ValueInfoProto) -> Tensor:
    dims = _dims(value)
    if len(dims) != 2 or dims[1] != 2:
        raise AdoptError(f"input {value.name} {dims} is unknown; beside the picture only a size input [N, 2] is taken")
    return Tensor(value.name, _numpy_type(value), (dims[0] or 1, 2))
