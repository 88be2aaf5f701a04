"""The model contract, version 1: what every exported file is and what the daemon runs.

input `images`        uint8 [N, 3, H, W]: planar RGB, fitted to W x H as the metadata's `fit` says; N dynamic
output `detections`   float32 [N, K, 6]: rows `x1 y1 x2 y2 score class` in input pixels, by falling score,
                      unused rows all zero
metadata_props        the keys of `Metadata`, each with the prefix `lepton.`, lists and records as JSON

`fit` is `letterbox` (scaled to fit, placed top-left, the rest grey 114, as YOLOX does) or `stretch`.
What belongs here: the contract's names, its metadata record, reading, writing. What does not: graph surgery.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, Self

from .errors import ContractError

if TYPE_CHECKING:
    import onnx

VERSION = 1
INPUT = "images"
OUTPUT = "detections"
PREFIX = "lepton."
PAD = 114  # grey of the letterbox, from YOLOX's preproc
MAX_ROWS = 300  # rows that an exported model gives at most, K


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What a model says of itself; stored in the file's metadata_props.

    `suppressed`: rows carry no duplicates, so the daemon runs no NMS; otherwise it does, at `nms_iou`.
    `batch`: largest batch that the graph takes, 0 = any.
    `score_threshold`: the score with the best F1 on `metrics["dataset"]`; the daemon's default.
    `metrics`: e.g. {"dataset": "...", "map": 0.31, "map50": 0.52, "person_ap50": 0.6}; empty when never measured.
    `calibration`: for int8 files, how the ranges came about; empty otherwise.
    `known_answer`: {"image": base64 of a PNG of exactly W x H, "detections": rows, "score_tolerance": 0.05,
    "pixel_tolerance": 4.0}; the daemon runs it every few seconds; empty until `verify` stored it.
    """

    name: str
    labels: tuple[str, ...]
    suppressed: bool
    fit: Literal["letterbox", "stretch"] = "letterbox"
    nms_iou: float = 0.65
    score_threshold: float = 0.5
    batch: int = 0
    precision: str = "fp32"
    source: str = ""
    source_sha256: str = ""
    licence: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)
    known_answer: dict[str, Any] = field(default_factory=dict)
    contract: int = VERSION

    def to_props(self) -> dict[str, str]:
        """Return the metadata as ONNX metadata_props: every value is JSON."""
        return {PREFIX + key: json.dumps(value) for key, value in asdict(self).items()}

    @classmethod
    def from_props(cls, props: dict[str, str], where: str) -> Self:
        """Read the metadata of the file `where`.

        Raises ContractError when there is none, or a key is missing, unknown or not JSON.
        """
        mine = {key.removeprefix(PREFIX): text for key, text in props.items() if key.startswith(PREFIX)}
        if not mine:
            raise ContractError(f"{where}: no lepton metadata; turn it into the contract with `lepton-export adopt`")
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(mine) - known):
            raise ContractError(f"{where}: unknown metadata {unknown}; was it written by a newer lepton-export?")
        try:
            values = {key: json.loads(text) for key, text in mine.items()}
            if values.get("contract") != VERSION:
                raise ContractError(f"{where}: contract {values.get('contract')}, this program speaks {VERSION}")
            values["labels"] = tuple(values["labels"])
            return cls(**values)
        except (KeyError, TypeError, json.JSONDecodeError) as exc:
            raise ContractError(f"{where}: broken metadata ({exc}); export the model again") from exc


def write_metadata(model: onnx.ModelProto, metadata: Metadata) -> None:
    """Put `metadata` into `model`, replacing all lepton keys that it had."""
    kept = [prop for prop in model.metadata_props if not prop.key.startswith(PREFIX)]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    for key, text in metadata.to_props().items():
        prop = model.metadata_props.add()
        prop.key, prop.value = key, text


def read_metadata(model: onnx.ModelProto, where: str) -> Metadata:
    """Return the metadata of a loaded model; raises ContractError as `Metadata.from_props` does."""
    return Metadata.from_props({prop.key: prop.value for prop in model.metadata_props}, where)
