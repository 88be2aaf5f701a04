"""Where a training begins when not from nothing: a checkpoint, or a finished lepton-nano file such as the shipped one.

In a finished file normalisation and skips are folded away (`Nano.fuse`). `read_nano` puts them back so that the network
gives the same answers; `settle` then makes it ready to learn on.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from torch import Tensor, nn

from ..contract import read_metadata
from ..errors import LabError
from ..nets.nano import Conv, Nano, NanoConfig
from ..to_onnx import nano_from_checkpoint
from . import checkpoint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

STEM = "backbone.stem.conv.weight"


@dataclass(frozen=True, slots=True)
class Start:
    """The shape of the network to train and the weights that it begins with."""

    net: NanoConfig
    weights: dict[str, Tensor]


def start_from(path: Path, labels: Sequence[str], pictures: Tensor) -> Start:
    """Return where a training for `labels` begins; classes are taken over by name, new ones begin fresh.

    `pictures` uint8 [N, 3, H, W], RGB, show what activations the data gives.
    Raises LabError when `path` is neither a checkpoint of lepton-nano nor a finished file of it.
    """
    state = read_nano(path)
    model = nano_from_checkpoint(state, str(path))
    if path.suffix == ".onnx":
        settle(model, pictures)
    known = tuple(state.get("labels", labels))
    weights = dict(model.state_dict())
    net = replace(model.config, classes=len(labels))
    if known != tuple(labels):
        weights.update(_classes_by_name(weights, net, known, labels))
    return Start(net, weights)


def read_nano(path: Path) -> dict[str, Any]:
    """Return the checkpoint at `path`; of a finished file, what a checkpoint says of it: net, labels, model.

    A finished file's `said` holds what else stays true of it: nms_iou, score_threshold, licence.
    Raises LabError when the file is neither.
    """
    if path.suffix != ".onnx":
        return checkpoint.load(path)
    try:
        file = onnx.load(str(path))
    except (OSError, ValueError, DecodeError) as exc:
        raise LabError(f"{path}: cannot be read as ONNX ({exc})") from exc
    try:
        weights = _finished_weights(file, path)
        net = _shape(weights)
        model = _unfolded(weights, net)
    except (KeyError, RuntimeError) as exc:
        raise LabError(f"{path}: not a lepton-nano ({str(exc)[:120]})") from exc
    said = read_metadata(file, str(path))
    kept = {"nms_iou": said.nms_iou, "score_threshold": said.score_threshold, "licence": said.licence}
    return {"net": asdict(net), "labels": list(said.labels), "model": model.state_dict(), "said": kept}


@torch.no_grad()
def settle(model: nn.Module, pictures: Tensor) -> None:
    """Give every normalisation the statistics of `pictures` and make up for them, so that answers stay the same.

    One that serves three scales gets their mean, which is what training keeps of them.
    """
    seen: dict[nn.Module, list[tuple[Tensor, ...]]] = {m: [] for m in model.modules() if isinstance(m, nn.BatchNorm2d)}

    def look(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen[norm].append(torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0))

    hooks = [norm.register_forward_pre_hook(look) for norm in seen]
    model.eval()(pictures.float())
    for hook in hooks:
        hook.remove()
    for norm, calls in seen.items():
        if calls:
            var, mean = (torch.stack(values).mean(0) for values in zip(*calls, strict=True))
            _settle(norm, mean, var)


def _settle(norm: nn.Module, mean: Tensor, var: Tensor) -> None:
    if not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None or norm.running_var is None:
        raise TypeError("a normalisation with running statistics was expected")
    slope = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    norm.bias += slope * (mean - norm.running_mean)
    norm.weight.copy_(slope * torch.sqrt(var + norm.eps))
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(var)


def _finished_weights(file: onnx.ModelProto, path: Path) -> dict[str, Tensor]:
    """Return the weights that `Deployed` wrote, named as in `Nano`, the scale of the pictures taken out of the stem."""
    named = {i.name.removeprefix("model."): i for i in file.graph.initializer if i.name.startswith("model.")}
    weights = {name: torch.from_numpy(numpy_helper.to_array(i).copy()).float() for name, i in named.items()}
    if STEM not in weights:
        raise LabError(f"{path}: not a lepton-nano that `lepton-export train` wrote, in float")
    weights[STEM] *= 255.0
    weights["head.scales"] = _scales(file.graph)
    return weights


def _scales(graph: onnx.GraphProto) -> Tensor:
    """Return the factors of the three scales' distances, which the exporter wrote as constants behind the box layer."""
    constants = {i.name: i for i in graph.initializer}
    boxes = [
        node.output[0] for node in graph.node if node.op_type == "Conv" and "model.head.boxes.weight" in node.input
    ]
    factors = [
        name for node in graph.node if node.op_type == "Mul" and node.input[0] in boxes for name in node.input[1:]
    ]
    return torch.tensor([float(numpy_helper.to_array(constants[name])) for name in factors])


def _shape(weights: Mapping[str, Tensor]) -> NanoConfig:
    """Read the widths and depths of the network off its weights."""

    def width(name: str) -> int:
        return int(weights[f"{name}.conv.weight"].shape[0])

    def stage(number: int) -> int:
        return width(f"backbone.stages.{number}.0")

    def depth(number: int) -> int:
        layer = re.compile(rf"backbone\.stages\.{number}\.1\.layers\.\d+\.conv\.weight")
        return sum(bool(layer.fullmatch(name)) for name in weights)

    return NanoConfig(
        classes=int(weights["head.classes.weight"].shape[0]),
        stem=width("backbone.stem"),
        stages=(stage(0), stage(1), stage(2), stage(3)),
        depths=(depth(0), depth(1), depth(2), depth(3)),
        neck=width("neck.lateral.0"),
        head=width("head.class_tower"),
    )


@torch.no_grad()
def _unfolded(weights: Mapping[str, Tensor], net: NanoConfig) -> Nano:
    model = Nano(net)
    folded = {f"{name}." for name, module in model.named_modules() if isinstance(module, Conv)}
    plain = {key: weights[key] for key in model.state_dict() if not key.startswith(tuple(folded))}
    model.load_state_dict({**model.state_dict(), **plain})
    for name, module in model.named_modules():
        if isinstance(module, Conv):
            _unfold(module, weights[f"{name}.conv.weight"], weights[f"{name}.conv.bias"])
    model.eval()
    return model


def _unfold(module: Conv, kernel: Tensor, bias: Tensor) -> None:
    """Load a folded kernel, less its skip, before a normalisation that only adds the bias."""
    norm = module.bn
    if not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None or norm.running_var is None:
        raise TypeError("a layer that was folded already")
    kernel = kernel.clone()
    if module.skip:
        kernel[:, :, kernel.shape[-1] // 2, kernel.shape[-1] // 2] -= torch.eye(kernel.shape[0])
    module.conv.weight.copy_(kernel)
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - norm.eps)
    norm.weight.fill_(1)
    norm.bias.copy_(bias)


def _classes_by_name(
    weights: Mapping[str, Tensor], net: NanoConfig, known: Sequence[str], labels: Sequence[str]
) -> dict[str, Tensor]:
    """Return the last class layer in the order of `labels`; a class that was not known keeps a fresh row."""
    fresh = Nano(net).state_dict()
    layer = {key: fresh[key].clone() for key in ("head.classes.weight", "head.classes.bias")}
    for new, label in enumerate(labels):
        if label in known:
            for key, rows in layer.items():
                rows[new] = weights[key][known.index(label)]
    return layer
