"""Where a model runs: `cpu`, `cuda` or `tensorrt`, never silently something else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import LabError
from .runtime import Detector

if TYPE_CHECKING:
    from pathlib import Path

PROVIDERS = {
    "cpu": ["CPUExecutionProvider"],
    "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"],
    "tensorrt": ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
}


def open_detector(path: Path, device: str = "cpu", threads: int = 0) -> Detector:
    """Open a contract model on a device.

    Raises ContractError for a bad file, LabError when ONNX Runtime would fall back to another device.
    """
    if device != "cpu":
        import onnxruntime

        onnxruntime.preload_dlls()  # finds CUDA and cuDNN where pip put them
    detector = Detector(path, threads, PROVIDERS[device])
    if detector.session.get_providers()[0] != PROVIDERS[device][0]:
        raise LabError(f"{device} is not usable here; check the driver, install leptond[cuda], or use --device cpu")
    return detector
