"""What an ONNX file shows: its graph, its metadata, and for a foreign one its family or why none fits."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from .adopt import surgery
from .adopt.pipeline import open_foreign
from .contract import PREFIX, read_metadata
from .errors import AdoptError, ContractError

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

SHOWN_LABELS = 12
LONGEST_VALUE = 100
LONGEST_DIM = 24


def inspect(path: Path) -> dict[str, Any]:
    """Return a JSON-able report of `path`; raises AdoptError when it is no ONNX file."""
    model = surgery.load(path)
    weights = {tensor.name for tensor in model.graph.initializer}
    report: dict[str, Any] = {
        "file": str(path),
        "size_bytes": path.stat().st_size,
        "opset": surgery.opset_of(model),
        "ir": model.ir_version,
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "parameters": sum(prod(tensor.dims) for tensor in model.graph.initializer),
        "nodes": len(model.graph.node),
        "inputs": [_face(value) for value in model.graph.input if value.name not in weights],
        "outputs": [_face(value) for value in model.graph.output],
        "weights_listed_as_inputs": sum(value.name in weights for value in model.graph.input),
    }
    if any(prop.key.startswith(PREFIX) for prop in model.metadata_props):
        return report | _of_contract(model, path)
    return report | _foreign(model, path)


def to_text(report: dict[str, Any]) -> str:
    """Render a report for people."""
    lines = [
        f"{report['file']}: {report['kind']}",
        f"  {report['size_bytes'] / 1e6:.2f} MB, {report['parameters'] / 1e6:.3f} M parameters",
        f"  {report['nodes']} nodes, opset {report['opset']}, IR {report['ir']}, by {report['producer'] or 'unknown'}",
        *(f"  input   {face}" for face in report["inputs"]),
        *(f"  output  {face}" for face in report["outputs"]),
    ]
    if report["weights_listed_as_inputs"]:
        lines.append(f"  {report['weights_listed_as_inputs']} weights are listed as inputs")
    lines += [f"  {key:16} {_short(value)}" for key, value in report.get("metadata", {}).items()]
    lines += [f"  {line}" for line in report.get("remark", "").splitlines()]
    return "\n".join(lines) + "\n"


def _of_contract(model: onnx.ModelProto, path: Path) -> dict[str, Any]:
    try:
        metadata = read_metadata(model, str(path))
    except ContractError as exc:
        return {"kind": "claims the contract, but breaks it", "remark": str(exc)}
    shown = {key.removeprefix(PREFIX): value for key, value in _parsed(metadata.to_props()).items()}
    if shown["known_answer"]:
        shown["known_answer"] = f"{len(shown['known_answer'].get('detections', []))} rows stored by verify"
    return {"kind": f"model of the contract, version {metadata.contract}", "metadata": shown}


def _parsed(props: dict[str, str]) -> dict[str, Any]:
    import json

    return {key: json.loads(text) for key, text in props.items()}


def _foreign(model: onnx.ModelProto, path: Path) -> dict[str, Any]:
    shown = {prop.key: prop.value for prop in model.metadata_props}
    try:
        foreign = open_foreign(path)
    except AdoptError as exc:
        return {"kind": "foreign model, family unknown", "metadata": shown, "remark": str(exc)}
    family, seen = foreign.family, foreign.seen
    count = family.class_count(seen)
    remark = f"looks like {family.about}"
    remark += f"; {count} classes" if count else ""
    remark += f"\nfixed batch {seen.image.shape[0]}; adopt opens it" if seen.fixed_batch else ""
    remark += f"\nadopt it: lepton-export adopt {path}{'' if foreign.noted else ' --labels LABELS'}"
    return {"kind": "foreign model", "family": family.name, "classes": count, "metadata": shown, "remark": remark}


def _face(value: onnx.ValueInfoProto) -> str:
    import onnx

    tensor = value.type.tensor_type
    dims = [d.dim_param or (d.dim_value if d.HasField("dim_value") else "?") for d in tensor.shape.dim]
    dims = [dim if len(str(dim)) <= LONGEST_DIM else "?" for dim in dims]  # dynamic exports hold whole formulas
    return f"{value.name} {onnx.TensorProto.DataType.Name(tensor.elem_type).lower()} [{', '.join(map(str, dims))}]"


def _short(value: object) -> str:
    if isinstance(value, list) and len(value) > SHOWN_LABELS:
        return f"{', '.join(map(str, value[:SHOWN_LABELS]))}, … ({len(value)})"
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "…"
