"""Structured pruning of lepton-nano: whole channels go, so that the smaller network is again a plain lepton-nano.

Channels that are added together must go together. A group holds all convolutions that make such a set of channels and
all that read it; a channel's worth is the share of the group's squared weights that it carries, on both sides
(as DepGraph, Fang et al., CVPR 2023, group magnitude). What a fine-tuning then recovers is measured by `toll`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from ..errors import LabError
from ..nets.nano import Block, Nano, NanoConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

ROUND = 16  # widths stay multiples of it: half of it, inside a block, still fills the vector units


@dataclass(frozen=True, slots=True)
class Group:
    """Convolutions (module names) that make the same channels, and those that read them; `width` channels remain."""

    makers: tuple[str, ...]
    readers: tuple[str, ...]
    width: int


def pruned(model: Nano, keep: float) -> Nano:
    """Return a smaller copy of `model` with about the share `keep` of the channels of every layer.

    Raises LabError when `keep` is not between 0 and 1.
    """
    if not 0 < keep <= 1:
        raise LabError(f"--keep {keep:g}: a share above 0 and up to 1")
    config = narrowed(model.config, keep)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for group in groups(model, config):
        kept = _worth(state, group).topk(group.width).indices.sort().values
        for name in group.makers:
            _take_made(state, name, kept)
        for name in group.readers:
            _take_read(state, name, kept)
    smaller = Nano(config)
    smaller.load_state_dict(state)
    smaller.eval()
    return smaller


def narrowed(config: NanoConfig, keep: float) -> NanoConfig:
    """Return the configuration with all widths multiplied by `keep`, in multiples of 16 (the stem and head of 8)."""

    def narrow(width: int, step: int = ROUND) -> int:
        return min(width, max(step, round(width * keep / step) * step))

    first, second, third, fourth = (narrow(width) for width in config.stages)
    stages = (first, second, third, fourth)
    stem, head = narrow(config.stem, ROUND // 2), narrow(config.head, ROUND // 2)
    return replace(config, stem=stem, stages=stages, neck=narrow(config.neck), head=head)


def groups(model: Nano, config: NanoConfig) -> Iterator[Group]:
    """Yield every set of channels that must be pruned together, with the width that `config` gives it."""
    yield Group(("backbone.stem",), ("backbone.stages.0.0",), config.stem)
    for index, width in enumerate(config.stages):
        yield _stage(model, index, width)
    yield _neck(model, config.neck)
    for tower, last in (("head.class_tower", "head.classes"), ("head.box_tower", "head.boxes")):
        yield Group((tower,), (last,), config.head)
    for name in _blocks(model):
        yield _inside(model, name, config)


def _stage(model: Nano, index: int, width: int) -> Group:
    """Output of one backbone stage: its first convolution, added to by its block."""
    makers, readers = [f"backbone.stages.{index}.0"], []
    if f"backbone.stages.{index}.1" in _blocks(model):
        makers.append(f"backbone.stages.{index}.1.expand")
        readers.append(f"backbone.stages.{index}.1.reduce")
    if index + 1 < len(model.config.stages):
        readers.append(f"backbone.stages.{index + 1}.0")
    if index:
        readers.append(f"neck.lateral.{index - 1}")
    return Group(tuple(makers), tuple(readers), width)


def _neck(model: Nano, width: int) -> Group:
    """All maps of the pyramid: they are added to each other."""
    blocks = [name for name in _blocks(model) if name.startswith("neck.")]
    downs = [f"neck.down.{i}" for i in range(len(model.neck.down))]
    laterals = [f"neck.lateral.{i}" for i in range(len(model.neck.lateral))]
    makers = (*laterals, *downs, *(f"{name}.expand" for name in blocks))
    towers = ("head.class_tower", "head.box_tower")
    return Group(makers, (*downs, *(f"{name}.reduce" for name in blocks), *towers), width)


def _inside(model: Nano, name: str, config: NanoConfig) -> Group:
    """Group the narrow middle of a block: half of its outside."""
    outside = config.neck if name.startswith("neck.") else config.stages[int(name.split(".")[2])]
    layers = [inner for inner in dict(model.named_modules()) if _is_layer(inner, name)]
    return Group((f"{name}.reduce", *layers), (*layers, f"{name}.expand"), outside // 2)


def _is_layer(name: str, block: str) -> bool:
    return name.startswith(f"{block}.layers.") and name.count(".") == block.count(".") + 2


def _blocks(model: Nano) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, Block)]


def _worth(state: dict[str, Tensor], group: Group) -> Tensor:
    """Worth of each channel of a group: the mean over its convolutions of the channel's share of squared weights."""
    shares = []
    for name in group.makers:
        scale = state[f"{name}.bn.weight"] / torch.sqrt(state[f"{name}.bn.running_var"] + 1e-3)
        squares = state[_kernel(state, name)].pow(2).sum((1, 2, 3)) * scale.pow(2) + state[f"{name}.bn.bias"].pow(2)
        shares.append(squares / squares.sum().clamp_min(1e-12))
    for name in group.readers:
        squares = state[_kernel(state, name)].pow(2).sum((0, 2, 3))
        shares.append(squares / squares.sum().clamp_min(1e-12))
    return torch.stack(shares).mean(0)


def _take_made(state: dict[str, Tensor], name: str, kept: Tensor) -> None:
    """Keep these outputs of a convolution and of its normalisation."""
    for key in (_kernel(state, name), *(f"{name}.bn.{what}" for what in _NORMALISATION)):
        state[key] = state[key][kept]


def _take_read(state: dict[str, Tensor], name: str, kept: Tensor) -> None:
    key = _kernel(state, name)
    state[key] = state[key][:, kept]


def _kernel(state: dict[str, Tensor], name: str) -> str:
    """Name of a convolution's kernel: inside `Conv`, or of a plain one."""
    return f"{name}.conv.weight" if f"{name}.conv.weight" in state else f"{name}.weight"


_NORMALISATION = ("weight", "bias", "running_mean", "running_var")
