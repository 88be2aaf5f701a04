"""ONNX Runtime: a model of the contract, on the device that was asked for and no other.

The contract (version 1), which `lepton-export` writes: input `images` uint8 [N, 3, H, W] planar RGB, output
`detections` float32 [N, K, 6], and metadata with the prefix `lepton.` whose values are JSON.
What belongs here: sessions, providers, buffers. What does not: pixels, suppression, waiting.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import structlog
from onnxruntime.capi import onnxruntime_pybind11_state

from ..config.settings import Detector
from ..errors import DetectorUnsound, DeviceError, ModelError

CONTRACT_VERSION: Final = 1
SHIPPED: Final = Path(__file__).parents[1] / "models"
_PREFIX: Final = "lepton."
# The runtime raises one bare class per status code, all without a common base of its own.
_RUNTIME_ERRORS: Final[tuple[type[Exception], ...]] = (
    RuntimeError,
    ValueError,
    *(c for c in vars(onnxruntime_pybind11_state).values() if isinstance(c, type) and issubclass(c, Exception)),
)
_CPU, _CUDA, _TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"

Images = npt.NDArray[np.uint8]  # [n, 3, H, W]
Output = npt.NDArray[np.float32]  # [n, K, 6]
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Contract:
    """What the daemon needs to know of a model."""

    model_id: str  # name and the first digits of the file's sha256
    labels: tuple[str, ...]
    width: int
    height: int
    fit: Literal["letterbox", "stretch"]
    suppressed: bool
    nms_iou: float
    batch: int  # largest that the graph takes, 0 = any
    known_answer: dict[str, Any]


class _Runner(Protocol):
    def __call__(self, images: Images) -> Output: ...


def model_path(model: str) -> Path:
    """Return the file of a shipped model's name, or of a path.

    Raises ModelError when there is none.
    """
    shipped = SHIPPED / f"{model}.onnx"
    path = shipped if "/" not in model and shipped.is_file() else Path(model)
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.onnx"))) or "none"
        raise ModelError(f"detector.model: {model}: no such file, and no shipped model of that name ({names})")
    return path


class Model:
    """A loaded, warmed model; `run` is safe from one thread at a time."""

    def __init__(self, settings: Detector, cache_dir: Path) -> None:
        self.path = model_path(settings.model)
        self._session, self.provider, self.fell_back = _open(self.path, settings, cache_dir)
        self.contract = read_contract(self._session, self.path)
        on_cpu = self.provider == _CPU
        limit = 1 if on_cpu else settings.max_batch
        self.max_batch = min(limit, self.contract.batch) if self.contract.batch else limit
        self._run: _Runner = (
            _run_plain(self._session) if on_cpu else _BoundRunner(self._session, "cuda", _device_id(settings.device))
        )

    def run(self, images: Images) -> Output:
        """Return the raw rows of `images` uint8 [n, 3, H, W]: float32 [n, K, 6], not suppressed.

        Raises DetectorUnsound when the runtime or the device fails.
        """
        try:
            return self._run(images)
        except _RUNTIME_ERRORS as exc:
            raise DetectorUnsound(f"inference failed: {exc}") from exc

    def warm_up(self, buckets: tuple[int, ...]) -> None:
        """Run every batch size once, for the first run of a shape is slow, and check what comes out.

        Raises ModelError when the output is not of the contract.
        """
        for size in buckets:
            grey = np.full((size, 3, self.contract.height, self.contract.width), 114, np.uint8)
            output = self.run(grey)
            if output.ndim != 3 or output.shape[0] != size or output.shape[2] != 6 or not np.isfinite(output).all():
                raise ModelError(
                    f"{self.path}: gave {output.dtype} {list(output.shape)} for {size} pictures, wanted finite "
                    f"float32 [{size}, K, 6]; see `lepton-export verify {self.path}`"
                )


def _open(path: Path, settings: Detector, cache_dir: Path) -> tuple[Any, str, bool]:
    """Return (session, its first provider, whether `auto` fell back to the CPU)."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # spinning eats the readers' cores
    options.log_severity_level = 4  # the runtime's own complaints come back as exceptions, or are checked below
    wanted = _providers(settings.device, cache_dir)
    if wanted[0][0] != _CPU:
        ort.preload_dlls()
    try:
        session = ort.InferenceSession(path, options, providers=wanted)
    except _RUNTIME_ERRORS as exc:
        raise ModelError(
            f"{path}: not a model that ONNX Runtime {ort.__version__} reads ({str(exc).splitlines()[0]}); "
            f"see `lepton-export inspect {path}`"
        ) from exc
    provider: str = session.get_providers()[0]
    fell_back = provider != wanted[0][0]
    if fell_back and settings.device != "auto":
        raise DeviceError(
            f"detector.device: {settings.device} cannot run the model, ONNX Runtime took {provider}; check the driver "
            'and `pip install leptond[cuda]`, or set device = "auto" or "cpu"'
        )
    if fell_back:
        log.warning("detector_on_cpu", wanted=wanted[0][0], remedy="install a CUDA driver and leptond[cuda]")
    return session, provider, fell_back


def _providers(device: str, cache_dir: Path) -> list[tuple[str, dict[str, str]]]:
    """Return the providers to ask for, best first."""
    cpu: tuple[str, dict[str, str]] = (_CPU, {})
    if device == "cpu":
        return [cpu]
    # HEURISTIC: EXHAUSTIVE tunes each shape for seconds, DEFAULT takes slow convolutions.
    cuda = (_CUDA, {"device_id": str(_device_id(device)), "cudnn_conv_algo_search": "HEURISTIC"})
    if not device.startswith("tensorrt"):
        return [cuda, cpu]
    tensorrt = {
        "device_id": str(_device_id(device)),
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(cache_dir),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(cache_dir),
    }
    return [(_TENSORRT, tensorrt), cuda, cpu]


def _device_id(device: str) -> int:
    return int(device.partition(":")[2] or 0)


def _run_plain(session: Any) -> _Runner:
    def run(images: Images) -> Output:
        output: Output = session.run(["detections"], {"images": images})[0]
        return output

    return run


class _BoundRunner:
    """IOBinding with one device buffer per batch size, so that no run allocates or copies twice."""

    def __init__(self, session: Any, device: str, device_id: int) -> None:
        self._session, self._device, self._device_id = session, device, device_id
        self._bound: dict[int, tuple[Any, Any]] = {}

    def __call__(self, images: Images) -> Output:
        images = np.ascontiguousarray(images)
        if len(images) not in self._bound:
            self._bound[len(images)] = self._bind(images.shape)
        buffer, binding = self._bound[len(images)]
        buffer.update_inplace(images)
        self._session.run_with_iobinding(binding)
        output: Output = binding.copy_outputs_to_cpu()[0]
        return output

    def _bind(self, shape: tuple[int, ...]) -> tuple[Any, Any]:
        buffer = ort.OrtValue.ortvalue_from_shape_and_type(list(shape), np.uint8, self._device, self._device_id)
        binding = self._session.io_binding()
        binding.bind_ortvalue_input("images", buffer)
        binding.bind_output("detections", self._device, self._device_id)
        return buffer, binding


def read_contract(session: Any, path: Path) -> Contract:
    """Return what the model says of itself.

    Raises ModelError naming what is out of contract and the command that mends it.
    """
    height, width = _check_tensors(session, path)
    props = session.get_modelmeta().custom_metadata_map
    try:
        said = {key.removeprefix(_PREFIX): json.loads(text) for key, text in props.items() if key.startswith(_PREFIX)}
        if said.get("contract") != CONTRACT_VERSION:
            raise _out_of_contract(path, f"contract version {said.get('contract')}, wanted {CONTRACT_VERSION}")
        contract = Contract(
            model_id=f"{said['name']}@{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}",
            labels=tuple(said["labels"]),
            width=width,
            height=height,
            fit=said["fit"],
            suppressed=bool(said["suppressed"]),
            nms_iou=float(said["nms_iou"]),
            batch=int(said["batch"]),
            known_answer=dict(said.get("known_answer", {})),
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise _out_of_contract(path, f"broken metadata ({type(exc).__name__}: {exc})") from exc
    if not contract.labels or not all(isinstance(label, str) and label for label in contract.labels):
        raise _out_of_contract(path, "no labels")
    if contract.fit not in ("letterbox", "stretch"):
        raise _out_of_contract(path, f"fit {contract.fit!r}, wanted letterbox or stretch")
    return contract


def _check_tensors(session: Any, path: Path) -> tuple[int, int]:
    """Return (height, width) of the input; raise ModelError when input or output are not the contract's."""
    inputs = [(i.name, i.type, i.shape) for i in session.get_inputs()]
    outputs = [(o.name, o.type, o.shape) for o in session.get_outputs()]
    name, kind, shape = inputs[0]
    if len(inputs) != 1 or (name, kind) != ("images", "tensor(uint8)") or len(shape) != 4 or shape[1] != 3:
        raise _out_of_contract(path, f"inputs {inputs}, wanted images uint8 [N, 3, H, W]")
    if not isinstance(shape[2], int) or not isinstance(shape[3], int):
        raise _out_of_contract(path, f"input size {shape[2]} x {shape[3]} is not fixed")
    name, kind, out_shape = outputs[0]
    if len(outputs) != 1 or (name, kind) != ("detections", "tensor(float)") or len(out_shape) != 3 or out_shape[2] != 6:
        raise _out_of_contract(path, f"outputs {outputs}, wanted detections float32 [N, K, 6]")
    return shape[2], shape[3]


def _out_of_contract(path: Path, what: str) -> ModelError:
    return ModelError(
        f"{path}: out of the model contract: {what}; turn it into the contract with "
        f"`lepton-export adopt {path} --labels … --out model.onnx`"
    )
