"""Where a training begins when not from nothing: a checkpoint, or a finished lepton-nano file such as the shipped one.

In a finished file normalisation and skips are folded away (`Nano.fuse`). `unfolded` puts them back so that the network
gives the same answers and can learn on as before.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from torch import Tensor, nn

from ..contract import read_metadata
from ..errors import LabError
from ..nets.nano import Conv, Nano, NanoConfig
from . import checkpoint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

CLASS_LAYERS = ("head.classes.weight", "head.classes.bias")


def start_weights(path: Path, net: NanoConfig, labels: Sequence[str], pictures: Tensor) -> dict[str, Tensor]:
    """Return the state dict to begin from; classes are taken over by name, those the file lacks are left out.

    `pictures` uint8 [N, 3, H, W], RGB, show what activations the data gives; only a finished file needs them.
    Raises LabError when `path` is neither a checkpoint nor a finished file of this network.
    """
    if path.suffix == ".onnx":
        model = _load(path)
        known = read_metadata(model, str(path)).labels
        state = unfolded(_finished_weights(model, path), replace(net, classes=len(known)), pictures, path)
    else:
        held: dict[str, Any] = checkpoint.load(path)
        state, known = dict(held["model"]), tuple(held.get("labels", labels))
    return _by_name(state, known, labels)


def unfolded(weights: Mapping[str, Tensor], net: NanoConfig, pictures: Tensor, path: Path) -> dict[str, Tensor]:
    """Return the weights of a finished file with every normalisation and skip put back; answers stay the same."""
    model = Nano(net).eval()
    try:
        for name, module in model.named_modules():
            if isinstance(module, Conv):
                _unfold(module, weights[f"{name}.conv.weight"], weights[f"{name}.conv.bias"])
    except (KeyError, RuntimeError) as exc:
        raise LabError(f"{path}: not a lepton-nano of this shape ({str(exc)[:120]})") from exc
    plain = {key: weights[key] for key in model.state_dict() if key in weights and ".conv." not in key}
    model.load_state_dict({**model.state_dict(), **plain})
    settle(model, pictures)
    return dict(model.state_dict())


@torch.no_grad()
def settle(model: nn.Module, pictures: Tensor) -> None:
    """Give every normalisation the statistics of `pictures` and make up for them, so that answers stay the same."""
    hooks = [m.register_forward_pre_hook(_settle) for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    model.eval()(pictures.float())
    for hook in hooks:
        hook.remove()


def _settle(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    if not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None or norm.running_var is None:
        raise TypeError("a normalisation with running statistics was expected")
    var, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
    slope = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    norm.bias += slope * (mean - norm.running_mean)
    norm.weight.copy_(slope * torch.sqrt(var + norm.eps))
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(var)


@torch.no_grad()
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


def _load(path: Path) -> onnx.ModelProto:
    try:
        return onnx.load(str(path))
    except (OSError, ValueError, DecodeError) as exc:
        raise LabError(f"{path}: cannot be read as ONNX ({exc})") from exc


def _finished_weights(model: onnx.ModelProto, path: Path) -> dict[str, Tensor]:
    """Return the weights that `Deployed` wrote, named as in `Nano`, the scale of the pictures taken out of the stem."""
    named = {i.name.removeprefix("model."): i for i in model.graph.initializer if i.name.startswith("model.")}
    weights = {name: torch.from_numpy(numpy_helper.to_array(i).copy()).float() for name, i in named.items()}
    stem = "backbone.stem.conv.weight"
    if stem not in weights:
        raise LabError(f"{path}: not a file that `lepton-export train` wrote; start from one, or from a checkpoint")
    weights[stem] *= 255.0
    return weights


def _by_name(state: dict[str, Tensor], known: Sequence[str], labels: Sequence[str]) -> dict[str, Tensor]:
    """Return `state` with its last class layer in the order of `labels`; a class it lacks keeps a fresh row."""
    if tuple(known) == tuple(labels):
        return state
    fresh = Nano(NanoConfig(classes=len(labels), head=state[CLASS_LAYERS[0]].shape[1])).state_dict()
    shared = [(new, known.index(label)) for new, label in enumerate(labels) if label in known]
    for key in CLASS_LAYERS:
        rows = fresh[key].clone()
        for new, old in shared:
            rows[new] = state[key][old]
        state[key] = rows
    return state
