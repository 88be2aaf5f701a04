"""Writes torch detectors as files of the contract, and checks that the file gives what the module gave.

`Deployed` wraps `lepton-nano`; any other module whose forward meets the contract goes the same way.
Uses PyTorch's TorchScript exporter: it needs no further package.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from .agreement import Difference, difference
from .contract import INPUT, MAX_ROWS, OUTPUT, Metadata, write_metadata
from .errors import ContractError, LabError, QualityError
from .files import whole_file
from .nets.nano import Nano, NanoConfig, grid
from .nets.presence import DeployedPresence, Presence
from .runtime import Detector

OPSET = 17
TINY_SCORE = 1e-3  # rows below are zeroed, as `adopt` does
TOLERANCE = 2e-3  # largest difference of scores between the module and the file; of boxes 100 times that, in pixels


class Deployed(nn.Module):
    """`lepton-nano` on uint8 pictures of one size: fused, scale folded into the stem, top rows decoded."""

    def __init__(self, model: Nano, width: int, height: int) -> None:
        super().__init__()
        if width % 32 or height % 32:
            raise LabError(f"size {width}x{height}: both sides must be multiples of 32")
        self.model = model.eval().fuse()
        with torch.no_grad():
            self.model.backbone.stem.conv.weight /= 255.0
        points, strides = grid(height, width)
        self.register_buffer("points", points)
        self.register_buffer("strides", strides)
        self.rows = min(MAX_ROWS, len(strides))

    def forward(self, images: Tensor) -> Tensor:
        """Return rows [N, K, 6] of uint8 [N, 3, H, W]; each place speaks for its best class only."""
        maps = self.model.neck(self.model.backbone(images.float()))
        logits, distances = self.model.head(maps)
        best, label = logits.max(2)
        score, index = best.sigmoid().topk(self.rows, 1)
        sides = distances.gather(1, index[..., None].expand(-1, -1, 4)) * self.strides[index][..., None]
        points = self.points[index]
        label = label.gather(1, index)[..., None].float()
        boxes = torch.cat([points - sides[..., :2], points + sides[..., 2:]], 2)
        rows = torch.cat([boxes, score[..., None], label], 2)
        return rows * (score > TINY_SCORE)[..., None]


def nano_from_checkpoint(state: dict[str, Any], where: str) -> Nano:
    """Return the network of a checkpoint's averaged weights; raises LabError when they do not fit."""
    try:
        shape: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in state["net"].items()
        }
        model = Nano(NanoConfig(**shape))
        model.load_state_dict(state["model"])
    except (AttributeError, KeyError, TypeError, RuntimeError) as exc:
        raise LabError(f"{where}: not a checkpoint of lepton-nano ({str(exc)[:160]})") from exc
    model.eval()
    return model


def presence_from(state: dict[str, Any], where: str) -> Presence:
    """Return the network of a checkpoint of lepton-presence; raises LabError when the weights do not fit."""
    try:
        model = Presence(tuple(state["dense"]))
        model.load_state_dict(state["model"])
    except (KeyError, TypeError, RuntimeError) as exc:
        raise LabError(f"{where}: not a checkpoint of lepton-presence ({str(exc)[:160]})") from exc
    model.eval()
    return model


def deployed(state: dict[str, Any], size: tuple[int, int], where: str) -> nn.Module:
    """Return the network of any checkpoint of this program as the contract wants it; `size` is (width, height)."""
    if state.get("net") == "presence":
        return DeployedPresence(presence_from(state, where), *size).eval()
    return Deployed(nano_from_checkpoint(state, where), *size)


def export_module(module: nn.Module, path: Path, size: tuple[int, int], metadata: Metadata) -> None:
    """Write `module` (uint8 [N, 3, H, W] -> float32 [N, K, 6]) with its metadata; `size` is (width, height).

    The file appears only when it gives the module's rows at batch 1 and 3. Raises ContractError when the module does
    not meet the contract, QualityError when the file and the module differ.
    """
    module = module.eval()
    pictures = _probe(size)
    with torch.no_grad():
        wanted = module(torch.from_numpy(pictures))
    if wanted.ndim != 3 or wanted.shape[0] != len(pictures) or wanted.shape[2] != 6 or wanted.dtype != torch.float32:
        raise ContractError(f"the module returned {wanted.dtype} {list(wanted.shape)}, not float32 [N, K, 6]")
    with whole_file(path) as draft:
        _trace(module, torch.from_numpy(pictures[:1]), draft)
        model = onnx.load(str(draft))
        _name_shapes(model, int(wanted.shape[1]))
        write_metadata(model, metadata)
        onnx.checker.check_model(model)
        onnx.save(model, str(draft))
        _check(Detector(draft, threads=1), pictures, wanted.numpy(), path)


def module_from(spec: str) -> nn.Module:
    """Return what `package.module:function` gives when called; raises LabError when that is no torch module."""
    name, _, function = spec.partition(":")
    if not name or not function:
        raise LabError(f"`{spec}`: write it as module:function, for example mynet:build")
    sys.path.insert(0, str(Path.cwd()))
    try:
        built = getattr(importlib.import_module(name), function)()
    except (ImportError, AttributeError, SyntaxError, TypeError) as exc:
        raise LabError(f"`{spec}`: {exc}; run from the folder that holds the module") from exc
    finally:
        sys.path.remove(str(Path.cwd()))
    if not isinstance(built, nn.Module):
        raise LabError(f"`{spec}` gave a {type(built).__name__}, not a torch.nn.Module")
    return built


def _probe(size: tuple[int, int]) -> np.ndarray:
    """Return three pictures uint8 [3, 3, H, W]: smooth random scenes, unlike each other."""
    noise = torch.rand(3, 3, 6, 8, generator=torch.Generator().manual_seed(0)) * 255
    scenes = nn.functional.interpolate(noise, (size[1], size[0]), mode="bilinear")
    return np.asarray(scenes.round().to(torch.uint8).numpy())


def _trace(module: nn.Module, picture: Tensor, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter announces its successor, which needs another package
        torch.onnx.export(
            module,
            (picture,),
            str(path),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: {0: "N"}, OUTPUT: {0: "N"}},
            opset_version=OPSET,
            dynamo=False,
        )


def _name_shapes(model: onnx.ModelProto, rows: int) -> None:
    """Declare the output as [N, K, 6], whatever the tracer could tell."""
    output = onnx.helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, ["N", rows, 6])
    del model.graph.output[:]
    model.graph.output.append(output)
    model.producer_name = "lepton-export"


def _check(detector: Detector, pictures: np.ndarray, wanted: np.ndarray, path: Path) -> None:
    """Raise QualityError unless the file gives the module's rows; those hardly seen may go or come."""
    alone = np.concatenate([detector.run(pictures[i : i + 1]) for i in range(len(pictures))])
    for batch, got in (("3", detector.run(pictures)), ("1", alone)):
        if got.shape != wanted.shape:
            raise QualityError(f"{path}: at batch {batch} it gives {got.shape}, the module {wanted.shape}")
        scores = float(np.abs(got[..., 4] - wanted[..., 4]).max())
        seen = [rows[rows[:, 4] > TINY_SCORE + TOLERANCE] for rows in wanted]
        found = sum((difference(rows, mine) for rows, mine in zip(seen, got, strict=True)), Difference())
        if not (scores <= TOLERANCE and found.pixels <= 100 * TOLERANCE and found.missing == 0):
            raise QualityError(f"{path}: at batch {batch} it differs from the module: {scores:.2g} in score; {found}")
