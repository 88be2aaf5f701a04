"""A small true detector that tests build: it boxes what is bright. No weights, exact answers, any size."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper

LABELS = ("lamp", "ghost")
SCORE = 0.9


def bright_box_model(path: Path, *, width: int = 96, height: int = 64, **metadata: Any) -> Path:
    """Write a model of the contract whose one row a picture is the box around all pixels brighter than 127."""
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["pixels"], ["brightest"], axes=[1], keepdims=0),
        helper.make_node("Greater", ["brightest", "limit"], ["is_bright"]),
        helper.make_node("Cast", ["is_bright"], ["bright"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["bright"], ["columns"], axes=[1], keepdims=0),
        helper.make_node("ReduceMax", ["bright"], ["lines"], axes=[2], keepdims=0),
        helper.make_node("ReduceMax", ["lines"], ["any"], axes=[1], keepdims=1),
    ]
    for source, low, high in (("columns", "x1", "x2"), ("lines", "y1", "y2")):
        nodes += [
            helper.make_node("ArgMax", [source], [f"{low}_index"], axis=1, keepdims=1),
            helper.make_node("ArgMax", [source], [f"{high}_index"], axis=1, keepdims=1, select_last_index=1),
            helper.make_node("Cast", [f"{low}_index"], [low], to=TensorProto.FLOAT),
            helper.make_node("Cast", [f"{high}_index"], [f"{high}_inner"], to=TensorProto.FLOAT),
            helper.make_node("Add", [f"{high}_inner", "one"], [high]),
        ]
    nodes += [
        helper.make_node("Mul", ["any", "score"], ["scored"]),
        helper.make_node("Mul", ["any", "zero"], ["class"]),
        helper.make_node("Concat", ["x1", "y1", "x2", "y2", "scored", "class"], ["row"], axis=1),
        helper.make_node("Unsqueeze", ["row", "axis"], ["detections"]),
    ]
    constants = [
        helper.make_tensor("limit", TensorProto.FLOAT, [], [127.0]),
        helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]),
        helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
        helper.make_tensor("score", TensorProto.FLOAT, [], [SCORE]),
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
    ]
    graph = helper.make_graph(
        nodes,
        "bright-box",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 3, height, width])],
        [helper.make_tensor_value_info("detections", TensorProto.FLOAT, ["N", 1, 6])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    said: dict[str, Any] = {
        "contract": 1,
        "name": "bright-box",
        "labels": LABELS,
        "fit": "letterbox",
        "suppressed": True,
        "nms_iou": 0.65,
        "batch": 0,
        "known_answer": {},
        **metadata,
    }
    helper.set_model_props(model, {f"lepton.{key}": json.dumps(value) for key, value in said.items()})
    onnx.save(model, path)
    return path


def picture_with_box(x1: int, y1: int, x2: int, y2: int, *, width: int = 96, height: int = 64) -> np.ndarray:
    """Return uint8 [3, height, width], dark, with a white box."""
    picture = np.full((3, height, width), 40, np.uint8)
    picture[:, y1:y2, x1:x2] = 255
    return picture


def known_answer(picture: np.ndarray, rows: list[list[float]]) -> dict[str, Any]:
    """Return `picture` uint8 [3, H, W] and `rows` as metadata stores them."""
    done, png = cv2.imencode(".png", picture.transpose(1, 2, 0)[:, :, ::-1])
    assert done
    return {
        "image": base64.b64encode(png.tobytes()).decode(),
        "detections": rows,
        "score_tolerance": 0.05,
        "pixel_tolerance": 2.0,
    }
