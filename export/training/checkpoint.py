"""Checkpoints of a training: written whole or not at all, read back without running anything from the file."""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING, Any

import torch

from ..errors import LabError

if TYPE_CHECKING:
    from pathlib import Path


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors, numbers, strings, lists, dicts) so that a kill leaves the old file or the new."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def load(path: Path) -> dict[str, Any]:
    """Return the state stored at `path`; raises LabError when there is none or it is not a checkpoint."""
    if not path.is_file():
        raise LabError(f"{path}: no such checkpoint")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, LookupError) as exc:
        raise LabError(f"{path}: not a checkpoint of this program ({str(exc)[:120]})") from exc
    if not isinstance(state, dict) or "model" not in state:
        raise LabError(f"{path}: a checkpoint without `model`")
    return state
